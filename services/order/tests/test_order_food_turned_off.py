"""A shop whose food is turned off while orders of food have not ended: they end, and what was charged is refunded."""

from __future__ import annotations

from uuid import UUID

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.food_events import course, delivery, tell
from services.order.tests.scripted_food import ASSIGN, RELEASE_COURIER, RELEASE_TICKET, WITHDRAW, ScriptedFood
from services.order.tests.scripted_services import ScriptedServices
from services.order.tests.test_order_telemetry import metric
from shop.devkit.testing import wait_until
from shop.order import food_turned_off

TIP = {"amount": 150, "currency": "EUR"}
LATE = "UPDATE food_orders SET promised_at = now() - interval '601 seconds' WHERE order_id = $1"
"""The patience of these shops is 600 seconds."""


@pytest.fixture(autouse=True)
def _look_often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(food_turned_off, "POLL_S", 0.02)


async def charged_and_pending(shop: Shop, food: ScriptedFood) -> str:
    """An order that waits for delivery after its charge."""
    food.faults[ASSIGN].append("503")
    answer = await shop.place_food(tip=TIP, coupon="SAVE1")
    assert answer.status_code == 202, answer.text
    order_id: str = answer.json()["id"]
    assert shop.services.captured[order_id] > 0
    return order_id


async def confirmed(shop: Shop) -> str:
    answer = await shop.place_food(tip=TIP, coupon="SAVE1")
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    return order_id


async def released(shop: Shop, food: ScriptedFood, order_id: str) -> None:
    """Ticket and courier are released, and the order needs nothing any more."""

    async def done() -> bool:
        return not await shop.sql("SELECT FROM food_orders WHERE release_due")

    await wait_until(done, what="the release")
    food.assert_nothing_left(order_id)


async def test_a_pending_order_is_refunded_at_its_deadline_and_released_when_food_is_back(
    start_food: Start, start: Start, services: ScriptedServices, food: ScriptedFood
) -> None:
    async with start_food(recovery=False, food_deadline_s=0.1) as shop:
        order_id = await charged_and_pending(shop, food)
    async with start() as off:
        order = await off.until(order_id, "rejected")
        assert order["reason"] == "deadline_exceeded"
        assert services.refunded[order_id] == services.captured[order_id]
        services.assert_no_effect_left(order_id)
        assert (await off.event(order_id, "order.rejected.v1"))["late"] is True
    assert (food.tickets[order_id], food.deliveries[order_id]) == ("accepted", "reserved")
    async with start_food() as shop:
        await released(shop, food, order_id)
        assert (await shop.order(order_id))["state"] == "rejected"


async def test_a_pending_order_goes_on_when_food_is_back_before_its_deadline(
    start_food: Start, start: Start, services: ScriptedServices, food: ScriptedFood
) -> None:
    async with start_food(recovery=False) as shop:
        order_id = await charged_and_pending(shop, food)
    async with start() as off:

        async def tried() -> bool:
            return bool((await off.saga(order_id))["attempts"] > 2)

        await wait_until(tried, what="attempts without food")
        assert (await off.order(order_id))["state"] == "pending"
        assert await metric(off, "shop_order_food_undeliverable") == 1
    async with start_food() as shop:
        await shop.until(order_id, "confirmed")
        assert (services.captures[order_id], services.refunded) == (1, {})
        assert (food.tickets[order_id], food.deliveries[order_id]) == ("accepted", "live")


async def test_a_confirmed_order_is_cancelled_and_refunded_when_it_was_due_some_time_ago(
    start_food: Start, start: Start, services: ScriptedServices, food: ScriptedFood
) -> None:
    async with start_food() as shop:
        late, later, on_its_way = [await confirmed(shop) for _ in range(3)]
        await tell(shop, delivery(on_its_way, "picked_up"))
        await shop.sql(LATE, UUID(late))
        await shop.sql(LATE, UUID(on_its_way))
        await shop.sql("UPDATE food_orders SET promised_at = now() WHERE order_id = $1", UUID(later))
    async with start() as off:
        order = await off.until(late, "cancelled")
        assert order["reason"] == "food_not_offered"
        assert services.refunded == {late: order["total"]["amount"]}
        services.assert_no_effect_left(late)
        event = await off.event(late, "order.cancelled.v1")
        assert (event["reason"], event["refunded"]) == ("food_not_offered", order["total"])
        cancelled = 'shop_order_orders_total{kind="food",reason="food_not_offered",state="cancelled"}'
        assert await metric(off, cancelled) >= 1

        async def counted() -> bool:
            return await metric(off, "shop_order_food_undeliverable") == 2

        await wait_until(counted, what="the two others in the metric")
        assert (await off.order(later))["state"] == "confirmed"
        assert (await off.order(on_its_way))["state"] == "fulfilled"
    async with start_food() as shop:
        await released(shop, food, late)
        assert food.deliveries.keys() == {later, on_its_way}
        await tell(shop, *course(later))
        assert (await shop.order(later))["state"] == "delivered"


async def test_a_release_that_fails_is_repeated(
    start_food: Start, start: Start, services: ScriptedServices, food: ScriptedFood
) -> None:
    async with start_food() as shop:
        order_id = await confirmed(shop)
        await shop.sql(LATE, UUID(order_id))
    async with start() as off:
        await off.until(order_id, "cancelled")
    food.faults[RELEASE_COURIER].append("503")
    food.faults[RELEASE_TICKET].append("lost")
    async with start_food() as shop:
        await released(shop, food, order_id)


@pytest.mark.parametrize("admin", [False, True])
async def test_without_food_a_confirmed_order_is_cancelled_without_asking_a_kitchen(
    start_food: Start, start: Start, services: ScriptedServices, food: ScriptedFood, admin: bool
) -> None:
    async with start_food() as shop:
        order_id = await confirmed(shop)
    async with start() as off:
        off.headers = shop.headers
        answer = await off.post(order_id, "cancel", admin=admin)
        assert (answer.status_code, answer.json()["state"]) == (200, "cancelled"), answer.text
        assert services.refunded[order_id] == answer.json()["total"]["amount"]
    assert food.calls_of(WITHDRAW) == 0
    async with start_food() as shop:
        await released(shop, food, order_id)


async def test_without_food_an_administrator_ends_what_the_courier_has(start_food: Start, start: Start) -> None:
    async with start_food() as shop:
        order_id = await confirmed(shop)
    async with start() as off:
        for action, state in (("fulfil", "fulfilled"), ("deliver", "delivered")):
            answer = await off.post(order_id, action, admin=True)
            assert (answer.status_code, answer.json()["state"]) == (200, state), answer.text
