"""What the pages of food share: clients and carts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

from fastapi import Depends, Request
from redis.asyncio import Redis

from shop.kit.errors import Problem
from shop.kit.http import Clients
from shop.storefront.food.backends import FoodBackends
from shop.storefront.food.carts import FoodCarts
from shop.storefront.food.staff_backends import Couriers, Kitchens, People
from shop.storefront.settings import Settings
from shop.town import town

if TYPE_CHECKING:
    from shop.storefront.service import Storefront


@dataclass(frozen=True)
class Food:
    backends: FoodBackends
    carts: FoodCarts
    kitchens: Kitchens
    couriers: Couriers
    people: People


def open_food(clients: Clients, settings: Settings, valkey: Redis) -> Food | None:
    """None in a shop that sells no food. Loads the town's streets, so that no page has to wait for that."""
    if not (settings.restaurant_url and settings.delivery_url):
        return None
    town().distance_m(*town().junctions[:2])
    restaurant = clients.get("restaurant", settings.restaurant_url)
    delivery = clients.get("delivery", settings.delivery_url)
    return Food(
        FoodBackends(restaurant, delivery, clients.get("pricing", settings.pricing_url)),
        FoodCarts(valkey),
        Kitchens(restaurant),
        Couriers(delivery),
        People(clients.get("user", settings.user_url)),
    )


def food_of(request: Request) -> Food:
    """Problem 404 in a shop that sells no food."""
    shop: Storefront = request.app.state.service
    if shop.food is None:
        raise Problem(404, "not_found", "This shop sells no food.")
    return shop.food


FoodShop = Annotated[Food, Depends(food_of)]
