"""The objects that a Shop consists of at one revision, kept small while it is rolled out."""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import orjson

from shop.operator.kube.kinds import Wave, order_of, wave_of
from shop.operator.kube.objects import APPLIED, Object, Ref


@dataclass(frozen=True, slots=True)
class Item:
    """One object of a target; `hash` is the value of its annotation once it is applied."""

    ref: Ref
    wave: Wave
    hash: str


@dataclass(frozen=True, slots=True)
class Target:
    """`items` are in the order of applying, which is that of the waves; their objects are compressed by wave."""

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
