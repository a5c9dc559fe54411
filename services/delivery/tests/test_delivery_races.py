"""Orders that race for couriers, from several processes' connections at once."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator

import pytest

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, delivery_app, home
from shop.contracts.events import TicketState
from shop.delivery.planning import MAX_IN_LINE_PER_COURIER
from shop.delivery.settings import Settings
from shop.devkit.testing import Running
from shop.kit.ids import new_id

COURIERS = 10
ORDERS = 100
ROUNDS = 2
HELD = "SELECT courier_id, count(*) FROM deliveries WHERE state = 'held' AND courier_id IS NOT NULL GROUP BY courier_id"


@pytest.fixture
async def replicas(
    settings: Settings, service: RunningService, running: Running
) -> AsyncIterator[tuple[RunningService, RunningService]]:
    """Two applications with pools and locks of their own on one database."""
    app = delivery_app(settings, service.clock)
    async with running(app) as client:
        yield service, RunningService(client, app, service.database, service.tokens, service.clock)


async def test_a_hundred_orders_race_for_ten_couriers(replicas: tuple[RunningService, RunningService]) -> None:
    first, _ = replicas
    for number in range(COURIERS):
        await first.courier(at=corner(number * 40))
    for _ in range(ROUNDS):
        orders = [Order(address=home(number), pickup=corner(number * 4)) for number in range(ORDERS)]
        results = await asyncio.gather(*(replicas[number % 2].reserve(order) for number, order in enumerate(orders)))
        answers = Counter(result["status"] for [result] in results)
        places = COURIERS + MAX_IN_LINE_PER_COURIER * COURIERS
        assert answers == {"reserved": places, "rejected": ORDERS - places}
        held = await first.database.fetch(HELD)
        assert sorted(row["count"] for row in held) == [1] * COURIERS
        await first.assert_sound()
        await first.release(*orders)


async def test_orders_of_one_restaurant_never_exceed_a_vehicle(
    replicas: tuple[RunningService, RunningService],
) -> None:
    """All go the same way, so every courier is filled up."""
    first, _ = replicas
    for number in range(COURIERS):
        await first.courier("car" if number % 2 else "bike", at=corner(number))
    restaurant = new_id()
    orders = [Order(restaurant_id=restaurant) for _ in range(ORDERS)]
    await asyncio.gather(*(replicas[number % 2].reserve(order) for number, order in enumerate(orders)))
    rows = await first.database.fetch("SELECT capacity, load FROM couriers")
    assert all(row["load"] == row["capacity"] for row in rows)
    await first.assert_sound()


async def test_one_order_is_reserved_once_by_two_replicas(
    replicas: tuple[RunningService, RunningService],
) -> None:
    first, second = replicas
    for number in range(3):
        await first.courier(at=corner(number))
    order = Order()
    answers = await asyncio.gather(*(one.reserve(order) for one in (first, second) * 10))
    assert all(answer == answers[0] for answer in answers)
    assert await first.database.fetchval("SELECT sum(load) FROM couriers") == 1
    await first.assert_sound()


async def test_no_order_waits_while_couriers_become_free(
    replicas: tuple[RunningService, RunningService],
) -> None:
    """A release and a reservation at the same moment: either sees the other."""
    first, second = replicas
    for number in range(COURIERS):
        await first.courier(at=corner(number * 40))
    for round_ in range(3):
        old = [Order(address=home(number)) for number in range(COURIERS)]
        for order in old:
            await first.reserve(order)
        new = [Order(address=home(number)) for number in range(COURIERS)]
        await asyncio.gather(*(first.release(order) for order in old), *(second.reserve(order) for order in new))
        held = await first.database.fetchval("SELECT count(courier_id) FROM deliveries WHERE state = 'held'")
        assert held == COURIERS, f"round {round_}"
        await first.release(*new)
        await first.assert_sound()


async def test_couriers_shifts_and_steps_race(replicas: tuple[RunningService, RunningService]) -> None:
    """Two tabs of each courier press the same buttons; nobody is left with half a change."""
    first, second = replicas
    riders = [await first.courier(at=corner(number * 40)) for number in range(4)]
    mirrored = [Rider(rider.user, rider.headers, second) for rider in riders]
    orders = [await first.live(Order(address=home(number))) for number in range(4)]
    for order in orders:
        await first.kitchen(order, TicketState.READY)
    for action in ("arrive", "pick-up", "depart"):
        answers = await asyncio.gather(
            *(rider.does(order.id, action) for rider in (*riders, *mirrored) for order in orders)
        )
        assert Counter(answer.status_code for answer in answers) == {200: 8, 404: 24}
    codes = {order.id: await first.code(order) for order in orders}
    await asyncio.gather(
        *(rider.does(order.id, "deliver", codes[order.id]) for rider in (*riders, *mirrored) for order in orders),
        *(rider.shift(False) for rider in mirrored),
    )
    assert {(await first.delivery(order))["state"] for order in orders} == {"delivered"}
    await first.assert_sound()
