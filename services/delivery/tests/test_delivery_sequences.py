"""Couriers come, go, reject and get lost; orders come, are paid and cancelled: the invariants hold after each step."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from uuid import UUID

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, home
from shop.delivery import courier_repository, repository
from shop.delivery.planning import Fleet
from shop.kit.db import Record
from shop.kit.ids import new_id
from shop.town import town

REACH_M = 5_000
FIX_MAX_AGE_S = 60
MARGIN_S = 300
REGROUP_S = 2
VEHICLES = ("bike", "cargo_bike", "scooter", "car")
MAX_STEPS = 20
MAX_NUMBER = 30
LATEST_READY_S = 600
TAKEN_UP_AT_ONCE = ("order", "pay", "cancel", "arrive", "pick-up", "depart", "deliver", "reject", "drop")
"""Steps after which the line is taken up without waiting for the loop."""
EXAMPLES = 4
"""Besides those that are always tried."""
CARRIED = """
SELECT order_id, courier_id, state, code FROM deliveries
WHERE state IN ('assigned', 'at_restaurant', 'picked_up', 'on_the_way')"""
LINE = "SELECT order_id FROM deliveries WHERE courier_id IS NULL AND state IN ('held', 'waiting') ORDER BY ready_at"
LEFT = {"assigned": 0, "at_restaurant": 1, "picked_up": 2, "on_the_way": 3}
"""Steps that are done in each state."""
TABLES = ("delivery_refusals", "delivery_transitions", "deliveries", "courier_positions", "couriers", "outbox")
READY = "UPDATE deliveries SET kitchen = 'ready' WHERE order_id = $1"
RESTAURANTS = [(new_id(), corner(number)) for number in (0, 200)]

number = st.integers(0, MAX_NUMBER)
step = st.one_of(
    st.tuples(st.just("come"), number),
    st.tuples(st.sampled_from(["go", "fix"]), number),
    st.tuples(st.just("order"), number),
    st.tuples(st.sampled_from(["pay", "cancel", "ready"]), number),
    st.tuples(st.sampled_from(["arrive", "pick-up", "depart", "deliver", "reject", "drop"]), number),
    st.tuples(st.just("wait"), st.sampled_from([5, 40, 130, 700])),
)


class World:
    """What a sequence has made so far."""

    def __init__(self, service: RunningService) -> None:
        self.service = service
        self.riders: list[Rider] = []
        self.orders: list[Order] = []
        self.versions: dict[UUID, int] = {}

    async def do(self, name: str, number: int) -> bool:
        """False when there is nothing that the step could be done with."""
        if name == "wait":
            self.service.clock.advance(number)
        elif name == "order":
            restaurant, pickup = RESTAURANTS[number % 2]
            order = Order(
                restaurant_id=restaurant,
                pickup=pickup,
                address=home(number),
                ready_in_s=number * LATEST_READY_S / MAX_NUMBER,
            )
            [result] = await self.service.reserve(order)
            if result["status"] == "reserved":
                self.orders.append(order)
        elif name == "come":
            await self.come(number)
        elif name in ("go", "fix"):
            return await self.with_rider(name, number)
        elif not self.orders:
            return False
        else:
            return await self.with_order(name, self.orders[number % len(self.orders)])
        return True

    async def come(self, number: int) -> None:
        if len(self.riders) < 4:
            self.riders.append(await self.service.courier(VEHICLES[number % 4], corner(number * 14)))
        else:
            await self.riders[number % 4].shift()

    async def with_rider(self, name: str, number: int) -> bool:
        if not self.riders:
            return False
        rider = self.riders[number % len(self.riders)]
        if name == "go":
            await rider.shift(False)
        else:
            self.service.clock.advance(1)
            await rider.at(corner(number * 14))
        return True

    async def with_order(self, name: str, order: Order) -> bool:
        if name == "pay":
            await self.service.assign(order)
        elif name == "cancel":
            await self.service.release(order)
        elif name == "ready":
            await self.service.database.execute(READY, order.id)
        else:
            row = await self.service.row(order)
            rider = next((one for one in self.riders if one.id == row["courier_id"]), None)
            if rider is None:
                return False
            answer = await rider.does(order.id, name, row["code"] if name == "deliver" else None)
            assert answer.status_code in (200, 404, 409), answer.text
        return True

    async def bring(self, row: Record) -> None:
        """All steps that are left of a delivery."""
        rider = next(one for one in self.riders if one.id == row["courier_id"])
        await self.service.database.execute(READY, row["order_id"])
        for action in ("arrive", "pick-up", "depart", "deliver")[LEFT[row["state"]] :]:
            answer = await rider.does(row["order_id"], action, row["code"] if action == "deliver" else None)
            assert answer.status_code == 200, answer.text

    async def check(self) -> None:
        """A pass of the loop when couriers who have left have done so, and then the invariants."""
        self.service.clock.advance(REGROUP_S)
        await self.service.check()
        await self.service.assert_sound()
        await self.assert_nobody_waits_for_nothing()
        rows = await self.service.database.fetch("SELECT order_id, version, eta, updated_at, state FROM deliveries")
        for row in rows:
            assert row["version"] >= self.versions.get(row["order_id"], 0)
            self.versions[row["order_id"]] = row["version"]
            if row["state"] not in ("released", "failed", "cancelled"):
                assert row["eta"] >= row["updated_at"], dict(row)

    async def assert_nobody_waits_for_nothing(self) -> None:
        """No delivery is in line that is due and that a courier could take now."""
        database, now = self.service.database, self.service.clock.now()
        ids = [row["order_id"] for row in await database.fetch(LINE)]
        line = [one for one in (await repository.by_ids(database, ids)).values() if one is not None]
        refused = await repository.refusals(database, [one.order_id for one in line])
        couriers = await courier_repository.ready(database, now - timedelta(seconds=FIX_MAX_AGE_S))
        carried = await repository.carried(database, [one.user_id for one in couriers])
        fleet = Fleet(town(), couriers, dict(carried), REACH_M, now, MARGIN_S)
        for one in line:
            assert fleet.best(one, refused.get(one.order_id, ())) is None, one


async def clean(service: RunningService) -> None:
    """Empty the service's tables."""
    await service.database.execute("; ".join(f"DELETE FROM {table}" for table in TABLES))


