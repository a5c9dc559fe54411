"""An order is charged only at the total that the customer was shown."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.scripted_services import CHARGE, QUOTE, SHIPPING, ScriptedServices, money
from shop.devkit.testing import wait_until
from shop.order import participants

TOTAL = 3_000 + 7 + SHIPPING
"""Of two books, as the services of these tests quotes it."""


async def test_the_shown_total_is_charged(shop: Shop) -> None:
    answer = await shop.place(expected_total=money(TOTAL))
    assert answer.status_code == 201, answer.text
    assert answer.json()["total"] == money(TOTAL)
    shop.services.assert_reserved_and_charged(answer.json())


@pytest.mark.parametrize("shown", [0, TOTAL - 1, TOTAL + 1])
async def test_another_total_is_refused_with_both_amounts(shop: Shop, shown: int) -> None:
    answer = await shop.place(expected_total=money(shown))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (409, "price_changed")
    assert (problem["expected_total"], problem["total"]) == (money(shown), money(TOTAL))
    assert shop.services.calls_of(CHARGE) == 0
    shop.services.assert_no_effect_left(problem["order_id"])
    order = await shop.order(problem["order_id"])
    assert (order["state"], order["reason"]) == ("rejected", "price_changed")


async def test_a_coupon_that_was_redeemed_for_a_refused_total_can_be_used_again(shop: Shop) -> None:
    refused = (await shop.place(coupon="save1", expected_total=money(1))).json()
    shop.services.assert_no_effect_left(refused["order_id"])
    assert (await shop.place(coupon="save1")).status_code == 201


async def test_the_same_request_again_gets_the_same_refusal(shop: Shop) -> None:
    first = await shop.place(key="once", expected_total=money(1))
    again = await shop.place(key="once", expected_total=money(1))
    assert (first.status_code, again.status_code) == (409, 409)
    assert {**first.json(), "trace_id": ""} == {**again.json(), "trace_id": ""}
    other = await shop.place(key="once", expected_total=money(2))
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


async def test_an_order_that_had_to_wait_is_compared_as_well(shop: Shop) -> None:
    """The comparison belongs to the order and not to the request: the process that resumes it makes it."""
    shop.services.faults[QUOTE].append("503")
    answer = await shop.place(expected_total=money(TOTAL + 100))
    assert answer.status_code == 202
    order_id = answer.json()["id"]

    async def ended() -> bool:
        return bool((await shop.order(order_id))["state"] != "pending")

    await wait_until(ended)
    assert (await shop.order(order_id))["reason"] == "price_changed"
    assert shop.services.calls_of(CHARGE) == 0
    shop.services.assert_no_effect_left(order_id)


@pytest.mark.parametrize(
    ("expected", "field"),
    [
        ({"amount": TOTAL, "currency": "USD"}, "expected_total.currency"),
        ({"amount": TOTAL, "currency": "eur"}, "expected_total.currency"),
        ({"amount": -1, "currency": "EUR"}, "expected_total.amount"),
        ({"amount": "3497", "currency": "EUR"}, "expected_total.amount"),
        ({"amount": TOTAL}, "expected_total.currency"),
        ({"amount": TOTAL, "currency": "EUR", "cents": 1}, "expected_total.cents"),
        (TOTAL, "expected_total"),
    ],
)
async def test_a_malformed_total_is_named(shop: Shop, expected: Any, field: str) -> None:
    answer = await shop.place(expected_total=expected)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await shop.sql("SELECT id FROM orders WHERE user_id = $1", UUID(str(shop.user_id))) == []


async def test_an_unknown_field_is_refused_by_its_name(shop: Shop) -> None:
    answer = await shop.place(expectedTotal=money(1))
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["expectedTotal"]


async def test_a_total_below_the_smallest_charge_is_refused_before_anything_is_reserved(
    start: Start, services: ScriptedServices, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(participants, "MINIMUM_MAX_AGE_S", 0.0)
    async with start() as shop:
        ordered = await shop.place(key="before", expected_total=money(TOTAL))
        assert ordered.status_code == 201
        services.calls.clear()
        services.minimum = TOTAL + 1
        refused = await shop.place(expected_total=money(TOTAL))
        assert (refused.status_code, refused.json()["code"]) == (422, "amount_below_minimum")
        assert refused.json()["minimum"] == money(TOTAL + 1)
        again = await shop.place(key="before", expected_total=money(TOTAL))
        assert (again.status_code, again.content) == (201, ordered.content)
        assert services.calls == []
        assert len(await shop.sql("SELECT id FROM orders")) == 1


async def test_a_total_of_the_smallest_charge_is_ordered(start: Start, services: ScriptedServices) -> None:
    services.minimum = TOTAL
    async with start() as shop:
        assert (await shop.place(expected_total=money(TOTAL))).status_code == 201
