"""Tickets: priced once, never more than the kitchen holds, and every state reached and published once."""

from __future__ import annotations

import asyncio
from collections import Counter
from datetime import UTC, datetime, timedelta

from services.restaurant.tests.conftest import Start
from services.restaurant.tests.restaurant_service import NOON, Kitchen, RunningService, euros
from shop.devkit.testing import wait_until
from shop.kit.clock import FixedClock
from shop.kit.ids import new_id
from shop.kit.retention import Retention
from shop.restaurant import retention_repository

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
COLUMNS = "restaurant_id, user_id, lines, currency, state, ready_at, created_at, updated_at"
COPY = f"INSERT INTO tickets (order_id, {COLUMNS}) SELECT gen_random_uuid(), {COLUMNS} FROM tickets"
"""Takes as many places as are taken already."""


async def test_a_ticket_has_the_prices_of_its_choices(kitchen: Kitchen) -> None:
    lines = [kitchen.line("Pizza", 2, ["olives", "large"]), kitchen.line("Beer")]
    answer = await kitchen.accept(lines=lines)
    assert answer["status"] == "accepted"
    pizza, beer = answer["lines"]
    assert (pizza["name"], pizza["unit_price"], pizza["quantity"]) == ("Pizza (large, olives)", euros(1_300), 2)
    assert (beer["name"], beer["unit_price"], beer["category"]) == ("Beer", euros(400), "alcohol")
    assert answer["minimum_order"] == euros(1_000)
    assert answer["ready_at"] == (NOON + timedelta(seconds=600)).isoformat().replace("+00:00", "Z")
    await kitchen.assert_load()


async def test_a_repeated_order_gets_the_first_answer_whatever_the_menu_says_now(
    kitchen: Kitchen, service: RunningService
) -> None:
    order = new_id()
    first = await kitchen.accept(order)
    service.clock.advance(60)
    for answer in await asyncio.gather(*(kitchen.accept(order) for _ in range(10))):
        assert answer == first
    assert (await kitchen.detail())["orders_in_work"] == 1
    assert await service.published(order) == [("accepted", 1, None)]


async def test_fifty_orders_for_the_last_place(start: Start, service: RunningService) -> None:
    """Through two processes, so that the row lock and not a process' own queue decides."""
    kitchen = await service.restaurant(kitchen_capacity=3)
    for _ in range(2):
        await kitchen.accept()
    async with start(url=service.context.settings.database_url) as other:
        requests = [(service, other)[number % 2].accept(kitchen.request()) for number in range(50)]
        answers = [answer for [answer] in await asyncio.gather(*requests)]
    assert Counter((answer["status"], answer.get("code")) for answer in answers) == {
        ("accepted", None): 1,
        ("rejected", "kitchen_full"): 49,
    }
    assert (await kitchen.detail())["orders_in_work"] == 3
    await kitchen.assert_load()


async def test_an_order_sees_what_the_one_before_it_left(service: RunningService) -> None:
    """It waits for the restaurant's row, and counts the place that was taken meanwhile."""
    kitchen = await service.restaurant(kitchen_capacity=2)
    await kitchen.accept()
    async with service.database.transaction() as before:
        await before.execute("SELECT FROM restaurants WHERE id = $1 FOR UPDATE", kitchen.id)
        asked = asyncio.create_task(kitchen.accept())
        await wait_until(lambda: service.database.fetchval(WAITING), what="the order to wait")
        await before.execute(COPY)
    assert (await asked)["code"] == "kitchen_full"
    await kitchen.assert_load()


async def test_the_same_order_through_two_processes_is_one_ticket(start: Start, service: RunningService) -> None:
    kitchen = await service.restaurant()
    request = kitchen.request()
    async with start(url=service.context.settings.database_url) as other:
        asked = [(service, other)[number % 2].accept(request) for number in range(20)]
        answers = [answer for [answer] in await asyncio.gather(*asked)]
    assert all(answer == answers[0] for answer in answers)
    assert (await kitchen.detail())["orders_in_work"] == 1


async def test_preparation_takes_longer_with_each_order_in_work(kitchen: Kitchen, service: RunningService) -> None:
    requests = [kitchen.request() for _ in range(10)]
    answers = await service.accept(*requests)
    ready = [(answer["ready_at"]) for answer in answers]
    wanted = [NOON + timedelta(seconds=600 + 60 * before) for before in range(10)]
    assert ready == [at.isoformat().replace("+00:00", "Z") for at in wanted]


