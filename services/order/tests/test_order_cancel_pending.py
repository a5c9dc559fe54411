"""A customer cancels an order that is still pending: it is rejected without effect, or was confirmed first."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from services.order.tests.conftest import Shop
from services.order.tests.scripted_services import CHARGE, QUOTE, RESERVE, STATE, VOID
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id


async def pending(shop: Shop, at: str) -> tuple[str, asyncio.Task[Any]]:
    """An order whose saga waits for an answer at ``at``."""
    shop.services.gates[at] = asyncio.Event()
    placing = asyncio.create_task(shop.place(key="once", coupon="SAVE1"))
    await wait_until(lambda: shop.services.calls_of(at), what=f"a call of {at}")
    return shop.services.calls[-1][1], placing


@pytest.mark.parametrize("at", [RESERVE, QUOTE, CHARGE])
async def test_a_pending_order_is_cancelled_wherever_it_is(shop: Shop, at: str) -> None:
    order_id, placing = await pending(shop, at)
    answer = await shop.post(order_id, "cancel")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["reason"]) == ("rejected", "cancelled")
    shop.services.gates[at].set()
    placed = await placing
    assert (placed.status_code, placed.json()["code"]) == (409, "cancelled")
    shop.services.assert_no_effect_left(order_id)
    assert shop.services.captures[order_id] <= 1
    assert await shop.events(order_id) == ["order.rejected.v1"]
    assert (await shop.saga(order_id))["status"] == "done"


async def test_cancelling_and_placing_again_change_nothing(shop: Shop) -> None:
    order_id, placing = await pending(shop, CHARGE)
    await shop.post(order_id, "cancel")
    shop.services.gates[CHARGE].set()
    await placing
    assert (await shop.post(order_id, "cancel")).status_code == 200
    again = await shop.place(key="once", coupon="SAVE1")
    assert (again.status_code, again.json()["code"], again.json()["order_id"]) == (409, "cancelled", order_id)
    assert (await shop.post(order_id, "fulfil", admin=True)).json()["code"] == "illegal_transition"


async def test_a_cancellation_that_must_wait_goes_on_by_itself(shop: Shop) -> None:
    order_id, placing = await pending(shop, CHARGE)
    shop.services.faults[VOID].append("503")
    answer = await shop.post(order_id, "cancel")
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    assert answer.json()["cancel_requested_at"]
    shop.services.gates[CHARGE].set()
    await placing
    assert (await shop.until(order_id, "rejected"))["reason"] == "cancelled"
    shop.services.assert_no_effect_left(order_id)
    assert await shop.events(order_id) == ["order.rejected.v1"]


async def test_confirming_and_cancelling_at_once_ends_in_one_of_them(shop: Shop) -> None:
    """The charge is answered while the cancellation is stored; either way whatever is charged is refunded."""
    for _ in range(8):
        shop.services.gates[CHARGE] = asyncio.Event()
        shop.services.calls.clear()
        placing = asyncio.create_task(shop.place(key=new_id().hex))
        await wait_until(lambda: shop.services.calls_of(CHARGE), what="the charge")
        order_id = shop.services.calls[-1][1]
        cancelling = asyncio.create_task(shop.post(order_id, "cancel"))
        shop.services.gates[CHARGE].set()
        placed, cancelled = await asyncio.gather(placing, cancelling)
        assert cancelled.status_code in (200, 202), cancelled.text
        assert placed.status_code in (201, 202, 409), placed.text
        order = await shop.order(order_id)
        assert order["state"] in ("rejected", "cancelled")
        assert order["reason"] == "cancelled"
        shop.services.assert_no_effect_left(order_id)


async def test_another_customer_cannot_cancel_a_pending_order(shop: Shop) -> None:
    order_id, placing = await pending(shop, CHARGE)
    other = shop.tokens.headers(user_id=new_id())
    answer = await shop.client.post(f"/api/v1/orders/{order_id}/cancel", headers=other)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
    shop.services.gates[CHARGE].set()
    assert (await placing).status_code == 201


async def test_an_order_refunded_in_full_is_not_fulfilled(shop: Shop) -> None:
    order = (await shop.place()).json()
    total = order["total"]["amount"]
    shop.services.refunded[order["id"]] = total
    refused = await shop.post(order["id"], "fulfil", admin=True)
    assert (refused.status_code, refused.json()["code"]) == (409, "order_refunded")
    assert (await shop.order(order["id"]))["state"] == "confirmed"
    shop.services.refunded[order["id"]] = total - 1
    assert (await shop.post(order["id"], "fulfil", admin=True)).status_code == 200


async def test_an_order_is_not_fulfilled_while_payment_does_not_answer(shop: Shop) -> None:
    order = (await shop.place()).json()
    shop.services.faults[STATE].extend(["503"] * 3)
    assert (await shop.post(order["id"], "fulfil", admin=True)).status_code == 503
    shop.services.faults[STATE].clear()
    shop.services.faults[STATE].append("404")
    assert (await shop.post(order["id"], "fulfil", admin=True)).status_code == 200


async def test_rejected_orders_are_listed_separately(shop: Shop) -> None:
    bought = (await shop.place()).json()["id"]
    declined = (await shop.place(payment={"token": "tok_declined"})).json()["order_id"]

    async def listed(**asked: str) -> list[str]:
        answer = await shop.client.get("/api/v1/orders", headers=shop.headers, params=asked)
        return [order["id"] for order in answer.json()["items"]]

    assert await listed() == [declined, bought]
    assert await listed(rejected="false") == [bought]
    assert await listed(rejected="true") == [declined]
