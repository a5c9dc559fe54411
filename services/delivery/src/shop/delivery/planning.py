"""Which courier takes which order, and when. Pure.

An order joins the trip of a courier who has not picked up yet, if `fits_trip`; else it gets the courier without load
who has the shortest way to the restaurant by the streets, ties by id, as soon as it is due: so early that this courier
is there ``margin_s`` before the food is ready. Until then no courier is kept for it: `has_place` promises that there
will be one. Of a fleet of more than SHORTLIST candidates, the ways of those are compared exactly whose nearest
junctions are nearest.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.delivery.domain import BEFORE_PICKUP, Courier, Delivery, State
from shop.delivery.roster import Roster
from shop.delivery.trips import length_m, travel_s
from shop.town import Position, Town

SHORTLIST = 8
MAX_DETOUR = 0.25
"""A trip of several orders is at most this much longer than the way to the farthest of their customers alone."""
MAX_READY_GAP_S = 300
"""Between the orders of a trip, as the kitchen finishes them: food does not wait longer for other food."""
MAX_IN_LINE_PER_COURIER = 2
"""Orders in line whose food is ready soon, for each courier on shift within reach."""
TRIP_S = 600
"""From one order to the next, as a courier needs it on average: for each that is left until the food is ready, one
order more has a place in the line."""
ALWAYS_DUE = datetime.max.replace(tzinfo=UTC)


@dataclass
class Fleet:
    """The couriers on shift with a fresh fix, and what they hold; changed by `assign`.

    ``now`` and ``margin_s`` decide which orders are due; without ``now`` all are.
    """

    town: Town
    couriers: Roster | Sequence[Courier]
    carried: dict[UUID, list[Delivery]]
    reach_m: int
    now: datetime | None = None
    margin_s: float = 0.0
    _roster: Roster = field(init=False)
    _trips: dict[UUID, set[UUID]] = field(init=False)
    """Couriers who hold deliveries, by the restaurant of the first one."""
    _taken: set[int] = field(init=False, default_factory=set)
    """Those who had no load before `assign`."""
    _near: dict[Position, list[int]] = field(init=False, default_factory=dict)
    """By restaurant, those who had no load when it was first looked at, the nearest junctions first: a line has many
    orders of a restaurant, most of which are not due."""
    _ways_m: dict[tuple[int, Position], int] = field(init=False, default_factory=dict)
    _horizon: timedelta = field(init=False)

    def __post_init__(self) -> None:
        self._roster = self.couriers if isinstance(self.couriers, Roster) else Roster.of(self.couriers)
        self._horizon = timedelta(seconds=self.margin_s + travel_s(self.reach_m))
        self._trips = defaultdict(set)
        for courier_id, held in self.carried.items():
            self._trips[held[0].restaurant_id].add(courier_id)

    def in_reach(self, pickup: Position) -> int:
        """Couriers within reach of the restaurant, busy or not."""
        return int(np.count_nonzero(self._distances(pickup) <= self.reach_m))

    def best(self, delivery: Delivery, refused_by: Collection[UUID] = ()) -> Courier | None:
        """Who takes the delivery now; None when nobody within reach can, or when it is not due."""
        return self._on_trip(delivery, refused_by) or self._nearest(delivery, refused_by)

    def due_by(self, restaurant_id: UUID, pickup: Position) -> datetime | None:
        """Orders of the restaurant whose food is ready later get nobody now, unless they were given back. None: nobody
        can take one."""
        trips = [self.carried[one] for one in self._trips.get(restaurant_id, ()) if self._has_room(one)]
        times = [min(one.ready_at for one in trip) + timedelta(seconds=MAX_READY_GAP_S) for trip in trips]
        if (closest := self._closest(pickup, ())) is not None:
            times.append(self._sets_out_for(*closest))
        return max(times, default=None)

    def assign(self, delivery: Delivery, courier: Courier) -> Courier:
        """The courier with the delivery added to what they hold."""
        index = self._roster.index(courier.user_id)
        assert index is not None  # noqa: S101 - the courier is one of these
        taken = replace(courier, load=courier.load + 1)
        self._roster.put(index, taken)
        self._taken.add(index)
        taken_up = delivery if delivery.state is State.HELD else replace(delivery, state=State.ASSIGNED)
        self.carried.setdefault(courier.user_id, []).append(taken_up)
        self._trips[delivery.restaurant_id].add(courier.user_id)
        return taken

    def _distances(self, pickup: Position) -> NDArray[np.float64]:
        distances: NDArray[np.float64] = self.town.distances_m(pickup)[self._roster.junctions]
        return distances

    def _sets_out_for(self, courier: Courier, metres: int) -> datetime:
        """Until when food is ready for which the courier sets out now, with that way to go."""
        way_s = travel_s(metres, courier.vehicle.speed_m_s)
        return ALWAYS_DUE if self.now is None else self.now + timedelta(seconds=self.margin_s + way_s)

    def _nearest(self, delivery: Delivery, refused_by: Collection[UUID]) -> Courier | None:
        if self.now is not None and delivery.ready_at > self.now + self._horizon:
            return None
        closest = self._closest(delivery.pickup, refused_by)
        if closest is None or delivery.ready_at > self._sets_out_for(*closest):
            return None
        return closest[0]

    def _closest(self, pickup: Position, refused_by: Collection[UUID]) -> tuple[Courier, int] | None:
        """The courier without load who has the shortest way, within reach, and its metres."""
        refused = {self._roster.index(courier_id) for courier_id in refused_by}
        free = (one for one in self._idle_near(pickup) if one not in self._taken and one not in refused)
        ways = [(self._way_m(index, pickup), index) for index in itertools.islice(free, SHORTLIST)]
        metres, nearest = min(ways, default=(self.reach_m + 1, -1))
        return (self._roster[nearest], metres) if metres <= self.reach_m else None

    def _idle_near(self, pickup: Position) -> list[int]:
        """Couriers without load, some of whom were given a delivery since; ties in the order of their ids."""
        if pickup not in self._near:
            idle = np.flatnonzero(self._roster.idle)
            distances = self._distances(pickup)[idle]
            ascending = np.argsort(distances, kind="stable")
            self._near[pickup] = idle[ascending[np.isfinite(distances[ascending])]].tolist()
        return self._near[pickup]

    def _way_m(self, index: int, pickup: Position) -> int:
        key = index, pickup
        if key not in self._ways_m:
            start = self._roster[index].position
            self._ways_m[key] = self.town.distance_m(start, pickup) if start else self.reach_m + 1
        return self._ways_m[key]

    def _on_trip(self, delivery: Delivery, refused_by: Collection[UUID]) -> Courier | None:
        """The courier whose trip becomes the least longer, if there is one that the delivery fits; ties by id."""
        trips = [
            (self._longer_by_m(self.carried[courier_id], delivery), courier_id)
            for courier_id in self._trips.get(delivery.restaurant_id, ())
            if courier_id not in refused_by and self._can_add(courier_id, delivery)
        ]
        if not trips:
            return None
        index = self._roster.index(min(trips)[1])
        return None if index is None else self._roster[index]

    def _has_room(self, courier_id: UUID) -> bool:
        """Whether a courier with a load can take more."""
        index = self._roster.index(courier_id)
        return index is not None and 0 < self._roster[index].load < self._roster[index].capacity

    def _can_add(self, courier_id: UUID, delivery: Delivery) -> bool:
        index = self._roster.index(courier_id)
        if index is None or not self._has_room(courier_id) or self._way_m(index, delivery.pickup) > self.reach_m:
            return False
        return fits_trip(self.town, self.carried[courier_id], delivery)

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


def trips_until(ready_at: datetime, now: datetime) -> int:
    """Whole trips that a courier makes until the food is ready."""
    return int(max(0.0, (ready_at - now).total_seconds()) // TRIP_S)


def has_place(trips: int, in_line: Mapping[int, int], within_reach: int) -> bool:
    """Whether the couriers within reach can take one order more, and still each order in line, when its food is ready.

    ``trips`` is `trips_until` of the order, and ``in_line`` how many are in line by theirs. The food is fetched in the
    order in which it is ready, so by the time of each the couriers must have had time for all before it.
    """
    count = 1 + sum(orders for before, orders in in_line.items() if before < trips)
    for later in sorted({trips, *(one for one in in_line if one > trips)}):
        count += in_line.get(later, 0)
        if count > within_reach * (MAX_IN_LINE_PER_COURIER + later):
            return False
    return True
