"""Events, crashes and streams, with a real broker and a real database."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import orjson
import pytest

from services.restaurant.tests.conftest import Start
from services.restaurant.tests.restaurant_service import Kitchen, RunningService, confirmed, delivery, send
from shop.contracts.events import DeliveryState
from shop.devkit.testing import wait_until
from shop.kit import outbox
from shop.kit.ids import new_id
from shop.restaurant import metrics, tickets

PAST = """
INSERT INTO tickets (order_id, restaurant_id, user_id, lines, currency, state, paid_at, created_at, updated_at)
SELECT gen_random_uuid(), restaurant_id, user_id, lines, currency, 'picked_up', now(), now(), now()
FROM tickets, generate_series(1, 3000)"""
INBOX = "SELECT count(*) FROM inbox"
CARRIED_EVENTS = "SELECT count(*) = 1 FROM inbox WHERE consumer = 'deliveries'"


async def test_a_confirmed_order_reaches_its_kitchen_once(kitchen: Kitchen, service: RunningService) -> None:
    order, retail = new_id(), new_id()
    await kitchen.accept(order)
    await wait_until(lambda: service.context.bus.connected)
    event = confirmed(order)
    row = outbox.row(event)
    await service.context.bus.ensure_stream("order")
    for attempt in ("once", "twice"):
        await (await service.context.bus.publish(row.type, row.payload.encode(), f"{row.event_id}-{attempt}"))
    await send(service, "order", confirmed(retail, kind="retail"), confirmed(new_id()))
    await wait_until(lambda: service.database.fetchval(f"{INBOX} HAVING count(*) = 3"))
    [ticket] = await kitchen.tickets()
    assert (ticket["order_id"], ticket["state"], ticket["paid"]) == (str(order), "accepted", True)
    assert await service.published(order) == [("accepted", 1, None)], "being paid is no new state"


async def test_the_kitchen_sees_the_courier_and_the_order_leaves_with_it(
    kitchen: Kitchen, service: RunningService
) -> None:
    order = await kitchen.paid()
    await kitchen.act(order, "begin")
    await kitchen.act(order, "ready")
    await wait_until(lambda: service.context.bus.connected)
    await send(service, "delivery", delivery(order, DeliveryState.ASSIGNED, 2))
    await wait_until(lambda: _courier(kitchen), what="the courier")
    [ticket] = await kitchen.tickets()
    assert ticket["courier"] == {"name": "Bo", "vehicle": "bicycle"}
    await send(service, "delivery", delivery(order, DeliveryState.PICKED_UP, 4))
    await wait_until(lambda: _gone(service, order))
    assert [state for state, _, _ in await service.published(order)] == ["accepted", "preparing", "ready", "picked_up"]
    assert [one["order_id"] for one in await kitchen.tickets(state="picked_up")] == [str(order)]
    assert await service.withdraw(order, even_if_begun=True) == "picked_up"


async def test_a_ticket_that_ended_waits_for_no_courier(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    assert await service.withdraw(order) == "withdrawn"
    [ticket] = await kitchen.tickets(state="cancelled")
    assert (ticket["paid"], ticket["delivery_state"]) == (True, None)


async def test_a_kitchen_that_the_clock_moves_begins_with_the_payment(service: RunningService) -> None:
    kitchen = await service.restaurant(auto_progress=True)
    order = await kitchen.paid()
    assert await service.published(order) == [("accepted", 1, None), ("preparing", 2, None)]
    await service.confirm(order)
    assert await service.state(order) == "preparing"


async def test_a_paid_order_waits_for_a_courier_without_being_changed(
    kitchen: Kitchen, service: RunningService
) -> None:
    """The first event of its delivery says no more; what comes later is stored."""
    order = await kitchen.paid()
    before = await service.database.fetchval("SELECT sequence FROM tickets WHERE order_id = $1", order)
    await wait_until(lambda: service.context.bus.connected)
    await send(service, "delivery", delivery(order, DeliveryState.WAITING, 1, None))
    await wait_until(lambda: service.database.fetchval(CARRIED_EVENTS))
    assert await service.database.fetchval("SELECT sequence FROM tickets WHERE order_id = $1", order) == before
    [ticket] = await kitchen.tickets()
    assert (ticket["courier"], ticket["delivery_state"]) == (None, "waiting")
    await service.carry(delivery(order, DeliveryState.WAITING, 1, None), delivery(order, DeliveryState.ASSIGNED, 2))
    [ticket] = await kitchen.tickets()
    assert (ticket["courier"]["name"], ticket["delivery_state"]) == ("Bo", "assigned")


async def test_older_events_of_a_delivery_change_nothing(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    await service.carry(delivery(order, DeliveryState.ASSIGNED, 4, "Cy"), delivery(order, DeliveryState.ASSIGNED, 2))
    await service.carry(delivery(order, DeliveryState.WAITING, 3, None))
    [ticket] = await kitchen.tickets()
    assert ticket["courier"]["name"] == "Cy"
    await service.carry(delivery(order, DeliveryState.WAITING, 5, None))
    [ticket] = await kitchen.tickets()
    assert (ticket["courier"], ticket["delivery_state"]) == (None, "waiting")


async def test_an_order_that_left_is_ready_although_the_staff_did_not_say_so(
    kitchen: Kitchen, service: RunningService
) -> None:
    """The ticket passes through every state, each published once, so that no reader sees an illegal step."""
    order = new_id()
    await kitchen.accept(order)
    for _ in range(2):
        await service.carry(delivery(order, DeliveryState.PICKED_UP, 4))
    published = await service.published(order)
    assert published == [
        (state, at, None) for at, state in enumerate(("accepted", "preparing", "ready", "picked_up"), 1)
    ]
    assert (await kitchen.detail())["orders_in_work"] == 0


async def test_what_was_not_committed_has_no_ticket_and_no_event(kitchen: Kitchen, service: RunningService) -> None:
    """As when the process is killed before the commit."""
    order = new_id()
    await kitchen.accept(order)

    async def killed() -> None:
        async with service.database.transaction() as connection:
            await service.service.kitchens.confirmed(connection, [confirmed(order)])
            raise ConnectionAbortedError

    with pytest.raises(ConnectionAbortedError):
        await killed()
    assert await kitchen.tickets() == []
    await service.confirm(order)
    assert len(await kitchen.tickets()) == 1


async def test_a_service_that_restarts_answers_the_same(start: Start) -> None:
    async with start() as first:
        url = first.context.settings.database_url
        kitchen = await first.restaurant()
        orders = [new_id() for _ in range(5)]
        answers = await first.accept(*(kitchen.request(order) for order in orders))
        async with start(url=url) as second:
            again = await second.accept(*(kitchen.request(order) for order in orders))
            assert again == answers
            await second.release(*orders)
        await kitchen.assert_load()
        assert (await kitchen.detail())["orders_in_work"] == 0


async def test_transitions_are_kept_in_order(kitchen: Kitchen, service: RunningService) -> None:
    order = await kitchen.paid()
    await kitchen.act(order, "begin")
    await service.release(order)
    rows = await service.database.fetch(
        "SELECT version, from_state, to_state FROM ticket_transitions WHERE order_id = $1 ORDER BY version", order
    )
    assert [tuple(row) for row in rows] == [
        (1, None, "accepted"), (2, "accepted", "preparing"), (3, "preparing", "cancelled"),
    ]  # fmt: skip


async def test_a_kitchen_with_a_long_past_reads_its_open_tickets_alone(
    kitchen: Kitchen, service: RunningService
) -> None:
    order = await kitchen.paid()
    await service.database.execute(PAST)
    await service.database.execute("ANALYZE tickets")
    async with service.database.session() as session:
        await session.execute("SET plan_cache_mode = force_generic_plan")
        await session.execute(f"PREPARE page (uuid, text[], uuid, integer) AS {tickets.OPEN_PAGE}")
        plan = await session.fetch(f"EXPLAIN EXECUTE page ('{kitchen.id}', ARRAY['accepted'], NULL, 50)")
        await session.execute("DEALLOCATE page; RESET plan_cache_mode")
    assert "tickets_open" in "".join(row["QUERY PLAN"] for row in plan)
    assert [one["order_id"] for one in await kitchen.tickets()] == [str(order)]


async def events_of(answer: httpx.Response) -> Any:
    """(id, ticket) of each event of a stream."""
    version: int | None = None
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            version = int(line[4:])
        elif line.startswith("data: "):
            yield version, orjson.loads(line[6:])


async def test_a_kitchen_is_watched_and_a_stream_resumes(start: Start) -> None:
    async with start(on_port=True, stream_poll_s=0.02) as service:
        kitchen = await service.restaurant()
        other = await service.restaurant()
        order = await kitchen.paid()
        await other.paid()
        url = f"{kitchen.path}/tickets/events"
        async with service.client.stream("GET", url, headers=kitchen.staff) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            events = events_of(answer)
            first, ticket = await anext(events)
            assert (ticket["order_id"], ticket["state"], ticket["paid"]) == (str(order), "accepted", True)
            second_order = new_id()
            await kitchen.accept(second_order)
            await kitchen.act(order, "begin")
            seen, ticket = await anext(events)
            assert (ticket["order_id"], ticket["state"]) == (str(order), "preparing")
            assert seen > first
            await service.confirm(second_order)
            seen, ticket = await anext(events)
            assert (ticket["order_id"], ticket["state"]) == (str(second_order), "accepted")
        await kitchen.act(order, "ready")
        await service.carry(delivery(second_order, DeliveryState.ASSIGNED, 2))
        resumed = kitchen.staff | {"Last-Event-ID": str(seen)}
        async with service.client.stream("GET", url, headers=resumed) as answer:
            events = events_of(answer)
            _, ready = await anext(events)
            _, courier = await anext(events)
            assert (ready["state"], courier["courier"]["name"]) == ("ready", "Bo")


async def test_a_client_of_a_quiet_kitchen_is_connected_at_once(start: Start) -> None:
    async with start(on_port=True, stream_keepalive_s=600) as service:
        kitchen = await service.restaurant()
        url = f"{kitchen.path}/tickets/events"
        async with service.client.stream("GET", url, headers=kitchen.staff) as answer:
            assert await anext(answer.aiter_lines()) == ": keepalive"


async def test_the_stream_of_someone_who_leaves_the_staff_ends(start: Start) -> None:
    async with start(on_port=True, stream_poll_s=0.02, stream_keepalive_s=0.05, staff_check_s=0.01) as service:
        kitchen = await service.restaurant()
        url = f"{kitchen.path}/tickets/events"
        async with service.client.stream("GET", url, headers=kitchen.staff) as answer:
            lines = answer.aiter_lines()
            await anext(lines)
            removed = await service.client.delete(f"{kitchen.path}/staff/{kitchen.staff_id}", headers=service.admin)
            assert removed.status_code == 204
            async with asyncio.timeout(20):
                assert not [line async for line in lines if line.startswith("data:")]


async def test_many_watchers_of_a_kitchen_see_each_change(start: Start) -> None:
    async with start(on_port=True, stream_poll_s=0.02) as service:
        kitchen = await service.restaurant(kitchen_capacity=100)
        order = await kitchen.paid()
        url = f"{kitchen.path}/tickets/events"

        async def states() -> list[str]:
            found: list[str] = []
            async with service.client.stream("GET", url, headers=kitchen.staff) as answer:
                async for _, ticket in events_of(answer):
                    found.append(ticket["state"])
                    if ticket["state"] == "ready":
                        return found
            return found

        watching = [asyncio.create_task(states()) for _ in range(10)]
        await wait_until(lambda: metrics.STREAMS._value.get() == 10)
        await kitchen.act(order, "begin")
        await kitchen.act(order, "ready")
        for found in await asyncio.gather(*watching):
            assert (found[0], found[-1]) == ("accepted", "ready")


async def _courier(kitchen: Kitchen) -> bool:
    return any(ticket["courier"] for ticket in await kitchen.tickets())


async def _gone(service: RunningService, order_id: object) -> bool:
    return bool(
        await service.database.fetchval("SELECT state FROM tickets WHERE order_id = $1", order_id) == "picked_up"
    )
