"""Rolling a Shop out to a target, wave by wave and only what differs, and repairing what has drifted from it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from shop.operator.engine.cache.store import Cache, Child
from shop.operator.engine.metrics import APPLIED_OBJECTS, DRIFT_REPAIRS
from shop.operator.engine.reconcile.apply import Blocked, apply, reason_and_message
from shop.operator.engine.reconcile.drift import difference, digest
from shop.operator.engine.reconcile.target import Item, Target
from shop.operator.engine.status.conditions import with_pod_cause
from shop.operator.engine.status.health import PROGRESS_DEADLINE, Phase
from shop.operator.engine.status.pods import PodProblem
from shop.operator.engine.status.shop_view import Entry, ShopView
from shop.operator.kube.api_errors import ApiError
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import JOB, Wave, kind_of
from shop.operator.kube.objects import NamespacedName, Object, Ref
from shop.operator.kube.slots import SLOW_S

JOB_RETRY_S = 60.0
"""A Job that failed for good is created anew after this time, when nothing else can help."""
MAX_REPAIRS = 6
"""Repairs of one object within REPAIRS_WINDOW_S, after which it is skipped for a while: another client changes it."""
REPAIRS_WINDOW_S = 120.0
MAX_FIELDS_NAMED = 5


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a rollout stands; `wave` None: everything is applied and healthy."""

    wave: Wave | None = None
    waiting: tuple[str, ...] = ()
    failed: tuple[str, str] | None = None
    failed_jobs: tuple[Child, ...] = ()


@dataclass(slots=True)
class RepairResult:
    """Sentences: what was repaired, what is skipped for a while; reason and sentence of the first error."""

    repaired: list[str] = field(default_factory=list)
    skipped: list[str] = field(default_factory=list)
    blocked: tuple[str, str] | None = None


