"""The objects that a Shop consists of at one revision, kept small while it is rolled out."""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby

import orjson

from shop.operator.engine.kube.kinds import Wave, order_of, wave_of
from shop.operator.engine.kube.objects import APPLIED, NamespacedName, Object, Ref

MAX_KEPT = 2_000
"""Targets kept; one is about 25 KB. Beyond, the least recently used one is rendered again when it is needed."""


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


class Targets:
    """The targets of Shops that are being rolled out or repaired."""

    def __init__(self) -> None:
        self._kept: OrderedDict[NamespacedName, Target] = OrderedDict()

    def has(self, key: NamespacedName) -> bool:
        """Whether the Shop is being rolled out or repaired."""
        return key in self._kept

    def get(self, key: NamespacedName, hash_: str) -> Target | None:
        found = self._kept.get(key)
        if found is None or found.hash != hash_:
            return None
        self._kept.move_to_end(key)
        return found

    def put(self, key: NamespacedName, target: Target) -> Target:
        self._kept[key] = target
        if len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)
        return target

    def drop(self, key: NamespacedName) -> None:
        self._kept.pop(key, None)
