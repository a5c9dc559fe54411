"""The SQL by which events of tickets and deliveries change orders of food.

Statements that lock rows of several tables take them in the order of a saga's save: sagas, orders, food_orders.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.contracts.events import DeliveryChanged, TicketChanged
from shop.kit.db import Connection, Database
from shop.kit.saga.engine import Rejected
from shop.order.domain import CANCEL, PLACE, Order, State
from shop.order.repository import MOVE
from shop.order.rows import load_order

UNDO = "status = 'compensating', fence = fence + 1, doubtful = true, lease_owner = NULL, due_at = now()"

# The rows that events of these orders may change, locked in one order, so that two batches do not wait for each other.
LOCK = """
WITH s AS MATERIALIZED (
    SELECT order_id FROM sagas WHERE order_id = ANY ($1::uuid[]) ORDER BY order_id FOR UPDATE
)
SELECT FROM orders o WHERE o.id IN (SELECT order_id FROM s) ORDER BY o.id FOR UPDATE"""

# The ticket is decided: its saga need not wait for the next attempt.
WAKE = f"""
WITH waiting AS (
    SELECT order_id FROM sagas WHERE order_id = ANY ($1::uuid[]) AND kind = '{PLACE}' AND status = 'running'
        AND lease_owner IS NULL AND due_at > now()
    ORDER BY order_id FOR UPDATE SKIP LOCKED
)
UPDATE sagas s SET due_at = now() FROM waiting w WHERE s.order_id = w.order_id"""  # noqa: S608 - constants

# As repository.CANCEL_PENDING and CANCEL_CONFIRMED, for any replica to carry out.
END_PENDING = f"""
UPDATE sagas SET attempts = attempts + 1, refusal = $2, {UNDO}
WHERE order_id = $1 AND kind = '{PLACE}' AND status = 'running'"""  # noqa: S608 - constants
END_CONFIRMED = f"""
WITH o AS (
    UPDATE orders SET cancel_requested_at = $3, updated_at = $3
    WHERE id = $1 AND kind = 'food' AND state = 'confirmed' AND cancel_requested_at IS NULL
    RETURNING id
)
UPDATE sagas SET kind = '{CANCEL}', attempts = 0, deadline_at = NULL, refusal = $2, {UNDO}
FROM o WHERE order_id = o.id"""  # noqa: S608 - constants

# Whether what the events of food order `f` require is still to be done. An order that is being undone needs nothing. A
# decided ticket requires one more attempt at a saga that is being tried at this moment.
UNSETTLED = """
EXISTS (
    SELECT FROM orders o JOIN sagas s ON s.order_id = o.id
    WHERE o.id = f.order_id AND o.cancel_requested_at IS NULL
        AND (o.state IN ('confirmed', 'fulfilled') OR o.state = 'pending' AND s.status = 'running')
        AND (o.state <> 'fulfilled' AND f.delivery_state IN ('picked_up', 'on_the_way', 'delivered')
            OR o.state = 'fulfilled' AND f.delivery_state = 'delivered'
            OR o.state <> 'fulfilled' AND f.delivery_state = 'failed'
            OR o.state <> 'fulfilled' AND f.ticket_state = 'cancelled' AND f.ticket_reason IS DISTINCT FROM 'released'
            OR o.state = 'pending' AND f.ticket_state IN ('accepted', 'rejected')
                AND s.lease_owner IS NOT NULL AND s.due_at > now())
)"""

STORE_TICKETS = """
WITH input AS (
    SELECT DISTINCT ON (order_id) * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::text[], $5::timestamptz[]
    ) AS i (order_id, version, state, reason, ready_at) ORDER BY order_id, version DESC
), locked AS (
    SELECT order_id FROM food_orders WHERE order_id = ANY ($1) ORDER BY order_id FOR UPDATE
)
UPDATE food_orders f SET ticket_state = i.state, ticket_reason = i.reason, ticket_version = i.version,
    ready_at = coalesce(i.ready_at, f.ready_at)
FROM input i JOIN locked USING (order_id) WHERE f.order_id = i.order_id AND f.ticket_version < i.version"""

STORE_DELIVERIES = """
WITH input AS (
    SELECT DISTINCT ON (order_id) * FROM unnest(
        $1::uuid[], $2::integer[], $3::text[], $4::text[], $5::text[], $6::timestamptz[]
    ) AS i (order_id, version, state, courier_name, vehicle, eta) ORDER BY order_id, version DESC
), locked AS (
    SELECT order_id FROM food_orders WHERE order_id = ANY ($1) ORDER BY order_id FOR UPDATE
)
UPDATE food_orders f SET delivery_state = i.state, delivery_version = i.version, courier_name = i.courier_name,
    vehicle = i.vehicle, eta = coalesce(i.eta, f.eta)