class RolloutController:
    """`put` stores the response to a write in the cache."""

    def __init__(self, kube: Kube, cache: Cache, put: Callable[[Object], None]) -> None:
        self._kube, self._cache, self._put = kube, cache, put

    async def advance(self, view: ShopView, target: Target) -> Progress:
        """Apply up to the first wave that is not healthy. Blocked when the API server refuses an object."""
        entries = view.entries
        for wave, items in target.waves():
            for item in items:
                entries.setdefault(item.ref, Entry(item.ref))
            if wave is Wave.RESTORE and view.restored:  # another version's Job would restore the backup again
                entries |= {item.ref: replace(entries[item.ref], done=True) for item in items}
            # A completed Job is not looked at again: its name follows from what it does, so labels do not matter.
            items = [item for item in items if not (item.ref.kind == JOB.kind and entries[item.ref].done)]
            stale = []
            for item in items:
                child = self._cache.children(view.key).get(item.ref)
                if not child or child.applied != item.hash or child.digest != entries[item.ref].digest:
                    stale.append(item)
            if stale:
                await self._apply(view, target.objects(wave), stale)
            if progress := self._assess_wave(view.key, wave, items):
                return progress
            for item in items:
                if item.ref.kind == JOB.kind:
                    entries[item.ref] = replace(entries[item.ref], done=True)
        return Progress()

    async def _apply(self, view: ShopView, objects: Mapping[Ref, Object], items: Iterable[Item]) -> None:
        """One after the other: many Shops are worked on at once, and one whose objects all wait for a webhook must
        leave requests to the others. Once an object was refused, the rest of its kind is still tried, unless that
        takes long."""
        now = asyncio.get_running_loop().time
        slow_at = now() + SLOW_S
        for _, group in groupby(items, key=lambda item: item.ref.kind):
            error: Exception | None = None
            for item in group:
                try:
                    await self._apply_unless_same(view, item, objects[item.ref])
                except Exception as failure:  # noqa: BLE001 - raised below
                    error = error or failure
                    if now() > slow_at:
                        break
            if error is not None:
                raise error

    async def _apply_unless_same(self, view: ShopView, item: Item, obj: Object) -> None:
        """A previous operator may have applied `obj` and ended before its status was written: a read saves a write."""
        child = self._cache.children(view.key).get(item.ref)
        if child and child.applied == item.hash and item.ref not in view.memory.confirmed:
            live = await self._kube.get(kind_of(item.ref), view.key.namespace, item.ref.name)
            if live is not None and not difference(obj, live):
                self._record_applied(view, live)
                return
        await self.apply_one(view, obj)

    def _record_applied(self, view: ShopView, live: Object) -> Entry:
        ref, uid = Ref.of(live), live["metadata"]["uid"]
        before = view.entries.get(ref, Entry(ref))
        entry = view.entries[ref] = Entry(ref, uid, digest(live), before.done and before.uid == uid)
        view.memory.confirmed.add(ref)
        self._put(live)
        return entry

    async def apply_one(self, view: ShopView, obj: Object) -> None:
        """Apply an object and record what the server made of it."""
        ref = Ref.of(obj)
        child = self._cache.children(view.key).get(ref)
        if child is not None and child.deleting:
            return
        live = await apply(self._kube, view.key, obj, child, view.entries.get(ref, Entry(ref)).uid)
        entry = self._record_applied(view, live)
        same = child is not None and child.digest == entry.digest
        APPLIED_OBJECTS.labels(ref.kind, "same" if same else "changed").inc()

    def _assess_wave(self, key: NamespacedName, wave: Wave, items: list[Item]) -> Progress | None:
        """None when everything in the wave is healthy."""
        children, waiting, failed = self._cache.children(key), [], []
        for item in items:
            child = children.get(item.ref)
            if child is None:
                waiting.append(f"{item.ref.display_name} is not there")
            elif child.deleting:
                waiting.append(f"{item.ref.display_name} is being deleted")
            elif child.health.phase is not Phase.READY:
                waiting.append(child.health.message)
            if child and child.health.phase is Phase.FAILED:
                failed.append(child)
        if not waiting:
            return None
        first = (failed[0].health.reason, failed[0].health.message) if failed else None
        return Progress(wave, tuple(waiting), first, tuple(child for child in failed if child.ref.kind == JOB.kind))

    async def retry_jobs(self, view: ShopView, jobs: Iterable[Child]) -> float | None:
        """Delete Jobs that failed a while ago, so that they are created anew; seconds until the next is due."""
        now, waits = time.monotonic(), []
        for job in jobs:
            due = view.memory.failed_jobs.setdefault(job.uid, now) + JOB_RETRY_S
            if due <= now:
                view.memory.failed_jobs.pop(job.uid)
                await self._kube.delete(kind_of(job.ref), view.key.namespace, job.ref.name, job.uid)
            else:
                waits.append(due - now)
        return min(waits, default=None)

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
        """Apply again what has drifted; an object that is refused does not keep others from their repair."""
        objects, result, now = target.objects(), RepairResult(), time.monotonic()
        for ref in drifted:
            before = view.memory.repairs.get(ref, [])
            times = view.memory.repairs[ref] = [moment for moment in before if now - moment < REPAIRS_WINDOW_S]
            if len(times) >= MAX_REPAIRS:
                result.skipped.append(f"{ref.display_name} is changed again and again by another client")
                continue
            try:
                live = await self._kube.get(kind_of(ref), view.key.namespace, ref.name)
                await self.apply_one(view, objects[ref])
            except (Blocked, ApiError) as error:
                result.blocked = result.blocked or reason_and_message(error)
                continue
            times.append(time.monotonic())
            DRIFT_REPAIRS.labels(ref.kind).inc()
            fields = difference(objects[ref], live) if live else []
            named = ", ".join(fields[:MAX_FIELDS_NAMED]) + (" ..." if len(fields) > MAX_FIELDS_NAMED else "")
            drift = f": {named or 'fields were taken over'}" if live else " was deleted"
            result.repaired.append(f"{ref.display_name}{drift}")
        return result


def rollout_failure(
    progress: Progress, pod_problems: Sequence[PodProblem], deadline_s: int, *, late: bool
) -> tuple[str, str] | None:
    """Reason and sentence when a rollout cannot become healthy or, if `late`, has not in time; as its pods put it.

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
    sentences = [with_pod_cause(sentence, pod_problems) for sentence in progress.waiting]
    why = next((text for text in sentences if text not in progress.waiting), sentences[0])
    return "DeadlineExceeded", f"not healthy within {deadline_s} s: {why}"
