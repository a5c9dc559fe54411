"""The controller: informers on one side, workers on the other, a queue of Shops between them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from functools import partial
from typing import Any

from cachetools import LRUCache

from shop.operator.engine import metrics
from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.store import Cache, Child, FailingPod, StoredShop, child_from_object, failing_pod
from shop.operator.engine.cache.work_queue import WorkQueue
from shop.operator.engine.reconcile.preflight import cluster_version, optional_kinds
from shop.operator.engine.reconcile.reconciler import Reconciler
from shop.operator.engine.reconcile.target import Target
from shop.operator.engine.reconcile.upgrades import Upgrades
from shop.operator.engine.render.renderer import Renderer
from shop.operator.engine.settings import Settings
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import POD, RENDERED, SHOP, Kind, kind_of
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object
from shop.operator.kube.slots import Slots

SLOW_PER_WORKER = 2
"""Further Shops per worker whose reconciles wait for something that is slow to respond."""
WATCH_STALLED_S = 240.0
"""A watch without any event for so long counts as stalled: bookmarks come every minute."""
WATCH_CHECK_S = 1.0
"""Interval at which the controller checks for stalled watches."""
MAX_BLOCKED_S = 60.0
"""What blocks a Shop from outside, such as a missing Secret, sends no events: checked at least this often."""
MAX_TARGETS = 2_000
"""Shops under way whose objects are kept; one is about 25 KB. Beyond, those not used for longest are rendered again."""
DRAIN_S = 20.0
"""How long reconciles under way may take to end when the operator is stopped."""
type AnyInformer = Informer[Child] | Informer[FailingPod] | Informer[StoredShop]

log = logging.getLogger(__name__)


class WatchStalled(Exception):
    """A kind that must be watched is not: reconciling on would miss changes."""


class Controller:
    def __init__(self, kube: Kube, renderer: Renderer, settings: Settings) -> None:
        self._kube, self._renderer, self._settings = kube, renderer, settings
        targets = LRUCache[NamespacedName, Target](MAX_TARGETS)
        self._queue = WorkQueue[NamespacedName](targets.__contains__, max_failing=max(1, settings.workers // 2))
        self._slots = Slots(settings.workers, settings.workers * SLOW_PER_WORKER)
        self._upgrades = Upgrades(renderer.release, settings, self._queue.add)
        self._cache = Cache(self._queue.add, self._upgrades.see)
        self._informers: dict[tuple[Kind, str | None], AnyInformer] = {}
        self._recorder = EventRecorder(kube)
        self._reconciler = Reconciler(
            kube, self._cache, renderer, targets, self._upgrades, self._recorder, self._store_response
        )
        self.ended = False

    async def run(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Keep every Shop as its spec says until `stop` is set; reconciles under way then get DRAIN_S to end.

        Once `lost` is set, another operator may reconcile the Shops: whatever is under way is cancelled. A stalled
        watch ends the controller too: the log names it, and a new process may have more success.
        """
        kinds = (*RENDERED, POD, SHOP)
        metrics.SHOPS.read = self._cache.states
        metrics.QUEUE_DEPTH.set_function(lambda: len(self._queue))
        metrics.QUEUE_OLDEST.set_function(lambda: self._queue.oldest_s)
        metrics.UPGRADE_STOPPED.set_function(lambda: float(self._upgrades.stopped))
        for state in self._upgrades.counts():
            metrics.UPGRADE_SHOPS.labels(state).set_function(partial(lambda one: self._upgrades.counts()[one], state))
        metrics.expect(kind.kind for kind in RENDERED)
        for kind in kinds:
            metrics.WATCH_SILENCE.labels(kind.kind).set_function(partial(self._idle_s, kind))
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._recorder.run()), tasks.create_task(self._check_watches())]
                await self._discover()
                for namespace in self._settings.namespaces or (None,):
                    for kind in kinds:
                        informer = self._informers[kind, namespace] = self._informer(kind, namespace)
                        background.append(tasks.create_task(informer.run()))
                # No Shop may be reconciled by half of its objects.
                synced = asyncio.gather(*(informer.synced.wait() for informer in self._informers.values()))
                await _end_at(stop, synced)
                background.append(tasks.create_task(self._resync()))
                concurrent = self._settings.workers * (1 + SLOW_PER_WORKER)
                workers = [tasks.create_task(self._work()) for _ in range(concurrent)]
                await stop.wait()
                # A reconcile that is cut off would only be repeated by the next leader.
                self._queue.close()
                await _end_at(lost, asyncio.gather(*workers), timeout_s=DRAIN_S)
                for task in background:
                    task.cancel()
        except* (ApiError, WatchStalled) as errors:
            log.error("the controller stops: %s", errors.exceptions[0])
        finally:
            self.ended = True

    def _informer(self, kind: Kind, namespace: str | None) -> AnyInformer:
        if kind is SHOP:
            return Informer(self._kube, kind, namespace, "", StoredShop.of, self._cache.shop_changed)
        if kind is POD:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, failing_pod, self._cache.pod_changed)
        return Informer(self._kube, kind, namespace, SHOP_LABEL, child_from_object, self._cache.child_changed)

    def _store_response(self, obj: Object) -> None:
        """Take the response to a write at once, before the watch brings it."""
        kind = kind_of(obj)
        informer = self._informers.get((kind, None)) or self._informers[kind, obj["metadata"]["namespace"]]
        informer.put(obj)

    async def _work(self) -> None:
        while True:
            await self._slots.acquire()
            key = await self._queue.get()
            if key is None:
                self._slots.release()
                return
            with self._slots.working():
                try:
                    await self._reconcile(key)
                finally:
                    self._queue.done(key)

    async def _reconcile(self, key: NamespacedName) -> None:
        started, result = time.perf_counter(), "failed"
        try:
            outcome = await self._reconciler.reconcile(key)
        except ApiError as error:  # even the status could not be written
            delay_s = self._queue.failed(key)
            log.warning("%s: %s; retry in %.0f s", key, error.message, delay_s)
        except Exception:
            delay_s = self._queue.failed(key)
            log.exception("%s: the reconcile failed; retry in %.0f s", key, delay_s)
        else:
            result, again_s = outcome.result, outcome.again_s
            if result in ("refused", "failed"):
                again_s = min(self._queue.failed(key), MAX_BLOCKED_S)
            else:
                self._queue.succeeded(key)
            if again_s is not None:
                self._queue.add_after(key, again_s)
        finally:
            metrics.RECONCILE.labels(result).observe(time.perf_counter() - started)

    async def _resync(self) -> None:
        """Reconcile all Shops now and then: for what sends no events, and for kinds that the cluster got meanwhile."""
        while True:
            await asyncio.sleep(self._settings.resync_s * random.uniform(0.9, 1.1))
            try:
                await self._discover()
            except ApiError as error:
                log.warning("resync: %s", error.message)
                continue
            for key in self._cache.shops():
                self._queue.add(key)
            metrics.RESYNCS.inc()

    async def _discover(self) -> None:
        """Read the cluster's version and which optional kinds it serves."""
        self._renderer.kube_version = await cluster_version(self._kube)
        self._reconciler.optional = await optional_kinds(self._kube)

    async def _check_watches(self) -> None:
        while True:
            await asyncio.sleep(WATCH_CHECK_S)
            if stalled := self.liveness_error():
                raise WatchStalled(stalled)

    def liveness_error(self) -> str:
        """Why the operator should be restarted, "" when it is alive."""
        if self.ended:
            return "the controller has stopped"
        for informer in self._informers.values():
            limit_s = WATCH_STALLED_S if informer.synced.is_set() else self._settings.first_list_s
            if informer.idle_s > limit_s:
                return informer.describe(f"nothing has come for {limit_s:g} s")
        return ""

    def readiness_error(self) -> str:
        """What has not been listed yet, "" when everything has."""
        for informer in self._informers.values():
            if not informer.synced.is_set():
                return informer.describe("have not been read yet")
        return "" if self._informers else "no watch has begun yet"

    def _idle_s(self, kind: Kind) -> float:
        """Of the watch of a kind that has been idle longest; each namespace has its own."""
        return max((informer.idle_s for (of, _), informer in self._informers.items() if of is kind), default=0.0)


async def _end_at(event: asyncio.Event, work: asyncio.Future[Any], timeout_s: float | None = None) -> None:
    """Wait for `work`, which is cancelled when `event` is set or after `timeout_s`."""
    ended = asyncio.ensure_future(event.wait())
    try:
        await asyncio.wait((work, ended), timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
    finally:
        ended.cancel()
        work.cancel()
        await asyncio.gather(work, return_exceptions=True)
