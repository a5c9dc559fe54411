"""What keeps deliveries right when several things happen at once, and who may see or do what."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from services.delivery.tests.delivery_service import Order, Rider, RunningService, corner, home
from shop.contracts.events import TicketChanged, TicketState
from shop.delivery import consumers, dispatch, repository
from shop.delivery.domain import MAX_WRONG_CODES
from shop.devkit.testing import wait_until
from shop.kit.events import Received
from shop.kit.ids import new_id

WAITING = """
SELECT count(*) FROM pg_stat_activity
WHERE wait_event_type = 'Lock' AND wait_event = 'advisory' AND datname = current_database()"""
STEPS = ("arrive", "pick-up", "depart")


@pytest.fixture
async def rider(service: RunningService) -> Rider:
    return await service.courier(at=corner(1))


def ticket(order: Order, state: TicketState, version: int, service: RunningService) -> Received:
    now = service.clock.now()
    event = TicketChanged(
        order_id=order.id,
        user_id=order.user_id,
        restaurant_id=order.restaurant_id,
        restaurant_name="Luigi's",
        state=state,
        version=version,
        ready_at=now,
        occurred_at=now,
    )
    return Received(new_id(), event.TYPE, now, "", "", event)


async def consume(service: RunningService, *received: Received) -> None:
    """A batch of the stream ``restaurant``."""
    [consumer] = [one for one in consumers.consumers(service.app.state.service) if one.name == "tickets"]
    async with service.database.transaction() as connection:
        await consumer.handle(connection, received)


async def to_the_customer(service: RunningService, rider: Rider, order: Order) -> None:
    await consume(service, ticket(order, TicketState.READY, 9, service))
    for action in STEPS:
        assert (await rider.does(order.id, action)).status_code == 200


Change = Callable[[RunningService, Rider, Order], Awaitable[Any]]
CHANGES: dict[str, Change] = {
    "reserve": lambda service, rider, order: service.reserve(Order()),
    "assign": lambda service, rider, order: service.assign(order),
    "release": lambda service, rider, order: service.release(order),
    "step": lambda service, rider, order: rider.does(order.id, "arrive"),
    "shift": lambda service, rider, order: rider.shift(False),
    "courier": lambda service, rider, order: service.courier(),
    "check": lambda service, rider, order: service.check(),
    "ticket": lambda service, rider, order: consume(service, ticket(order, TicketState.READY, 9, service)),
}


@pytest.mark.parametrize("name", CHANGES)
async def test_every_change_waits_for_the_decision_before_it(service: RunningService, rider: Rider, name: str) -> None:
    order = await service.live()
    await service.live(Order(address=home(9)))  # in line, so that the check has something to decide
    async with service.database.transaction() as before:
        await repository.lock(before)
        changing = asyncio.ensure_future(CHANGES[name](service, rider, order))
        await wait_until(lambda: service.database.fetchval(WAITING), what=f"{name} to wait")
        assert not changing.done()
    await changing
    await service.assert_sound()


async def test_a_reservation_sees_what_the_decision_before_it_left(service: RunningService, rider: Rider) -> None:
    async with service.database.transaction() as before:
        await repository.lock(before)
        asked = asyncio.create_task(service.reserve(Order()))
        await wait_until(lambda: service.database.fetchval(WAITING), what="the reservation to wait")
        await before.execute("UPDATE couriers SET on_shift = false")
    assert (await asked)[0]["code"] == "no_courier"


async def test_a_ticket_s_event_does_not_undo_a_step_before_it(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    async with service.database.transaction() as before:
        await repository.lock(before)
        consuming = asyncio.create_task(consume(service, ticket(order, TicketState.READY, 9, service)))
        await wait_until(lambda: service.database.fetchval(WAITING), what="the event to wait")
        await before.execute("UPDATE deliveries SET wrong_codes = 3")
    await consuming
    row = await service.row(order)
    assert (row["kitchen"], row["wrong_codes"]) == ("ready", 3)


async def test_of_a_batch_of_tickets_the_newest_counts(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    versions = (3, TicketState.PREPARING), (4, TicketState.READY), (2, TicketState.ACCEPTED)
    await consume(service, *(ticket(order, state, version, service) for version, state in versions))
    assert (await service.row(order))["kitchen"] == "ready"


async def test_a_ticket_changes_nothing_of_a_delivery_that_has_ended(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await service.release(order)
    before = await service.row(order)
    await consume(service, ticket(order, TicketState.READY, 9, service), ticket(Order(), TicketState.READY, 9, service))
    assert await service.row(order) == before


async def test_a_held_order_is_no_courier_s_to_act_on(service: RunningService, rider: Rider) -> None:
    order = Order()
    await service.reserve(order)
    for action in ("arrive", "reject", "drop"):
        assert (await rider.does(order.id, action)).status_code == 404
    assert (await service.row(order))["courier_id"] == rider.id


async def test_of_two_couriers_one_finishes_an_order(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    second = await service.courier(at=corner(90))
    await rider.does(order.id, "drop")
    await to_the_customer(service, second, order)
    code = await service.code(order)
    answers = await asyncio.gather(*(one.does(order.id, "deliver", code) for one in (rider, second) * 3))
    assert [answer.status_code for answer in answers] == [404, 200] * 3
    delivered = "SELECT courier_id FROM delivery_transitions WHERE to_state = 'delivered'"
    assert [row["courier_id"] for row in await service.database.fetch(delivered)] == [second.id]
    await service.assert_sound()


async def test_wrong_codes_at_the_same_moment_are_each_counted(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await to_the_customer(service, rider, order)
    wrong = f"{(int(await service.code(order)) + 1) % 10_000:04}"
    answers = await asyncio.gather(*(rider.does(order.id, "deliver", wrong) for _ in range(MAX_WRONG_CODES * 3)))
    statuses = sorted(answer.status_code for answer in answers)
    assert statuses == [422] * MAX_WRONG_CODES + [429] * MAX_WRONG_CODES * 2


async def test_each_answer_of_a_batch_is_what_was_done(service: RunningService) -> None:
    """Not all done in the answer and one in the table."""
    for number in range(2):
        await service.courier(at=corner(number * 40))
    orders = [Order(address=home(number * 7)) for number in range(8)]
    reserved = await service.reserve(*orders)
    assert [one["order_id"] for one in reserved] == [str(order.id) for order in orders]
    assigned = await service.assign(*orders)
    for order, first, second in zip(orders, reserved, assigned, strict=True):
        state = await service.database.fetchval("SELECT state FROM deliveries WHERE order_id = $1", order.id)
        done = first["status"] == "reserved"
        assert (second["status"] == "assigned") is done
        assert state in {"assigned", "waiting"} if done else state is None
    assert {one["status"] for one in reserved} == {"reserved", "rejected"}
    await service.assert_sound()


async def test_nobody_no_position_and_busy_are_told_apart(service: RunningService) -> None:
    [nobody] = await service.reserve(Order())
    without_fix = await service.courier()
    await without_fix.shift()
    [no_position] = await service.reserve(Order())
    await service.courier(at=corner(1))
    busy = [(await service.reserve(Order(address=home(number))))[0] for number in range(4)][-1]
    answers = (nobody, no_position, busy)
    assert {answer["code"] for answer in answers} == {"no_courier"}
    assert len({answer["detail"] for answer in answers}) == len({str(answer["extra"]) for answer in answers}) == 3
    listed = await service.call("GET", "/api/v1/couriers", service.admin)
    assert sorted((one["fix"], one["on_shift"]) for one in listed["items"]) == [("fresh", True), ("none", True)]


async def test_a_larger_vehicle_takes_up_what_waits(service: RunningService, rider: Rider) -> None:
    restaurant = new_id()
    orders = [await service.live(Order(restaurant_id=restaurant)) for _ in range(3)]
    assert (await service.delivery(orders[2]))["state"] == "waiting"
    path = f"/api/v1/couriers/{rider.id}"
    await service.call("PUT", path, service.admin, {"name": "Ines", "vehicle": "cargo_bike"})
    assert len(await rider.jobs()) == 3


async def test_orders_behind_those_that_nobody_takes_are_taken_up(
    service: RunningService, rider: Rider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The checks look at a long line part by part, not always at its head."""
    monkeypatch.setattr(dispatch, "MAX_PLANNED", 2)
    await service.courier(at=corner(2))
    for order in [await service.live(Order(address=home(number))) for number in (1, 2)]:
        if await service.has_courier(order, rider):
            await service.release(order)
    refused = [Order(address=home(number)) for number in (3, 4)]
    for order in refused:
        await service.live(order)
        await rider.does(order.id, "reject")
    first, behind = await service.live(Order(address=home(5))), await service.live(Order(address=home(6)))
    assert await service.has_courier(first, rider)
    await to_the_customer(service, rider, first)
    await rider.does(first.id, "deliver", await service.code(first))
    assert (await service.row(behind))["courier_id"] is None
    for _ in range(3):
        await service.check()
    assert await service.has_courier(behind, rider)