FROM input i JOIN locked USING (order_id)
WHERE f.order_id = i.order_id AND f.delivery_version < i.version"""

MARK = f"""
UPDATE food_orders f SET unsettled = {UNSETTLED}
WHERE f.order_id = ANY ($1::uuid[]) AND f.unsettled <> {UNSETTLED}"""  # noqa: S608 - constants

OPEN = """
SELECT order_id, ticket_state, ticket_reason, delivery_state FROM food_orders
WHERE unsettled ORDER BY order_id LIMIT $1"""


OVERDUE = """
SELECT f.order_id FROM food_orders f JOIN orders o ON o.id = f.order_id
WHERE o.state = 'confirmed' AND o.cancel_requested_at IS NULL AND coalesce(f.promised_at, o.updated_at) < $1
ORDER BY f.order_id LIMIT $2"""
COUNT_OPEN = """
SELECT count(*) FROM food_orders f JOIN orders o ON o.id = f.order_id
WHERE o.state IN ('pending', 'confirmed', 'fulfilled')"""
RELEASES_DUE = """
SELECT f.order_id, s.traceparent FROM food_orders f JOIN sagas s USING (order_id)
WHERE f.release_due ORDER BY f.order_id LIMIT $1"""
STORE_RELEASED = "UPDATE food_orders SET release_due = false WHERE order_id = ANY ($1::uuid[])"


class KnownStates(NamedTuple):
    """What events say of one order: the states of its ticket and its delivery, None where nothing is said."""

    order_id: UUID
    ticket_state: str | None = None
    ticket_reason: str | None = None
    delivery_state: str | None = None


async def lock(connection: Connection, order_ids: Sequence[UUID]) -> None:
    """Keep the sagas and states of these orders as they are until the transaction ends."""
    await connection.execute(LOCK, order_ids)


async def end(connection: Connection, order_id: UUID, refusal: Rejected, at: datetime) -> None:
    """Have a pending or confirmed order undone by whoever claims its saga; nothing if it is neither."""
    await connection.execute(END_PENDING, order_id, refusal.dump())
    await connection.execute(END_CONFIRMED, order_id, refusal.dump(), at)


async def wake(connection: Connection, order_ids: Sequence[UUID]) -> None:
    """Have the sagas of pending orders tried again at once. One that is being tried at this moment stays unsettled."""
    await connection.execute(WAKE, order_ids)


async def move(
    connection: Connection, trace_ids: Mapping[UUID, str], before: State, after: State, at: datetime
) -> list[Order]:
    """Move those orders of food that are in ``before`` and not being cancelled; the keys are the orders' ids."""
    rows = await connection.fetch(MOVE, list(trace_ids), before, after, at, list(trace_ids.values()), ["food"])
    return [load_order(row) for row in rows]


async def store_tickets(connection: Connection, tickets: Sequence[TicketChanged]) -> None:
    """Keep the latest version of each."""
    columns = ("order_id", "version", "state", "reason", "ready_at")
    await connection.execute(STORE_TICKETS, *([getattr(one, name) for one in tickets] for name in columns))


async def store_deliveries(connection: Connection, deliveries: Sequence[DeliveryChanged]) -> None:
    """Keep the latest version of each."""
    columns = ("order_id", "version", "state", "courier_name", "vehicle", "eta")
    await connection.execute(STORE_DELIVERIES, *([getattr(one, name) for one in deliveries] for name in columns))


async def mark_unsettled(connection: Connection, order_ids: Sequence[UUID]) -> None:
    """Mark the orders for which something is still to be done. It has to come after what is done for them."""
    await connection.execute(MARK, order_ids)


async def unsettled(connection: Connection, limit: int) -> list[KnownStates]:
    rows = await connection.fetch(OPEN, limit)
    return [KnownStates(*row.values()) for row in rows]


async def overdue(connection: Connection, promised_before: datetime, limit: int) -> list[UUID]:
    """Confirmed orders that were to be delivered before then."""
    return [row["order_id"] for row in await connection.fetch(OVERDUE, promised_before, limit)]


async def count_open(database: Database) -> int:
    """How many orders of food have not ended."""
    return int(await database.fetchval(COUNT_OPEN))


async def releases_due(database: Database, limit: int) -> list[tuple[UUID, str]]:
    """Orders whose ticket and courier are to be released, each with its traceparent."""
    return [(row["order_id"], row["traceparent"]) for row in await database.fetch(RELEASES_DUE, limit)]


async def store_released(database: Database, order_ids: Sequence[UUID]) -> None:
    await database.execute(STORE_RELEASED, order_ids)
