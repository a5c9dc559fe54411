"""What events of tickets and deliveries do to orders of food, in whatever order they come."""

from __future__ import annotations

import asyncio
import itertools
import random
from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import Shop, Start
from services.order.tests.food_events import course, delivery, tell, ticket
from services.order.tests.scripted_food import ACCEPT, ASSIGN, ScriptedFood
from services.order.tests.scripted_services import CHARGE, Result
from shop.contracts.restaurant import MAX_ACCEPTANCE_S
from shop.devkit.testing import wait_until
from shop.kit import events
from shop.kit.bus import Bus
from shop.kit.ids import new_id
from shop.kit.saga.engine import Rejected
from shop.order import food_repository
from shop.order.food_events import BY_RESTAURANT, NO_COURIER, ending
from shop.order.food_repository import KnownStates
from shop.order.lifecycle import CANCELLED
from shop.order.settings import Settings

CONFIRMED, FULFILLED, DELIVERED = "order.confirmed.v1", "order.fulfilled.v1", "order.delivered.v1"


@pytest.mark.parametrize(
    ("ticket_state", "reason", "delivery_state", "expected"),
    [
        (None, None, None, None),
        (None, None, "waiting", None),
        (None, None, "failed", NO_COURIER),
        (None, None, "cancelled", None),
        ("accepted", None, None, None),
        ("rejected", "refused_by_restaurant", None, None),
        ("cancelled", "released", None, None),
        ("cancelled", "withdrawn", None, CANCELLED),
        ("cancelled", None, None, BY_RESTAURANT),
        ("cancelled", "out_of_dough", None, BY_RESTAURANT),
        ("cancelled", "released", "failed", NO_COURIER),
    ],
)
def test_which_events_end_an_order(
    ticket_state: str | None, reason: str | None, delivery_state: str | None, expected: Rejected | None
) -> None:
    assert ending(KnownStates(new_id(), ticket_state, reason, delivery_state)) == expected


async def confirmed(shop: Shop, **changed: Any) -> str:
    answer = await shop.place_food(**changed)
    assert answer.status_code == 201, answer.text
    order_id: str = answer.json()["id"]
    return order_id


async def transitions(shop: Shop, order_id: str) -> list[tuple[str, str]]:
    query = "SELECT from_state, to_state FROM order_transitions WHERE order_id = $1 ORDER BY version"
    return [tuple(row) for row in await shop.sql(query, UUID(order_id))]