def keys(document: Any) -> set[str]:
    """All members' names, at any depth."""
    if isinstance(document, dict):
        return set(document).union(*(keys(value) for value in document.values()))
    return set().union(*(keys(value) for value in document)) if isinstance(document, list) else set()


async def test_the_code_reaches_the_customer_alone(service: RunningService, rider: Rider) -> None:
    user, token = service.tokens.customer()
    order = await service.live(Order(user_id=user.user_id))
    path, customer = f"/api/v1/deliveries/{order.id}", {"Authorization": f"Bearer {token}"}
    seen: list[Any] = [
        await rider.jobs(),
        (await rider.does(order.id, "arrive")).json(),
        await service.call("GET", path, rider.headers),
        await service.call("GET", path, service.admin),
        await service.call("GET", "/api/v1/deliveries", service.admin),
        [row["payload"] for row in await service.database.fetch("SELECT payload::jsonb AS payload FROM outbox")],
    ]
    assert {"order_id", "state"} <= keys(seen)
    assert "code" not in keys(seen)
    code = await service.code(order)
    assert (await service.call("GET", path, customer))["code"] == code
    await to_the_customer(service, rider, order)
    await rider.does(order.id, "deliver", code)
    assert "code" not in await service.call("GET", path, customer), "it is of no use any more"


