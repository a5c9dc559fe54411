"""The only SQL of tickets: a kitchen that cannot be overloaded, and states that change once.

Every change locks the rows of the restaurants first, in the order of their ids, then reads the tickets, is decided in
memory by the domain, and is written by one statement, with its events in the same transaction. Concurrent changes of
the same restaurant wait for each other and see what the other left.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg
import cachetools

from shop.contracts.events import TicketChanged, TicketState
from shop.kit import outbox
from shop.kit.db import Connection, Database, Record
from shop.kit.errors import Unavailable
from shop.restaurant.domain import OPEN, Restaurant, Ticket
from shop.restaurant.menu import Menu, Refusal, read_menu
from shop.restaurant.repository import COLUMN_NAMES, SETTINGS, menus, restaurant

MAX_ATTEMPTS = 5
"""Attempts at one change; each further one follows a deadlock or a concurrent change."""
MAX_CACHED_MENUS = 512
MAX_DUE = 128
"""Tickets that the clock moves in one transaction."""
MAX_LOOKED_AT = 1_024
"""Tickets that are due whose restaurants the clock looks for: more than it moves, as others may have locked some."""

R_COLUMNS = ", ".join(f"r.{name}" for name in COLUMN_NAMES)
LOCK = f"SELECT {R_COLUMNS} FROM restaurants r WHERE id = ANY ($1::uuid[]) ORDER BY id FOR UPDATE"  # noqa: S608 - constants
READ = f"SELECT {R_COLUMNS} FROM restaurants r WHERE id = ANY ($1::uuid[])"  # noqa: S608 - constants
LOCK_OF_ORDERS = f"""
SELECT {R_COLUMNS} FROM restaurants r
WHERE id IN (SELECT restaurant_id FROM tickets WHERE order_id = ANY ($1::uuid[])) ORDER BY id FOR UPDATE"""  # noqa: S608 - constants
# Another replica that has locked a restaurant moves its tickets. The first that are due come from the index of these:
# without a limit a third of all tickets is expected, and all of each restaurant are read.
LOCK_DUE = f"""
SELECT {R_COLUMNS} FROM restaurants r
WHERE id IN (
    SELECT restaurant_id FROM (
        SELECT restaurant_id FROM tickets WHERE due_at <= $1 ORDER BY due_at LIMIT {MAX_LOOKED_AT}) AS due
) ORDER BY id LIMIT $2 FOR UPDATE SKIP LOCKED"""  # noqa: S608 - constants

ANY_DUE = "SELECT true FROM tickets WHERE due_at <= $1 ORDER BY due_at LIMIT 1"

T_COLUMNS = (
    "t.order_id, t.restaurant_id, t.user_id, t.restaurant_name, t.customer_name, t.note, t.lines, t.currency,"
    " t.minimum_order, coalesce(r.lat, 0) AS lat, coalesce(r.lon, 0) AS lon,"
    " t.state, t.reason, t.version, coalesce(r.auto_progress, false) AS auto_progress, t.created_at,"
    " t.updated_at, t.decide_by, t.open_until, t.ready_at, t.due_at, t.paid_at, t.courier_name, t.vehicle,"
    " t.delivery_state, t.delivery_version, t.sequence"
)
TICKETS = f"SELECT {T_COLUMNS} FROM tickets t LEFT JOIN restaurants r ON r.id = t.restaurant_id"  # noqa: S608 - constants
BY_ORDERS = f"{TICKETS} WHERE t.order_id = ANY ($1::uuid[])"
DUE = f"{TICKETS} WHERE t.restaurant_id = ANY ($1::uuid[]) AND t.due_at <= $2 ORDER BY t.due_at LIMIT $3"
# The kitchen sees an order when it is paid, or when the staff has to decide whether to take it.
SEEN_BY_KITCHEN = "(t.state <> 'accepted' OR t.paid_at IS NOT NULL)"
PAGE = f"""
{TICKETS}
WHERE t.restaurant_id = $1 AND t.state = ANY ($2::text[]) AND {SEEN_BY_KITCHEN}
  AND ($3::uuid IS NULL OR t.order_id < $3) {{more}}
