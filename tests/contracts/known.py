"""Something of everything that requests name, in a running shop: requests for made-up ids never get beyond 404."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Self

import requests

from shop.devkit.testing import wait_until
from tests.integration.food import ALWAYS, CITY, address
from tests.load.shoppers import ADDRESS, CARD

CALL_TIMEOUT_S = 10.0
READY_WITHIN_S = 60.0
ZONE, CURRENCY = "Europe/Berlin", "EUR"
Json = dict[str, Any]
LIVE = ("waiting", "assigned", "at_restaurant", "picked_up", "on_the_way")
"""States of deliveries that have not ended; the first three can be cancelled."""
STEPS = {"picked_up": ("depart", "deliver"), "on_the_way": ("deliver",)}


def send(url: str, method: str, path: str, token: str = "", key: str = "", **options: Any) -> requests.Response:
    """The answer of the shop's public API; ``key`` is the Idempotency-Key, a new one if it is left out."""
    headers = {"Idempotency-Key": key or str(uuid.uuid4()), **({"Authorization": f"Bearer {token}"} if token else {})}
    headers |= options.pop("headers", {})
    return requests.request(method, f"{url}/api/v1{path}", headers=headers, timeout=CALL_TIMEOUT_S, **options)


def call(url: str, method: str, path: str, token: str = "", key: str = "", **options: Any) -> Any:
    """The JSON answer, which must be 2xx; None for an empty one."""
    answer = send(url, method, path, token, key, **options)
    if not answer.ok:
        raise AssertionError(f"{method} {path}: {answer.status_code} {answer.text}")
    return answer.json() if answer.content else None


def something_of_everything(url: str, token: str) -> Json:
    """Ids of a product, an order with its payment, and an address, by the names that requests have for them."""
    product_id = call(url, "GET", "/products?limit=1")["items"][0]["id"]
    items = [{"product_id": product_id, "quantity": 1}]
    body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
    order_id = call(url, "POST", "/orders", token, json=body)["id"]
    payment_id = call(url, "GET", f"/payments?order_id={order_id}", token)["items"][0]["id"]
    address_id = call(url, "POST", "/users/me/addresses", token, json=ADDRESS)["id"]
    ids = {"product_id": product_id, "order_id": order_id, "payment_id": payment_id, "address_id": address_id}
    return {**ids, "token": CARD, "country": ADDRESS["country"]}


@dataclass(frozen=True)
class Food:
    """A restaurant with one dish; the administrator, whose token it has, is its staff and the shop's only courier."""

    url: str
    token: str
    user_id: str
    restaurant_id: str
    item_id: str
    position: Json

    @classmethod
    def of(cls, url: str, token: str) -> Self:
        """A new restaurant, always open, whose kitchen needs a second, and the courier on shift."""
        dish = {"name": "Pizza", "price": {"amount": 5_000, "currency": CURRENCY}}
        place = {name: value for name, value in address(7).items() if name != "name"}
        body = {
            "name": "Kitchen of the tests",
            "cuisine": "pizza",
            "address": place,
            "time_zone": ZONE,
            "hours": ALWAYS,
            "kitchen_capacity": 1_000,
            "preparation_s": 1,
            "auto_progress": True,
            "menu": {"sections": [{"name": "All", "items": [dish]}]},
        }
        made = call(url, "POST", "/restaurants", token, json=body)
        menu = call(url, "GET", f"/restaurants/{made['id']}/menu", token)
        user_id = call(url, "GET", "/users/me", token)["id"]
        call(url, "PUT", f"/restaurants/{made['id']}/staff/{user_id}", token)
        return cls(url, token, user_id, made["id"], menu["sections"][0]["items"][0]["id"], made["position"])

    def call(self, method: str, path: str, **options: Any) -> Any:
        return call(self.url, method, path, self.token, **options)

    def known(self) -> Json:
        """What requests name, but orders."""
        ids = {"restaurant_id": self.restaurant_id, "item_id": self.item_id, "user_id": self.user_id}
        place = {"street": address(7)["street"], "city": CITY}
        return {
            **ids,
            **place,
            "choices": [],
            "action": "cancel",
            "time_zone": ZONE,
            "currency": CURRENCY,
            "If-Match": "*",
        }

    @contextmanager
    def orders(self, count: int) -> Iterator[list[str]]:
        """Orders that are cooked and assigned to the courier, as one trip; cancelled at the end where that is possible.

        At most three, which a car holds, each placed when the one before is assigned: fewer may wait for one courier.
        """
        asyncio.run(wait_until(self._nothing_is_under_way, READY_WITHIN_S, "the end of earlier orders"))
        self._begin_shift()
        body = {
            "kind": "food",
            "restaurant_id": self.restaurant_id,
            "items": [{"item_id": self.item_id, "quantity": 1}],
            "address": address(8),
            "payment": {"token": CARD},
        }
        order_ids: list[str] = []
        try:
            for _ in range(count):
                order_ids.append(self.call("POST", "/orders", json=body)["id"])
                asyncio.run(wait_until(lambda: self._can_be_collected(order_ids), READY_WITHIN_S, "cooked orders"))
            yield order_ids
        finally:
            self._cancel(order_ids)

    def _nothing_is_under_way(self) -> bool:
        """End what other requests have left, so that the one courier is free."""
        live = [one for state in LIVE for one in self.call("GET", f"/deliveries?state={state}&limit=100")["items"]]
        self._cancel(one["order_id"] for one in live if one["state"] in LIVE[:3])
        for one in live:
            for action in STEPS.get(one["state"], ()):
                send(self.url, "POST", f"/deliveries/{one['order_id']}/{action}", self.token, json={})
        return not live

    def _cancel(self, order_ids: Iterable[str]) -> None:
        for order_id in order_ids:
            send(self.url, "POST", f"/orders/{order_id}/cancel", self.token)

    def _jobs(self) -> list[Json]:
        """None while the administrator is not a courier yet."""
        answer = send(self.url, "GET", "/couriers/me/jobs", self.token)
        return list(answer.json()["items"]) if answer.ok else []

    def _begin_shift(self) -> None:
        self.call("PUT", f"/couriers/{self.user_id}", json={"name": "Ines", "vehicle": "car"})
        self.call("PATCH", "/couriers/me", json={"on_shift": True})
        self.call("POST", "/couriers/me/positions", json=self.position)
        asyncio.run(wait_until(self._is_located, READY_WITHIN_S, "the courier's position"))

    def _is_located(self) -> bool:
        courier = self.call("GET", "/couriers/me")
        return bool(courier["fix"] == "fresh" and courier["position"] == self.position)

    def _can_be_collected(self, order_ids: Sequence[str]) -> bool:
        jobs = {job["order_id"]: job["kitchen"] for job in self._jobs()}
        return all(jobs.get(order_id) == "ready" for order_id in order_ids)

    def code(self, order_id: str) -> str:
        """The code that the customer, who is the administrator too, tells the courier."""
        return str(self.call("GET", f"/deliveries/{order_id}")["code"])

    def bring(self, order_id: str) -> None:
        """Go to the customer with the order."""
        for action in ("arrive", "pick-up", "depart"):
            self.call("POST", f"/deliveries/{order_id}/{action}")
