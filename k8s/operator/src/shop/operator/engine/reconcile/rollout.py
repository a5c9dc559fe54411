"""Taking a Shop to a target: wave by wave, only what is not so yet, and pruning what is no longer wanted."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import groupby

from shop.operator.engine.cache.store import Cache, Child
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import JOB, Wave, kind_of
from shop.operator.engine.kube.objects import NamespacedName, Object, Ref
from shop.operator.engine.metrics import APPLIED_OBJECTS, DRIFT_REPAIRS, PRUNED_OBJECTS
from shop.operator.engine.reconcile.apply import Applier, Blocked
from shop.operator.engine.reconcile.drift import difference, digest
from shop.operator.engine.reconcile.preflight import named_by
from shop.operator.engine.reconcile.prune import delete_if_same, is_there
from shop.operator.engine.reconcile.target import Item, Target
from shop.operator.engine.status.conditions import with_pod_cause
from shop.operator.engine.status.findings import why
from shop.operator.engine.status.health import PROGRESS_DEADLINE, Phase
from shop.operator.engine.status.pods import PodProblem
from shop.operator.engine.status.shop_view import Entry, Rollout, ShopView

JOB_RETRY_S = 60.0
"""A Job that failed for good is made anew after this time, when nothing else can help."""
FIGHT_LIMIT = 6
"""Repairs of one object within FIGHT_WINDOW_S, after which whoever keeps changing it is left to it for a while."""
FIGHT_WINDOW_S = 120.0
MAX_FIELDS_TOLD = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout stands; `wave` None: everything is applied and healthy."""

    wave: Wave | None = None
    waiting: tuple[str, ...] = ()
    failed: tuple[str, str] | None = None
    failed_jobs: tuple[Child, ...] = ()


@dataclass(slots=True)
class RepairResult:
    """Sentences: what was repaired, what is left alone for a while; and reason and sentence of the first refusal."""

    told: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    refused: tuple[str, str] | None = None


class DeadlineTracker:
    """How long rollouts have been worked on: time in which their Shop was suspended or could not be read, or in which
    nobody led, is none of a revision's failing, and one that is given up is not tried again by itself.

    So a rollout that this process did not begin, or was kept from, has its whole deadline before it again. It costs no
    write, and has a price: operators that crash one after the other, each within the deadline, never call a rollout
    late. What waiting cannot cure still ends it at once, and until it ends the old pods serve.
    """

    def __init__(self) -> None:
        self._idle: dict[NamespacedName, tuple[str, timedelta]] = {}

    def begin(self, key: NamespacedName, hash_: str) -> None:
        self._idle[key] = hash_, timedelta()

    def stop(self, key: NamespacedName) -> None:
        self._idle.pop(key, None)

    def left(self, key: NamespacedName, rollout: Rollout, deadline: timedelta) -> timedelta:
        """Until the rollout is late."""
        passed = datetime.now(UTC) - rollout.started_at
        known = self._idle.get(key)
        if known is None or known[0] != rollout.hash:
            known = self._idle[key] = rollout.hash, passed
        return deadline - (passed - known[1])