ORDER BY t.order_id DESC LIMIT $4"""
ANY_PAGE = PAGE.format(more="")
# The states once more as constants, which is how the planner knows that the index tickets_open has them all.
OPEN_PAGE = PAGE.format(more="AND t.state IN ('waiting', 'accepted', 'preparing', 'ready')")
CHANGES = f"""
SELECT c.* FROM unnest($1::uuid[], $2::bigint[]) AS seen(restaurant_id, sequence) CROSS JOIN LATERAL (
    {TICKETS} WHERE t.restaurant_id = seen.restaurant_id AND t.sequence > seen.sequence AND {SEEN_BY_KITCHEN}
    ORDER BY t.sequence LIMIT $3
) AS c ORDER BY c.restaurant_id, c.sequence"""  # noqa: S608 - constants
LATEST = "SELECT coalesce(max(sequence), 0) FROM tickets WHERE restaurant_id = $1"

INSERTED = {
    "order_id": "uuid",
    "restaurant_id": "uuid",
    "user_id": "uuid",
    "restaurant_name": "text",
    "customer_name": "text",
    "note": "text",
    "lines": "jsonb",
    "currency": "text",
    "minimum_order": "bigint",
    "state": "text",
    "version": "integer",
    "decide_by": "timestamptz",
    "open_until": "timestamptz",
    "ready_at": "timestamptz",
    "due_at": "timestamptz",
    "created_at": "timestamptz",
    "updated_at": "timestamptz",
}
"""The columns that a new ticket has, with their types."""
UPDATED = {
    "order_id": "uuid",
    "state": "text",
    "reason": "text",
    "version": "integer",
    "ready_at": "timestamptz",
    "due_at": "timestamptz",
    "paid_at": "timestamptz",
    "courier_name": "text",
    "vehicle": "text",
    "delivery_state": "text",
    "delivery_version": "integer",
    "updated_at": "timestamptz",
}
"""The key, and the columns that change."""
INSERT = f"""
INSERT INTO tickets ({", ".join(INSERTED)})
SELECT {", ".join(INSERTED)}
FROM jsonb_to_recordset($1) AS c({", ".join(f"{name} {kind}" for name, kind in INSERTED.items())})
ORDER BY order_id"""  # noqa: S608 - constants
TOMBSTONES = """
INSERT INTO tickets (order_id, state, reason, created_at, updated_at)
SELECT DISTINCT order_id, 'cancelled', $2, $3::timestamptz, $3::timestamptz
FROM unnest($1::uuid[]) AS input(order_id) ORDER BY order_id
ON CONFLICT (order_id) DO NOTHING"""
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(UPDATED.values(), 1))
UPDATE = f"""
UPDATE tickets t SET {", ".join(f"{name} = c.{name}" for name in UPDATED if name != "order_id")}
FROM unnest({_ARRAYS}) AS c ({", ".join(UPDATED)}) WHERE t.order_id = c.order_id"""  # noqa: S608 - constants
RESCHEDULE = """
UPDATE tickets SET due_at = CASE WHEN NOT $2 THEN NULL WHEN state = 'accepted' THEN paid_at ELSE ready_at END
WHERE restaurant_id = $1 AND paid_at IS NOT NULL AND state IN ('accepted', 'preparing')"""
LOCK_OF_USERS = """
SELECT FROM restaurants WHERE id IN (SELECT restaurant_id FROM tickets WHERE user_id = ANY ($1::uuid[]))
ORDER BY id FOR UPDATE"""
# The trigger tickets_erased does the same for tickets that end later.
DELETE_USERS = """
WITH left_staff AS (DELETE FROM staff WHERE user_id = ANY ($1::uuid[]))
UPDATE tickets SET customer_name = '', note = ''
WHERE user_id = ANY ($1::uuid[]) AND (customer_name, note) <> ('', '')
  AND state IN ('rejected', 'picked_up', 'cancelled')"""

Decide = Callable[[Ticket, Restaurant], Ticket | None]
"""The changed ticket, or None for no change. May raise; then nothing is changed."""


Admit = Callable[[Mapping[UUID, Restaurant], Mapping[UUID, Menu], Sequence[UUID]], Mapping[UUID, Ticket | Refusal]]
"""Decides about the orders that have no ticket yet, with the locked restaurants and their menus."""


class ConcurrentChange(Exception):
    """Another transaction made or released one of the tickets meanwhile."""


class TicketRepository:
    """Tickets by order id. Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._menus: cachetools.LRUCache[tuple[UUID, int], Menu] = cachetools.LRUCache(MAX_CACHED_MENUS)

    async def read(self, restaurant_ids: Sequence[UUID]) -> tuple[dict[UUID, Restaurant], dict[UUID, Menu]]:
        """Restaurants and their menus as they are, without a lock."""
        async with self._database.transaction() as connection:
            rows = {row["id"]: restaurant(row) for row in await connection.fetch(READ, sorted(set(restaurant_ids)))}
            return rows, await self._menus_of(connection, rows)

    async def accept(
        self, orders: Mapping[UUID, UUID], admit: Admit, traces: Mapping[UUID, str]
    ) -> dict[UUID, Ticket | Refusal]:
        """The ticket of each order (by its restaurant), or why there is none; asking again gives the same ticket.

        ``traces``: the traceparent of each order.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._accept(orders, admit, traces)
            except (ConcurrentChange, asyncpg.DeadlockDetectedError):
                continue
        raise Unavailable("database", f"tickets still contended after {MAX_ATTEMPTS} tries")

    async def _accept(
        self, orders: Mapping[UUID, UUID], admit: Admit, traces: Mapping[UUID, str]
    ) -> dict[UUID, Ticket | Refusal]:
        async with self._database.transaction() as connection:
            rows = await _locked(connection, LOCK, sorted(set(orders.values())))
            known = await _tickets(connection, BY_ORDERS, list(orders))
            fresh = [order_id for order_id in orders if order_id not in known]
            answers = admit(rows, await self._menus_of(connection, rows), fresh) if fresh else {}
            new = [answer for answer in answers.values() if isinstance(answer, Ticket)]
            if new:
                await _insert(connection, new, traces)
        return {**answers, **known}

    async def change(
        self, order_ids: Sequence[UUID], decide: Decide, *, tombstone: tuple[str, datetime] | None = None
    ) -> dict[UUID, Ticket]:
        """Change the tickets in a transaction of their own and return them as they are afterwards.

        With ``tombstone``, a reason and the time, an unknown order gets a ticket that is cancelled.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                async with self._database.transaction() as connection:
                    return await change_in(connection, order_ids, decide, tombstone=tombstone)
            except asyncpg.DeadlockDetectedError:
                continue
        raise Unavailable("database", f"tickets still contended after {MAX_ATTEMPTS} tries")

    async def change_due(self, now: datetime, decide: Decide) -> int:
        """Change the tickets that are due, at most MAX_DUE of them; return how many were.

        Mostly there is none, which one statement finds without a transaction.
        """
        if not await self._database.quick.fetchval(ANY_DUE, now):
            return 0
        async with self._database.transaction() as connection:
            rows = await _locked(connection, LOCK_DUE, now, MAX_DUE)
            tickets = await _tickets(connection, DUE, list(rows), now, MAX_DUE) if rows else {}
            await _decide(connection, rows, tickets, decide)
        return len(tickets)

    async def change_settings(
        self, restaurant_id: UUID, change: Mapping[str, Any], now: datetime, user_id: UUID
    ) -> Restaurant | None:
        """Change a restaurant's settings; ``auto_progress`` lets the clock move the tickets in work, or leaves them to
        the staff."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(SETTINGS, restaurant_id, change, now, user_id)
            if "auto_progress" in change:
                await connection.execute(RESCHEDULE, restaurant_id, change["auto_progress"])
        return None if row is None else restaurant(row)

    async def page(
        self, restaurant_id: UUID, states: Sequence[TicketState], before: UUID | None, limit: int
    ) -> list[Ticket]:
        """The newest tickets older than ``before`` that the kitchen sees."""
        statement = OPEN_PAGE if OPEN.issuperset(states) else ANY_PAGE
        rows = await self._database.fetch(statement, restaurant_id, list(states), before, limit)
        return [_ticket(row) for row in rows]

    async def get(self, order_id: UUID) -> Ticket | None:
        rows = await self._database.fetch(BY_ORDERS, [order_id])
        return _ticket(rows[0]) if rows else None

    async def latest(self, restaurant_id: UUID) -> int:
        """The number of the restaurant's last change."""
        return int(await self._database.fetchval(LATEST, restaurant_id))

    async def changes(self, seen: Mapping[UUID, int], limit: int) -> list[Ticket]:
        """Per restaurant the tickets that changed after the number given, at most ``limit``, by their number."""
        return [_ticket(row) for row in await self._database.fetch(CHANGES, list(seen), list(seen.values()), limit)]

    async def _menus_of(self, connection: Connection, rows: Mapping[UUID, Restaurant]) -> dict[UUID, Menu]:
        keys = [(one.id, one.menu_version) for one in rows.values()]
        found = {key: self._menus[key] for key in keys if key in self._menus}
        missing = [key for key in keys if key not in found]
        if missing:
            found |= {key: read_menu(document) for key, document in (await menus(connection, missing)).items()}
            self._menus.update(found)
        return {restaurant_id: menu for (restaurant_id, _), menu in found.items()}