async def test_a_delivery_moves_its_order(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    seen = []
    for event in course(order_id):
        await tell(food_shop, event)
        order = await food_shop.order(order_id)
        seen.append((order["state"], order["delivery"]["state"]))
    assert seen == [
        ("confirmed", "assigned"), ("confirmed", "at_restaurant"), ("fulfilled", "picked_up"),
        ("fulfilled", "on_the_way"), ("delivered", "delivered"),
    ]  # fmt: skip
    assert order["delivery"]["courier"] == {"name": "Bo", "vehicle": "bicycle"}
    assert await food_shop.events(order_id) == [CONFIRMED, FULFILLED, DELIVERED]
    fulfilled = await food_shop.event(order_id, FULFILLED)
    assert fulfilled["kind"] == "food"


async def test_events_in_any_order_move_an_order_once_and_never_back(food_shop: Shop) -> None:
    """Each of the orders gets its events in another order, some of them twice and some in one batch."""
    chance = random.Random(12)
    for order in itertools.permutations(range(1, 5)):
        order_id = await confirmed(food_shop)
        told = [course(order_id)[at] for at in (*order, *chance.choices(order, k=2))]
        while told:
            batch = [told.pop(0) for _ in range(min(len(told), chance.randint(1, 3)))]
            await tell(food_shop, *batch)
        found = await food_shop.order(order_id)
        assert (found["state"], found["delivery"]["state"]) == ("delivered", "delivered"), order
        assert await food_shop.events(order_id) == [CONFIRMED, FULFILLED, DELIVERED]
        assert await transitions(food_shop, order_id) == [
            ("pending", "confirmed"), ("confirmed", "fulfilled"), ("fulfilled", "delivered"),
        ]  # fmt: skip


async def test_an_older_summary_never_replaces_a_newer_one(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    await tell(food_shop, delivery(order_id, "assigned", 5, courier_name="Cy"))
    await tell(food_shop, delivery(order_id, "assigned", 3, courier_name="Bo"), delivery(order_id, "waiting", 4))
    await tell(food_shop, ticket(order_id, "ready", 4))
    await tell(food_shop, ticket(order_id, "preparing", 3))
    order = await food_shop.order(order_id)
    assert (order["delivery"]["courier"]["name"], order["restaurant"]["state"]) == ("Cy", "ready")
    await tell(food_shop, delivery(order_id, "waiting", 6))
    assert (await food_shop.order(order_id))["delivery"]["courier"] is None


async def test_events_that_come_while_the_order_is_pending_take_effect_later(
    food_shop: Shop, food: ScriptedFood
) -> None:
    food.gates[ASSIGN] = asyncio.Event()
    placing = asyncio.create_task(food_shop.place_food())
    await wait_until(lambda: food.calls_of(ASSIGN), what="the assignment")
    order_id = food.calls[-1][1]
    await tell(food_shop, *course(order_id))
    assert (await food_shop.order(order_id))["state"] == "pending"
    food.gates[ASSIGN].set()
    assert (await placing).status_code in (201, 202)
    await food_shop.until(order_id, "delivered")
    assert await food_shop.events(order_id) == [CONFIRMED, FULFILLED, DELIVERED]

    async def settled() -> bool:
        return not await food_shop.sql("SELECT FROM food_orders WHERE unsettled")

    await wait_until(settled, what="nothing left to settle")


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (lambda order_id: delivery(order_id, "failed", 9), "no_courier"),
        (lambda order_id: ticket(order_id, "cancelled", 9, reason="out_of_dough"), "cancelled_by_restaurant"),
        (lambda order_id: ticket(order_id, "cancelled", 9, reason="withdrawn"), "cancelled"),
    ],
)
async def test_an_order_that_ends_after_it_was_confirmed_is_refunded(
    food_shop: Shop, food: ScriptedFood, event: Any, reason: str
) -> None:
    tip = {"amount": 150, "currency": "EUR"}
    order_id = await confirmed(food_shop, tip=tip)
    await tell(food_shop, event(order_id))
    await tell(food_shop, event(order_id))
    order = await food_shop.until(order_id, "cancelled")
    assert order["reason"] == reason
    food.assert_nothing_left(order_id)
    assert food_shop.services.refunded[order_id] == order["total"]["amount"]
    assert await food_shop.events(order_id) == [CONFIRMED, "order.cancelled.v1"]
    cancelled = await food_shop.event(order_id, "order.cancelled.v1")
    assert (cancelled["reason"], cancelled["refunded"]) == (reason, order["total"])


@pytest.mark.parametrize(("state", "reason"), [("failed", "no_courier"), ("cancelled", "cancelled_by_restaurant")])
async def test_an_order_that_ends_while_it_is_pending_is_rejected_late(
    start_food: Start, food: ScriptedFood, state: str, reason: str
) -> None:
    async with start_food(retry_first_s=60.0, retry_max_s=60.0) as shop:
        shop.services.faults[CHARGE].append("pending")
        answer = await shop.place_food()
        assert answer.status_code == 202
        order_id = answer.json()["id"]
        await tell(shop, delivery(order_id, state) if state == "failed" else ticket(order_id, state, reason="busy"))
        assert (await shop.until(order_id, "rejected"))["reason"] == reason
        food.assert_nothing_left(order_id)
        shop.services.assert_no_effect_left(order_id)
        assert (await shop.event(order_id, "order.rejected.v1"))["late"] is True


