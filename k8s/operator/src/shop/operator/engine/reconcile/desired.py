"""What a Shop asks for, and whether it may have it now."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import timedelta

from pydantic import ValidationError

from shop.operator.engine.cache.store import SEED_SUFFIX
from shop.operator.engine.kube.kinds import SECRET, SHOP
from shop.operator.engine.kube.objects import NamespacedName, Ref
from shop.operator.engine.reconcile.basis import Basis
from shop.operator.engine.reconcile.history import SUFFIX
from shop.operator.engine.reconcile.target import Target
from shop.operator.engine.status.shop_view import Rollout, ShopView
from shop.operator.spec import Shop


@dataclass(frozen=True, slots=True)
class DesiredState:
    """A Shop's spec, read, and what follows from it."""

    shop: Shop
    seed: bytes
    hash: str
    basis: Basis

    @property
    def deadline(self) -> timedelta:
        return timedelta(seconds=self.shop.spec.progress_deadline_seconds)


def read(view: ShopView) -> Shop:
    """The Shop by its models, which know more than the definition's rules. ValidationError names the field."""
    meta = {"name": view.key.name, "namespace": view.key.namespace}
    return Shop.model_validate({"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": meta, "spec": view.spec})


def reading_error(error: ValidationError) -> str:
    """The first of its errors, beginning with the field."""
    first = error.errors()[0]
    field = ".".join(str(part) for part in first["loc"])
    return f"{field}: {first['msg'].removeprefix('Value error, ')}"


def operators_own(key: NamespacedName) -> Iterator[Ref]:
    """The Secrets that the operator keeps for a Shop beside what it renders."""
    for suffix in (SEED_SUFFIX, SUFFIX):
        yield Ref(SECRET.api_version, SECRET.kind, key.name + suffix)


def may_go_back(view: ShopView, desired: DesiredState, target: Target) -> bool:
    """Whether the target can be given up for a revision that came up: not when it is itself the way back."""
    return target.hash == desired.hash and view.applied_hash != "" and desired.shop.spec.rollback == "Automatic"


def is_failed(view: ShopView, desired: DesiredState) -> bool:
    """Whether just this did not come up and there is a revision that did."""
    return view.failure is not None and view.failure.hash == desired.hash and view.applied_hash != ""


def may_have_to_wait(view: ShopView, desired: DesiredState) -> bool:
    """Whether a rollout would begin that only the operator's own change asks for."""
    begun = view.rollout is not None and view.rollout.hash != view.applied_hash
    if view.applied_hash in ("", desired.hash) or is_failed(view, desired) or begun:
        return False
    return is_operators(view, desired)


def is_operators(view: ShopView, desired: DesiredState) -> bool:
    """Whether the user asks for what has been rolled out, or has failed, before: the change is the operator's.

    Where an earlier version of the operator has not written down what that was, its last look at the spec counts.
    """
    known = [basis for basis in (view.basis, view.failure and view.failure.basis) if basis]
    if not known:
        return view.status.get("observedGeneration") == view.generation
    return any(desired.basis.same(basis) for basis in known)


def with_release(rollout: Rollout, view: ShopView, desired: DesiredState, release: str) -> Rollout:
    """Marked as one of the operator's release, if it is, and as failed until it has come up, if it failed before."""
    failed = view.failure is not None and view.failure.release == release
    again = view.rollout is not None and view.rollout.release == release and view.rollout.failed_before
    if not (failed or again or (view.applied_hash and is_operators(view, desired))):
        return rollout
    return replace(rollout, release=release, failed_before=failed or again)
