"""Nothing stays of a deleted user, in whatever order things happen: live deliveries are still brought."""

from __future__ import annotations

import asyncio
import itertools
from uuid import UUID

import pytest

from services.delivery.tests.delivery_service import NOON, Order, Rider, RunningService, corner
from shop.contracts.events import TicketState, UserDeleted
from shop.delivery.consumers import deletions
from shop.devkit.testing import wait_until
from shop.kit import outbox
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.ids import new_id

WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"
PERSONAL = "SELECT address, code, dropoff_lat, dropoff_lon, dropoff_junction FROM deliveries WHERE order_id = $1"
COURIER = "SELECT name, on_shift FROM couriers WHERE user_id = $1"
POSITIONS = "SELECT count(*) FROM courier_positions WHERE courier_id = $1"
NOBODY = ("deleted courier", False)


async def delete_in(connection: Connection, service: RunningService, *users: UUID) -> None:
    events = [UserDeleted(user_id=user, occurred_at=NOON) for user in users]
    received = [Received(new_id(), one.TYPE, NOON, "", "", one) for one in events]
    await deletions(service.app.state.service).handle(connection, received)


async def delete(service: RunningService, *users: UUID) -> None:
    async with service.database.transaction() as connection:
        await delete_in(connection, service, *users)


async def courier(service: RunningService, rider: Rider) -> tuple[str, bool]:
    row = await service.database.fetchrow(COURIER, rider.id)
    assert row is not None
    return row["name"], row["on_shift"]


async def is_erased(service: RunningService, order: Order) -> bool:
    row = await service.database.fetchrow(PERSONAL, order.id)
    assert row is not None
    found = tuple(row.values())
    if found == ({}, "0000", *order.pickup, None):
        return True
    assert row["address"]["name"] == "Ada"
    assert row["dropoff_junction"] is not None
    return False


async def bring(service: RunningService, rider: Rider, order: Order) -> None:
    """Everything from the restaurant to the customer's door."""
    await service.kitchen(order, TicketState.READY)
    for action in ("arrive", "pick-up", "depart"):
        assert (await rider.does(order.id, action)).status_code == 200
    answer = await rider.does(order.id, "deliver", await service.code(order))
    assert answer.status_code == 200, answer.text


async def end(service: RunningService, rider: Rider, order: Order, how: str) -> None:
    if how == "delivered":
        await bring(service, rider, order)
    elif how == "failed":
        await rider.shift(on_shift=False)
        service.clock.advance(3_600)
        await service.check()
    else:
        await service.release(order)
    assert (await service.row(order))["state"] == how


@pytest.mark.parametrize("how", ["delivered", "failed", "cancelled", "released"])
@pytest.mark.parametrize("order_of", list(itertools.permutations(["end", "delete"])), ids=" ".join)
async def test_address_and_code_leave_with_the_end_of_the_delivery(
    service: RunningService, how: str, order_of: tuple[str, ...]
) -> None:
    rider, order = await service.courier(at=corner(0)), Order()
    await (service.reserve(order) if how == "released" else service.live(order))
    for step in order_of:
        assert not await is_erased(service, order), "the courier needs it"
        await (end(service, rider, order, how) if step == "end" else delete(service, order.user_id))
    assert await is_erased(service, order)
    await service.assert_sound()
    if how != "released":
        assert (await service.delivery(order))["state"] == how
    assert (await service.client.get("/api/v1/deliveries/demand", headers=service.admin)).status_code == 200


async def test_an_order_that_is_reserved_after_the_deletion_is_brought_and_keeps_nothing(
    service: RunningService,
) -> None:
    rider, order = await service.courier(at=corner(0)), Order()
    await delete(service, order.user_id)
    await service.live(order)
    assert not await is_erased(service, order)
    await bring(service, rider, order)
    assert await is_erased(service, order)


async def test_the_deliveries_of_other_customers_stay(service: RunningService) -> None:
    rider, order = await service.courier(at=corner(0)), await service.live()
    await bring(service, rider, order)
    await delete(service, new_id())
    assert not await is_erased(service, order)


async def test_a_deleted_courier_is_off_shift_and_others_get_the_deliveries(service: RunningService) -> None:
    rider = await service.courier("cargo_bike", at=corner(0))
    held = Order()
    live = Order(restaurant_id=held.restaurant_id)
    await service.reserve(held)
    await service.live(live)
    assert await service.has_courier(held, rider)
    assert await service.has_courier(live, rider)
    other = await service.courier("cargo_bike", at=corner(1), name="Bo")
    await delete(service, rider.id)
    assert await courier(service, rider) == NOBODY
    assert await service.database.fetchval(POSITIONS, rider.id) == 0
    assert await service.has_courier(held, other)
    assert await service.has_courier(live, other)
    assert await rider.jobs() == []
    await service.assert_sound()


async def test_what_a_deleted_courier_carries_stays_theirs_without_a_name(service: RunningService) -> None:
    rider, order = await service.courier(at=corner(0)), await service.live()
    await service.kitchen(order, TicketState.READY)
    for action in ("arrive", "pick-up"):
        assert (await rider.does(order.id, action)).status_code == 200
    await delete(service, rider.id)
    assert await service.has_courier(order, rider)
    assert (await service.delivery(order))["courier"]["name"] == NOBODY[0]
    await service.assert_sound()


async def test_a_deleted_courier_never_has_a_shift_a_name_or_a_position_again(service: RunningService) -> None:
    """With a token that is still accepted, and by an administrator."""
    rider = await service.courier(at=corner(0))
    await delete(service, rider.id)
    assert (await rider.shift())["on_shift"] is False
    await rider.at(corner(2), seconds=30)
    await service.call("PUT", f"/api/v1/couriers/{rider.id}", service.admin, {"name": "Ines", "vehicle": "car"})
    assert await courier(service, rider) == NOBODY
    assert await service.database.fetchval(POSITIONS, rider.id) == 0


async def test_a_user_who_was_deleted_before_becomes_no_courier_with_a_name(service: RunningService) -> None:
    user = new_id()
    await delete(service, user)
    await service.call("PUT", f"/api/v1/couriers/{user}", service.admin, {"name": "Ines", "vehicle": "car"})
    assert await service.database.fetchval("SELECT count(*) FROM couriers WHERE name = 'Ines'") == 0


async def test_a_fix_that_is_stored_during_the_deletion_does_not_stay(service: RunningService) -> None:
    rider = await service.courier()
    async with service.database.transaction() as connection:
        await delete_in(connection, service, rider.id)
        fixing = asyncio.ensure_future(rider.at(corner(2), seconds=30))
        await wait_until(lambda: fixing.done() or service.database.fetchval(WAITING))
    await fixing
    assert await service.database.fetchval(POSITIONS, rider.id) == 0


async def test_the_event_of_a_deletion_is_consumed(service: RunningService) -> None:
    rider = await service.courier(at=corner(0))
    bus = service.context.bus
    await wait_until(lambda: bus.connected)
    await bus.ensure_stream("user")
    row = outbox.row(UserDeleted(user_id=rider.id, occurred_at=NOON))
    await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))

    async def gone() -> bool:
        return await courier(service, rider) == NOBODY

    await wait_until(gone)
