"""One reconcile of one Shop: look at what is there, decide the next step, take it, write the status.

A reconcile never waits for health: whatever changes in the cluster brings the Shop back into the queue. It may be cut
off at any write and starts over from the cluster's state, so each write leaves a state that the next reconcile
understands: the inventory names an object before it is applied, a revision is saved before it counts, nothing is
pruned before everything is applied, and the finalizer is removed last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from shop.operator.engine.cache.store import SEED_SUFFIX, Cache
from shop.operator.engine.metrics import ROLLBACKS
from shop.operator.engine.reconcile import preflight
from shop.operator.engine.reconcile.apply import Blocked, reason_and_message
from shop.operator.engine.reconcile.deletion import POLL_S, prune, tear_down
from shop.operator.engine.reconcile.history import HISTORY_SUFFIX, Revisions
from shop.operator.engine.reconcile.rollout import Progress, RepairResult, RolloutController, rollout_failure
from shop.operator.engine.reconcile.target import DesiredState, Target, read
from shop.operator.engine.reconcile.upgrades import STOPPED, Upgrades, Wait
from shop.operator.engine.render.renderer import Renderer
from shop.operator.engine.render.values import RenderError
from shop.operator.engine.status.conditions import Facts
from shop.operator.engine.status.event_recorder import EventRecorder
from shop.operator.engine.status.report import PROGRESS_S, StatusReporter, inventory
from shop.operator.engine.status.shop_view import Basis, Entry, Failure, Rollout, ShopMemory, ShopView
from shop.operator.kube.api_errors import ApiError, Conflict, NotFound
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SECRET, SHOP
from shop.operator.kube.objects import FINALIZER, NamespacedName, Object, Ref
from shop.operator.resource.shopfile import describe
from shop.operator.resource.spec import Shop

POLL_ROLLOUT_S = 15.0
"""While a rollout waits for objects whose events could fail to come."""
DRIFT_AGAIN_S = 60.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """`result` is done, waiting, invalid, or refused or failed, which are tried again after growing times.

    `again_s`: reconcile again then, even if nothing happens.
    """

    result: str
    again_s: float | None = None


DONE = ReconcileResult("done")
FAILED = ReconcileResult("failed")


class Reconciler:
    """`reconcile` is called for one Shop at a time; different Shops may be reconciled concurrently."""

    def __init__(
        self,
        kube: Kube,
        cache: Cache,
        renderer: Renderer,
        targets: MutableMapping[NamespacedName, Target],
        upgrades: Upgrades,
        recorder: EventRecorder,
        put: Callable[[Object], None],
    ) -> None:
        self._kube, self._cache, self._renderer, self._put = kube, cache, renderer, put
        self._targets, self._upgrades = targets, upgrades
        self._rollouts = RolloutController(kube, cache, put)
        self._revisions = Revisions(kube, cache)
        self._status = StatusReporter(kube, cache, renderer.version, recorder, put)
        self._memories: dict[NamespacedName, ShopMemory] = {}
        self.optional: frozenset[str] = frozenset()
        """Optional kinds that this cluster serves."""

    async def reconcile(self, key: NamespacedName) -> ReconcileResult:
        """Take the next step."""
        raw = self._cache.shop(key)
        if raw is None:
            self._forget(key)
            return DONE
        memory, uid = self._memories.get(key), raw["metadata"]["uid"]
        if memory is None or memory.uid != uid:
            # Deleted and created again between two reconciles: what is remembered is about another Shop.
            self._forget(key)
            memory = self._memories[key] = ShopMemory(uid)
        view = ShopView.of(raw, memory)
        try:
            result = await (self._tear_down(view) if view.deleting else self._converge(view))
        except ApiError as error:
            log.warning("%s: %s", key, error.message)
            if isinstance(error, NotFound) and await self._kube.get(SHOP, *key) is None:
                self._cache.remove_shop(key)
                return DONE
            await self._status.report_failure(view, error)
            return FAILED
        except Exception as error:
            log.exception("%s: the reconcile failed", key)
            message = f"the operator's own error, see its log: {type(error).__name__}: {error}"
            await self._status.report_blocked(self._status.latest(view), "InternalError", message)
            return FAILED
        finally:
            self._upgrades.passed(key, waits=memory.waits)
        memory.failures = 0
        return result

    def _forget(self, key: NamespacedName) -> None:
        self._memories.pop(key, None)
        self._targets.pop(key, None)

    async def _converge(self, view: ShopView) -> ReconcileResult:
        """Bring the Shop one step closer to its spec, or report what keeps it from that."""
        if FINALIZER not in view.finalizers:  # a deleted Shop waits until it is torn down
            metadata = {"finalizers": [*view.finalizers, FINALIZER], "resourceVersion": view.resource_version}
            body = await self._kube.patch(SHOP, *view.key, {"metadata": metadata})
            self._put(body)
            view = ShopView.of(body, view.memory)
        try:
            shop = read(view)
        except ValidationError as error:
            view.memory.deadline.stop()
            invalid = "InvalidSpec", describe(error.errors()[0])
            await self._status.report_stopped(view, Facts(view.generation, blocked=invalid))
            return ReconcileResult("invalid")
        if shop.spec.suspend:
            view.memory.deadline.stop()
            await self._status.report_stopped(view, Facts(view.generation, paused=True))
            return DONE
        try:
            return await self._roll_out_or_maintain(view, shop)
        except RenderError as error:
            view.memory.deadline.stop()
            await self._status.report_blocked(view, "CannotRender", str(error))
        except Blocked as error:
            await self._status.report_blocked(self._status.latest(view), error.reason, error.message)
        return ReconcileResult("refused")

    async def _roll_out_or_maintain(self, view: ShopView, shop: Shop) -> ReconcileResult:
        memory, seed = view.memory, await self._revisions.ensure_seed(view)
        # What rendering depends on; the hash over all of it is kept, because most reconciles find nothing new.
        inputs = (view.generation, view.retry, self.optional, seed)
        if memory.inputs != inputs:
            memory.hash = self._renderer.inputs_hash(shop, view.key.namespace, seed, self.optional, view.retry)
            memory.inputs = inputs
        desired = DesiredState(shop, seed, memory.hash, Basis.of(view.generation, shop.spec, view.retry))
        wait = None
        if desired.may_have_to_wait(view):
            wait = self._upgrades.ask(view.key, shop.spec.maintenance_window)
        memory.waits = wait is not None
        goal = view.applied_hash if wait or desired.has_failed(view) else desired.hash
        if view.rollout is None and goal == view.applied_hash:
            return await self._maintain(view, desired, wait)
        return await self._roll_out(view, desired, goal)

    async def _target(self, view: ShopView, desired: DesiredState, goal: str) -> Target:
        """The objects of the goal: rendered when the spec asks for it, from the history when it is a rollback."""
        key = view.key
        if (kept := self._targets.get(key)) is not None and kept.hash == goal:
            return kept
        if goal == desired.hash:
            objects = await self._renderer.render(desired.shop, key.namespace, view.uid, desired.seed, self.optional)
        else:
            objects = await self._revisions.load(key, view.revision)
        target = self._targets[key] = Target.of(goal, objects)
        return target

    async def _roll_out(self, view: ShopView, desired: DesiredState, goal: str) -> ReconcileResult:
        target = await self._target(view, desired, goal)
        if view.rollout is None or view.rollout.hash != goal:
            view = await self._start_rollout(view, desired, target)
        rollout = view.rollout
        assert rollout is not None  # noqa: S101 - started above or before
        try:
            progress = await self._rollouts.advance(view, target)
            if progress.wave is None:
                await self._finish_rollout(view, rollout, desired, target)
                return DONE
        except (Blocked, ApiError) as error:
            late = view.memory.deadline.remaining(rollout, desired.deadline) <= timedelta()
            if late and desired.may_roll_back(view, target):
                return await self._roll_back(view, desired, rollout, reason_and_message(error))
            raise
        return await self._wait_for_wave(view, rollout, desired, target, progress)

    async def _start_rollout(self, view: ShopView, desired: DesiredState, target: Target) -> ShopView:
        """Write the inventory before the first object is applied."""
        view.memory.deadline.start(target.hash)
        entries = view.entries
        revision = view.revision if target.hash == view.applied_hash else view.next_revision
        rollout = Rollout(revision=revision, hash=target.hash, started_at=_now())
        failure = view.failure
        if target.hash == desired.hash:
            own = {(item.ref.kind, item.ref.name) for item in target.items}
            own |= {(SECRET.kind, view.key.name + suffix) for suffix in (SEED_SUFFIX, HISTORY_SUFFIX)}
            for kind, name in sorted(preflight.named_by(view.spec) & own):
                which = f"the spec names {kind} {name}, which is made for this Shop itself"
                raise Blocked("NameTaken", f"{which}: choose another name")
            spec = desired.shop.spec
            if gap := await preflight.missing(self._kube, view.key.namespace, spec, restored=view.restored):
                raise Blocked(*gap)
            rollout = desired.with_release(rollout, view, self._upgrades.release)
            failure = None
            self._status.record_event(view, "Normal", "RollingOut", f"Revision {revision} is being rolled out")
        facts = self._status.facts(view, desired.hash, target.display_names, rolling=f"Revision {revision} begins")
        for item in target.items:  # what is to come joins what is there, so that nothing is lost
            entries.setdefault(item.ref, Entry(item.ref))
        union = inventory(entries.values())
        return await self._status.write(view, facts, rollout=rollout, inventory=union, failure=failure)

    async def _finish_rollout(self, view: ShopView, rollout: Rollout, desired: DesiredState, target: Target) -> None:
        """Everything of the target is healthy: prune, save the revision, report it."""
        await prune(self._kube, view, target, view.entries, self._cache.children(view.key))
        if rollout.revision != view.revision:
            await self._revisions.save(view.key, rollout.revision, list(target.objects().values()), desired.seed)
        await self._revisions.protect_seed(view.key)
        entries = inventory(view.entries.values())
        done = replace(view, revision=rollout.revision, applied_hash=target.hash, rollout=None)
        await self._status.write(
            view,
            self._status.facts(done, desired.hash),
            rollout=None,
            inventory=entries,
            revision=rollout.revision,
            last_applied_hash=target.hash,
            **self._served_fields(view, desired, target.hash),
        )
        view.memory.inventory_written()
        self._targets.pop(view.key, None)
        self._status.record_event(view, "Normal", "Ready", f"Revision {rollout.revision} serves")

    async def _wait_for_wave(
        self, view: ShopView, rollout: Rollout, desired: DesiredState, target: Target, progress: Progress
    ) -> ReconcileResult:
        """Report the wave that is not healthy yet, or roll back when it will not become so."""
        assert progress.wave is not None  # noqa: S101 - not complete
        left = view.memory.deadline.remaining(rollout, desired.deadline)
        problems, deadline_s = self._cache.pod_problems(view.key), desired.shop.spec.progress_deadline_seconds
        failed = rollout_failure(progress, problems, deadline_s, late=left <= timedelta())
        if failed and desired.may_roll_back(view, target):
            return await self._roll_back(view, desired, rollout, failed)
        rolling = f"Revision {rollout.revision}, {progress.wave.name.lower()}: {progress.waiting[0]}"
        found = {"failed": failed} if target.hash == desired.hash else {}
        facts = self._status.facts(view, desired.hash, target.display_names, rolling=rolling, **found)
        if failed:
            self._status.record_event(view, "Warning", *failed)
        parts: dict[str, Any] = {}
        entries, known = view.entries, {ref for ref, entry in view.inventory.items() if entry.done}
        if any(entry.done and ref not in known for ref, entry in entries.items()):
            parts["inventory"] = inventory(entries.values())  # so that no later leader runs a completed Job again
        await self._status.write(view, facts, **parts)
        retry = await self._rollouts.retry_jobs(view, progress.failed_jobs)
        deferred = PROGRESS_S if view.memory.status_deferred else None
        waits = [wait for wait in (retry, left.total_seconds(), deferred) if wait is not None and wait > 0]
        return ReconcileResult("waiting", min(waits, default=POLL_ROLLOUT_S))

    async def _roll_back(
        self, view: ShopView, desired: DesiredState, rollout: Rollout, failed: tuple[str, str]
    ) -> ReconcileResult:
        """Give the revision up and record why; the next reconcile applies the last one that served."""
        message = f"Revision {rollout.revision} was given up: {failed[1]}"
        failure = Failure(
            revision=rollout.revision,
            hash=desired.hash,
            reason=failed[0],
            message=message,
            release=rollout.release,
            basis=desired.basis,
        )
        text = f"{message}; going back to revision {view.revision}"
        self._status.record_event(view, "Warning", "RollingBack", text)
        ROLLBACKS.inc()
        self._targets.pop(view.key, None)
        back = Rollout(revision=view.revision, hash=view.applied_hash, started_at=_now())
        facts = Facts(
            view.generation,
            rolling=f"Revision {view.revision} begins",
            failed=(failure.reason, message),
            rolled_back_to=view.revision,
            serving=True,
        )
        await self._status.write(view, facts, failure=failure, rollout=back)
        view.memory.deadline.start(back.hash)
        return ReconcileResult("waiting", 0.0)

    async def _maintain(self, view: ShopView, desired: DesiredState, wait: Wait | None) -> ReconcileResult:
        """The goal is applied: repair drift, and report health.

        While the operator's release has to `wait`, the failure of an older one is still the last that happened.
        """
        drifted = self._rollouts.drifted(view)
        repairs = await self._repair(view, desired, drifted)
        parts = self._served_fields(view, desired, view.applied_hash)
        if drifted:
            parts["inventory"] = inventory(view.entries.values())
            view.memory.inventory_written()
        if self._revisions.lost(view.key):
            target = await self._target(view, desired, view.applied_hash)
            await self._revisions.save(view.key, view.revision, list(target.objects().values()), desired.seed)
        failure = view.failure if view.failure and (wait or view.failure.hash == desired.hash) else None
        view = replace(view, failure=failure)
        reported = failure.hash if failure else desired.hash
        drift = (*repairs.repaired, *repairs.skipped)
        facts = self._status.facts(view, reported, drift=drift, blocked=repairs.blocked)
        if wait:
            facts = replace(facts, waits=(wait.reason, wait.message))
            reasons = [one.get("reason") for one in view.status.get("conditions", ())]
            if wait.reason == STOPPED and STOPPED not in reasons:
                self._status.record_event(view, "Warning", wait.reason, wait.message)
        await self._status.write(view, facts, failure=failure, **parts)
        if repairs.blocked:
            return ReconcileResult("refused")
        if drift:
            return ReconcileResult("done", DRIFT_AGAIN_S if repairs.skipped else 0.0)
        return ReconcileResult("done", wait.again_s if wait else None)

    def _served_fields(self, view: ShopView, desired: DesiredState, applied_hash: str) -> dict[str, Any]:
        """Fields of the status that only a revision of the present spec may set, not one after a rollback."""
        if applied_hash != desired.hash:
            return {}
        return {**self._status.requested(view), "release": self._upgrades.release, "basis": desired.basis}

    async def _repair(self, view: ShopView, desired: DesiredState, drifted: list[Ref]) -> RepairResult:
        if not drifted:
            return RepairResult()
        target = await self._target(view, desired, view.applied_hash)
        repairs = await self._rollouts.repair(view, target, drifted)
        self._targets.pop(view.key, None)
        for sentence in repairs.repaired:
            self._status.record_event(view, "Normal", "DriftRepaired", f"Repaired {sentence}")
        for sentence in repairs.skipped:
            self._status.record_event(view, "Warning", "DriftKeepsComing", sentence)
        if repairs.blocked:
            self._status.record_event(view, "Warning", *repairs.blocked)
        return repairs

    async def _tear_down(self, view: ShopView) -> ReconcileResult:
        if FINALIZER not in view.finalizers:
            return DONE
        waiting = await tear_down(self._kube, view, self._cache.children(view.key))
        if waiting is not None:
            await self._status.write(view, Facts(view.generation, deleting=waiting))
            return ReconcileResult("waiting", POLL_S)
        rest = [name for name in view.finalizers if name != FINALIZER]
        version = self._status.latest(view).resource_version
        try:
            await self._kube.patch(
                SHOP, *view.key, {"metadata": {"finalizers": rest or None, "resourceVersion": version}}
            )
        except Conflict:  # changed by another client meanwhile; the event brings the Shop back
            return ReconcileResult("waiting", POLL_S)
        return DONE


def _now() -> datetime:
    return datetime.now(UTC).replace(microsecond=0)