def sequence(text: str) -> list[tuple[str, int]]:
    """Steps from "come 0, order 2"."""
    pairs = (one.split() for one in text.split(", "))
    return [(name, int(number)) for name, number in pairs]


FULL_LINE = "come 0, order 0, pay 0, order 2, order 4, pay 1, pay 2, cancel 0, ready 1, arrive 1, pick-up 1, reject 1"
FINISHED = "come 0, order 0, pay 0, order 3, pay 1, ready 0, arrive 0, pick-up 0, depart 0, deliver 0, arrive 1, drop 1"
CANCELLED = "come 0, order 0, order 3, pay 0, pay 1, cancel 0, reject 1"
SHIFTS = "come 0, order 0, order 3, pay 0, go 0, come 5, wait 130, fix 1, order 6, pay 1, go 1, come 3, wait 700"
SHARED = "come 1, order 0, order 0, order 0, order 0, order 0, pay 0, pay 1, pay 2, come 4, reject 1, cancel 0"


@example(steps=sequence(FULL_LINE))
@example(steps=sequence(FINISHED))
@example(steps=sequence(CANCELLED))
@example(steps=sequence(SHIFTS))
@example(steps=sequence(SHARED))
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=st.lists(step, min_size=5, max_size=MAX_STEPS))
async def test_any_sequence_keeps_the_invariants(service: RunningService, steps: list[tuple[str, int]]) -> None:
    await clean(service)
    world = World(service)
    for name, number in steps:
        if await world.do(name, number):
            if name in TAKEN_UP_AT_ONCE:
                await world.assert_nobody_waits_for_nothing()
            await world.check()
    await finish(world)


async def finish(world: World) -> None:
    """Once enough couriers are there, every paid order is delivered, and nobody has anything left."""
    service = world.service
    if world.orders:
        await service.assign(*world.orders)
    world.riders.append(await service.courier("car", corner(0), "Helper"))
    service.clock.advance(LATEST_READY_S - MARGIN_S)  # from now on every order is due
    for _ in range(len(world.orders) + 1):
        service.clock.advance(REGROUP_S)
        await asyncio.gather(*(rider.at(corner(0)) for rider in world.riders))
        await service.check()
        for row in await service.database.fetch(CARRIED):
            await world.bring(row)
    states = {str(row["state"]) for row in await service.database.fetch("SELECT state FROM deliveries")}
    assert states <= {"delivered", "cancelled", "failed", "released"}
    await service.assert_sound()
    assert await service.database.fetchval("SELECT coalesce(sum(load), 0) FROM couriers") == 0
