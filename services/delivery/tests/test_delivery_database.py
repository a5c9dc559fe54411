"""What the database refuses, whatever a program decides."""

from __future__ import annotations

import asyncpg
import pytest

from services.delivery.tests.delivery_service import Order, RunningService, corner, home
from shop.kit.ids import new_id

START = "INSERT INTO deliveries (order_id, state, version, waiting_since, created_at, updated_at)"
OTHER_COURIER = "(SELECT user_id FROM couriers WHERE load = 0)"


@pytest.mark.parametrize(
    ("statement", "refused"),
    [
        ("UPDATE couriers SET load = capacity + 1", "load_within_capacity"),
        ("UPDATE couriers SET load = -1", "load_within_capacity"),
        ("UPDATE couriers SET capacity = 0, load = 0", "couriers_capacity_check"),
        ("UPDATE couriers SET vehicle = 'horse'", "couriers_vehicle_check"),
        ("UPDATE couriers SET name = ''", "couriers_name_check"),
        ("INSERT INTO couriers SELECT * FROM couriers", "couriers_pkey"),
        ("UPDATE courier_positions SET lat = 91", "courier_positions_lat_check"),
        ("UPDATE courier_positions SET lon = -181", "courier_positions_lon_check"),
        ("INSERT INTO courier_positions SELECT * FROM courier_positions", "courier_positions_pkey"),
        ("UPDATE deliveries SET state = 'delivered', version = version + 1", "cannot go from assigned"),
        ("UPDATE deliveries SET state = 'picked_up', version = version + 1", "cannot go from assigned"),
        ("UPDATE deliveries SET state = 'at_restaurant'", "cannot go from assigned"),
        ("UPDATE deliveries SET state = 'at_restaurant', version = version + 2", "cannot go from assigned"),
        ("UPDATE deliveries SET state = 'waiting', version = version + 1", "courier_of_the_state"),
        ("UPDATE deliveries SET courier_id = NULL", "courier_of_the_state"),
        (f"UPDATE deliveries SET courier_id = {OTHER_COURIER}", "has a courier already"),
        ("UPDATE deliveries SET user_id = NULL", "only_tombstones_are_empty"),
        ("UPDATE deliveries SET eta = NULL", "only_tombstones_are_empty"),
        ("UPDATE deliveries SET distance_m = -1", "deliveries_distance_m_check"),
        ("UPDATE deliveries SET code = '12x4'", "deliveries_code_check"),
        (f"{START} SELECT order_id, 'released', 0, now(), now(), now() FROM deliveries", "deliveries_pkey"),
        (f"{START} SELECT gen_random_uuid(), 'waiting', 0, now(), now(), now()", "cannot start as waiting"),
        (f"{START} SELECT gen_random_uuid(), 'held', 1, now(), now(), now()", "cannot start as held"),
        (f"{START} SELECT gen_random_uuid(), 'held', 0, now(), now(), now()", "only_tombstones_are_empty"),
        ("INSERT INTO delivery_transitions SELECT * FROM delivery_transitions", "delivery_transitions_pkey"),
    ],
)
async def test_inconsistent_rows_are_refused(service: RunningService, statement: str, refused: str) -> None:
    await service.courier(at=corner(1))
    await service.courier(at=corner(2))
    await service.live()
    with pytest.raises(asyncpg.IntegrityConstraintViolationError, match=refused):
        await service.database.execute(statement)


async def test_one_delivery_too_many_is_refused(service: RunningService) -> None:
    """The load is counted by the database itself."""
    rider = await service.courier("bike", at=corner(1))
    for number in range(3):
        await service.reserve(Order(address=home(number)))
    with pytest.raises(asyncpg.CheckViolationError, match="load_within_capacity"):
        await service.database.execute("UPDATE deliveries SET courier_id = $1", rider.id)


async def test_no_state_moves_without_a_courier(service: RunningService) -> None:
    rider = await service.courier(at=corner(1))
    order = await service.live()
    await rider.does(order.id, "reject")
    for action in ("arrive", "pick-up", "depart", "reject", "drop"):
        assert (await rider.does(order.id, action)).status_code == 404
    assert (await rider.does(order.id, "deliver", await service.code(order))).status_code == 404
    for state, refused in (("assigned", "courier_of_the_state"), ("at_restaurant", "cannot go from waiting")):
        statement = "UPDATE deliveries SET state = $1, version = version + 1"
        with pytest.raises(asyncpg.CheckViolationError, match=refused):
            await service.database.execute(statement, state)
    assert (await service.delivery(order))["state"] == "waiting"


async def test_a_load_follows_every_change_of_a_delivery(service: RunningService) -> None:
    """Also those that no program of ours makes."""
    rider = await service.courier(at=corner(1))
    order = await service.live()
    load = "SELECT load FROM couriers WHERE user_id = $1"
    assert await service.database.fetchval(load, rider.id) == 1
    change = "UPDATE deliveries SET state = $2, courier_id = $3, version = version + 1 WHERE order_id = $1"
    await service.database.execute(change, order.id, "waiting", None)
    assert await service.database.fetchval(load, rider.id) == 0
    await service.database.execute(change, order.id, "assigned", rider.id)
    assert await service.database.fetchval(load, rider.id) == 1
    await service.database.execute(change, order.id, "cancelled", None)
    assert await service.database.fetchval(load, rider.id) == 0


async def test_a_delivery_is_of_a_known_courier(service: RunningService) -> None:
    await service.courier(at=corner(1))
    for number in range(2):
        await service.reserve(Order(address=home(number)))
    statement = "UPDATE deliveries SET courier_id = $1 WHERE courier_id IS NULL"
    with pytest.raises(asyncpg.ForeignKeyViolationError, match="deliveries_courier_id_fkey"):
        await service.database.execute(statement, new_id())