class RolloutController:
    def __init__(self, kube: Kube, cache: Cache, put: Callable[[Object], None], applier: Applier) -> None:
        self._kube = kube
        self._cache = cache
        self._put = put
        self._applier = applier
        self._entries: dict[NamespacedName, dict[Ref, Entry]] = {}
        self._heard: dict[NamespacedName, set[Ref]] = {}
        self._failed_since: dict[str, float] = {}
        self._repairs: dict[tuple[NamespacedName, Ref], list[float]] = {}

    def entries(self, view: ShopView) -> dict[Ref, Entry]:
        """The inventory with what this process has applied since it was written down."""
        return self._entries.setdefault(view.key, dict(view.inventory))

    def forget(self, key: NamespacedName) -> None:
        self._entries.pop(key, None)
        self._heard.pop(key, None)

    def remove_shop(self, key: NamespacedName) -> None:
        self.forget(key)
        self._repairs = {place: times for place, times in self._repairs.items() if place[0] != key}

    def union(self, view: ShopView, target: Target) -> list[Entry]:
        """What is there and what is to come: written down before the first of it is applied, so nothing is lost."""
        entries = self.entries(view)
        for item in target.items:
            entries.setdefault(item.ref, Entry(item.ref))
        return list(entries.values())

    async def advance(self, view: ShopView, target: Target) -> Progress:
        """Apply up to the first wave that is not healthy. Blocked when the API server will not have an object."""
        for wave, items in target.waves():
            items = [item for item in items if not self._is_done(view, item)]
            stale = [item for item in items if not self._in_sync(view, item)]
            if stale:
                await self._apply(view, target.objects(wave), stale)
            progress = self._judge(view.key, wave, items)
            if progress is not None:
                return progress
            self._note_done(view, items)
        return Progress()

    def _is_done(self, view: ShopView, item: Item) -> bool:
        """Whether a Job has nothing left to do. Its name follows from what it does, so labels do not matter."""
        if item.ref.kind != JOB.kind:
            return False
        entries = self.entries(view)
        entry = entries.get(item.ref, Entry(item.ref))
        if item.wave is Wave.RESTORE and not entry.done and view.restored(entries):
            # Another version's Job would ask for the backup again.
            entry = entries[item.ref] = replace(entry, done=True)
        return entry.done

    def _note_done(self, view: ShopView, items: Iterable[Item]) -> None:
        """Of a wave that is healthy: its Jobs have completed."""
        entries = self.entries(view)
        for item in items:
            if item.ref.kind == JOB.kind:
                entries[item.ref] = replace(entries.get(item.ref, Entry(item.ref)), done=True)

    def _in_sync(self, view: ShopView, item: Item) -> bool:
        child = self._cache.children(view.key).get(item.ref)
        if child is None or child.applied != item.hash:
            return False
        return child.digest == self.entries(view).get(item.ref, Entry(item.ref)).digest

    async def _apply(self, view: ShopView, objects: Mapping[Ref, Object], items: Iterable[Item]) -> None:
        """Kind after kind, the objects of one kind together."""
        for _, group in groupby(items, key=lambda item: item.ref.kind):
            bringing = (self._bring(view, item, objects[item.ref]) for item in group)
            for result in await asyncio.gather(*bringing, return_exceptions=True):
                if isinstance(result, BaseException):
                    raise result

    async def _bring(self, view: ShopView, item: Item, obj: Object) -> None:
        child = self._cache.children(view.key).get(item.ref)
        unheard = child is not None and child.applied == item.hash and item.ref not in self._heard.get(view.key, ())
        if not (unheard and await self._is_so(view, obj)):
            await self.apply_one(view, obj)

    async def _is_so(self, view: ShopView, obj: Object) -> bool:
        """Whether an operator before this one has applied `obj` and ended before it heard so: a look spares a write."""
        ref = Ref.of(obj)
        live = await self._kube.get(kind_of(ref), view.key.namespace, ref.name)
        if live is None or difference(obj, live):
            return False
        self._hear(view, live)
        return True

    def _hear(self, view: ShopView, live: Object) -> Entry:
        ref = Ref.of(live)
        uid, before = live["metadata"]["uid"], self.entries(view).get(ref, Entry(ref))
        entry = self.entries(view)[ref] = Entry(ref, uid, digest(live), before.done and before.uid == uid)
        self._heard.setdefault(view.key, set()).add(ref)
        self._put(live)
        return entry

    async def apply_one(self, view: ShopView, obj: Object) -> None:
        """Apply an object and remember what the server made of it."""
        ref = Ref.of(obj)
        child = self._cache.children(view.key).get(ref)
        if child is not None and child.deleting:
            return
        before = self.entries(view).get(ref, Entry(ref))
        entry = self._hear(view, await self._applier.apply(view.key, obj, child, before.uid))
        same = child is not None and child.digest == entry.digest
        APPLIED_OBJECTS.labels(ref.kind, "same" if same else "changed").inc()

    def _judge(self, key: NamespacedName, wave: Wave, items: list[Item]) -> Progress | None:
        children = self._cache.children(key)
        found = [(item.ref, children.get(item.ref)) for item in items]
        waiting = tuple(_waiting(ref, child) for ref, child in found if _unready(child))
        failed = [child for _, child in found if child is not None and child.health.phase is Phase.FAILED]
        if not waiting:
            return None
        first = (failed[0].health.reason, failed[0].health.message) if failed else None
        jobs = tuple(child for child in failed if child.ref.kind == "Job")
        return Progress(wave, waiting, first, jobs)

    async def retry_jobs(self, view: ShopView, jobs: Iterable[Child]) -> float | None:
        """Delete Jobs that failed a while ago, so that they are made anew; seconds until the next is due."""
        now, waits = time.monotonic(), []
        for job in jobs:
            due = self._failed_since.setdefault(job.uid, now) + JOB_RETRY_S
            if due <= now:
                self._failed_since.pop(job.uid)
                await self._kube.delete(kind_of(job.ref), view.key.namespace, job.ref.name, job.uid)
            else:
                waits.append(due - now)
        return min(waits, default=None)

    async def prune(self, view: ShopView, target: Target) -> list[Ref]:
        """Delete what is in the inventory and not in the target. Only called when all of the target is applied.

        What the spec names is the user's, also if it was made by the operator once: it only leaves the inventory.
        """
        wanted = {item.ref for item in target.items}
        named = named_by(view.spec)
        entries = self.entries(view)
        unwanted = [ref for ref in entries if ref not in wanted]
        children = self._cache.children(view.key)
        for ref in sorted(unwanted, reverse=True):
            ours = (ref.kind, ref.name) not in named
            if ours and (uid := await self._left(view.key, entries[ref], children.get(ref))):
                await delete_if_same(self._kube, view.key, ref, uid)
                PRUNED_OBJECTS.labels(ref.kind).inc()
            del entries[ref]
        return unwanted

    async def _left(self, key: NamespacedName, entry: Entry, child: Child | None) -> str:
        """The uid of an object that is still to be deleted; "" when it is gone or going.

        What is not watched is looked for first: a Job that was cleaned up would else cost a write at each restart.
        """
        if child is not None:
            return "" if child.deleting else child.uid
        return entry.uid if await is_there(self._kube, key, entry) else ""

    def drifted(self, view: ShopView) -> list[Ref]:
        """What of the inventory is gone or no longer as it was applied."""
        children = self._cache.children(view.key)
        found = []
        for ref, entry in view.inventory.items():
            child = children.get(ref)
            if (child is None and not entry.done) or (child and child.digest != entry.digest and not child.deleting):
                found.append(ref)
        return found

    async def repair(self, view: ShopView, target: Target, drifted: Iterable[Ref]) -> RepairResult:
        """Apply again what has drifted; an object that is refused keeps no other from its repair."""
        objects, found = target.objects(), RepairResult()
        for ref in drifted:
            if self._is_fight(view.key, ref):
                found.left.append(f"{ref.display_name} is changed again and again by somebody else")
                continue
            try:
                found.told.append(await self._repair(view, objects[ref]))
            except (Blocked, ApiError) as error:
                found.refused = found.refused or why(error)
        return found

    def _is_fight(self, key: NamespacedName, ref: Ref) -> bool:
        now = time.monotonic()
        recent = [moment for moment in self._repairs.get((key, ref), []) if now - moment < FIGHT_WINDOW_S]
        self._repairs[key, ref] = recent
        return len(recent) >= FIGHT_LIMIT

    async def _repair(self, view: ShopView, obj: Object) -> str:
        ref = Ref.of(obj)
        told = await self._what(view.key, obj)
        await self.apply_one(view, obj)
        self._repairs[view.key, ref].append(time.monotonic())
        DRIFT_REPAIRS.labels(ref.kind).inc()
        return told

    async def _what(self, key: NamespacedName, obj: Object) -> str:
        ref = Ref.of(obj)
        live = await self._kube.get(kind_of(ref), key.namespace, ref.name)
        if live is None:
            return f"{ref.display_name} was deleted"
        fields = difference(obj, live)
        told = ", ".join(fields[:MAX_FIELDS_TOLD]) + (" ..." if len(fields) > MAX_FIELDS_TOLD else "")
        return f"{ref.display_name}: {told or 'fields were taken over'}"


def failure(
    progress: Progress, pod_problems: Sequence[PodProblem], deadline_s: int, *, late: bool
) -> tuple[str, str] | None:
    """Reason and sentence when a rollout cannot come up or, if `late`, has not in time; in the words of its pods.

    Kubernetes' own deadline of a Deployment counts only after the Shop's: that may be longer.
    """
    if progress.failed and (late or progress.failed[0] != PROGRESS_DEADLINE):
        return progress.failed[0], with_pod_cause(progress.failed[1], pod_problems)
    owners = {sentence.partition(":")[0] for sentence in progress.waiting}
    for problem in pod_problems:
        if problem.fatal and problem.owner in owners:
            return problem.reason, problem.message
    if not late:
        return None
    told = [with_pod_cause(sentence, pod_problems) for sentence in progress.waiting]
    why = next((text for text in told if text not in progress.waiting), told[0])
    return "DeadlineExceeded", f"not healthy within {deadline_s} s: {why}"


def _unready(child: Child | None) -> bool:
    return child is None or child.deleting or child.health.phase is not Phase.READY


def _waiting(ref: Ref, child: Child | None) -> str:
    if child is None:
        return f"{ref.display_name} is not there"
    return f"{ref.display_name} is being deleted" if child.deleting else child.health.message
