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
from shop.operator.engine.kinds import POD, RENDERED, SHOP, Kind
from shop.operator.engine.kube import ApiError, Kube
from shop.operator.engine.metrics import RECONCILE, RESYNCS, SHOPS, watch_informer, watch_queue
from shop.operator.engine.objects import SHOP_LABEL, Key, Object
from shop.operator.engine.queue import WorkQueue
from shop.operator.engine.reconcile import Outcome, Parts, Reconciler
from shop.operator.engine.render import Renderer
from shop.operator.engine.report import Report
from shop.operator.engine.rollout import Roller
from shop.operator.engine.seeds import Seeds
from shop.operator.engine.teardown import Teardown
from shop.operator.engine.witness import Witness
from shop.operator.engine.world import Child, Pod, World, keep_child, keep_pod

WORKERS = 6
"""Shops worked on at once."""
RESYNC_S = 300.0
"""How often all Shops are listed and gone through again, give or take a tenth."""
DEAD_S = 240.0
"""A watch that has said nothing for so long counts as dead: bookmarks come every minute."""
MAX_MISSED = 2
"""Resyncs in a row that find changes of Shops which the watch did not tell of, before that counts as dead."""
GRACE_S = 20.0
"""How long the watch gets to tell of what a list has shown."""
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
        self._queue: WorkQueue[Key] = WorkQueue()
        self._world = World(self._queue.add)
        self._informers: dict[Scope, Informer[Child] | Informer[Pod]] = {}
        self._recorder = Recorder(kube)
        self._reconciler = Reconciler(self._parts(renderer))
        self._witness = Witness(kube, self._world, lambda shop: self._see(None, shop), self._gone)
        self._missed = 0
        self.synced = asyncio.Event()
        self.ended = False

    def _parts(self, renderer: Renderer) -> Parts:
        kube, world = self._kube, self._world
        revisions = Revisions(kube, world)
        return Parts(
            kube=kube,
            world=world,
            renderer=renderer,
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
        """Watch every kind that the cluster serves, and wait until all that is there is known."""
        self._reconciler.optional = await self._optional()
        served = [kind for kind in RENDERED if not kind.optional or kind.kind in self._reconciler.optional]
        running = []
        for namespace in self._options.namespaces or (None,):
            for kind in (*served, POD):
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
        return Informer(self._kube, kind, namespace, SHOP_LABEL, keep_child, self._world.child_changed)

    async def _optional(self) -> frozenset[str]:
        found = set()
        for kind in RENDERED:
            if kind.optional and kind.kind in await self._kube.served(kind.api_version):
                found.add(kind.kind)
        return frozenset(found)

    def _put(self, obj: Object) -> None:
        """Take the answer to a write at once, before the watch tells of it."""
        for namespace in (obj["metadata"]["namespace"], None):
            for (kind, of), informer in self._informers.items():
                if of == namespace and kind.kind == obj["kind"] and kind.api_version == obj["apiVersion"]:
                    informer.put(obj)
                    return

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
        """List the Shops: what the watch has missed is seen now, and every Shop is looked at again."""
        before, listed = self._world.shops(), await self._list()
        await asyncio.sleep(min(GRACE_S, self._options.resync_s))
        missed = [shop for key, shop in listed.items() if self._world.version(key) < int(_version(shop))]
        for shop in missed:
            self._see(None, shop)
        for key in set(before) - listed.keys():
            if await self._kube.get(SHOP, key.namespace, key.name) is None:
                self._gone(key)
        self._missed = self._missed + 1 if missed else 0
        self._reconciler.optional = await self._optional()
        for key in self._world.shops():
            self._queue.add(key)
        RESYNCS.inc()

    async def _list(self) -> dict[Key, Object]:
        found = {}
        for namespace in self._options.namespaces or (None,):
            for shop in await self._kube.list(SHOP, namespace):
                found[Key(shop["metadata"]["namespace"], shop["metadata"]["name"])] = shop
        return found

    def trouble(self) -> str:
        """Why the operator should be restarted, "" when all is well."""
        if self.ended:
            return "the engine has ended"
        if self._missed >= MAX_MISSED:
            return "the watch of Shops does not tell of changes"
        now = time.monotonic()
        shops = {(SHOP, namespace): informer for namespace, informer in self._witness.informers.items()}
        for (kind, _), informer in {**self._informers, **shops}.items():
            if informer.synced.is_set() and now - informer.last_contact > DEAD_S:
                return f"the watch of {kind.plural} is dead"
        return ""


def _version(shop: Object) -> str:
    version: str = shop["metadata"]["resourceVersion"]
    return version
