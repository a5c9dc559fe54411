"""What a Shop asks for, whether that may be rolled out now, and the objects that it consists of at one revision."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from itertools import groupby

import orjson

from shop.operator.engine.status.shop_view import Basis, Rollout, ShopView
from shop.operator.kube.kinds import SHOP, Wave, order_of, wave_of
from shop.operator.kube.objects import APPLIED, Object, Ref
from shop.operator.resource.spec import Shop


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a target; `hash` is the value of its annotation once it is applied."""

    ref: Ref
    wave: Wave
    hash: str


@dataclass(frozen=True, slots=True)
class Target:
    """A revision's objects, kept small while it is rolled out.

    `items` are in the order of applying, which is that of the waves; their objects are compressed by wave.
    """

    hash: str
    items: tuple[Item, ...]
    packed: Mapping[Wave, bytes]

    @classmethod
    def of(cls, hash_: str, objects: Iterable[Object]) -> Target:
        ordered = sorted(objects, key=order_of)
        items = tuple(Item(Ref.of(obj), wave_of(obj), obj["metadata"]["annotations"][APPLIED]) for obj in ordered)
        packed = {wave: zlib.compress(orjson.dumps(list(some)), 1) for wave, some in groupby(ordered, key=wave_of)}
        return cls(hash_, items, packed)

    def objects(self, wave: Wave | None = None) -> dict[Ref, Object]:
        """The objects of one wave, or of all, in full."""
        found: list[Object] = []
        for packed in self.packed.values() if wave is None else (self.packed[wave],):
            found += orjson.loads(zlib.decompress(packed))
        return {Ref.of(obj): obj for obj in found}

    @property
    def display_names(self) -> frozenset[str]:
        return frozenset(item.ref.display_name for item in self.items)

    def waves(self) -> Iterator[tuple[Wave, list[Item]]]:
        for wave, items in groupby(self.items, key=lambda item: item.wave):
            yield wave, list(items)


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
