"""Where a visitor wants the food: the street that was typed last, else the newest saved address in the town."""

from __future__ import annotations

from dataclasses import dataclass

from shop.contracts.geography import Position
from shop.kit.errors import Problem, Unavailable
from shop.storefront.food.service import Food
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.town import Position as TownPosition
from shop.town import town


@dataclass(frozen=True)
class Home:
    street: str
    position: Position


def locate(street: str) -> Position | None:
    """The position of a street with its number in the town; None if there is no such place."""
    found = town().locate(street)
    return Position(lat=found.lat, lon=found.lon) if found else None


def distance_m(one: Position, other: Position) -> int:
    """The shortest way by the streets."""
    return town().distance_m(_place(one), _place(other))


def _place(position: Position) -> TownPosition:
    return TownPosition(position.lat, position.lon)


async def home_of(shop: Storefront, food: Food, visitor: Visitor) -> Home | None:
    """None when nothing is known, or not at the moment."""
    street = await food.carts.street(visitor)
    if not street:
        street = await _saved_street(shop, visitor)
    position = locate(street) if street else None
    return Home(street, position) if position else None


async def _saved_street(shop: Storefront, visitor: Visitor) -> str:
    try:
        session = await shop.valid_session(visitor)
        saved = await shop.backends.users.addresses(session.access_token) if session else []
    except (Problem, Unavailable):
        return ""
    return next((address.street for address in reversed(saved) if locate(address.street)), "")
