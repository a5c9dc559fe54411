"""A food order in the records of a shop, and what may go wrong with one, for the audit to find."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from k8s.operator.tests.audit_records import AT, TOTAL, Placed, ShopRecords
from shop.kit.ids import new_id

if TYPE_CHECKING:
    from k8s.operator.tests.audit_sound import Sound

TIP = 90
RESTAURANT = """
INSERT INTO restaurants (id, name, sort_name, cuisine, description, address, lat, lon, time_zone, currency,
    minimum_order, hours, acceptance, acceptance_deadline_s, auto_progress, kitchen_capacity, preparation_s, held,
    created_at, updated_at)
VALUES ($1, 'Chip Shop', 'chip shop', 'fish', '', '{}', 51.9, -0.2, 'UTC', 'EUR', 0, '{}', 'automatic', 60, true, 5, 60,
    1, $2, $2)"""
TICKET = """
INSERT INTO tickets (order_id, restaurant_id, user_id, lines, currency, state, version, sequence, paid_at, ready_at,
    created_at, updated_at)
VALUES ($1, $2, $3, '[1]', 'EUR', 'preparing', 3, 1, $4, $4, $4, $4)"""
DELIVERY = """
INSERT INTO deliveries (order_id, state, version, courier_id, user_id, restaurant_id, restaurant_name, address,
    pickup_lat, pickup_lon, dropoff_lat, dropoff_lon, dropoff_junction, distance_m, code, ready_at, promised_at, eta,
    waiting_since, created_at, updated_at)
