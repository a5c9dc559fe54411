"""Nothing stays of a deleted user, in whatever order things happen: a live ticket keeps what its kitchen needs."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from uuid import UUID

import pytest

from services.restaurant.tests.restaurant_service import NOON, PATH, Kitchen, RunningService, delivery, send
from shop.contracts.events import DeliveryState, UserDeleted
from shop.devkit.testing import wait_until
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.restaurant.consumers import consumers

NAMED = "SELECT customer_name, note FROM tickets WHERE order_id = $1"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
WRITTEN = ("Ada", "no cutlery")


async def delete_in(connection: Connection, service: RunningService, *users: UUID) -> None:
    [consumer] = [one for one in consumers(service.service) if UserDeleted in one.types]
    events = [UserDeleted(user_id=user, occurred_at=NOON) for user in users]
    await consumer.handle(connection, [Received(new_id(), one.TYPE, NOON, "", "", one) for one in events])


async def delete(service: RunningService, *users: UUID) -> None:
    async with service.database.transaction() as connection:
        await delete_in(connection, service, *users)


async def named(service: RunningService, order: UUID) -> tuple[str, str]:
    row = await service.database.fetchrow(NAMED, order)
    assert row is not None
    return row["customer_name"], row["note"]


async def ordered(kitchen: Kitchen) -> tuple[UUID, UUID]:
    """A paid order and its customer."""
    order = new_id()
    request = kitchen.request(order)
    [answer] = await kitchen.service.accept(request)
    assert answer["status"] == "accepted", answer
    await kitchen.service.confirm(order)
    return order, UUID(request["user_id"])


ENDS: dict[str, Callable[[Kitchen, UUID], Awaitable[object]]] = {
    "picked_up": lambda kitchen, order: kitchen.service.carry(delivery(order, DeliveryState.PICKED_UP, 4)),
    "cancelled": lambda kitchen, order: kitchen.act(order, "cancel"),
    "released": lambda kitchen, order: kitchen.service.release(order),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("order_of", list(itertools.permutations(["end", "delete"])), ids=" ".join)
async def test_name_and_note_leave_with_the_end_of_the_ticket(
    kitchen: Kitchen, service: RunningService, end: str, order_of: tuple[str, ...]
) -> None:
    order, user = await ordered(kitchen)
    other, _ = await ordered(kitchen)
    for step in order_of:
        assert await named(service, order) == WRITTEN, "the kitchen needs it"
        await (ENDS[end](kitchen, order) if step == "end" else delete(service, user))
    await ENDS[end](kitchen, other)
    assert (await named(service, order), await named(service, other)) == (("", ""), WRITTEN)
    await kitchen.assert_load()


async def test_an_order_that_arrives_after_the_deletion_keeps_nothing_once_it_ended(
    kitchen: Kitchen, service: RunningService
) -> None:
    order = new_id()
    request = kitchen.request(order)
    await delete(service, UUID(request["user_id"]))
    [answer] = await service.accept(request)
    assert answer["status"] == "accepted"
    assert await named(service, order) == WRITTEN
    await service.release(order)
    assert await named(service, order) == ("", "")


@pytest.mark.parametrize("first", ["end", "delete"])
async def test_an_end_and_a_deletion_at_the_same_time_see_each_other(
    kitchen: Kitchen, service: RunningService, first: str
) -> None:
    order, user = await ordered(kitchen)
    gone = delivery(order, DeliveryState.PICKED_UP, 4)
    async with service.database.transaction() as connection:
        if first == "end":
            await service.service.kitchens.carried(connection, [gone])
            second = asyncio.ensure_future(delete(service, user))
        else:
            await delete_in(connection, service, user)
            second = asyncio.ensure_future(service.carry(gone))
        await wait_until(lambda: second.done() or service.database.fetchval(WAITING))
    await second
    assert await named(service, order) == ("", "")


async def test_a_deleted_user_loses_the_work_and_gets_none(kitchen: Kitchen, service: RunningService) -> None:
    await wait_until(lambda: service.context.bus.connected)
    await send(service, "user", UserDeleted(user_id=kitchen.staff_id, occurred_at=NOON))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 0 FROM staff"))
    path = f"{PATH}/{kitchen.id}/staff/{kitchen.staff_id}"
    answer = await service.client.put(path, headers=service.admin)
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_user")
    assert await service.database.fetchval("SELECT count(*) FROM staff") == 0


async def test_a_user_who_is_being_deleted_gets_no_work(kitchen: Kitchen, service: RunningService) -> None:
    user = new_id()
    async with service.database.transaction() as connection:
        await delete_in(connection, service, user)
        path = f"{PATH}/{kitchen.id}/staff/{user}"
        adding = asyncio.ensure_future(service.client.put(path, headers=service.admin))
        await wait_until(lambda: adding.done() or service.database.fetchval(WAITING))
    assert (await adding).status_code == 404
    assert await service.database.fetchval("SELECT count(*) FROM staff") == 1


async def test_the_couriers_name_is_for_the_time_until_the_delivery_ends(
    kitchen: Kitchen, service: RunningService
) -> None:
    order, _ = await ordered(kitchen)
    courier = "SELECT courier_name FROM tickets WHERE order_id = $1"
    await service.carry(delivery(order, DeliveryState.PICKED_UP, 4))
    assert await service.database.fetchval(courier, order) == "Bo"
    await service.carry(delivery(order, DeliveryState.DELIVERED, 6))
    assert await service.database.fetchval(courier, order) is None
