"""What the database refuses, whatever a program decides."""

from __future__ import annotations

from uuid import UUID

import asyncpg
import pytest

from services.restaurant.tests.restaurant_service import Kitchen, RunningService
from services.restaurant.tests.test_restaurant_tickets import COPY
from shop.kit.ids import new_id

ANOTHER = "INSERT INTO tickets (order_id, state, ready_at, created_at, updated_at) SELECT gen_random_uuid()"
COPIED = "restaurant_id, user_id, lines, currency, ready_at, created_at, updated_at"
COPY_AS = f"INSERT INTO tickets (order_id, state, {COPIED}) SELECT gen_random_uuid(), '{{}}', {COPIED} FROM tickets"


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE restaurants SET held = kitchen_capacity + 1", "of 10 orders"),
        ("UPDATE restaurants SET held = -1", "held_check"),
        ("UPDATE restaurants SET lat = 91", "lat_check"),
        ("UPDATE restaurants SET lon = -181", "lon_check"),
        ("UPDATE restaurants SET currency = 'eur'", "currency_check"),
        ("UPDATE restaurants SET minimum_order = -1", "minimum_order_check"),
        ("UPDATE restaurants SET acceptance = 'never'", "acceptance_check"),
        ("UPDATE restaurants SET acceptance_deadline_s = 0", "acceptance_deadline_s_check"),
        ("UPDATE restaurants SET kitchen_capacity = 0", "kitchen_capacity_check"),
        ("UPDATE restaurants SET preparation_s = 0", "preparation_s_check"),
        ("INSERT INTO menus SELECT * FROM menus", "menus_pkey"),
        ("UPDATE menus SET version = 0", "menus_version_check"),
        ("INSERT INTO staff SELECT * FROM staff", "staff_pkey"),
        ("INSERT INTO staff VALUES (gen_random_uuid(), gen_random_uuid(), now())", "staff_restaurant_id_fkey"),
        ("UPDATE tickets SET state = 'preparing', version = 2", "begun_only_when_paid"),
        ("UPDATE tickets SET state = 'ready', paid_at = now(), version = 2", "cannot go from accepted to ready"),
        ("UPDATE tickets SET state = 'picked_up', paid_at = now(), version = 2", "from accepted to picked_up"),
        ("UPDATE tickets SET state = 'rejected', version = 2", "cannot go from accepted to rejected"),
        ("UPDATE tickets SET state = 'waiting', version = 2", "cannot go from accepted to waiting"),
        ("UPDATE tickets SET state = 'cancelled'", "ticket_transitions_pkey"),
        ("UPDATE tickets SET version = 0", "tickets_version_check"),
        ("UPDATE tickets SET ready_at = NULL", "accepted_has_a_time"),
        ("UPDATE tickets SET lines = '[{}]'", "nor change what was ordered"),
        ("UPDATE tickets SET currency = 'USD'", "nor change what was ordered"),
        ("UPDATE tickets SET minimum_order = 1", "nor change what was ordered"),
        ("UPDATE tickets SET restaurant_id = NULL", "nor change what was ordered"),
        ("UPDATE tickets SET user_id = gen_random_uuid()", "nor change what was ordered"),
        ("INSERT INTO tickets SELECT * FROM tickets", "tickets_pkey"),
        (f"{ANOTHER}, 'accepted', now(), now(), now()", "ticket_of_a_restaurant"),
        (COPY_AS.format("lost"), "tickets_state_check"),
        (COPY_AS.format("waiting"), "waiting_has_a_deadline"),
    ],
)
async def test_inconsistent_rows_are_refused(
    kitchen: Kitchen, service: RunningService, statement: str, refused: str
) -> None:
    await kitchen.accept()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=refused):
        await service.database.execute(statement)


async def test_the_capacity_is_held_without_the_service(service: RunningService) -> None:
    """Whichever statement inserts a ticket, the trigger counts it."""
    kitchen = await service.restaurant(kitchen_capacity=1)
    await kitchen.accept()
    with pytest.raises(asyncpg.CheckViolationError, match="holds 1 of 1"):
        await service.database.execute(COPY)


async def test_the_load_follows_every_change_of_a_ticket(kitchen: Kitchen, service: RunningService) -> None:
    """Also those that no program of ours makes."""
    await kitchen.accept()
    change = "UPDATE tickets SET state = $1, paid_at = now(), version = version + 1"
    for state, load in (("preparing", 1), ("ready", 0), ("picked_up", 0)):
        await service.database.execute(change, state)
        assert (await kitchen.detail())["orders_in_work"] == load
    rows = await service.database.fetch("SELECT to_state FROM ticket_transitions ORDER BY version")
    assert [row["to_state"] for row in rows] == ["accepted", "preparing", "ready", "picked_up"]


async def test_changes_of_a_kitchen_are_numbered_in_their_order(kitchen: Kitchen, service: RunningService) -> None:
    """By the database, whatever a program writes: a stream resumes after the number that it has seen."""
    orders = [UUID((await kitchen.accept(new_id()))["order_id"]) for _ in range(3)]
    number = "SELECT sequence FROM tickets WHERE order_id = $1"
    before = [await service.database.fetchval(number, order) for order in orders]
    assert before == sorted(set(before))
    await service.database.execute("UPDATE tickets SET sequence = 1 WHERE order_id = $1", orders[0])
    assert await service.database.fetchval(number, orders[0]) > before[-1]