async def test_a_courier_is_not_followed_after_the_delivery(service: RunningService, rider: Rider) -> None:
    order = await service.live()
    await to_the_customer(service, rider, order)
    assert (await service.delivery(order))["position"] is not None
    await rider.does(order.id, "deliver", await service.code(order))
    seen = await service.delivery(order)
    assert (seen["position"], seen["positioned_at"], seen["eta"]) == (None, None, None)


@pytest.mark.parametrize(
    "path",
    ["/internal/routes", "/internal/reservations", "/internal/assignments", "/internal/reservations/release"],
)
async def test_internal_calls_are_for_services(service: RunningService, rider: Rider, path: str) -> None:
    body = {"items": [Order().request(service.clock.now())]}
    for headers in (service.admin, rider.headers, {"Authorization": "Bearer wrong"}):
        answer = await service.client.post(path, json=body, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (403, "internal_only")
    assert await service.database.fetchval("SELECT count(*) FROM deliveries") == 0


async def test_a_position_of_who_is_no_courier_is_refused(service: RunningService) -> None:
    answer = await service.client.post(
        "/api/v1/couriers/me/positions", json={"lat": 51.9, "lon": -0.2}, headers=service.tokens.headers()
    )
    assert (answer.status_code, answer.json()["code"]) == (404, "not_a_courier")
