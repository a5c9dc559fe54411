"""An order of food through the real services: order, pricing, payment, restaurant, delivery and notification."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import httpx
import pytest

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens, wait_until
from shop.kit.ids import new_id
from shop.town import town
from tests.contracts.test_order_participants import STORE, application

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


@pytest.fixture
async def quarter(
    database_for: DatabaseFor,
    nats_url: str,
    tokens: Tokens,
    served: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Quarter]:
    common = {"NATS_URL": nats_url, "JWKS_URL": tokens.jwks_url, "INTERNAL_TOKEN": INTERNAL_TOKEN}
    common |= {"STORE": json.dumps(STORE), "FOOD": "true", "MAILBOX_PORT": "2525", "SMTP_URL": ""}
    for name, value in common.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    here = town().locate(KITCHEN)
    assert here is not None
    town().distances_m(here)  # loads what delivery computes with, which takes longer than a request may
    async with AsyncExitStack() as stack:
        clients: dict[str, httpx.AsyncClient] = {}
        for noun in NOUNS:
            monkeypatch.setenv("SHOP_DATABASE_URL", await database_for(noun))
            clients[noun] = await stack.enter_async_context(served(application(noun)))
            if noun in URLS:
                monkeypatch.setenv(f"SHOP_{noun.upper()}_URL", str(clients[noun].base_url).rstrip("/"))
        yield Quarter(clients, tokens, await new_restaurant(clients["restaurant"], tokens.headers("admin")))


async def new_restaurant(client: httpx.AsyncClient, admin: dict[str, str]) -> dict[str, Any]:
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
    }
    made = await client.post("/api/v1/restaurants", json=body, headers=admin)
    assert made.status_code == 201, made.text
    found: dict[str, Any] = made.json()
    return found | {"item_id": item_id}


async def test_an_order_is_cooked_brought_and_told_about(quarter: Quarter) -> None:
    courier = await quarter.courier()
    quote = await quarter.request("pricing", "POST", "/quotes", json=quarter.cart())
    assert quote.status_code == 200, quote.text
    quoted = quote.json()
    answer = await quarter.place(expected_total=quoted["total"])
    assert answer.status_code == 201, answer.text
    order_id = answer.json()["id"]
    assert {name: answer.json()[name] for name in ("subtotal", "shipping", "tip", "total")} == {
        name: quoted[name] for name in ("subtotal", "shipping", "tip", "total")
    }
    await quarter.ticket(order_id, "begin")
    await quarter.ticket(order_id, "ready")
    for action in ("arrive", "pick-up"):
        await quarter.step(order_id, action, courier)
    await quarter.until(order_id, "fulfilled")
    await quarter.step(order_id, "depart", courier)
    tracked = await quarter.request("delivery", "GET", f"/deliveries/{order_id}", quarter.customer)
    await quarter.step(order_id, "deliver", courier, code=tracked.json()["code"])
    order = await quarter.until(order_id, "delivered")
    assert order["delivery"]["courier"]["name"] == "Bo"
    told = ["order-confirmed", "food-courier", "food-on-the-way", "food-delivered"]

    async def all_told() -> bool:
        found = await quarter.messages(order_id)
        return found == {"email": told, "sms": [f"sms-{name}" for name in told]}

    await wait_until(all_told, WAIT_S, "the messages")
    assert (await quarter.payment(order_id))["amount"] == order["total"]


async def test_without_a_courier_nothing_is_charged_and_the_kitchen_has_nothing(quarter: Quarter) -> None:
    answer = await quarter.place()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_courier"), answer.text
    assert int(answer.headers["retry-after"]) > 0
    order_id = answer.json()["order_id"]
    paid = await quarter.request("payment", "GET", "/payments", params={"order_id": order_id})
    assert paid.json()["items"] == []
    tickets = await quarter.request("restaurant", "GET", f"/restaurants/{quarter.restaurant['id']}/tickets")
    assert [one for one in tickets.json()["items"] if one["state"] not in ("cancelled", "rejected")] == []


async def test_a_customer_cancels_until_the_kitchen_begins(quarter: Quarter) -> None:
    courier = await quarter.courier()
    first = (await quarter.place()).json()["id"]
    cancelled = await quarter.request("order", "POST", f"/orders/{first}/cancel", quarter.customer)
    assert cancelled.status_code in (200, 202), cancelled.text
    await quarter.until(first, "cancelled")
    payment = await quarter.payment(first)
    assert payment["refunded"] == payment["amount"]
    jobs = await quarter.request("delivery", "GET", "/couriers/me/jobs", courier)
    assert jobs.json()["items"] == []
    second = (await quarter.place()).json()["id"]
    await quarter.ticket(second, "begin")
    refused = await quarter.request("order", "POST", f"/orders/{second}/cancel", quarter.customer)
    assert (refused.status_code, refused.json()["code"]) == (409, "kitchen_has_begun")
    by_admin = await quarter.request("order", "POST", f"/orders/{second}/cancel")
    assert by_admin.status_code in (200, 202), by_admin.text
    await quarter.until(second, "cancelled")


async def test_an_order_that_the_restaurant_cancels_is_refunded(quarter: Quarter) -> None:
    await quarter.courier()
    order_id = (await quarter.place()).json()["id"]
    await quarter.ticket(order_id, "cancel")
    order = await quarter.until(order_id, "cancelled")
    assert order["reason"] == "cancelled_by_restaurant"
    payment = await quarter.payment(order_id)
    assert payment["refunded"] == payment["amount"] == order["total"]


@pytest.mark.parametrize("accepted", [True, False])
async def test_a_restaurant_accepts_by_hand(quarter: Quarter, accepted: bool) -> None:
    await quarter.courier()
    path = f"/restaurants/{quarter.restaurant['id']}"
    await quarter.request("restaurant", "PATCH", path, json={"acceptance": "manual"})
    answer, _, _ = await quarter.send()
    assert answer.status_code == 202, answer.text
    order_id = answer.json()["id"]
    await quarter.ticket(order_id, "accept" if accepted else "reject")
    order = await quarter.until(order_id, "confirmed" if accepted else "rejected")
    if accepted:
        assert (await quarter.payment(order_id))["amount"] == order["total"]
    else:
        assert order["reason"] == "refused_by_restaurant"
        paid = await quarter.request("payment", "GET", "/payments", params={"order_id": order_id})
        assert paid.json()["items"] == []


@pytest.mark.parametrize(
    ("changed", "status", "code"),
    [
        ({"restaurant_id": "0190b000-0000-7000-8000-0000000000ff"}, 404, "unknown_restaurant"),
        ({"items": [{"item_id": "0190b000-0000-7000-8000-0000000000fe", "quantity": 1}]}, 404, "unknown_item"),
        ({"payment": {"token": "tok_declined"}}, 402, "payment_declined"),
        ({"address": {"name": "Ada", "street": "1 Nowhere Street", **PLACE}}, 422, "address_not_found"),
    ],
)
async def test_refusals_reach_the_customer_with_their_codes(
    quarter: Quarter, changed: dict[str, Any], status: int, code: str
) -> None:
    await quarter.courier()
    answer = await quarter.place(**changed)
    assert (answer.status_code, answer.json()["code"]) == (status, code), answer.text


async def test_too_little_is_refused_with_the_minimum(quarter: Quarter) -> None:
    await quarter.courier()
    one = [{"item_id": quarter.item_id, "quantity": 1}]
    answer = await quarter.place(items=one)
    assert (answer.status_code, answer.json()["code"]) == (422, "minimum_order_not_met"), answer.text
    assert (answer.json()["minimum_order"], answer.json()["missing"]) == (money(1_000), money(100))
    quoted = await quarter.request("pricing", "POST", "/quotes", json=quarter.cart() | {"items": one})
    assert quoted.json()["missing"] == money(100)


async def test_a_provider_that_does_not_answer_leaves_the_order_pending_and_charges_once(quarter: Quarter) -> None:
    await quarter.courier()
    answer, _, _ = await quarter.send(payment={"token": "tok_timeout"})
    assert answer.status_code == 202, answer.text
    order = await quarter.until(answer.json()["id"], "confirmed")
    assert (await quarter.payment(order["id"]))["amount"] == order["total"]