async def test_a_release_frees_the_place_once_and_is_published_once(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    await kitchen.accept(order)
    await asyncio.gather(*(service.release(order) for _ in range(5)))
    assert (await kitchen.detail())["orders_in_work"] == 0
    assert await service.published(order) == [("accepted", 1, None), ("cancelled", 2, "released")]
    assert (await kitchen.accept(order))["code"] == "released"
    await kitchen.assert_load()


async def test_an_order_after_its_release_is_refused(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    await service.release(order)
    answer = await kitchen.accept(order)
    assert (answer["status"], answer["code"]) == ("rejected", "released")
    assert (await kitchen.detail())["orders_in_work"] == 0
    assert await service.published(order) == []


async def test_racing_orders_and_releases_leave_no_load(service: RunningService) -> None:
    kitchens = [await service.restaurant(kitchen_capacity=100), await service.restaurant(kitchen_capacity=100)]
    orders = [new_id() for _ in range(40)]
    await asyncio.gather(
        *(kitchens[number % 2].accept(order) for number, order in enumerate(orders)),
        *(service.release(*orders[at : at + 5]) for at in range(0, 40, 5)),
    )
    await service.release(*orders)
    for kitchen in kitchens:
        assert (await kitchen.detail())["orders_in_work"] == 0
        await kitchen.assert_load()


async def test_a_confirmed_order_is_prepared_and_picked_up(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    await kitchen.accept(order)
    assert await kitchen.tickets() == []
    refused = await kitchen.act(order, "begin")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_paid")
    await service.confirm(order)
    assert [(one["order_id"], one["paid"], one["note"]) for one in await kitchen.tickets()] == [
        (str(order), True, "no cutlery")
    ]
    for action, state in (("begin", "preparing"), ("begin", "preparing"), ("ready", "ready")):
        answer = await kitchen.act(order, action)
        assert (answer.status_code, answer.json()["state"]) == (200, state)
    assert (await kitchen.detail())["orders_in_work"] == 0
    late = await kitchen.act(order, "accept")
    assert (late.status_code, late.json()["code"], late.json()["state"]) == (409, "illegal_transition", "ready")


async def test_how_a_ticket_went_is_removed_a_while_after_its_end(kitchen: Kitchen, service: RunningService) -> None:
    ended, in_work = new_id(), new_id()
    for order in (ended, in_work):
        await kitchen.accept(order)
    await service.release(ended)
    later = FixedClock(datetime.now(UTC) + timedelta(days=91))
    for keep, left in ((92, {ended, in_work}), (90, {in_work})):
        await Retention(service.database, later, [retention_repository.rule(timedelta(days=keep))]).remove_once()
        rows = await service.database.fetch("SELECT DISTINCT order_id FROM ticket_transitions")
        assert {row["order_id"] for row in rows} == left
    assert await service.state(ended) == "cancelled"


async def test_a_kitchen_that_loses_places_keeps_its_orders(kitchen: Kitchen, service: RunningService) -> None:
    order = new_id()
    for one in (order, new_id(), new_id()):
        await kitchen.accept(one)
    await kitchen.change(kitchen_capacity=1)
    assert (await kitchen.accept())["code"] == "kitchen_full"
    await service.release(order)
    assert (await kitchen.detail())["orders_in_work"] == 2


async def test_the_clock_moves_a_kitchen_without_staff(service: RunningService) -> None:
    kitchen = await service.restaurant(auto_progress=True)
    order = await kitchen.paid()
    await wait_until(lambda: _is(service, order, "preparing"))
    service.clock.advance(601)
    await wait_until(lambda: _is(service, order, "ready"))
    assert [state for state, _, _ in await service.published(order)] == ["accepted", "preparing", "ready"]


async def test_two_services_move_each_due_ticket_once(start: Start, service: RunningService) -> None:
    kitchen = await service.restaurant(auto_progress=True, kitchen_capacity=100)
    orders = [new_id() for _ in range(40)]
    await service.accept(*(kitchen.request(order) for order in orders))
    async with start(url=service.context.settings.database_url) as other:
        other.clock.at = service.clock.at = NOON + timedelta(hours=1)
        await service.confirm(*orders)
        for order in orders:
            await wait_until(lambda order=order: _is(service, order, "ready"))  # type: ignore[misc]
    for order in orders:
        assert [(state, version) for state, version, _ in await service.published(order)] == [
            ("accepted", 1),
            ("preparing", 2),
            ("ready", 3),
        ]


async def _is(service: RunningService, order_id: object, state: str) -> bool:
    return bool(await service.database.fetchval("SELECT state FROM tickets WHERE order_id = $1", order_id) == state)
