"""How a courier drives and what they press when. Pure: time and randomness are arguments."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from shop.town import Position
from shop.town.geometry import Plane, Point, along, length_m

SPEEDS_M_S = {"bike": 4.5, "cargo_bike": 4.0, "scooter": 7.5, "car": 6.5}
"""Over a whole way through the town; every courier and every leg differs a little."""
SHARES = {"bike": 0.45, "scooter": 0.3, "cargo_bike": 0.1, "car": 0.15}
AT_STOP_M = 40.0
JITTER_M = 4.0
"""Standard deviation of a fix, to each side."""
BEFORE_PICKUP = ("assigned", "at_restaurant")
CARRIED = ("picked_up", "on_the_way")
HANDLING_S = {"pick-up": (25.0, 90.0), "deliver": (30.0, 100.0)}
"""At the counter and at the customer's entrance, at least and at most."""
Job = dict[str, Any]
Press = tuple[str, str]
"""The id of an order, and what to do with it."""


@dataclass(frozen=True)
class Stop:
    """Where to go next: ``orders`` are the ones to pick up there, or the one to deliver."""

    position: Position
    orders: tuple[str, ...]
    pickup: bool
    route: tuple[Position, ...] = ()


@dataclass
class Ride:
    """A courier on the way. ``pace`` is how fast this courier is, 1 as fast as the vehicle usually is."""

    position: Position
    vehicle: str
    pace: float
    plane: Plane
    _line: list[Point] = field(default_factory=list)
    _driven_m: float = 0.0
    _speed_m_s: float = 0.0

    def follow(self, points: Sequence[Position], random: Random) -> None:
        """Set out from here along the points; the traffic of this leg is drawn once."""
        line = [self.plane.point(point) for point in (self.position, *points)]
        self._line = [point for before, point in zip([None, *line], line, strict=False) if point != before]
        self._driven_m = 0.0
        self._speed_m_s = SPEEDS_M_S[self.vehicle] * self.pace * random.uniform(0.88, 1.14)

    def advance(self, seconds: float) -> None:
        """Drive for so long; at the end of the way it stands."""
        if len(self._line) < 2:
            return
        self._driven_m += self._speed_m_s * seconds
        self.position = self.plane.position(along(self._line, self._driven_m)[0])
        if self._driven_m >= length_m(self._line):
            self._line = []

    @property
    def stands(self) -> bool:
        return len(self._line) < 2

    def is_at(self, position: Position) -> bool:
        return math.dist(self.plane.point(self.position), self.plane.point(position)) <= AT_STOP_M

    def fix(self, random: Random) -> Position:
        """Where the telephone says that it is."""
        x, y = self.plane.point(self.position)
        return self.plane.position((x + random.gauss(0, JITTER_M), y + random.gauss(0, JITTER_M)))


def next_stop(jobs: Sequence[Job]) -> Stop | None:
    """First all that is to be picked up, then one customer after the other, in the shop's order."""
    waiting = [job for job in jobs if job["state"] in BEFORE_PICKUP]
    if waiting:
        place = position(waiting[0]["pickup"])
        here = tuple(job["order_id"] for job in waiting if position(job["pickup"]) == place)
        return Stop(place, here, True, route_of(waiting[0]))
    carried = [job for job in jobs if job["state"] in CARRIED]
    if not carried:
        return None
    return Stop(position(carried[0]["dropoff"]), (carried[0]["order_id"],), False, route_of(carried[0]))


def presses(jobs: Sequence[Job], stop: Stop, handled: bool) -> list[Press]:
    """What to press at the stop; picking up and delivering take a while, after which it is ``handled``.

    The courier waits until every order of the stop is in the bag, and only then departs with all of them.
    """
    here = [job for job in jobs if job["order_id"] in stop.orders]
    allowed = {job["order_id"]: set(job.get("actions", ())) for job in jobs}
    if not stop.pickup:
        return [(order, "deliver") for order in stop.orders if handled and "deliver" in allowed.get(order, ())]
    arriving = [(job["order_id"], "arrive") for job in here if "arrive" in allowed[job["order_id"]]]
    ready = [(job["order_id"], "pick-up") for job in here if "pick-up" in allowed[job["order_id"]]]
    return arriving or (ready if handled else [])


def departures(jobs: Sequence[Job]) -> list[Press]:
    """Once nothing is left to pick up, the courier sets out with all that is in the bag."""
    if any(job["state"] in BEFORE_PICKUP for job in jobs):
        return []
    return [(job["order_id"], "depart") for job in jobs if "depart" in job.get("actions", ())]


def position(document: Job) -> Position:
    return Position(float(document["lat"]), float(document["lon"]))


def route_of(job: Job) -> tuple[Position, ...]:
    return tuple(position(point) for point in job.get("route") or ())


def vehicle_of(random: Random) -> str:
    return random.choices(list(SHARES), weights=list(SHARES.values()))[0]
