"""Which courier takes which order. Pure.

An order joins the trip of a courier who has not picked up yet, if `fits_trip`; else it gets the courier without load
who has the shortest way to the restaurant by the streets, ties by id. Of a fleet of more than SHORTLIST candidates,
the ways of those are compared exactly whose nearest junctions are nearest.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from uuid import UUID

import numpy as np

from shop.delivery.domain import BEFORE_PICKUP, Courier, Delivery, State
from shop.delivery.trips import length_m
from shop.town import Position, Town

SHORTLIST = 8
MAX_DETOUR = 0.25
"""A trip of several orders is at most this much longer than the way to the farthest of their customers alone."""
MAX_READY_GAP_S = 300
"""Between the orders of a trip, as the kitchen finishes them: food does not wait longer for other food."""
MAX_IN_LINE_PER_COURIER = 2
"""Orders that wait for a courier, for each courier on shift within reach."""


@dataclass
class Fleet:
    """The couriers on shift with a fresh fix, in the order of their ids, and what they hold; changed by `assign`."""

    town: Town
    couriers: list[Courier]
    carried: dict[UUID, list[Delivery]]
    reach_m: int
    _junctions: np.ndarray[tuple[int], np.dtype[np.intp]] = field(init=False)
    _idle: np.ndarray[tuple[int], np.dtype[np.bool_]] = field(init=False)
    _index: dict[UUID, int] = field(init=False)
    _trips: dict[UUID, set[UUID]] = field(init=False)
    """Couriers who hold deliveries, by the restaurant of the first one."""

    def __post_init__(self) -> None:
        self.couriers.sort(key=lambda courier: courier.user_id)
        self._index = {courier.user_id: index for index, courier in enumerate(self.couriers)}
        self._junctions = np.array([courier.junction for courier in self.couriers], dtype=np.intp)
        self._idle = np.array([courier.load == 0 for courier in self.couriers], dtype=np.bool_)
        self._trips = defaultdict(set)
        for courier_id, held in self.carried.items():
            self._trips[held[0].restaurant_id].add(courier_id)

    def in_reach(self, pickup: Position) -> int:
        """Couriers within reach of the restaurant, busy or not."""
        return int(np.count_nonzero(self._distances(pickup) <= self.reach_m))

    def best(self, delivery: Delivery, refused_by: Collection[UUID] = ()) -> Courier | None:
        """Who takes the delivery; None when nobody within reach can."""
        return self._on_trip(delivery, refused_by) or self._nearest(delivery, refused_by)

    def assign(self, delivery: Delivery, courier: Courier) -> Courier:
        """The courier with the delivery added to what they hold."""
        index = self._index[courier.user_id]
        taken = replace(courier, load=courier.load + 1)
        self.couriers[index] = taken
        self._idle[index] = False
        taken_up = delivery if delivery.state is State.HELD else replace(delivery, state=State.ASSIGNED)
        self.carried.setdefault(courier.user_id, []).append(taken_up)
        self._trips[delivery.restaurant_id].add(courier.user_id)
        return taken

    def _distances(self, pickup: Position) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
        distances: np.ndarray[tuple[int], np.dtype[np.float64]] = self.town.distances_m(pickup)[self._junctions]
        return distances

    def _nearest(self, delivery: Delivery, refused_by: Collection[UUID]) -> Courier | None:
        if not self._idle.any():
            return None
        distances = np.where(self._idle, self._distances(delivery.pickup), np.inf)
        for courier_id in refused_by:
            if courier_id in self._index:
                distances[self._index[courier_id]] = np.inf
        shortlist = np.argsort(distances, kind="stable")[:SHORTLIST]
        ways = [
            (self._way_m(self.couriers[index], delivery), index) for index in shortlist if np.isfinite(distances[index])
        ]
        metres, index = min(ways, default=(self.reach_m + 1, -1))
        return self.couriers[index] if metres <= self.reach_m else None

    def _way_m(self, courier: Courier, delivery: Delivery) -> int:
        return self.town.distance_m(courier.position, delivery.pickup) if courier.position else self.reach_m + 1

    def _on_trip(self, delivery: Delivery, refused_by: Collection[UUID]) -> Courier | None:
        """The courier whose trip becomes the least longer, if there is one that the delivery fits; ties by id."""
        trips = [
            (self._longer_by_m(self.carried[courier_id], delivery), courier_id)
            for courier_id in self._trips.get(delivery.restaurant_id, ())
            if courier_id not in refused_by and self._can_add(courier_id, delivery)
        ]
        return self.couriers[self._index[min(trips)[1]]] if trips else None

    def _can_add(self, courier_id: UUID, delivery: Delivery) -> bool:
        index = self._index.get(courier_id)
        if index is None:
            return False
        courier = self.couriers[index]
        free = 0 < courier.load < courier.capacity and self._way_m(courier, delivery) <= self.reach_m
        return free and fits_trip(self.town, self.carried[courier_id], delivery)

    def _longer_by_m(self, carried: Sequence[Delivery], delivery: Delivery) -> int:
        distance = self.town.distance_m
        return length_m(delivery.pickup, [*carried, delivery], distance) - length_m(delivery.pickup, carried, distance)


def fits_trip(town: Town, carried: Sequence[Delivery], delivery: Delivery) -> bool:
    """Whether the delivery goes well with what a courier holds.

    All are of one restaurant and not picked up, are ready within MAX_READY_GAP_S of each other, and the trip by all
    customers is at most MAX_DETOUR longer than the way to the farthest of them.
    """
    trip = [*carried, delivery]
    if any(one.restaurant_id != delivery.restaurant_id or one.state not in BEFORE_PICKUP for one in carried):
        return False
    ready = [one.ready_at for one in trip]
    if max(ready) - min(ready) > timedelta(seconds=MAX_READY_GAP_S):
        return False
    farthest_m = max(one.distance_m for one in trip)
    return length_m(delivery.pickup, trip, town.distance_m) <= (1 + MAX_DETOUR) * farthest_m


def plan(
    fleet: Fleet, in_line: Sequence[Delivery], refusals: Mapping[UUID, Collection[UUID]]
) -> list[tuple[Delivery, Courier]]:
    """Couriers for the deliveries in line, the first of the line first; the fleet has them afterwards."""
    chosen: list[tuple[Delivery, Courier]] = []
    for delivery in in_line:
        courier = fleet.best(delivery, refusals.get(delivery.order_id, ()))
        if courier is not None:
            chosen.append((delivery, fleet.assign(delivery, courier)))
    return chosen
