"""The operator's works, wired up: watches on one side, workers on the other, a queue between them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial

from shop.operator.engine import shell
from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.shop_watch import ShopWatch
from shop.operator.engine.cache.store import Cache, Child, Pod, child_from_object, pod_from_object
from shop.operator.engine.cache.work_queue import WorkQueue
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import CRON_JOB, POD, RENDERED, SHOP, Kind, kind_of
from shop.operator.engine.kube.objects import SHOP_LABEL, NamespacedName, Object
from shop.operator.engine.metrics import RECONCILE, RESYNCS, SHOPS, watch_informers, watch_queue, watch_upgrades
from shop.operator.engine.reconcile.apply import Applier
from shop.operator.engine.reconcile.history import Revisions
from shop.operator.engine.reconcile.preflight import cluster_version, optional_kinds
from shop.operator.engine.reconcile.reconciler import Parts, Reconciler, ReconcileResult
from shop.operator.engine.reconcile.rollout import RolloutController
from shop.operator.engine.reconcile.seeds import Seeds
from shop.operator.engine.reconcile.target import Targets
from shop.operator.engine.reconcile.teardown import Teardown
from shop.operator.engine.reconcile.upgrades import Limits, Upgrades
from shop.operator.engine.render.renderer import Renderer
from shop.operator.engine.slots import Slots
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.engine.status.findings import Findings
from shop.operator.engine.status.report import Report

WORKERS = 6
"""Shops worked on at once."""
SLOW_PER_WORKER = 2
"""Shops beside them for each worker whose passes wait for something that is slow to answer."""
RESYNC_S = 300.0
"""How often all Shops are gone through again, give or take a tenth."""
DEAD_S = 240.0
"""A watch that has said nothing for so long counts as dead: bookmarks come every minute."""
FIRST_LIST_S = 240.0
"""The same for what has never been listed: all tries of one page take less."""
LOOK_S = 1.0
"""How often the engine asks itself whether a watch is dead."""
MAX_REFUSED_S = 60.0
"""What a Shop waits for outside of it, such as a missing Secret, sends no events: looked for at least this often."""
DRAIN_S = 20.0
"""What passes under way get to end when the operator is told to stop."""
type Scope = tuple[Kind, str | None]
type AnyInformer = Informer[Child] | Informer[Pod] | Informer[int]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """`namespaces`: whose Shops are looked after, none are all; `resync_s`: how often all are gone through again.

    `first_list_s`: how long nothing may come of a kind that has not been listed yet.
    """

    namespaces: tuple[str, ...] = ()
    workers: int = WORKERS
    resync_s: float = RESYNC_S
    first_list_s: float = FIRST_LIST_S
    upgrades: Limits = field(default_factory=Limits)


class WatchStalled(Exception):
    """A kind that must be watched is not: work that goes on would miss what happens."""


class Controller:
    def __init__(self, kube: Kube, renderer: Renderer, options: Options) -> None:
        self._kube = kube
        self._options = options
        self._targets = Targets()
        self._queue = WorkQueue[NamespacedName](self._targets.has, max_failing=max(1, options.workers // 2))
        self._slots = Slots(options.workers, options.workers * SLOW_PER_WORKER)
        self._upgrades = Upgrades(renderer.release, options.upgrades, self._queue.add, self._all_seen)
        self._cache = Cache(self._queue.add, self._upgrades.see)
        self._informers: dict[Scope, Informer[Child] | Informer[Pod]] = {}
        self._recorder = EventRecorder(kube)
        self._renderer = renderer
        self._reconciler = Reconciler(self._parts(renderer))
        self._shop_watch = ShopWatch(kube, self._cache, lambda shop: self._see(None, shop), self._gone)
        self._seen_all = False
        self.ended = False

    def _all_seen(self) -> bool:
        """Whether every Shop has been read; once is enough."""
        self._seen_all = self._seen_all or self._shop_watch.complete
        return self._seen_all

    def _parts(self, renderer: Renderer) -> Parts:
        kube, cache = self._kube, self._cache
        revisions, report = Revisions(kube, cache), Report(kube, cache, renderer.version)
        return Parts(
            kube=kube,
            cache=cache,
            renderer=renderer,
            targets=self._targets,
            rollouts=RolloutController(kube, cache, self._put, Applier(kube)),
            revisions=revisions,
            seeds=Seeds(kube, cache, revisions),
            report=report,
            findings=Findings(cache, report, self._recorder),
            teardown=Teardown(kube, cache),
            upgrades=self._upgrades,
        )

    async def run(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Keep every Shop right until `stop` is set; what is under way then gets DRAIN_S to end.

        Once `lost` is set, another operator may work on the Shops: whatever is under way is broken off. A dead watch
        ends it too: the log then says what is not heard of, and another process may have more luck.
        """
        watch_queue(lambda: len(self._queue), lambda: self._queue.oldest_s)
        watch_upgrades(self._upgrades.counts, lambda: self._upgrades.stopped)
        for kind in (*RENDERED, POD, SHOP):
            watch_informers(kind.kind, partial(self._silence_s, kind))
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._recorder.run()), tasks.create_task(self._listen())]
                background += await self._watch_children(tasks)
                await self._children_read(stop)
                background.append(tasks.create_task(shell.follow(self._see, self._options.namespaces, stop)))
                background.append(tasks.create_task(self._shop_watch.run(self._options.namespaces)))
                background.append(tasks.create_task(self._resync()))
                passes = self._options.workers * (1 + SLOW_PER_WORKER)
                workers = [tasks.create_task(self._work()) for _ in range(passes)]
                await stop.wait()
                await self._drain(workers, lost)
                for task in background:
                    task.cancel()
        except* (ApiError, WatchStalled) as errors:
            log.error("the engine ends: %s", errors.exceptions[0])
        finally:
            self.ended = True

    async def _watch_children(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Watch every kind, also what the cluster may get later."""
        await self._look_around()
        running = []
        for namespace in self._options.namespaces or (None,):
            for kind in (*RENDERED, POD):
                informer = self._informer(kind, namespace)
                self._informers[kind, namespace] = informer
                running.append(tasks.create_task(informer.run()))
        return running

    async def _children_read(self, stop: asyncio.Event) -> None:
        """Wait until all that is there is known; what is told to stop waits no longer."""
        read, stopped = asyncio.create_task(self._read()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait((read, stopped), return_when=asyncio.FIRST_COMPLETED)
        finally:
            read.cancel()
            stopped.cancel()

    async def _read(self) -> None:
        for informer in self._informers.values():
            await informer.synced.wait()

    def _informer(self, kind: Kind, namespace: str | None) -> Informer[Child] | Informer[Pod]:
        if kind is POD:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, pod_from_object, self._cache.pod_changed)
        if kind is CRON_JOB:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, _keep_backup, self._backup_changed)
        return Informer(self._kube, kind, namespace, SHOP_LABEL, child_from_object, self._cache.child_changed)

    def _backup_changed(self, place: NamespacedName, old: Child | None, new: Child | None) -> None:
        if new is None and old is not None:
            SHOPS.forget_backup(old.shop)
        self._cache.child_changed(place, old, new)

    def _put(self, obj: Object) -> None:
        """Take the answer to a write at once, before the watch tells of it."""
        kind = kind_of(obj)
        informer = self._informers.get((kind, None)) or self._informers[kind, obj["metadata"]["namespace"]]
        informer.put(obj)

    def _see(self, what: str | None, shop: Object) -> None:
        """An event of kopf's."""
        if what == "DELETED":
            self._gone(NamespacedName(shop["metadata"]["namespace"], shop["metadata"]["name"]))
            return
        key = self._cache.update_shop(shop)
        SHOPS.see(key, shop.get("status", {}).get("conditions", ()))

    def _gone(self, key: NamespacedName) -> None:
        self._cache.remove_shop(key)
        SHOPS.forget(key)

    async def _work(self) -> None:
        while True:
            await self._slots.acquire()
            key = await self._queue.get()
            if key is None:
                self._slots.release()
                return
            with self._slots.working():
                try:
                    await self._pass(key)
                finally:
                    self._queue.done(key)

    async def _pass(self, key: NamespacedName) -> None:
        started, result = time.perf_counter(), "failed"
        try:
            outcome = await self._reconciler.reconcile(key)
        except ApiError as error:  # even the status could not be written
            delay_s = self._queue.failed(key)
            log.warning("%s: %s; again in %.0f s", key, error.message, delay_s)
        except Exception:
            delay_s = self._queue.failed(key)
            log.exception("%s: the pass broke off; again in %.0f s", key, delay_s)
        else:
            result = outcome.result
            self._again(key, outcome)
        finally:
            RECONCILE.labels(result).observe(time.perf_counter() - started)

    def _again(self, key: NamespacedName, outcome: ReconcileResult) -> None:
        if outcome.result in ("refused", "failed"):
            self._queue.add_after(key, min(self._queue.failed(key), MAX_REFUSED_S))
            return
        self._queue.succeeded(key)
        if outcome.again_s is not None:
            self._queue.add_after(key, outcome.again_s)

    async def _drain(self, workers: Sequence[asyncio.Task[None]], lost: asyncio.Event) -> None:
        """Let passes end that have begun; a pass cut off would only be taken up by the next leader."""
        self._queue.close()
        ended, no_leader = asyncio.gather(*workers), asyncio.ensure_future(lost.wait())
        await asyncio.wait((ended, no_leader), timeout=DRAIN_S, return_when=asyncio.FIRST_COMPLETED)
        no_leader.cancel()
        ended.cancel()
        await asyncio.gather(ended, return_exceptions=True)

    async def _resync(self) -> None:
        while True:
            await asyncio.sleep(self._options.resync_s * random.uniform(0.9, 1.1))
            try:
                await self._go_through()
            except ApiError as error:
                log.warning("resync: %s", error.message)

    async def _go_through(self) -> None:
        """Look at every Shop again: for what sends no events, and for kinds that the cluster has got meanwhile."""
        await self._look_around()
        for key in self._cache.shops():
            self._queue.add(key)
        RESYNCS.inc()

    async def _look_around(self) -> None:
        """What the cluster is and has, as far as rendering asks for it."""
        self._renderer.kube_version = await cluster_version(self._kube)
        self._reconciler.optional = await optional_kinds(self._kube)

    async def _listen(self) -> None:
        while True:
            await asyncio.sleep(LOOK_S)
            if dead := self._dead():
                raise WatchStalled(dead)

    def liveness_error(self) -> str:
        """Why the operator should be restarted, "" when all is well."""
        return "the engine has ended" if self.ended else self._dead()

    def readiness_error(self) -> str:
        """What has not been read yet, "" when the engine knows all that it must to be of use."""
        for (kind, namespace), informer in self._watched().items():
            if not informer.synced.is_set():
                return _about(kind, namespace, "have not been read yet", informer)
        return "" if self._shop_watch.informers else "the watch of Shops has not begun"

    def _watched(self) -> dict[Scope, AnyInformer]:
        shops = {(SHOP, namespace): informer for namespace, informer in self._shop_watch.informers.items()}
        return {**self._informers, **shops}

    def _dead(self) -> str:
        for (kind, namespace), informer in self._watched().items():
            limit_s = DEAD_S if informer.synced.is_set() else self._options.first_list_s
            if informer.silence_s > limit_s:
                return _about(kind, namespace, f"nothing has come for {limit_s:g} s", informer)
        return ""

    def _silence_s(self, kind: Kind) -> float:
        """Of the quietest among a kind's watches; each namespace has its own."""
        return max((informer.silence_s for (of, _), informer in self._watched().items() if of is kind), default=0.0)


def _about(kind: Kind, namespace: str | None, what: str, informer: AnyInformer) -> str:
    told = f"{kind.plural} in {f'namespace {namespace}' if namespace else 'all namespaces'}: {what}"
    return f"{told}: {informer.refusal}" if informer.refusal else told


def _keep_backup(cron_job: Object) -> Child:
    """A Shop has one CronJob, its backup's."""
    child = child_from_object(cron_job)
    SHOPS.see_backup(child.shop, cron_job.get("status", {}))
    return child