async def change_in(
    connection: Connection,
    order_ids: Sequence[UUID],
    decide: Decide,
    *,
    tombstone: tuple[str, datetime] | None = None,
) -> dict[UUID, Ticket]:
    """As `TicketRepository.change`, in the caller's transaction."""
    rows = await _locked(connection, LOCK_OF_ORDERS, sorted(set(order_ids)))
    if tombstone is not None:
        await connection.execute(TOMBSTONES, list(order_ids), *tombstone)
    tickets = await _tickets(connection, BY_ORDERS, list(order_ids))
    unlocked = {ticket.restaurant_id for ticket in tickets.values()} - rows.keys() - {None}
    if unlocked:  # accepted while this transaction waited for its row
        rows |= await _locked(connection, LOCK, sorted(one for one in unlocked if one))
        tickets = await _tickets(connection, BY_ORDERS, list(order_ids))
    return tickets | await _decide(connection, rows, tickets, decide)


async def lock_restaurants_of(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Wait for other changes of the restaurants that have tickets of the users."""
    await connection.execute(LOCK_OF_USERS, list(user_ids))


async def delete_users(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Remove names and notes from tickets that have ended, and the users from the staff."""
    await connection.execute(DELETE_USERS, list(user_ids))


async def _decide(
    connection: Connection, rows: Mapping[UUID, Restaurant], tickets: Mapping[UUID, Ticket], decide: Decide
) -> dict[UUID, Ticket]:
    """Write what ``decide`` changes, with the events of new versions; return the changed tickets."""
    changed: dict[UUID, Ticket] = {}
    for order_id, ticket in tickets.items():
        if ticket.restaurant_id is not None:
            after = decide(ticket, rows[ticket.restaurant_id])
            if after is not None and after != ticket:
                changed[order_id] = after
    if changed:
        columns = ([getattr(ticket, name) for ticket in changed.values()] for name in UPDATED)
        await connection.execute(UPDATE, *columns)
        published = [ticket for order_id, ticket in changed.items() if ticket.version > tickets[order_id].version]
        await outbox.publish(connection, *(_event(ticket) for ticket in published))
    return changed


async def _insert(connection: Connection, tickets: Sequence[Ticket], traces: Mapping[UUID, str]) -> None:
    try:
        await connection.execute(INSERT, [{name: getattr(ticket, name) for name in INSERTED} for ticket in tickets])
    except asyncpg.UniqueViolationError as error:
        raise ConcurrentChange from error
    await outbox.insert(connection, [outbox.row(_event(one), traces.get(one.order_id)) for one in tickets])


async def _locked(connection: Connection, statement: str, *arguments: Any) -> dict[UUID, Restaurant]:
    return {row["id"]: restaurant(row) for row in await connection.fetch(statement, *arguments)}


async def _tickets(connection: Connection, statement: str, *arguments: Any) -> dict[UUID, Ticket]:
    return {row["order_id"]: _ticket(row) for row in await connection.fetch(statement, *arguments)}


def _ticket(row: Record) -> Ticket:
    fields = dict(row.items())
    return Ticket(**fields | {"state": TicketState(fields["state"])})


def _event(ticket: Ticket) -> TicketChanged:
    assert ticket.restaurant_id is not None  # noqa: S101 - not a tombstone
    assert ticket.user_id is not None  # noqa: S101
    return TicketChanged(
        order_id=ticket.order_id,
        user_id=ticket.user_id,
        restaurant_id=ticket.restaurant_id,
        restaurant_name=ticket.restaurant_name,
        state=ticket.state,
        version=ticket.version,
        reason=ticket.reason,
        ready_at=ticket.ready_at,
        occurred_at=ticket.updated_at,
    )
