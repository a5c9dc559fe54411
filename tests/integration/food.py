"""Customers, couriers and kitchens of a shop with food, through its public API."""

from __future__ import annotations

import asyncio
import itertools
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import aiohttp

from shop.devkit.testing import wait_until
from shop.town import Position, town
from tests.integration.buyers import Answer
from tests.load.shoppers import Shop, ShopError

Json = dict[str, Any]
CITY = town().name
ENDS_WITHIN_S = 90.0
ALWAYS = {day: [{"opens": "00:00", "closes": "24:00"}] for day in ("mon", "tue", "wed", "thu", "fri", "sat", "sun")}
NEXT_STEP = ("arrive", "pick-up", "depart", "deliver")
HOUSES = tuple(
    line
    for number, street in itertools.product((3, 8, 14, 5), town().streets()[:20])
    if town().locate(line := f"{number} {street}", CITY)
)
"""Street lines that the town has."""


def address(number: int = 0) -> Json:
    """One of many addresses in the town."""
    street = HOUSES[number % len(HOUSES)]
    return {"name": "Ada Eater", "street": street, "city": CITY, "postal_code": "10115", "country": "DE"}


@dataclass(frozen=True)
class Kitchen:
    """A restaurant of a test's own with one dish; its staff is the administrator."""

    id: str
    dish: str
    price: int
    position: Position


@dataclass
class Courier:
    user_id: str
    token: str
    delivered: list[str] = field(default_factory=list)


async def kitchen(api: Shop, admin: str, *, capacity: int = 500, **more: Any) -> Kitchen:
    """Open always, accepts by itself, cooks in a second."""
    place = address(7)
    body = {
        "name": f"Test {uuid.uuid4().hex[:8]}",
        "cuisine": "pizza",
        "address": place,
        "time_zone": "Europe/Berlin",
        "hours": ALWAYS,
        "minimum_order": {"amount": 0, "currency": "EUR"},
        "acceptance": "automatic",
        "kitchen_capacity": capacity,
        "preparation_s": 1,
        "auto_progress": True,
        **more,
    }
    made = await api.call("POST", "/restaurants", admin, json=body)
    menu = {"sections": [{"name": "All", "items": [{"name": "Pizza", "category": "food", "price": {"amount": 900, "currency": "EUR"}}]}]}
    written = await api.call("PUT", f"/restaurants/{made['id']}/menu", admin, json=menu)
    item = written["sections"][0]["items"][0]
    return Kitchen(made["id"], item["id"], 900, Position(**made["position"]))