VALUES ($1, 'assigned', 1, $2, $3, $4, 'Chip Shop', '{}', 51.9, -0.2, 51.9, -0.2, 1, 900, '1234', $5, $5,
    $5, $5, $5, $5)"""
COURIER = """
INSERT INTO couriers (user_id, name, vehicle, capacity, load, on_shift, created_at, updated_at)
VALUES ($1, 'Cleo', 'bike', 1, 1, true, $2, $2)"""


@dataclass(frozen=True)
class Meal:
    """The ids of a food order that is being prepared, with a courier on the way to it."""

    placed: Placed
    restaurant: UUID
    courier: UUID


async def meal(records: ShopRecords) -> Meal:
    """A confirmed food order with its ticket and its delivery."""
    placed = await records.confirmed_food()
    found = Meal(placed, new_id(), new_id())
    details = "INSERT INTO food_orders (order_id, restaurant_id, tip) VALUES ($1, $2, $3)"
    await records.run("order", details, placed.order, found.restaurant, TIP)
    amounts = "UPDATE orders SET subtotal = $2::bigint - 190 - $3, tax = 190 WHERE id = $1"
    await records.run("order", amounts, placed.order, TOTAL, TIP)
    await records.run("restaurant", RESTAURANT, found.restaurant, AT)
    await records.run("restaurant", TICKET, placed.order, found.restaurant, placed.user, AT)
    for version, (before, after) in enumerate(((None, "accepted"), ("accepted", "preparing")), 2):
        row = "INSERT INTO ticket_transitions VALUES ($1, $2, $3, $4, $5)"
        await records.run("restaurant", row, placed.order, version, before, after, AT)
    await records.run("delivery", COURIER, found.courier, AT)
    await records.run("delivery", DELIVERY, placed.order, found.courier, placed.user, found.restaurant, AT)
    row = "INSERT INTO delivery_transitions VALUES ($1, 1, 'held', 'assigned', $2, $3)"
    await records.run("delivery", row, placed.order, found.courier, AT)
    return found


async def order_without_ticket(sound: Sound) -> str:
    await sound.records.run("restaurant", "DELETE FROM tickets")
    await sound.records.run("restaurant", "UPDATE restaurants SET held = 0")
    return str(sound.meal.placed.order)


async def order_whose_ticket_was_cancelled(sound: Sound) -> str:
    await sound.records.run("restaurant", "UPDATE tickets SET state = 'cancelled'")
    await sound.records.run("restaurant", "UPDATE restaurants SET held = 0")
    return str(sound.meal.placed.order)


async def order_that_the_kitchen_takes_for_unpaid(sound: Sound) -> str:
    await sound.records.run("restaurant", "ALTER TABLE tickets DROP CONSTRAINT begun_only_when_paid")
    await sound.records.run("restaurant", "UPDATE tickets SET paid_at = NULL")
    return str(sound.meal.placed.order)


async def order_without_delivery(sound: Sound) -> str:
    await sound.records.run("delivery", "DELETE FROM deliveries")
    await sound.records.run("delivery", "UPDATE couriers SET load = 0")
    return str(sound.meal.placed.order)


async def order_whose_delivery_failed(sound: Sound) -> str:
    await sound.records.run("delivery", "UPDATE deliveries SET state = 'failed', courier_id = NULL")
    await sound.records.run("delivery", "UPDATE couriers SET load = 0")
    return str(sound.meal.placed.order)


async def food_order_without_details(sound: Sound) -> str:
    await sound.records.run("order", "DELETE FROM food_orders")
    return str(sound.meal.placed.order)


async def courier_above_capacity(sound: Sound) -> str:
    await sound.records.run(
        "delivery", "ALTER TABLE couriers DROP CONSTRAINT load_within_capacity, DROP CONSTRAINT couriers_capacity_check"
    )
    await sound.records.run("delivery", "UPDATE couriers SET capacity = 0")
    return str(sound.meal.courier)


async def courier_whose_load_is_wrong(sound: Sound) -> str:
    await sound.records.run("delivery", "UPDATE couriers SET load = 0")
    return str(sound.meal.courier)


async def delivery_under_way_without_courier(sound: Sound) -> str:
    await sound.records.run("delivery", "ALTER TABLE deliveries DROP CONSTRAINT courier_of_the_state")
    await sound.records.run("delivery", "UPDATE deliveries SET courier_id = NULL")
    await sound.records.run("delivery", "UPDATE couriers SET load = 0")
    return str(sound.meal.placed.order)


async def kitchen_that_counts_another_load(sound: Sound) -> str:
    await sound.records.run("restaurant", "UPDATE restaurants SET held = 2")
    return str(sound.meal.restaurant)


async def tip_that_is_not_in_the_total(sound: Sound) -> str:
    await sound.records.run("order", "UPDATE food_orders SET tip = tip + 1")
    return str(sound.meal.placed.order)


async def ticket_that_skipped_a_state(sound: Sound) -> str:
    await sound.records.run("restaurant", "UPDATE ticket_transitions SET to_state = 'ready' WHERE version = 3")
    return f"restaurant {sound.meal.placed.order}"


async def delivery_whose_record_has_a_gap(sound: Sound) -> str:
    row = "INSERT INTO delivery_transitions VALUES ($1, 2, 'at_restaurant', 'picked_up', $2, $3)"
    await sound.records.run("delivery", row, sound.meal.placed.order, sound.meal.courier, AT)
    return f"delivery {sound.meal.placed.order}"


async def change_that_was_published_twice(sound: Sound) -> str:
    """Too new for the oracles that look for events in streams and at consumers."""
    for _ in range(2):
        await sound.records.run(
            "delivery",
            "INSERT INTO outbox (event_id, type, subject_id, payload, created_at, published_at, stream_sequence)"
            " VALUES ($1, 'delivery.changed.v1', $2, '{\"data\": {\"version\": 1}}', now() + interval '1 hour',"
            " now() + interval '1 hour', NULL)",
            new_id(),
            str(sound.meal.placed.order),
        )
    return str(sound.meal.placed.order)


FOOD_BREAKS: dict[int, list[Callable[[Sound], Awaitable[str]]]] = {
    18: [
        order_without_ticket,
        order_whose_ticket_was_cancelled,
        order_that_the_kitchen_takes_for_unpaid,
        order_without_delivery,
        order_whose_delivery_failed,
        food_order_without_details,
    ],
    19: [courier_above_capacity, courier_whose_load_is_wrong, delivery_under_way_without_courier],
    20: [kitchen_that_counts_another_load],
    21: [tip_that_is_not_in_the_total],
    22: [ticket_that_skipped_a_state, delivery_whose_record_has_a_gap, change_that_was_published_twice],
}
"""By the oracle that finds them."""
