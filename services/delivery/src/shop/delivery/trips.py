"""The way that a courier has to go, and when food arrives. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from uuid import UUID

from shop.delivery.domain import BEFORE_PICKUP, SLOWEST_M_S, Courier, Delivery, State
from shop.town import Position

PICKUP_S = 60.0
DROPOFF_S = 60.0
"""At the restaurant's counter and at the customer's entrance."""
TYPICAL_APPROACH_M = 1_000
TYPICAL_M_S = 5.0
"""A courier's way to a restaurant, and the speed of their vehicle, while it is not known who comes."""

Distance = Callable[[Position, Position], int]
"""Metres by the streets."""


def travel_s(metres: float, speed_m_s: float = SLOWEST_M_S) -> int:
    return round(metres / speed_m_s)


def in_order(start: Position, deliveries: Sequence[Delivery], distance: Distance) -> list[Delivery]:
    """The drop-offs, each time the nearest next; ties by order id."""
    left, here, found = list(deliveries), start, list[Delivery]()
    while left:
        nearest = min(left, key=lambda one: (distance(here, one.dropoff), one.order_id))
        left.remove(nearest)
        found.append(nearest)
        here = nearest.dropoff
    return found


def length_m(start: Position, deliveries: Sequence[Delivery], distance: Distance) -> int:
    """The way from ``start`` by all drop-offs, in the order of `in_order`."""
    total, here = 0, start
    for one in in_order(start, deliveries, distance):
        total += distance(here, one.dropoff)
        here = one.dropoff
    return total


def arrivals(
    courier: Courier, deliveries: Sequence[Delivery], distance: Distance, now: datetime
) -> dict[UUID, datetime]:
    """When the courier arrives with each of their deliveries; never before ``now``.

    They wait at the restaurant until all that is to be picked up there is ready, and then go from customer to customer.
    A courier who is there early enough takes the food as soon as it is ready, others PICKUP_S after they arrive.
    """
    at, here = now, courier.position
    to_pick_up = [one for one in deliveries if one.state in BEFORE_PICKUP]
    for one in to_pick_up:
        at = at if here is None else at + _by(courier, distance(here, one.pickup))
        here = one.pickup
    if to_pick_up:
        at = max(at + timedelta(seconds=PICKUP_S), *(one.ready_at for one in to_pick_up))
    found: dict[UUID, datetime] = {}
    start = here or (deliveries[0].pickup if deliveries else None)
    for one in in_order(start, deliveries, distance) if start else ():
        at += _by(courier, distance(here or one.pickup, one.dropoff)) + timedelta(seconds=DROPOFF_S)
        found[one.order_id] = at
        here = one.dropoff
    return found


def _by(courier: Courier, metres: int) -> timedelta:
    return timedelta(seconds=travel_s(metres, courier.vehicle.speed_m_s))


def arrival_without_courier(ready_at: datetime, distance_m: int, now: datetime) -> datetime:
    """The estimate while nobody is assigned."""
    approach_s = travel_s(TYPICAL_APPROACH_M, TYPICAL_M_S) + PICKUP_S
    return max(now + timedelta(seconds=approach_s), ready_at) + timedelta(seconds=carry_s(distance_m))


def carry_s(distance_m: int) -> int:
    """From the restaurant's counter into the customer's hands, by a typical vehicle."""
    return round(DROPOFF_S) + travel_s(distance_m, TYPICAL_M_S)


def next_stop(delivery: Delivery) -> Position:
    """Where the delivery's courier goes with it next."""
    return delivery.pickup if delivery.state in BEFORE_PICKUP or delivery.state is State.WAITING else delivery.dropoff
