"""One Shop, one pass: look at what is, decide the next step, take it, write down where things stand.

A pass never waits for health: whatever changes in the cluster brings the Shop back into the queue. It may be cut off
at any write and begins anew from what the cluster says, so each write leaves a state that the next pass understands:
the inventory names an object before it is applied, a revision is kept before it counts, nothing is pruned before
everything is applied, and the finalizer goes last.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from shop.operator.engine.cache.store import Cache
from shop.operator.engine.kube.api_errors import ApiError, Conflict, NotFound
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import FINALIZER, NamespacedName, Ref
from shop.operator.engine.metrics import ROLLBACKS
from shop.operator.engine.reconcile import preflight
from shop.operator.engine.reconcile.apply import Blocked
from shop.operator.engine.reconcile.basis import Basis
from shop.operator.engine.reconcile.desired import (
    DesiredState,
    is_failed,
    may_go_back,
    may_have_to_wait,
    operators_own,
    read,
    reading_error,
    with_release,
)
from shop.operator.engine.reconcile.history import Revisions
from shop.operator.engine.reconcile.rollout import DeadlineTracker, Progress, RepairResult, RolloutController, failure
from shop.operator.engine.reconcile.seeds import Seeds
from shop.operator.engine.reconcile.target import Target, Targets
from shop.operator.engine.reconcile.teardown import POLL_S, Teardown
from shop.operator.engine.reconcile.upgrades import Upgrades, Wait
from shop.operator.engine.render.renderer import Renderer, RenderError
from shop.operator.engine.status.conditions import Facts, RolloutInProgress
from shop.operator.engine.status.findings import Findings, why
from shop.operator.engine.status.report import Report, inventory
from shop.operator.engine.status.shop_view import Failure, Rollout, ShopView
from shop.operator.spec import Shop

LOOK_AGAIN_S = 15.0
"""While something is waited for whose events could fail to come."""
DRIFT_AGAIN_S = 60.0
READ_ALL_S = 0.5
"""Until all Shops have been read, which happens once."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Parts:
    """What a reconciler works with."""

    kube: Kube
    cache: Cache
    renderer: Renderer
    targets: Targets
    rollouts: RolloutController
    revisions: Revisions
    seeds: Seeds
    report: Report
    findings: Findings
    teardown: Teardown
    upgrades: Upgrades


@dataclass(frozen=True, slots=True)
class ReconcileResult:
    """`result` is done, waiting, invalid, or refused or failed, which are tried again after growing times.

    `again_s`: look again then, even if nothing happens.
    """

    result: str
    again_s: float | None = None


DONE = ReconcileResult("done")
FAILED = ReconcileResult("failed")


