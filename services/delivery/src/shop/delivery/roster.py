"""The couriers who may get deliveries, as columns: of a thousand, a plan looks closely at a few. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.delivery.domain import Courier


class Roster:
    """Couriers in the order of their ids. ``courier`` makes the one with an index when it is first looked at."""

    def __init__(
        self,
        ids: Sequence[UUID],
        junctions: Sequence[int],
        loads: Sequence[int],
        capacities: Sequence[int],
        courier: Callable[[int], Courier],
    ) -> None:
        self.ids = ids
        self.junctions: NDArray[np.intp] = np.array(junctions, dtype=np.intp)
        self._loads: NDArray[np.intp] = np.array(loads, dtype=np.intp)
        self._capacities: NDArray[np.intp] = np.array(capacities, dtype=np.intp)
        self._make = courier
        self._made: dict[int, Courier] = {}
        self._index: dict[UUID, int] | None = None

    @classmethod
    def of(cls, couriers: Sequence[Courier]) -> Roster:
        ordered = sorted(couriers, key=lambda courier: courier.user_id)
        return cls(
            [one.user_id for one in ordered],
            [one.junction for one in ordered],
            [one.load for one in ordered],
            [one.capacity for one in ordered],
            ordered.__getitem__,
        )

    def __getitem__(self, index: int) -> Courier:
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def index(self, courier_id: UUID) -> int | None:
        if self._index is None:
            self._index = {known: index for index, known in enumerate(self.ids)}
        return self._index.get(courier_id)

    @property
    def idle(self) -> NDArray[np.bool_]:
        found: NDArray[np.bool_] = self._loads == 0
        return found

    def partly_loaded(self) -> list[UUID]:
        """Couriers with deliveries who could take more."""
        found: NDArray[np.intp] = np.flatnonzero((self._loads > 0) & (self._loads < self._capacities))
        return [self.ids[index] for index in found]

    def put(self, index: int, courier: Courier) -> None:
        """Replace the one with this index, whose load has changed."""
        self._made[index] = courier
        self._loads[index] = courier.load

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Courier]:
        return (self[index] for index in range(len(self)))
