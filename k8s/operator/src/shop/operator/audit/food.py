"""Oracles about food: orders, the kitchens' tickets and the deliveries agree. A shop without food passes them."""

import itertools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from shop.operator.audit.model import SOLD, UNDONE, Audit, Finding, Row

RESTAURANT, DELIVERY = "restaurant", "delivery"
KITCHEN_ENDED = frozenset({"rejected", "cancelled"})
DELIVERY_ENDED = frozenset({"released", "failed", "cancelled"})
UNDER_WAY = ("assigned", "at_restaurant", "picked_up", "on_the_way")
DELIVERIES_OF = {
    "confirmed": frozenset({"waiting", "assigned", "at_restaurant"}),
    "fulfilled": frozenset({"picked_up", "on_the_way"}),
    "delivered": frozenset({"delivered"}),
}
"""By the state of an order, the states that its delivery may have once every event has been consumed."""

TICKETS = "SELECT order_id::text AS id, state, paid_at IS NOT NULL AS paid, updated_at FROM tickets"
DELIVERIES = "SELECT order_id::text AS id, state, courier_id, updated_at FROM deliveries"
OVERLOADED = """
SELECT c.user_id AS id, c.load, c.capacity, count(d.order_id) AS orders FROM couriers c
LEFT JOIN deliveries d ON d.courier_id = c.user_id AND (d.state = ANY ($1) OR d.state = 'held')
GROUP BY c.user_id HAVING count(d.order_id) > c.capacity OR count(d.order_id) <> c.load"""
WITHOUT_COURIER = "SELECT order_id AS id, state FROM deliveries WHERE state = ANY ($1) AND courier_id IS NULL"
WRONG_LOAD = """
SELECT r.id, r.held, count(t.order_id) AS tickets FROM restaurants r
LEFT JOIN tickets t ON t.restaurant_id = r.id AND t.state IN ('waiting', 'accepted', 'preparing')
GROUP BY r.id, r.held HAVING r.held <> count(t.order_id)"""
# The tax is a part of the other amounts where prices include it.
WRONG_SUM = """
SELECT o.id, o.total, f.tip FROM orders o JOIN food_orders f ON f.order_id = o.id
WHERE o.state = ANY ($1)
  AND o.total - f.tip - o.shipping NOT IN (o.subtotal - o.discount + o.tax, o.subtotal - o.discount)"""
WITHOUT_DETAILS = """
SELECT id FROM orders o WHERE kind = 'food' AND NOT EXISTS (SELECT FROM food_orders f WHERE f.order_id = o.id)"""
RECORD = """
SELECT order_id::text AS id, version, from_state, to_state FROM {table} WHERE at < $1 ORDER BY order_id, version"""
PUBLISHED_TWICE = """
SELECT subject_id AS id, version, count(*) AS times
FROM (SELECT subject_id, payload::jsonb -> 'data' ->> 'version' AS version FROM outbox WHERE type = $1) AS events
GROUP BY subject_id, version HAVING count(*) > 1"""


@dataclass(frozen=True)
class Lifecycle:
    """The legal changes of state that one service records and publishes."""

    noun: str
    table: str
    event: str
    legal: frozenset[tuple[str, str]]


def changes(**following: str) -> frozenset[tuple[str, str]]:
    """Pairs of states from ``state="next other"``."""
    return frozenset((before, after) for before, states in following.items() for after in states.split())


LIFECYCLES = (
    Lifecycle(
        RESTAURANT,
        "ticket_transitions",
        "restaurant.ticket_changed.v1",
        changes(
            waiting="accepted rejected cancelled",
            accepted="preparing cancelled",
            preparing="ready cancelled",
            ready="picked_up cancelled",
        ),
    ),
    Lifecycle(
        DELIVERY,
        "delivery_transitions",
        "delivery.changed.v1",
        changes(
            held="waiting assigned",
            waiting="assigned failed cancelled",
            assigned="waiting at_restaurant cancelled",
            at_restaurant="waiting picked_up cancelled",
            picked_up="on_the_way cancelled",
            on_the_way="delivered cancelled",
        ),
    ),
)


def has_food(audit: Audit) -> bool:
    return {RESTAURANT, DELIVERY} <= audit.connections.keys()


