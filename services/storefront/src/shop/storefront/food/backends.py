"""Clients of the restaurant and delivery services, and the food quotes of pricing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from shop.contracts.geography import Position
from shop.kit.errors import Problem, Unavailable
from shop.kit.http import ServiceClient
from shop.storefront.food.schemas import Delivery, FoodQuote, Menu, Restaurant
from shop.storefront.refreshing import RefreshingValue
from shop.storefront.schemas import Page

LIST_LIMIT = 60
"""Restaurants on one page."""
CUISINES_LIMIT = 100
"""Restaurants whose cuisines are offered as a filter: the most of one response."""
CUISINES_TTL_S = 30.0


class Restaurants:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client
        self._cuisines = RefreshingValue[Sequence[str]](self._load_cuisines, CUISINES_TTL_S)

    async def known_cuisines(self) -> Sequence[str]:
        """For the filter, sorted; none before the service's first answer."""
        try:
            return await self._cuisines.get()
        except (Unavailable, Problem, TimeoutError):
            return []

    async def _load_cuisines(self) -> Sequence[str]:
        found = await self.list(limit=CUISINES_LIMIT)
        return sorted({restaurant.cuisine for restaurant in found.items if restaurant.cuisine})

    async def close(self) -> None:
        await self._cuisines.close()

    async def list(
        self,
        *,
        open_now: bool = False,
        cuisine: str = "",
        query: str = "",
        near: Position | None = None,
        cursor: str = "",
        limit: int = LIST_LIMIT,
    ) -> Page[Restaurant]:
        """The restaurants that match; with ``near`` the nearest first."""
        given = {
            "open_now": "true" if open_now else "",
            "cuisine": cuisine,
            "query": query,
            "near": f"{near.lat:.6f},{near.lon:.6f}" if near else "",
            "cursor": cursor,
            "limit": limit,
        }
        params = {name: value for name, value in given.items() if value}
        answer = await self._client.get("/api/v1/restaurants", params=params)
        return Page[Restaurant].model_validate(answer.json)

    async def one(self, restaurant_id: UUID) -> Restaurant:
        return Restaurant.model_validate((await self._client.get(f"/api/v1/restaurants/{restaurant_id}")).json)

    async def menu(self, restaurant_id: UUID, token: str | None = None) -> Menu:
        """Problem 404 `restaurant_closed` with ``opens_at``, unless ``token`` is of its staff."""
        answer = await self._client.get(f"/api/v1/restaurants/{restaurant_id}/menu", token=token)
        return Menu.model_validate(answer.json)


class Deliveries:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def one(self, token: str, order_id: UUID) -> Delivery:
        return Delivery.model_validate((await self._client.get(f"/api/v1/deliveries/{order_id}", token=token)).json)


class FoodPrices:
    def __init__(self, client: ServiceClient) -> None:
        self._client = client

    async def quote(self, body: Mapping[str, Any], token: str) -> FoodQuote:
        """The price of a cart with delivery; every reason why it cannot be ordered is a Problem. Its coupon may be one
        that is only for the customer of ``token``."""
        answer = await self._client.post("/api/v1/quotes", json=body, token=token if body.get("coupon") else None)
        return FoodQuote.model_validate(answer.json)


class FoodBackends:
    def __init__(self, restaurant: ServiceClient, delivery: ServiceClient, pricing: ServiceClient) -> None:
        self.restaurants = Restaurants(restaurant)
        self.deliveries = Deliveries(delivery)
        self.prices = FoodPrices(pricing)
