"""Orders of food are cancelled until their kitchen begins; it decides at the moment when it is asked."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.food_events import delivery, tell, ticket
from services.order.tests.scripted_food import ACCEPT, ASSIGN, RESERVE_COURIER, WITHDRAW, ScriptedFood
from services.order.tests.scripted_services import CHARGE, QUOTE, VOID
from services.order.tests.test_order_crashes import DYING, kill
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

TIP = {"amount": 150, "currency": "EUR"}


async def test_cancelling_before_the_kitchen_begins_refunds_everything(food_shop: Shop, food: ScriptedFood) -> None:
    order = (await food_shop.place_food(tip=TIP)).json()
    answer = await food_shop.post(order["id"], "cancel")
    assert (answer.status_code, answer.json()["state"], answer.json()["reason"]) == (200, "cancelled", "cancelled")
    assert food_shop.services.refunded[order["id"]] == order["total"]["amount"]
    food.assert_nothing_left(order["id"])
    event = await food_shop.event(order["id"], "order.cancelled.v1")
    assert (event["refunded"], event["reason"]) == (order["total"], "cancelled")
    assert (await food_shop.post(order["id"], "cancel")).status_code == 200
    assert food.calls_of(WITHDRAW) == 1


async def test_a_customer_cannot_cancel_what_the_kitchen_has_begun(food_shop: Shop, food: ScriptedFood) -> None:
    order_id = (await food_shop.place_food()).json()["id"]
    food.tickets[order_id] = "preparing"
    refused = await food_shop.post(order_id, "cancel")
    assert (refused.status_code, refused.json()["code"]) == (409, "kitchen_has_begun")
    order = await food_shop.order(order_id)
    assert (order["state"], "cancel_requested_at" in order) == ("confirmed", False)
    assert food_shop.services.refunded == {}
    assert (await food_shop.post(order_id, "cancel", admin=True)).json()["state"] == "cancelled"


@pytest.mark.parametrize("admin", [False, True])
async def test_nobody_cancels_what_the_courier_has(food_shop: Shop, food: ScriptedFood, admin: bool) -> None:
    order_id = (await food_shop.place_food()).json()["id"]
    food.tickets[order_id] = "picked_up"
    refused = await food_shop.post(order_id, "cancel", admin=admin)
    assert (refused.status_code, refused.json()["code"]) == (409, "already_picked_up")
    await tell(food_shop, delivery(order_id, "picked_up"))
    again = await food_shop.post(order_id, "cancel", admin=admin)
    assert (again.status_code, again.json()["code"]) == (409, "already_picked_up")
    await tell(food_shop, delivery(order_id, "delivered", 3))
    late = await food_shop.post(order_id, "cancel", admin=admin)
    assert (late.status_code, late.json()["code"]) == (409, "illegal_transition")


async def test_an_order_stays_while_its_kitchen_cannot_be_asked(food_shop: Shop, food: ScriptedFood) -> None:
    order_id = (await food_shop.place_food()).json()["id"]
    food.faults[WITHDRAW].append("503")
    assert (await food_shop.post(order_id, "cancel")).status_code == 503
    assert (await food_shop.order(order_id))["state"] == "confirmed"
    assert food_shop.services.refunded == {}


async def test_another_customer_cannot_have_a_ticket_withdrawn(food_shop: Shop, food: ScriptedFood) -> None:
    order_id = (await food_shop.place_food()).json()["id"]
    other = food_shop.tokens.headers(user_id=new_id())
    answer = await food_shop.client.post(f"/api/v1/orders/{order_id}/cancel", headers=other)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_order")
    assert food.calls_of(WITHDRAW) == 0


@pytest.mark.parametrize("what", ["fulfil", "deliver"])
async def test_only_its_delivery_moves_an_order_of_food(food_shop: Shop, what: str) -> None:
    order_id = (await food_shop.place_food()).json()["id"]
    refused = await food_shop.post(order_id, what, admin=True)
    assert (refused.status_code, refused.json()["code"]) == (409, "moved_by_delivery")
    await tell(food_shop, delivery(order_id, "picked_up"))
    refused = await food_shop.post(order_id, what, admin=True)
    assert (refused.status_code, refused.json()["code"]) == (409, "moved_by_delivery")
    assert (await food_shop.order(order_id))["state"] == "fulfilled"


@pytest.mark.parametrize("at", [ACCEPT, RESERVE_COURIER, QUOTE, CHARGE, ASSIGN])
async def test_a_pending_order_is_cancelled_wherever_it_is(food_shop: Shop, food: ScriptedFood, at: str) -> None:
    services = food_shop.services if at in (QUOTE, CHARGE) else food
    services.gates[at] = asyncio.Event()
    placing = asyncio.create_task(food_shop.place_food(coupon="SAVE1"))
    await wait_until(lambda: services.calls_of(at), what=f"a call of {at}")
    order_id = services.calls[-1][1]
    answer = await food_shop.post(order_id, "cancel")
    assert answer.status_code == 200, answer.text
    assert (answer.json()["state"], answer.json()["reason"]) == ("rejected", "cancelled")
    services.gates[at].set()
    assert (await placing).status_code == 409
    food.assert_nothing_left(order_id)
    food_shop.services.assert_no_effect_left(order_id)
    assert await food_shop.events(order_id) == ["order.rejected.v1"]
    assert food.calls_of(WITHDRAW) == 0


async def test_a_kitchen_that_begins_while_the_customer_cancels(food_shop: Shop, food: ScriptedFood) -> None:
    """Either it begins and the order stays, or it does not and everything is refunded."""
    ends = []
    for begins_first in (True, False) * 4:
        order_id = (await food_shop.place_food()).json()["id"]
        food.gates[WITHDRAW] = asyncio.Event()
        food.calls.clear()
        cancelling = asyncio.create_task(food_shop.post(order_id, "cancel"))
        await wait_until(lambda: food.calls_of(WITHDRAW), what="the question")
        if begins_first:
            food.tickets[order_id] = "preparing"
        food.gates.pop(WITHDRAW).set()
        answer = await cancelling
        begun = food.tickets[order_id] == "preparing"
        order = await food_shop.order(order_id)
        ends.append(order["state"])
        assert (answer.status_code, order["state"]) == ((409, "confirmed") if begun else (200, "cancelled"))
        assert (order_id in food_shop.services.refunded) is not begun
    assert set(ends) == {"confirmed", "cancelled"}


async def test_cancelling_while_the_courier_picks_up_ends_in_one_of_them(food_shop: Shop, food: ScriptedFood) -> None:
    for _ in range(8):
        order_id = (await food_shop.place_food()).json()["id"]
        answer, _none = await asyncio.gather(
            food_shop.post(order_id, "cancel"), tell(food_shop, delivery(order_id, "picked_up"))
        )
        assert answer.status_code in (200, 202, 409), answer.text
        order = await food_shop.until(order_id, "fulfilled" if answer.status_code == 409 else "cancelled")
        assert (order_id in food_shop.services.refunded) is (order["state"] == "cancelled")
        published = await food_shop.events(order_id)
        assert published == ["order.confirmed.v1", f"order.{order['state']}.v1"]


async def test_a_cancellation_that_waits_for_the_saga_does_not_hold_the_order(food_shop: Shop) -> None:
    """Events of deliveries lock sagas first, then orders: the other way round they would wait for each other."""
    order_id = (await food_shop.place_food()).json()["id"]
    event = await asyncpg.connect(food_shop.database_url)
    try:
        async with event.transaction():
            await event.execute("SELECT FROM sagas WHERE order_id = $1 FOR UPDATE", UUID(order_id))
            cancelling = asyncio.create_task(food_shop.post(order_id, "cancel"))

            async def waiting() -> bool:
                return bool(await food_shop.sql("SELECT FROM pg_locks WHERE NOT granted"))

            await wait_until(waiting, what="the cancellation")
            await event.execute("SELECT FROM orders WHERE id = $1 FOR UPDATE NOWAIT", UUID(order_id))
        assert (await cancelling).status_code in (200, 202)
    finally:
        await event.close()
    await food_shop.until(order_id, "cancelled")


CANCELLATION = 3
"""Of the statements of `kill`: the third try to cancel, after the kitchen's answer."""


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_process_that_dies_after_the_withdrawal_leaves_a_cancelled_order(
    start_food: Start, food: ScriptedFood, when: str
) -> None:
    """The kitchen's event finishes what the process began."""
    async with start_food(**DYING) as dying:
        placed = (await dying.place_food(tip=TIP)).json()
        order = await dying.until(placed["id"], "confirmed")
        kill(dying, CANCELLATION, when)
        assert (await dying.post(order["id"], "cancel")).status_code in (202, 503)
        assert food.tickets[order["id"]] == "withdrawn"
        async with start_food() as shop:
            if when == "before":
                assert (await shop.order(order["id"]))["state"] == "confirmed"
            await tell(shop, ticket(order["id"], "cancelled", reason="withdrawn"))
            assert (await shop.until(order["id"], "cancelled"))["reason"] == "cancelled"
            assert shop.services.refunded[order["id"]] == order["total"]["amount"]
            food.assert_nothing_left(order["id"])
            assert await shop.events(order["id"]) == ["order.confirmed.v1", "order.cancelled.v1"]


async def test_the_customers_request_and_the_kitchens_event_cancel_once(
    food_shop: Shop, food: ScriptedFood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The event of the withdrawn ticket is faster than the answer to the request that withdrew it."""
    order_id = (await food_shop.place_food()).json()["id"]
    orders = food_shop.service._repository
    cancel = orders.cancel_confirmed

    async def after_the_event(*arguments: Any, withdrawn: bool = False) -> Any:
        if withdrawn:
            await tell(food_shop, ticket(order_id, "cancelled", reason="withdrawn"))
        return await cancel(*arguments, withdrawn=withdrawn)

    monkeypatch.setattr(orders, "cancel_confirmed", after_the_event)
    assert (await food_shop.post(order_id, "cancel")).status_code in (200, 202)
    await food_shop.until(order_id, "cancelled")
    assert await food_shop.events(order_id) == ["order.confirmed.v1", "order.cancelled.v1"]
    assert [path for path, item in food_shop.services.calls if item == order_id].count(VOID) == 1