async def test_a_released_ticket_ends_nothing(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    await tell(food_shop, ticket(order_id, "cancelled", reason="released"))
    assert (await food_shop.order(order_id))["state"] == "confirmed"
    assert await food_shop.sql("SELECT FROM food_orders WHERE unsettled") == []


async def test_an_order_that_was_picked_up_is_not_cancelled_by_an_older_event(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    await tell(food_shop, delivery(order_id, "picked_up", 5))
    await tell(food_shop, ticket(order_id, "cancelled", 3, reason="out_of_dough"), delivery(order_id, "failed", 4))
    assert (await food_shop.order(order_id))["state"] == "fulfilled"
    assert await food_shop.sql("SELECT FROM food_orders WHERE unsettled") == []
    assert await food_shop.sql("SELECT FROM orders WHERE cancel_requested_at IS NOT NULL") == []


async def test_the_first_reason_to_end_an_order_is_kept(start_food: Start, food: ScriptedFood) -> None:
    async with start_food(recovery=False) as shop:
        order_id = await confirmed(shop)
        await tell(shop, delivery(order_id, "failed"))
        await tell(shop, ticket(order_id, "cancelled", reason="out_of_dough"))
        await shop.service.recovery.claim_once()
        await shop.service.recovery.drain()
        assert (await shop.order(order_id))["reason"] == "no_courier"
        assert await shop.events(order_id) == [CONFIRMED, "order.cancelled.v1"]


async def test_a_delivery_does_not_move_an_order_that_is_cancelled(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    await tell(food_shop, delivery(order_id, "failed", 3))
    await tell(food_shop, *course(order_id))
    await food_shop.until(order_id, "cancelled")
    await tell(food_shop, *course(order_id))
    assert (await food_shop.order(order_id))["state"] == "cancelled"
    assert await food_shop.events(order_id) == [CONFIRMED, "order.cancelled.v1"]


async def test_events_of_unknown_orders_change_nothing(food_shop: Shop) -> None:
    await tell(food_shop, *course(str(new_id())), ticket(str(new_id()), "cancelled"))
    assert await food_shop.sql("SELECT FROM order_transitions") == []


async def test_an_order_waits_for_staff_that_accepts_by_hand(start_food: Start, food: ScriptedFood) -> None:
    """It is not asked again before the kitchen's event, which wakes it at once."""
    food.manual = True
    async with start_food(retry_first_s=60.0, retry_max_s=60.0) as shop:
        answer = await shop.place_food()
        assert (answer.status_code, answer.json()["state"]) == (202, "pending")
        order_id = answer.json()["id"]
        assert (await shop.event(order_id, "order.pending.v1"))["reason"] == "waiting_for_restaurant"
        await tell(shop, ticket(order_id, "waiting", 1))
        assert food.calls_of(ACCEPT) == 1
        food.tickets[order_id] = "accepted"
        await tell(shop, ticket(order_id, "accepted"))
        await shop.until(order_id, "confirmed")
        assert food.calls_of(ACCEPT) == 2
        assert shop.services.captures[order_id] == 1


async def test_staff_that_refuses_rejects_the_order_without_a_charge(start_food: Start, food: ScriptedFood) -> None:
    food.manual = True
    async with start_food(retry_first_s=60.0, retry_max_s=60.0) as shop:
        order_id = (await shop.place_food(key="once")).json()["id"]
        food.tickets[order_id] = "rejected"
        await tell(shop, ticket(order_id, "rejected", reason="refused_by_restaurant"))
        assert (await shop.until(order_id, "rejected"))["reason"] == "refused_by_restaurant"
        assert shop.services.calls_of(CHARGE) == 0
        assert (await shop.event(order_id, "order.rejected.v1"))["late"] is True
        again = await shop.place_food(key="once")
        assert (again.status_code, again.json()["code"]) == (409, "refused_by_restaurant")


async def test_a_decision_during_an_attempt_wakes_the_saga_after_it(
    start_food: Start, food: ScriptedFood, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The attempt was told that the staff has not decided; its pause would be a minute."""
    food.manual = True
    food.gates[ACCEPT] = asyncio.Event()
    accept = food.accept

    def undecided_once(item: Result) -> Result:
        told = accept(item)
        food.tickets[item["order_id"]] = "accepted"
        return told

    monkeypatch.setattr(food, "accept", undecided_once)
    async with start_food(retry_first_s=60.0, retry_max_s=60.0) as shop:
        placing = asyncio.create_task(shop.place_food())
        await wait_until(lambda: food.calls_of(ACCEPT), what="the call")
        order_id = food.calls[-1][1]
        await tell(shop, ticket(order_id, "accepted"))
        assert len(await shop.sql("SELECT FROM food_orders WHERE unsettled")) == 1
        food.gates.pop(ACCEPT).set()
        assert (await placing).status_code == 202
        await shop.until(order_id, "confirmed")


async def test_a_decision_wakes_a_saga_once_whatever_else_it_waits_for(start_food: Start, food: ScriptedFood) -> None:
    """The pause between attempts is for a participant that is away, here payment."""
    async with start_food(retry_first_s=60.0, retry_max_s=60.0, recovery=False) as shop:
        shop.services.faults[CHARGE].extend(["503"] * 3)
        order_id = (await shop.place_food()).json()["id"]
        await tell(shop, ticket(order_id, "accepted"))
        assert await shop.service.recovery.claim_once() == 1
        await shop.service.recovery.drain()
        handlers = shop.service.food_events
        assert handlers is not None
        assert await handlers.settle_once() == 0
        assert await shop.service.recovery.claim_once() == 0


async def test_two_batches_with_the_same_orders_do_not_wait_for_each_other(
    food_shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each batch ends the order that the other one moves, and is held between the two."""
    one, other = sorted([await confirmed(food_shop), await confirmed(food_shop)])
    end = food_repository.end
    ended: list[UUID] = []

    async def held_or_waiting() -> bool:
        return len(ended) == 2 or bool(await food_shop.sql("SELECT FROM pg_locks WHERE NOT granted"))

    async def end_and_wait(*arguments: Any) -> None:
        await end(*arguments)
        ended.append(arguments[1])
        await wait_until(held_or_waiting, what="the other batch")

    monkeypatch.setattr(food_repository, "end", end_and_wait)
    await asyncio.gather(
        tell(food_shop, delivery(one, "failed", 3), delivery(other, "picked_up", 3)),
        tell(food_shop, delivery(other, "failed", 4), delivery(one, "picked_up", 4)),
    )
    states = {(await food_shop.order(order_id))["state"] for order_id in (one, other)}
    assert states <= {"fulfilled", "confirmed", "cancelled"}


async def test_staff_that_never_decides_ends_in_a_rejection(start_food: Start, food: ScriptedFood) -> None:
    food.manual = True
    async with start_food(food_deadline_s=0.1) as shop:
        order_id = (await shop.place_food()).json()["id"]
        assert (await shop.until(order_id, "rejected"))["reason"] == "deadline_exceeded"
        food.assert_nothing_left(order_id)
        assert shop.services.calls_of(CHARGE) == 0


def test_an_order_outlasts_the_time_that_any_restaurant_has_for_accepting() -> None:
    assert Settings.model_fields["food_deadline_s"].default > MAX_ACCEPTANCE_S


async def test_the_deadline_of_food_is_not_that_of_retail(start_food: Start) -> None:
    async with start_food(food_deadline_s=100.0, saga_deadline_s=1_000.0) as shop:
        for place, seconds in ((shop.place, 1_000), (shop.place_food, 100)):
            order_id = (await place()).json()["id"]
            (row,) = await shop.sql(
                "SELECT extract(epoch FROM deadline_at - created_at)::float8 AS s FROM sagas WHERE order_id = $1",
                UUID(order_id),
            )
            assert row["s"] == pytest.approx(seconds)


async def test_events_arrive_from_the_broker(food_shop: Shop) -> None:
    order_id = await confirmed(food_shop)
    bus: Bus = food_shop.app.state.context.bus
    told = [*course(order_id), ticket(order_id, "picked_up", 5)]
    for noun in ("delivery", "restaurant"):
        await bus.ensure_stream(noun)
    for event in (*told, *told):
        row = events.row(event)
        await (await bus.publish(row.type, row.payload.encode(), str(new_id())))
    await food_shop.until(order_id, "delivered")

    async def told_about() -> bool:
        order = await food_shop.order(order_id)
        return bool(order["restaurant"]["state"] == "picked_up")

    await wait_until(told_about, what="the ticket's state")
