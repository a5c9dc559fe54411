"""Orders of food that are refused, cancelled or late, through real services that all these tests share."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from shop.devkit.testing import Tokens
from tests.contracts.food_quarter import PLACE, Quarter, money, new_restaurant


@pytest.fixture
async def quarter(shared_services: dict[str, httpx.AsyncClient], tokens: Tokens) -> Quarter:
    """With a restaurant and a customer of its own."""
    restaurant = await new_restaurant(shared_services["restaurant"], tokens.headers("admin"))
    return Quarter(shared_services, tokens, restaurant)


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
