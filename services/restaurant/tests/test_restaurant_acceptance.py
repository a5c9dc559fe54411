"""Acceptance by hand and by the clock: deadlines, closing time, and orders that are withdrawn."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import timedelta

from services.restaurant.tests.restaurant_service import NOON, Kitchen, RunningService
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

EVENING = {"weekly": [{"day": "friday", "opens": "11:00", "closes": "13:00"}]}


async def by_hand(service: RunningService, **changed: object) -> Kitchen:
    return await service.restaurant(**{"acceptance": "manual", "acceptance_deadline_s": 120} | changed)


async def test_an_order_waits_for_the_staff(service: RunningService) -> None:
    kitchen, order = await by_hand(service), new_id()
    waiting = await kitchen.accept(order)
    assert (waiting["status"], waiting["until"]) == ("waiting", "2026-06-05T12:02:00Z")
    assert await kitchen.accept(order) == waiting
    [ticket] = await kitchen.tickets()
    assert (ticket["state"], ticket["paid"], ticket["until"]) == ("waiting", False, waiting["until"])
    service.clock.advance(60)
    assert (await kitchen.act(order, "accept")).json()["state"] == "accepted"
    assert (await kitchen.act(order, "accept")).json()["version"] == 2
    accepted = await kitchen.accept(order)
    assert (accepted["status"], accepted["ready_at"]) == ("accepted", "2026-06-05T12:11:00Z")
    assert await service.published(order) == [("waiting", 1, None), ("accepted", 2, None)]
    assert await kitchen.tickets() == [], "the kitchen sees it again when it is paid"


async def test_the_staff_refuses_an_order(service: RunningService) -> None:
    kitchen, order = await by_hand(service), new_id()
    await kitchen.accept(order)
    assert (await kitchen.act(order, "reject")).json()["state"] == "rejected"
    answer = await kitchen.accept(order)
    assert (answer["status"], answer["code"]) == ("rejected", "refused_by_restaurant")
    assert await service.published(order) == [("waiting", 1, None), ("rejected", 2, "refused_by_restaurant")]
    await kitchen.assert_load()


async def test_an_order_that_is_not_accepted_is_refused_in_time(service: RunningService) -> None:
    kitchen, order = await by_hand(service), new_id()
    await kitchen.accept(order)
    service.clock.advance(120)
    late = await kitchen.act(order, "accept")
    assert late.json()["code"] in {"not_accepted_in_time", "illegal_transition"}
    await wait_until(lambda: _ended(service, order), what="the deadline")
    assert await service.published(order) == [("waiting", 1, None), ("rejected", 2, "not_accepted_in_time")]
    assert (await kitchen.accept(order))["code"] == "not_accepted_in_time"
    assert (await kitchen.detail())["orders_in_work"] == 0


async def test_the_staff_and_the_deadline_race_and_one_of_them_decides(service: RunningService) -> None:
    kitchen = await by_hand(service, kitchen_capacity=100)
    orders = [new_id() for _ in range(30)]
    await service.accept(*(kitchen.request(order) for order in orders))
    service.clock.at = NOON + timedelta(seconds=119.99)
    accepting = [asyncio.create_task(kitchen.act(order, "accept")) for order in orders]
    await asyncio.wait(accepting[:5])
    service.clock.advance(1)
    answers = await asyncio.gather(*accepting)
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 0 FROM tickets WHERE state = 'waiting'"))
    states = Counter([await service.state(order) for order in orders])
    assert states["accepted"] == sum(answer.status_code == 200 for answer in answers) >= 5
    assert states["accepted"] + states["rejected"] == len(orders)
    for order in orders:
        assert [version for _, version, _ in await service.published(order)] == [1, 2]
    await kitchen.assert_load()


async def test_the_deadline_leaves_time_to_cook_before_closing(service: RunningService) -> None:
    kitchen = await by_hand(service, hours=EVENING, acceptance_deadline_s=480)
    service.clock.at = NOON + timedelta(minutes=45)
    waiting = await kitchen.accept()
    assert waiting["until"] == "2026-06-05T12:50:00Z", "ten minutes before closing"


async def test_what_the_staff_accepts_is_ready_before_closing(service: RunningService) -> None:
    kitchen, order = await by_hand(service, hours=EVENING, acceptance_deadline_s=480), new_id()
    service.clock.at = NOON + timedelta(minutes=44)
    await kitchen.accept(order)
    for _ in range(5):
        await kitchen.accept(other := new_id())
        assert (await kitchen.act(other, "accept")).status_code == 200, "else its deadline comes before 12:48"
    service.clock.at = NOON + timedelta(minutes=48)
    assert (await kitchen.act(order, "accept")).json()["ready_at"] == "2026-06-05T13:00:00Z"


async def test_an_order_never_slides_to_the_next_opening(service: RunningService) -> None:
    kitchen, order = await service.restaurant(hours=EVENING), new_id()
    await kitchen.accept(order)
    service.clock.at = NOON + timedelta(hours=1)
    await wait_until(lambda: _ended(service, order), what="closing time")
    assert (await kitchen.accept(order))["code"] == "restaurant_closed"
    assert await service.published(order) == [("accepted", 1, None), ("cancelled", 2, "restaurant_closed")]
    assert (await kitchen.detail())["orders_in_work"] == 0


async def test_an_order_that_is_confirmed_after_its_end_is_published_again(service: RunningService) -> None:
    """Its payment was under way when the restaurant closed: the order has to be refunded."""
    kitchen, order = await service.restaurant(hours=EVENING), new_id()
    await kitchen.accept(order)
    service.clock.at = NOON + timedelta(hours=1)
    await wait_until(lambda: _ended(service, order))
    for _ in range(2):
        await service.confirm(order)
    assert await service.published(order) == [
        ("accepted", 1, None),
        ("cancelled", 2, "restaurant_closed"),
        ("cancelled", 3, "restaurant_closed"),
    ]


async def test_a_paid_order_is_prepared_after_closing(service: RunningService) -> None:
    kitchen = await service.restaurant(hours=EVENING)
    order = await kitchen.paid()
    service.clock.at = NOON + timedelta(hours=1)
    assert (await kitchen.act(order, "begin")).json()["state"] == "preparing"
    assert (await kitchen.act(order, "ready")).json()["state"] == "ready"


async def test_a_withdrawal_is_free_until_the_kitchen_has_begun(kitchen: Kitchen, service: RunningService) -> None:
    orders = [await kitchen.paid() for _ in range(4)]
    assert await service.withdraw(orders[0]) == "withdrawn"
    for order in orders[1:]:
        await kitchen.act(order, "begin")
    assert [await service.withdraw(orders[1]), await service.withdraw(orders[0])] == ["begun", "withdrawn"]
    assert await service.withdraw(orders[2], even_if_begun=True) == "withdrawn"
    assert [await service.state(order) for order in orders] == ["cancelled", "preparing", "cancelled", "preparing"]
    assert (await service.published(orders[2]))[-1] == ("cancelled", 3, "withdrawn")
    assert (await kitchen.detail())["orders_in_work"] == 2
    await kitchen.act(orders[3], "ready")
    assert await service.withdraw(orders[3]) == "begun"


async def test_a_withdrawn_order_cannot_come_any_more(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    assert await service.withdraw(order) == "withdrawn"
    assert (await kitchen.accept(order))["code"] == "released"


async def test_withdrawals_and_beginnings_race_and_agree(service: RunningService) -> None:
    """The answer of each is what became of the ticket: no kitchen prepares what was cancelled for free."""
    kitchen = await service.restaurant(kitchen_capacity=100)
    orders = [new_id() for _ in range(40)]
    await service.accept(*(kitchen.request(order) for order in orders))
    await service.confirm(*orders)
    begun, withdrawn = await asyncio.gather(
        asyncio.gather(*(kitchen.act(order, "begin") for order in orders)),
        asyncio.gather(*(service.withdraw(order) for order in reversed(orders))),
    )
    for order, answer, status in zip(orders, begun, reversed(withdrawn), strict=True):
        state = await service.state(order)
        assert (answer.status_code, status) == ((200, "begun") if state == "preparing" else (409, "withdrawn"))
        assert [version for _, version, _ in await service.published(order)] == [1, 2]
    await kitchen.assert_load()


async def test_the_restaurant_cancels_an_order(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    await kitchen.act(order, "begin")
    assert (await kitchen.act(order, "cancel")).json()["state"] == "cancelled"
    assert (await service.published(order))[-1] == ("cancelled", 3, "cancelled_by_restaurant")
    assert (await kitchen.accept(order))["code"] == "refused_by_restaurant"


async def test_the_clock_moves_orders_in_work_only_while_it_is_asked_to(
    kitchen: Kitchen, service: RunningService
) -> None:
    order, other = await kitchen.paid(), await kitchen.paid()
    await kitchen.act(order, "begin")
    await kitchen.change(auto_progress=True)
    await wait_until(lambda: _state(service, other, "preparing"))
    await kitchen.change(auto_progress=False)
    service.clock.advance(3_600)
    third = await kitchen.paid()
    await kitchen.change(auto_progress=True)
    await wait_until(lambda: _state(service, third, "preparing"))
    await wait_until(lambda: _state(service, order, "ready"))
    await wait_until(lambda: _state(service, other, "ready"))


async def _state(service: RunningService, order_id: object, state: str) -> bool:
    return bool(await service.database.fetchval("SELECT state FROM tickets WHERE order_id = $1", order_id) == state)


async def _ended(service: RunningService, order_id: object) -> bool:
    ended = "SELECT state IN ('rejected', 'cancelled') FROM tickets WHERE order_id = $1"
    return bool(await service.database.fetchval(ended, order_id))
