"""The state that a Shop asks for, and whether it may be rolled out now."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from shop.operator.engine.reconcile.target import Target
from shop.operator.engine.status.shop_view import Basis, Rollout, ShopView
from shop.operator.kube.kinds import SHOP
from shop.operator.resource.spec import Shop


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A Shop's validated spec, and what follows from it."""

    shop: Shop
    seed: bytes
    hash: str
    basis: Basis

    @property
    def deadline(self) -> timedelta:
        return timedelta(seconds=self.shop.spec.progress_deadline_seconds)

    def may_roll_back(self, view: ShopView, target: Target) -> bool:
        """Whether there is a healthy revision to go back to, and the target is not itself a rollback."""
        return target.hash == self.hash and view.applied_hash != "" and self.shop.spec.rollback == "Automatic"

    def has_failed(self, view: ShopView) -> bool:
        """Whether exactly this state failed and an earlier revision is healthy."""
        return view.failure is not None and view.failure.hash == self.hash and view.applied_hash != ""

    def may_have_to_wait(self, view: ShopView) -> bool:
        """Whether a rollout would start that only a new operator version asks for."""
        begun = view.rollout is not None and view.rollout.hash != view.applied_hash
        nothing_new = view.applied_hash in ("", self.hash)
        return not (nothing_new or begun or self.has_failed(view)) and self.is_upgrade(view)

    def is_upgrade(self, view: ShopView) -> bool:
        """Whether the user asks for what was rolled out, or has failed, before: the change is the operator's.

        Where an earlier version of the operator has not written down what that was, observedGeneration decides.
        """
        known = [basis for basis in (view.basis, view.failure and view.failure.basis) if basis]
        if not known:
            return view.status.get("observedGeneration") == view.generation
        return any(self.basis.same(basis) for basis in known)

    def with_release(self, rollout: Rollout, view: ShopView, release: str) -> Rollout:
        """Marked as one of the operator's release, if it is, and as failed until it is healthy, if it failed before."""
        failed = view.failure is not None and view.failure.release == release
        again = view.rollout is not None and view.rollout.release == release and view.rollout.failed_before
        if not (failed or again or (view.applied_hash and self.is_upgrade(view))):
            return rollout
        return rollout.model_copy(update={"release": release, "failed_before": failed or again})


def read(view: ShopView) -> Shop:
    """The Shop as its models validate it, more strictly than the CRD does. ValidationError names the field."""
    meta = {"name": view.key.name, "namespace": view.key.namespace}
    return Shop.model_validate({"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": meta, "spec": view.spec})
