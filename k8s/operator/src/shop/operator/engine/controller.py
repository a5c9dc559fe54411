"""The controller: informers on one side, workers on the other, a queue of Shops between them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.store import Cache, Child, Pod, StoredShop, child_from_object, pod_from_object
from shop.operator.engine.cache.work_queue import WorkQueue
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import CRON_JOB, POD, RENDERED, SHOP, Kind, kind_of
from shop.operator.engine.kube.objects import SHOP_LABEL, NamespacedName, Object
from shop.operator.engine.metrics import RECONCILE, RESYNCS, SHOPS, watch_informers, watch_queue, watch_upgrades
from shop.operator.engine.reconcile.preflight import cluster_version, optional_kinds
from shop.operator.engine.reconcile.reconciler import Reconciler, ReconcileResult
from shop.operator.engine.reconcile.target import Targets
from shop.operator.engine.reconcile.upgrades import Limits, Upgrades
from shop.operator.engine.render.renderer import Renderer
from shop.operator.engine.slots import Slots
from shop.operator.engine.status.event_recorder import EventRecorder

WORKERS = 6
"""Shops reconciled at once."""
SLOW_PER_WORKER = 2
"""Further Shops per worker whose reconciles wait for something that is slow to respond."""
RESYNC_S = 300.0
"""Interval at which all Shops are reconciled again, give or take a tenth."""
WATCH_STALLED_S = 240.0
"""A watch without any event for so long counts as stalled: bookmarks come every minute."""
FIRST_LIST_S = 240.0
"""The same for a kind that has never been listed: all retries of one page take less."""
WATCH_CHECK_S = 1.0
"""Interval at which the controller checks for stalled watches."""
MAX_BLOCKED_S = 60.0
"""What blocks a Shop from outside, such as a missing Secret, sends no events: checked at least this often."""
DRAIN_S = 20.0
"""How long reconciles under way may take to end when the operator is stopped."""
type AnyInformer = Informer[Child] | Informer[Pod] | Informer[StoredShop]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """`namespaces`: whose Shops are managed, none are all; `resync_s`: how often all are reconciled again.

    `first_list_s`: how long the first list of a kind may take.
    """

    namespaces: tuple[str, ...] = ()
    workers: int = WORKERS
    resync_s: float = RESYNC_S
    first_list_s: float = FIRST_LIST_S
    upgrades: Limits = field(default_factory=Limits)


class WatchStalled(Exception):
    """A kind that must be watched is not: reconciling on would miss changes."""


class Controller:
    def __init__(self, kube: Kube, renderer: Renderer, options: Options) -> None:
        self._kube, self._renderer, self._options = kube, renderer, options
        targets = Targets()
        self._queue = WorkQueue[NamespacedName](targets.has, max_failing=max(1, options.workers // 2))
        self._slots = Slots(options.workers, options.workers * SLOW_PER_WORKER)
        self._upgrades = Upgrades(renderer.release, options.upgrades, self._queue.add)
        self._cache = Cache(self._queue.add, self._shop_changed)
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
        watch_queue(lambda: len(self._queue), lambda: self._queue.oldest_s)
        watch_upgrades(self._upgrades.counts, lambda: self._upgrades.stopped)
        for kind in (*RENDERED, POD, SHOP):
            watch_informers(kind.kind, partial(self._idle_s, kind))
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._recorder.run()), tasks.create_task(self._check_watches())]
                await self._discover()
                for namespace in self._options.namespaces or (None,):
                    for kind in (*RENDERED, POD, SHOP):
                        informer = self._informers[kind, namespace] = self._informer(kind, namespace)
                        background.append(tasks.create_task(informer.run()))
                await self._wait_for_sync(stop)
                background.append(tasks.create_task(self._resync()))
                concurrent = self._options.workers * (1 + SLOW_PER_WORKER)
                workers = [tasks.create_task(self._work()) for _ in range(concurrent)]
                await stop.wait()
                await self._drain(workers, lost)
                for task in background:
                    task.cancel()
        except* (ApiError, WatchStalled) as errors:
            log.error("the controller stops: %s", errors.exceptions[0])
        finally:
            self.ended = True

    async def _wait_for_sync(self, stop: asyncio.Event) -> None:
        """Return at `stop`, or when every kind is listed: no Shop may be reconciled by half of its objects."""
        synced = asyncio.gather(*(informer.synced.wait() for informer in self._informers.values()))
        stopped = asyncio.ensure_future(stop.wait())
        try:
            await asyncio.wait((synced, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            stopped.cancel()
            synced.cancel()
            await asyncio.gather(synced, return_exceptions=True)

    def _informer(self, kind: Kind, namespace: str | None) -> AnyInformer:
        if kind is SHOP:
            return Informer(self._kube, kind, namespace, "", StoredShop.of, self._cache.shop_changed)
        if kind is POD:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, pod_from_object, self._cache.pod_changed)
        if kind is CRON_JOB:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, _backup_from_object, self._backup_changed)
        return Informer(self._kube, kind, namespace, SHOP_LABEL, child_from_object, self._cache.child_changed)

    def _shop_changed(self, key: NamespacedName, shop: Object | None) -> None:
        self._upgrades.see(key, shop)
        if shop is None:
            SHOPS.forget(key)
        else:
            SHOPS.see(key, shop.get("status", {}).get("conditions", ()))

    def _backup_changed(self, name: NamespacedName, old: Child | None, new: Child | None) -> None:
        if new is None and old is not None:
            SHOPS.forget_backup(old.shop)
        self._cache.child_changed(name, old, new)

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
            result = outcome.result
            self._schedule(key, outcome)
        finally:
            RECONCILE.labels(result).observe(time.perf_counter() - started)

    def _schedule(self, key: NamespacedName, outcome: ReconcileResult) -> None:
        if outcome.result in ("refused", "failed"):
            self._queue.add_after(key, min(self._queue.failed(key), MAX_BLOCKED_S))
            return
        self._queue.succeeded(key)
        if outcome.again_s is not None:
            self._queue.add_after(key, outcome.again_s)

    async def _drain(self, workers: Sequence[asyncio.Task[None]], lost: asyncio.Event) -> None:
        """Let reconciles under way end; one that is cut off would only be repeated by the next leader."""
        self._queue.close()
        ended, no_leader = asyncio.gather(*workers), asyncio.ensure_future(lost.wait())
        await asyncio.wait((ended, no_leader), timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        no_leader.cancel()
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)

    async def _resync(self) -> None:
        """Reconcile all Shops now and then: for what sends no events, and for kinds that the cluster got meanwhile."""
        while True:
            await asyncio.sleep(self._options.resync_s * random.uniform(0.9, 1.1))
            try:
                await self._discover()
            except ApiError as error:
                log.warning("resync: %s", error.message)
                continue
            for key in self._cache.shops():
                self._queue.add(key)
            RESYNCS.inc()

    async def _discover(self) -> None:
        """Read the cluster's version and which optional kinds it serves."""
        self._renderer.kube_version = await cluster_version(self._kube)
        self._reconciler.optional = await optional_kinds(self._kube)

    async def _check_watches(self) -> None:
        while True:
            await asyncio.sleep(WATCH_CHECK_S)
            if stalled := self._stalled():
                raise WatchStalled(stalled)

    def liveness_error(self) -> str:
        """Why the operator should be restarted, "" when it is alive."""
        return "the controller has stopped" if self.ended else self._stalled()

    def readiness_error(self) -> str:
        """What has not been listed yet, "" when everything has."""
        for (kind, namespace), informer in self._informers.items():
            if not informer.synced.is_set():
                return _describe(kind, namespace, "have not been read yet", informer)
        return "" if self._informers else "no watch has begun yet"

    def _stalled(self) -> str:
        for (kind, namespace), informer in self._informers.items():
            limit_s = WATCH_STALLED_S if informer.synced.is_set() else self._options.first_list_s
            if informer.idle_s > limit_s:
                return _describe(kind, namespace, f"nothing has come for {limit_s:g} s", informer)
        return ""

    def _idle_s(self, kind: Kind) -> float:
        """Of the watch of a kind that has been idle longest; each namespace has its own."""
        return max((informer.idle_s for (of, _), informer in self._informers.items() if of is kind), default=0.0)


def _describe(kind: Kind, namespace: str | None, what: str, informer: AnyInformer) -> str:
    text = f"{kind.plural} in {f'namespace {namespace}' if namespace else 'all namespaces'}: {what}"
    return f"{text}: {informer.last_error}" if informer.last_error else text


def _backup_from_object(cron_job: Object) -> Child:
    """A Shop has one CronJob, its backup's."""
    child = child_from_object(cron_job)
    SHOPS.see_backup(child.shop, cron_job.get("status", {}))
    return child