async def orders_have_one_delivery(audit: Audit) -> Finding:
    """A sold food order has a paid ticket and a delivery in a fitting state; an undone one has neither."""
    finding = Finding()
    if not has_food(audit):
        return finding
    tickets = {row["id"]: row for row in await audit.fetch(RESTAURANT, TICKETS)}
    deliveries = {row["id"]: row for row in await audit.fetch(DELIVERY, DELIVERIES)}
    for key, order in (await audit.unchanged_orders(*SOLD, *UNDONE)).items():
        ticket, delivery = tickets.get(key), deliveries.get(key)
        if order["kind"] != "food" or _changed_lately((ticket, delivery), audit):
            continue
        finding.checked += 1
        if problem := (_undone if order["state"] in UNDONE else _sold)(order["state"], ticket, delivery):
            finding.violations[key] = problem
    finding.add(await audit.fetch("order", WITHOUT_DETAILS), "is a food order without a restaurant")
    return finding


def _changed_lately(rows: Iterable[Row | None], audit: Audit) -> bool:
    return any(row is not None and row["updated_at"] >= audit.cutoff for row in rows)


def _sold(state: str, ticket: Row | None, delivery: Row | None) -> str | None:
    if ticket is None or ticket["state"] in KITCHEN_ENDED:
        return f"is {state}, and its ticket is {ticket['state'] if ticket else 'missing'}"
    if not ticket["paid"]:
        return f"is {state}, and the kitchen does not know that it is paid"
    if delivery is None or delivery["state"] not in DELIVERIES_OF[state]:
        return f"is {state}, and its delivery is {delivery['state'] if delivery else 'missing'}"
    return None


def _undone(state: str, ticket: Row | None, delivery: Row | None) -> str | None:
    if ticket is not None and ticket["state"] not in KITCHEN_ENDED:
        return f"is {state}, and its ticket is {ticket['state']}"
    if delivery is not None and delivery["state"] not in DELIVERY_ENDED:
        return f"is {state}, and its delivery is {delivery['state']}"
    return None


async def couriers_within_capacity(audit: Audit) -> Finding:
    """No courier has more orders than the vehicle takes, and no order is under way without a courier."""
    finding = Finding()
    if has_food(audit):
        finding.checked = await audit.count(DELIVERY, "deliveries")
        finding.add(
            await audit.fetch(DELIVERY, OVERLOADED, UNDER_WAY),
            "has {orders} orders, counts {load} and takes {capacity}",
        )
        finding.add(await audit.fetch(DELIVERY, WITHOUT_COURIER, UNDER_WAY), "is {state} without a courier")
    return finding


async def kitchen_load_is_orders_in_work(audit: Audit) -> Finding:
    """What a kitchen counts as its load is the number of its tickets in work."""
    finding = Finding()
    if has_food(audit):
        finding.checked = await audit.count(RESTAURANT, "restaurants")
        finding.add(await audit.fetch(RESTAURANT, WRONG_LOAD), "counts {held} orders in work and has {tickets}")
    return finding


async def food_totals_add_up(audit: Audit) -> Finding:
    """The total of a food order is the sum of its amounts and the tip."""
    finding = Finding()
    if has_food(audit):
        finding.checked = await audit.count("order", "food_orders")
        finding.add(
            await audit.fetch("order", WRONG_SUM, SOLD), "costs {total}, which is not its amounts and a tip of {tip}"
        )
    return finding


async def changes_are_legal_and_published_once(audit: Audit) -> Finding:
    """Tickets and deliveries change along legal transitions, and no version of one is published twice."""
    finding = Finding()
    if has_food(audit):
        for lifecycle in LIFECYCLES:
            await _check(audit, lifecycle, finding)
    return finding


async def _check(audit: Audit, lifecycle: Lifecycle, finding: Finding) -> None:
    records: dict[str, list[Row]] = defaultdict(list)
    for row in await audit.fetch(lifecycle.noun, RECORD.format(table=lifecycle.table), audit.cutoff):
        records[row["id"]].append(row)
    finding.checked += len(records)
    for order, record in records.items():
        if problem := _problem(lifecycle, record):
            finding.violations[f"{lifecycle.noun} {order}"] = problem
    twice = await audit.fetch(lifecycle.noun, PUBLISHED_TWICE, lifecycle.event)
    finding.add(twice, f"{lifecycle.noun}: version {{version}} was published {{times}} times")


def _problem(lifecycle: Lifecycle, record: list[Row]) -> str | None:
    for before, after in itertools.pairwise(record):
        if before["to_state"] != after["from_state"]:
            return f"has states that do not follow each other: {before['to_state']}, then {after['from_state']}"
    for row in record:
        if row["from_state"] is not None and (row["from_state"], row["to_state"]) not in lifecycle.legal:
            return f"went from {row['from_state']} to {row['to_state']}"
    return None
