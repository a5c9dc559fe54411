"""The staff of a restaurant sees its deliveries: who works where is asked of the restaurant service."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from uuid import UUID

import httpx
import orjson
import pytest
from fastapi import FastAPI, Request, Response
from pydantic import ValidationError

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, delivery_app
from shop.delivery.settings import Settings
from shop.devkit.testing import Principal, Running, wait_until

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture
async def rider(service: RunningService) -> Rider:
    return await service.courier(at=corner(1))


def signed_in(service: RunningService) -> tuple[Principal, dict[str, str]]:
    """A user and their headers."""
    user, token = service.tokens.customer()
    return user, {"Authorization": f"Bearer {token}"}


class Restaurants:
    """The restaurant service's answer to who works where."""

    def __init__(self) -> None:
        self.staff: dict[str, list[UUID]] = {}
        self.asked = 0
        self.app = FastAPI()
        self.app.get("/internal/staff")(self.answer)

    async def answer(self, request: Request) -> Response:
        self.asked += 1
        ids = self.staff.get(request.query_params["user_id"], [])
        return Response(orjson.dumps({"restaurant_ids": [str(one) for one in ids]}), media_type="application/json")


async def test_the_restaurants_staff_sees_it(
    settings: Settings, served: Served, running: Running, service: RunningService, rider: Rider
) -> None:
    person, customer = signed_in(service)
    order = await service.live(Order(user_id=person.user_id))
    user, cook = signed_in(service)
    path = f"/api/v1/deliveries/{order.id}"
    restaurants = Restaurants()
    restaurants.staff[str(user.user_id)] = [order.restaurant_id]
    async with served(restaurants.app) as at_restaurant:
        app = delivery_app(settings.model_copy(update={"restaurant_url": str(at_restaurant.base_url)}), service.clock)
        async with running(app) as client:
            for _ in range(3):
                seen = await client.get(path, headers=cook)
                assert (seen.status_code, "code" in seen.json()) == (200, False)
                assert (seen.json()["dropoff"], seen.json()["route"]) == (None, []), "where the customer lives"
            assert restaurants.asked == 1
            assert (await client.get(path, headers=service.tokens.headers())).status_code == 404
    app = delivery_app(settings.model_copy(update={"restaurant_url": "http://127.0.0.1:9"}), service.clock)
    async with running(app) as client:
        away = await client.get(path, headers=cook)
        assert (away.status_code, away.json()["code"]) == (503, "restaurant_unavailable")
        assert (await client.get(path, headers=customer)).status_code == 200
        assert (await client.get(path, headers=rider.headers)).status_code == 200


async def test_who_is_staff_no_more_sees_it_no_more(
    settings: Settings, served: Served, running: Running, service: RunningService, rider: Rider
) -> None:
    """As soon as the remembered answer is too old."""
    order = await service.live()
    user, cook = signed_in(service)
    path = f"/api/v1/deliveries/{order.id}"
    restaurants = Restaurants()
    restaurants.staff[str(user.user_id)] = [order.restaurant_id]
    async with served(restaurants.app) as at_restaurant:
        changed = {"restaurant_url": str(at_restaurant.base_url), "staff_cache_s": 0.1}
        async with running(delivery_app(settings.model_copy(update=changed), service.clock)) as client:
            assert (await client.get(path, headers=cook)).status_code == 200
            restaurants.staff.clear()

            async def refused() -> bool:
                return (await client.get(path, headers=cook)).status_code == 404

            await wait_until(refused, what="the answer to be asked again")
    with pytest.raises(ValidationError, match="less than or equal to 5"):
        Settings(**settings.model_dump() | {"staff_cache_s": 5.1})
