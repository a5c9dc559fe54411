"""The real services of food on ports of their own, with a customer, a restaurant and couriers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx

from shop.devkit.testing import Tokens, wait_until
from shop.kit.ids import new_id
from shop.town import town

NOUNS = ("restaurant", "delivery", "pricing", "payment", "notification", "order")
"""In the order of starting: each calls only earlier ones."""
URLS = ("pricing", "payment", "restaurant", "delivery")
PLACE = {"city": "Millbridge", "postal_code": "10115", "country": "DE"}
KITCHEN, HOME = "1 Abbot Gate", "12 Albert Grove"
ALWAYS = {
    "weekly": [
        {"day": day, "opens": "00:00", "closes": "24:00"}
        for day in ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
    ]
}
PHONE = "+4915112345678"
WAIT_S = 30.0


def money(amount: int) -> dict[str, Any]:
    return {"amount": amount, "currency": "EUR"}


@dataclass
class Quarter:
    """The services, a customer, a restaurant and its staff; couriers are made by the tests."""

    at: dict[str, httpx.AsyncClient]
    tokens: Tokens
    restaurant: dict[str, Any]

    def __post_init__(self) -> None:
        self.admin = self.tokens.headers("admin")
        self.customer = self.tokens.headers(user_id=new_id())

    @property
    def item_id(self) -> str:
        return str(self.restaurant["item_id"])

    async def request(
        self, noun: str, method: str, path: str, headers: dict[str, str] | None = None, **more: Any
    ) -> httpx.Response:
        return await self.at[noun].request(method, f"/api/v1{path}", headers=headers or self.admin, **more)

    async def courier(self, name: str = "Bo") -> dict[str, str]:
        """The headers of a new courier who stands at the restaurant."""
        user_id = new_id()
        own = self.tokens.headers(user_id=user_id)
        here = town().locate(KITCHEN)
        assert here is not None
        for method, path, headers, body in (
            ("PUT", f"/couriers/{user_id}", self.admin, {"name": name, "vehicle": "bike"}),
            ("PATCH", "/couriers/me", own, {"on_shift": True}),
            ("POST", "/couriers/me/positions", own, {"lat": here.lat, "lon": here.lon}),
        ):
            answer = await self.request("delivery", method, path, headers, json=body)
            assert answer.status_code in (200, 204), answer.text

        async def located() -> bool:
            return bool((await self.request("delivery", "GET", "/couriers/me", own)).json()["fix"] == "fresh")

        await wait_until(located, WAIT_S, "the courier's position is stored")
        return own

    async def place(self, **changed: Any) -> httpx.Response:
        """The answer to an order once it has ended: on a slow machine the first one may be 202."""
        first, headers, body = await self.send(**changed)

        async def ended() -> httpx.Response | None:
            again = await self.request("order", "POST", "/orders", headers, json=body)
            return None if again.status_code == 202 else again

        if first.status_code != 202:
            return first
        found: httpx.Response = await wait_until(ended, WAIT_S, "the end of the order's saga")
        return found

    async def send(self, **changed: Any) -> tuple[httpx.Response, dict[str, str], dict[str, Any]]:
        """The first answer to an order, and what was sent."""
        body = self.cart() | {"payment": {"token": "tok_visa"}, "phone": PHONE} | changed
        headers = self.customer | {"Idempotency-Key": new_id().hex}
        return await self.request("order", "POST", "/orders", headers, json=body), headers, body

    def cart(self) -> dict[str, Any]:
        return {
            "kind": "food",
            "restaurant_id": self.restaurant["id"],
            "items": [{"item_id": self.item_id, "quantity": 2}],
            "address": {"name": "Ada", "street": HOME, **PLACE},
            "tip": money(150),
        }

    async def order(self, order_id: str) -> dict[str, Any]:
        found: dict[str, Any] = (await self.request("order", "GET", f"/orders/{order_id}")).json()
        return found

    async def until(self, order_id: str, state: str) -> dict[str, Any]:
        async def reached() -> dict[str, Any] | None:
            order = await self.order(order_id)
            return order if order["state"] == state else None

        found: dict[str, Any] = await wait_until(reached, WAIT_S, f"the order is {state}")
        return found

    async def ticket(self, order_id: str, action: str) -> None:
        """Once the kitchen may: it has to know first that the order is paid."""
        path = f"/restaurants/{self.restaurant['id']}/tickets/{order_id}/{action}"

        async def done() -> bool:
            return (await self.request("restaurant", "POST", path)).status_code == 200

        await wait_until(done, WAIT_S, f"the ticket's {action}")

    async def step(self, order_id: str, action: str, courier: dict[str, str], **body: Any) -> None:
        async def done() -> bool:
            path = f"/deliveries/{order_id}/{action}"
            answer = await self.request("delivery", "POST", path, courier, json=body or None)
            return answer.status_code == 200

        await wait_until(done, WAIT_S, f"the courier's {action}")

    async def payment(self, order_id: str) -> dict[str, Any]:
        answer = await self.request("payment", "GET", "/payments", params={"order_id": order_id})
        (found,) = answer.json()["items"]
        return dict(found)

    async def messages(self, order_id: str) -> dict[str, list[str]]:
        """Templates by channel, in the order of their queueing."""
        answer = await self.request("notification", "GET", "/notifications/all", params={"limit": 100})
        about = [one for one in reversed(answer.json()["items"]) if one["order_id"] == order_id]
        return {
            channel: [one["template"] for one in about if one["channel"] == channel] for channel in ("email", "sms")
        }


async def new_restaurant(client: httpx.AsyncClient, admin: dict[str, str], **changed: Any) -> dict[str, Any]:
    """With its staff's one dish as `item_id`; open day and night unless `hours` are among what is `changed`."""
    item_id = str(UUID(int=new_id().int))
    item = {"id": item_id, "name": "Margherita", "price": money(900)}
    body = {
        "name": "Da Carlo",
        "cuisine": "pizza",
        "address": {"street": KITCHEN, **PLACE},
        "time_zone": "Europe/Berlin",
        "hours": ALWAYS,
        "minimum_order": money(1_000),
        "preparation_s": 60,
        "menu": {"sections": [{"name": "Pizza", "items": [item]}]},
        **changed,
    }
    made = await client.post("/api/v1/restaurants", json=body, headers=admin)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found | {"item_id": item_id}
