"""The line of deliveries is looked at part by part, and no part is left out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, cast
from uuid import UUID

import pytest

from services.delivery.tests.delivery_service import NOON
from services.delivery.tests.test_delivery_planning import TOWN, courier, delivery
from shop.delivery import dispatch, repository
from shop.delivery.dispatch import Dispatch
from shop.delivery.domain import Delivery
from shop.delivery.planning import Fleet
from shop.delivery.repository import Change, Head, Place
from shop.delivery.settings import Settings
from shop.kit.db import Connection

COURIER = UUID(int=100)
FAR = max(range(len(TOWN.junctions)), key=lambda one: TOWN.distance_m(TOWN.junctions[one], TOWN.junctions[0]))
REACH_M = TOWN.distance_m(TOWN.junctions[FAR], TOWN.junctions[0]) - 200
NO_CONNECTION = cast("Connection", None)


def in_line(number: int, restaurant: int, at: int, ready_s: int, reason: str | None = None) -> Delivery:
    return replace(delivery(number, at, 5, ready_s=ready_s), restaurant_id=UUID(int=restaurant), reason=reason)


LINE = [
    in_line(1, 1, 0, -50, "rejected"),
    in_line(2, 1, 0, -49, "rejected"),
    in_line(3, 1, 0, -1, "rejected"),
    in_line(4, 2, FAR, -40),
    in_line(5, 3, FAR, -39),
    in_line(6, 4, 1, -30),
]
"""The only courier has refused those of the first restaurant, and the next two are out of reach."""


def behind(one: Delivery, after: Place | None) -> bool:
    return after is None or (one.ready_at, one.order_id) > after


async def heads(_: Connection, limit: int, after: Place | None) -> list[Head]:
    groups: dict[tuple[UUID, Any], list[Delivery]] = {}
    for one in LINE:
        if behind(one, after):
            groups.setdefault((one.restaurant_id, one.pickup), []).append(one)
    found = [
        Head(restaurant, pickup, min(one.ready_at for one in held), any(one.reason for one in held), len(held))
        for (restaurant, pickup), held in groups.items()
    ]
    return sorted(found, key=lambda head: (head.ready_at, head.restaurant_id))[:limit]


async def lined_up(
    _: Connection, ready_by: datetime, limit: int, after: Place | None, due: Mapping[Head, datetime | None]
) -> list[Delivery]:
    by = {head.restaurant_id: at for head, at in due.items()}
    found = [
        one
        for one in LINE
        if one.restaurant_id in by
        and one.ready_at <= ready_by
        and behind(one, after)
        and (one.reason or one.ready_at <= (by[one.restaurant_id] or datetime.min.replace(tzinfo=NOON.tzinfo)))
    ]
    return sorted(found, key=lambda one: (one.ready_at, one.order_id))[:limit]


async def refused(_: Connection, order_ids: Collection[UUID]) -> dict[UUID, set[UUID]]:
    return {order_id: {COURIER} for order_id in order_ids}


class OneCourier(Dispatch):
    """Its courier is never busy."""

    async def fleet(self, connection: Connection, now: datetime) -> Fleet:
        return Fleet(TOWN, [courier(COURIER.int, 0)], {}, REACH_M, now, 60.0)

    async def write(self, connection: Connection, changes: Sequence[Change], now: datetime) -> list[Delivery]:
        self.given = [*getattr(self, "given", []), *(new.order_id.int for _, new in changes)]
        return []


async def test_restaurants_behind_the_first_ones_are_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    """Although the orders of one of the first fill what is read at once, and are ready later than those behind."""
    monkeypatch.setattr(dispatch, "MAX_PLANNED", 3)
    for name, stand_in in (("heads", heads), ("in_line", lined_up), ("refusals", refused)):
        monkeypatch.setattr(repository, name, stand_in)
    settings = Settings(database_url="postgresql://unused", courier_reach_m=REACH_M)
    checked = OneCourier(settings, TOWN)
    after = await checked.take_up_line(NO_CONNECTION, NOON)
    while after is not None:
        after = await checked.take_up_line(NO_CONNECTION, NOON, after)
    assert checked.given == [6]
