"""The operator's works, wired up: watches on one side, workers on the other, a queue between them."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shop.operator.engine import shell
from shop.operator.engine.apply import Applier
from shop.operator.engine.events import Recorder
from shop.operator.engine.history import Revisions
from shop.operator.engine.informer import Informer
from shop.operator.engine.kinds import CRON_JOB, POD, RENDERED, SHOP, Kind, kind_of
from shop.operator.engine.kube import ApiError, Kube
from shop.operator.engine.metrics import RECONCILE, RESYNCS, SHOPS, watch_informer, watch_queue
from shop.operator.engine.objects import SHOP_LABEL, Key, Object
from shop.operator.engine.preflight import optional_kinds
from shop.operator.engine.queue import WorkQueue
from shop.operator.engine.reconcile import Outcome, Parts, Reconciler
from shop.operator.engine.render import Renderer
from shop.operator.engine.report import Report
from shop.operator.engine.rollout import Roller
from shop.operator.engine.seeds import Seeds
from shop.operator.engine.target import Targets
from shop.operator.engine.teardown import Teardown
from shop.operator.engine.witness import Witness
from shop.operator.engine.world import Child, Place, Pod, World, keep_child, keep_pod

WORKERS = 6
"""Shops worked on at once."""
RESYNC_S = 300.0
"""How often all Shops are gone through again, give or take a tenth."""
DEAD_S = 240.0
"""A watch that has said nothing for so long counts as dead: bookmarks come every minute."""
SYNC_TIMEOUT_S = 300.0
MAX_REFUSED_S = 60.0
"""What a Shop waits for outside of it, such as a missing Secret, sends no events: looked for at least this often."""
DRAIN_S = 20.0
"""What passes under way get to end when the operator is told to stop."""
type Scope = tuple[Kind, str | None]

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Options:
    """`namespaces`: whose Shops are looked after, none are all; `resync_s`: how often all are gone through again."""

    namespaces: tuple[str, ...] = ()
    workers: int = WORKERS
    resync_s: float = RESYNC_S


class Engine:
    def __init__(self, kube: Kube, renderer: Renderer, options: Options) -> None:
        self._kube = kube
        self._options = options
        self._targets = Targets()
        self._queue = WorkQueue[Key](self._targets.has)
        self._world = World(self._queue.add)
        self._informers: dict[Scope, Informer[Child] | Informer[Pod]] = {}
        self._recorder = Recorder(kube)
        self._reconciler = Reconciler(self._parts(renderer))
        self._witness = Witness(kube, self._world, lambda shop: self._see(None, shop), self._gone)
        self.synced = asyncio.Event()
        self.ended = False

    def _parts(self, renderer: Renderer) -> Parts:
        kube, world = self._kube, self._world
        revisions = Revisions(kube, world)
        return Parts(
            kube=kube,
            world=world,
            renderer=renderer,
            targets=self._targets,
            roller=Roller(kube, world, self._put, Applier(kube)),
            revisions=revisions,
            seeds=Seeds(kube, world, revisions),
            report=Report(kube, world, renderer.version),
            recorder=self._recorder,
            teardown=Teardown(kube, world),
        )

    async def run(self, stop: asyncio.Event, lost: asyncio.Event) -> None:
        """Keep every Shop right until `stop` is set; what is under way then gets DRAIN_S to end.

        Once `lost` is set, another operator may work on the Shops: whatever is under way is broken off.
        """
        watch_queue(lambda: len(self._queue), lambda: self._queue.oldest_s)
        try:
            async with asyncio.TaskGroup() as tasks:
                background = [tasks.create_task(self._recorder.run())]
                background += await self._watch_children(tasks)
                background.append(tasks.create_task(shell.follow(self._see, self._options.namespaces, stop)))
                background.append(tasks.create_task(self._witness.run(self._options.namespaces)))
                background.append(tasks.create_task(self._resync()))
                workers = [tasks.create_task(self._work()) for _ in range(self._options.workers)]
                await stop.wait()
                await self._drain(workers, lost)
                for task in background:
                    task.cancel()
        except* ApiError as errors:
            log.error("the engine ends: %s", errors.exceptions[0])
        finally:
            self.ended = True

    async def _watch_children(self, tasks: asyncio.TaskGroup) -> list[asyncio.Task[None]]:
        """Watch every kind, also what the cluster may get later, and wait until all that is there is known."""
        self._reconciler.optional = await optional_kinds(self._kube)
        running = []
        for namespace in self._options.namespaces or (None,):
            for kind in (*RENDERED, POD):
                informer = self._informer(kind, namespace)
                self._informers[kind, namespace] = informer
                running.append(tasks.create_task(informer.run()))
                watch_informer(kind.kind, lambda informer=informer: informer.last_contact)  # type: ignore[misc]
        async with asyncio.timeout(SYNC_TIMEOUT_S):
            for informer in self._informers.values():
                await informer.synced.wait()
        self.synced.set()
        return running

    def _informer(self, kind: Kind, namespace: str | None) -> Informer[Child] | Informer[Pod]:
        if kind is POD:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, keep_pod, self._world.pod_changed)
        if kind is CRON_JOB:
            return Informer(self._kube, kind, namespace, SHOP_LABEL, _keep_backup, self._backup_changed)
        return Informer(self._kube, kind, namespace, SHOP_LABEL, keep_child, self._world.child_changed)

    def _backup_changed(self, place: Place, old: Child | None, new: Child | None) -> None:
        if new is None and old is not None:
            SHOPS.forget_backup(old.shop)
        self._world.child_changed(place, old, new)

    def _put(self, obj: Object) -> None:
        """Take the answer to a write at once, before the watch tells of it."""
        kind = kind_of(obj)
        informer = self._informers.get((kind, None)) or self._informers[kind, obj["metadata"]["namespace"]]
        informer.put(obj)

    def _see(self, what: str | None, shop: Object) -> None:
        """An event of kopf's."""
        if what == "DELETED":
            self._gone(Key(shop["metadata"]["namespace"], shop["metadata"]["name"]))
            return
        key = self._world.see_shop(shop)
        SHOPS.see(key, shop.get("status", {}).get("conditions", ()))

    def _gone(self, key: Key) -> None:
        self._world.forget_shop(key)
        SHOPS.forget(key)

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                await self._pass(key)
            finally:
                self._queue.done(key)

    async def _pass(self, key: Key) -> None:
        started, result = time.perf_counter(), "failed"
        try:
            outcome = await self._reconciler.reconcile(key)
        except ApiError as error:
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

    def _again(self, key: Key, outcome: Outcome) -> None:
        if outcome.result == "refused":
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
        self._reconciler.optional = await optional_kinds(self._kube)
        for key in self._world.shops():
            self._queue.add(key)
        RESYNCS.inc()

    def trouble(self) -> str:
        """Why the operator should be restarted, "" when all is well."""
        if self.ended:
            return "the engine has ended"
        now = time.monotonic()
        shops = {(SHOP, namespace): informer for namespace, informer in self._witness.informers.items()}
        for (kind, _), informer in {**self._informers, **shops}.items():
            if informer.synced.is_set() and now - informer.last_contact > DEAD_S:
                return f"the watch of {kind.plural} is dead"
        return ""


def _keep_backup(cron_job: Object) -> Child:
    """A Shop has one CronJob, its backup's."""
    child = keep_child(cron_job)
    SHOPS.see_backup(child.shop, cron_job.get("status", {}))
    return child