class Reconciler:
    """`reconcile` is called for one Shop at a time; different Shops may go on side by side."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._hashes: dict[NamespacedName, tuple[tuple[Any, ...], str]] = {}
        self._findings = parts.findings
        self._clock = DeadlineTracker()
        self._uids: dict[NamespacedName, str] = {}
        self._waits: set[NamespacedName] = set()
        self.optional: frozenset[str] = frozenset()
        """Kinds that only some clusters have and this one has."""

    async def reconcile(self, key: NamespacedName) -> ReconcileResult:
        """Take the next step."""
        raw = self._parts.cache.shop(key)
        if raw is None:
            self._forget(key)
            return DONE
        view = ShopView.of(raw)
        if self._uids.get(key, view.uid) != view.uid:
            # Deleted and created again between two passes: what is remembered is about another Shop.
            self._forget(key)
        self._uids[key] = view.uid
        try:
            outcome = await self._step(view)
        except ApiError as error:
            log.warning("%s: %s", key, error.message)
            if isinstance(error, NotFound) and await self._parts.kube.get(SHOP, key.namespace, key.name) is None:
                self._parts.cache.remove_shop(key)
                return DONE
            await self._findings.failed(view, error)
            return FAILED
        except Exception as error:
            log.exception("%s: the pass broke off", key)
            message = f"the operator's own error, see its log: {type(error).__name__}: {error}"
            await self._findings.blocked(self._findings.latest(view), "InternalError", message)
            return FAILED
        finally:
            self._parts.upgrades.passed(key, waits=key in self._waits)
        self._findings.succeeded(key)
        return outcome

    async def _step(self, view: ShopView) -> ReconcileResult:
        if view.deleting:
            return await self._tear_down(view)
        if FINALIZER not in view.finalizers:
            view = await self._hold(view)
        return await self._keep(view)

    def _forget(self, key: NamespacedName) -> None:
        self._uids.pop(key, None)
        self._waits.discard(key)
        self._findings.forget(key)
        self._parts.targets.drop(key)
        self._hashes.pop(key, None)
        self._clock.stop(key)
        self._parts.rollouts.remove_shop(key)
        self._parts.seeds.forget(key)
        self._parts.report.forget(key)

    async def _hold(self, view: ShopView) -> ShopView:
        """Put the finalizer on, so that a deleted Shop waits until it is torn down."""
        patch = {"metadata": {"finalizers": [*view.finalizers, FINALIZER], "resourceVersion": view.resource_version}}
        return self._seen(await self._parts.kube.patch(SHOP, view.key.namespace, view.key.name, patch))

    def _seen(self, body: dict[str, Any]) -> ShopView:
        self._parts.cache.update_shop(body)
        return ShopView.of(body)

    async def _keep(self, view: ShopView) -> ReconcileResult:
        try:
            shop = read(view)
        except ValidationError as error:
            self._clock.stop(view.key)
            await self._findings.stopped(view, Facts(view.generation, invalid=reading_error(error)))
            return ReconcileResult("invalid")
        if shop.spec.suspend:
            self._clock.stop(view.key)
            await self._findings.stopped(view, Facts(view.generation, paused=True))
            return DONE
        try:
            return await self._bring(view, shop)
        except RenderError as error:
            self._clock.stop(view.key)
            await self._findings.blocked(view, "CannotRender", str(error))
        except Blocked as error:
            await self._findings.blocked(self._findings.latest(view), error.reason, error.message)
        return ReconcileResult("refused")

    async def _bring(self, view: ShopView, shop: Shop) -> ReconcileResult:
        seed = await self._parts.seeds.ensure(view)
        basis = Basis.of(view.generation, shop.spec, view.retry)
        desired = DesiredState(shop, seed, self._hash(view, shop, seed), basis)
        wait = None
        if may_have_to_wait(view, desired):
            if not self._parts.upgrades.complete():
                return ReconcileResult("waiting", READ_ALL_S)
            wait = self._parts.upgrades.ask(view.key, shop.spec.maintenance_window)
        (self._waits.add if wait else self._waits.discard)(view.key)
        goal = view.applied_hash if wait or is_failed(view, desired) else desired.hash
        if view.rollout is None and goal == view.applied_hash:
            return await self._steady(view, desired, wait)
        return await self._roll(view, desired, goal)

    def _hash(self, view: ShopView, shop: Shop, seed: bytes) -> str:
        """Of everything that rendering depends on; kept, because most passes find nothing new."""
        basis = (view.generation, view.retry, self.optional, seed)
        known = self._hashes.get(view.key)
        if known is None or known[0] != basis:
            hash_ = self._parts.renderer.inputs_hash(shop, view.key.namespace, seed, self.optional, view.retry)
            known = basis, hash_
            self._hashes[view.key] = known
        return known[1]

    async def _target(self, view: ShopView, desired: DesiredState, goal: str) -> Target:
        """The objects of the goal: rendered when the spec asks for it, as they were kept when it is the way back."""
        if (kept := self._parts.targets.get(view.key, goal)) is not None:
            return kept
        if goal == desired.hash:
            objects = await self._parts.renderer.render(
                desired.shop, view.key.namespace, view.uid, desired.seed, self.optional
            )
        else:
            objects = await self._parts.revisions.load(view.key, view.revision)
        return self._parts.targets.put(view.key, Target.of(goal, objects))

    async def _roll(self, view: ShopView, desired: DesiredState, goal: str) -> ReconcileResult:
        target = await self._target(view, desired, goal)
        if view.rollout is None or view.rollout.hash != goal:
            view = await self._begin(view, desired, target)
        try:
            progress = await self._parts.rollouts.advance(view, target)
            if progress.wave is None:
                await self._complete(view, desired, target)
                return DONE
        except (Blocked, ApiError) as error:
            rollout = view.rollout
            late = rollout and self._clock.left(view.key, rollout, desired.deadline) <= timedelta()
            if rollout and late and may_go_back(view, desired, target):
                return await self._roll_back(view, desired, rollout, why(error))
            raise
        return await self._waiting(view, desired, target, progress)

    async def _begin(self, view: ShopView, desired: DesiredState, target: Target) -> ShopView:
        """Write down what is about to be, before the first of it is applied."""
        self._clock.begin(view.key, target.hash)
        forward = target.hash == desired.hash
        own = [*(item.ref for item in target.items), *operators_own(view.key)]
        if forward and (taken := preflight.claimed(view.spec, own)):
            raise Blocked("NameTaken", taken)
        restored = view.restored(self._parts.rollouts.entries(view))
        namespace, spec = view.key.namespace, desired.shop.spec
        if forward and (gap := await preflight.missing(self._parts.kube, namespace, spec, restored=restored)):
            raise Blocked(*gap)
        revision = view.revision if target.hash == view.applied_hash else view.next_revision
        rollout = Rollout(revision, target.hash, datetime.now(UTC).replace(microsecond=0))
        if forward:
            rollout = with_release(rollout, view, desired, self._parts.upgrades.release)
        union = inventory(self._parts.rollouts.union(view, target))
        if forward:
            self._findings.event(view, "Normal", "RollingOut", f"Revision {revision} is being rolled out")
        facts = self._findings.facts(
            view, desired.hash, target, rolling=RolloutInProgress(revision, "", "", view.revision == 0)
        )
        failure = None if forward else view.failure
        return await self._parts.report.write(view, facts, rollout=rollout, inventory=union, failure=failure)

    async def _complete(self, view: ShopView, desired: DesiredState, target: Target) -> None:
        """Everything of the target is healthy: prune, keep the revision, say so."""
        rollout = view.rollout
        assert rollout is not None  # noqa: S101 - begun before
        await self._parts.rollouts.prune(view, target)
        if rollout.revision != view.revision:
            await self._parts.revisions.save(view.key, rollout.revision, list(target.objects().values()), desired.seed)
        await self._parts.seeds.protect(view.key)
        entries = inventory(self._parts.rollouts.entries(view).values())
        done = replace(view, revision=rollout.revision, applied_hash=target.hash, rollout=None)
        await self._parts.report.write(
            view,
            self._findings.facts(done, desired.hash),
            rollout=None,
            inventory=entries,
            revision=rollout.revision,
            last_applied_hash=target.hash,
            **self._serving(view, desired, target.hash),
        )
        self._parts.rollouts.forget(view.key)
        self._parts.targets.drop(view.key)
        self._findings.event(view, "Normal", "Ready", f"Revision {rollout.revision} serves")

    async def _waiting(
        self, view: ShopView, desired: DesiredState, target: Target, progress: Progress
    ) -> ReconcileResult:
        rollout = view.rollout
        assert rollout is not None and progress.wave is not None  # noqa: S101, PT018 - begun before, not complete
        left = self._clock.left(view.key, rollout, desired.deadline)
        pod_problems = self._parts.cache.pod_problems(view.key)
        failed = failure(progress, pod_problems, desired.shop.spec.progress_deadline_seconds, late=left <= timedelta())
        if failed and may_go_back(view, desired, target):
            return await self._roll_back(view, desired, rollout, failed)
        rolling = RolloutInProgress(
            rollout.revision, progress.wave.name.lower(), progress.waiting[0], view.revision == 0
        )
        found = {"failed": failed} if target.hash == desired.hash else {}
        facts = self._findings.facts(view, desired.hash, target, rolling=rolling, **found)
        if failed:
            self._findings.event(view, "Warning", failed[0], failed[1])
        await self._parts.report.write(view, facts, **self._completed(view))
        retry = await self._parts.rollouts.retry_jobs(view, progress.failed_jobs)
        owed = self._parts.report.owes(view.key)
        waits = [wait for wait in (retry, left.total_seconds(), owed) if wait is not None and wait > 0]
        return ReconcileResult("waiting", min(waits, default=LOOK_AGAIN_S))

    def _completed(self, view: ShopView) -> dict[str, Any]:
        """The inventory when further Jobs have completed, so that no later leader runs them again."""
        entries = self._parts.rollouts.entries(view)
        known = {ref for ref, entry in view.inventory.items() if entry.done}
        done = {ref for ref, entry in entries.items() if entry.done}
        return {} if done <= known else {"inventory": inventory(entries.values())}

    async def _roll_back(
        self, view: ShopView, desired: DesiredState, rollout: Rollout, failed: tuple[str, str]
    ) -> ReconcileResult:
        """Give the revision up, remember why, and go back to the last one that served in the next pass."""
        message = f"Revision {rollout.revision} was given up: {failed[1]}"
        failure = Failure(rollout.revision, desired.hash, failed[0], message, rollout.release, desired.basis)
        self._findings.event(view, "Warning", "RollingBack", f"{message}; going back to revision {view.revision}")
        ROLLBACKS.inc()
        self._parts.targets.drop(view.key)
        rolling = RolloutInProgress(view.revision, "", "", first=False)
        back = Rollout(view.revision, view.applied_hash, datetime.now(UTC).replace(microsecond=0))
        facts = Facts(
            view.generation,
            rolling=rolling,
            failed=(failure.reason, message),
            rolled_back_to=view.revision,
            serving=True,
        )
        await self._parts.report.write(view, facts, failure=failure, rollout=back)
        self._clock.begin(view.key, back.hash)
        return ReconcileResult("waiting", 0.0)

    async def _steady(self, view: ShopView, desired: DesiredState, wait: Wait | None = None) -> ReconcileResult:
        """The goal is applied: put right what drifted, and tell how it is.

        While the operator's release has to `wait`, the failure of an older one is still the last that happened.
        """
        drifted = self._parts.rollouts.drifted(view)
        repairs = await self._repair(view, desired, drifted)
        parts = self._serving(view, desired, view.applied_hash)
        if drifted:
            parts["inventory"] = inventory(self._parts.rollouts.entries(view).values())
            self._parts.rollouts.forget(view.key)
        await self._parts.revisions.ensure(view.key, view.revision, lambda: self._again(view, desired), desired.seed)
        failure = view.failure if view.failure and (wait or view.failure.hash == desired.hash) else None
        view = replace(view, failure=failure)
        drift = (*repairs.told, *repairs.left)
        told = failure.hash if failure else desired.hash
        facts = self._findings.facts(view, told, drift=drift, blocked=repairs.refused)
        if wait:
            facts = replace(facts, waits=(wait.reason, wait.message))
            self._findings.stopped_upgrade(view, wait)
        await self._parts.report.write(view, facts, failure=failure, **parts)
        if repairs.refused:
            return ReconcileResult("refused")
        if repairs.left or repairs.told:
            return ReconcileResult("done", DRIFT_AGAIN_S if repairs.left else 0.0)
        return ReconcileResult("done", wait.again_s if wait else None)

    def _serving(self, view: ShopView, desired: DesiredState, applied_hash: str) -> dict[str, Any]:
        """Of the status, what only a revision of the present spec may say; after a rollback it is another one's."""
        if applied_hash != desired.hash:
            return {}
        return {
            **self._parts.report.asked_for(view),
            "release": self._parts.upgrades.release,
            "basis": desired.basis,
        }

    async def _again(self, view: ShopView, desired: DesiredState) -> list[Any]:
        """The objects of the present revision, for a history that was lost."""
        return list((await self._target(view, desired, view.applied_hash)).objects().values())

    async def _repair(self, view: ShopView, desired: DesiredState, drifted: list[Ref]) -> RepairResult:
        if not drifted:
            return RepairResult()
        target = await self._target(view, desired, view.applied_hash)
        repairs = await self._parts.rollouts.repair(view, target, drifted)
        self._parts.targets.drop(view.key)
        for sentence in repairs.told:
            self._findings.event(view, "Normal", "DriftRepaired", f"Repaired {sentence}")
        for sentence in repairs.left:
            self._findings.event(view, "Warning", "DriftKeepsComing", sentence)
        if repairs.refused:
            self._findings.event(view, "Warning", *repairs.refused)
        return repairs

    async def _tear_down(self, view: ShopView) -> ReconcileResult:
        if FINALIZER not in view.finalizers:
            return DONE
        waiting = await self._parts.teardown.step(view)
        if waiting is not None:
            await self._parts.report.write(view, Facts(view.generation, deleting=waiting))
            return ReconcileResult("waiting", POLL_S)
        rest = [name for name in view.finalizers if name != FINALIZER]
        patch = {
            "metadata": {"finalizers": rest or None, "resourceVersion": self._findings.latest(view).resource_version}
        }
        try:
            await self._parts.kube.patch(SHOP, view.key.namespace, view.key.name, patch)
        except Conflict:  # somebody else has just changed it; the event brings the Shop back
            return ReconcileResult("waiting", POLL_S)
        return DONE
