"""The only SQL of deliveries.

Whoever changes a delivery or who is on shift takes one advisory lock first, so decisions are made one after another,
each on what the one before committed: no delivery waits while the courier for it becomes free. Transactions are
short, and each decides for many orders.
"""

# ruff: noqa: S608 - the statements are put together from constants

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import Any, NamedTuple
from uuid import UUID

from shop.delivery import metrics
from shop.delivery.courier_repository import HAS_NOT_PICKED_UP
from shop.delivery.domain import Delivery, State
from shop.kit.db import Connection, Database, Record
from shop.town import Position

LOCK_KEY = 0x44495350
LOCK = "SELECT pg_advisory_xact_lock($1)"

COLUMNS = """
order_id, state, version, revision, courier_id, reason, user_id, restaurant_id, restaurant_name, address,
pickup_lat, pickup_lon, dropoff_lat, dropoff_lon, dropoff_junction, distance_m, code, wrong_codes, wrong_codes_since,
ready_at, kitchen, kitchen_version, promised_at, first_eta, eta, waiting_since, created_at, updated_at"""
BY_IDS = f"SELECT {COLUMNS} FROM deliveries WHERE order_id = ANY($1::uuid[])"
# The orders of a restaurant wait at one place; if it has moved, at two.
HEADS = """
SELECT restaurant_id, pickup_lat, pickup_lon, min(ready_at) AS ready_at, bool_or(reason IS NOT NULL) AS given_back,
    count(*) AS orders
FROM deliveries WHERE courier_id IS NULL AND state IN ('held', 'waiting')
AND ($2::timestamptz IS NULL OR (ready_at, order_id) > ($2, $3::uuid))
GROUP BY restaurant_id, pickup_lat, pickup_lon ORDER BY min(ready_at), restaurant_id LIMIT $1"""
IN_LINE = f"""
SELECT {", ".join(f"d.{name}" for name in COLUMNS.replace(",", " ").split())} FROM deliveries d
JOIN unnest($5::uuid[], $6::float8[], $7::float8[], $8::timestamptz[]) AS due (restaurant_id, lat, lon, by)
    ON d.restaurant_id = due.restaurant_id AND d.pickup_lat = due.lat AND d.pickup_lon = due.lon
WHERE courier_id IS NULL AND state IN ('held', 'waiting') AND (ready_at <= due.by OR reason IS NOT NULL)
AND ready_at <= $1 AND ($3::timestamptz IS NULL OR (ready_at, order_id) > ($3, $4::uuid))
ORDER BY ready_at, order_id LIMIT $2"""
COUNT_BY_TRIPS = """
SELECT floor(greatest(extract(epoch FROM ready_at - $1::timestamptz), 0) / $2)::integer AS trips, count(*) AS orders
FROM deliveries WHERE courier_id IS NULL AND state IN ('held', 'waiting') GROUP BY trips"""
CARRIED = f"""
SELECT {COLUMNS} FROM deliveries WHERE courier_id = ANY($1::uuid[])
AND state IN ('held', 'assigned', 'at_restaurant', 'picked_up', 'on_the_way') ORDER BY created_at, order_id"""
EXPIRED = f"""
SELECT {COLUMNS} FROM deliveries WHERE state = 'waiting' AND courier_id IS NULL AND waiting_since < $1
AND ready_at < $2 ORDER BY waiting_since, order_id LIMIT $3"""
NEWER = f"""
SELECT {COLUMNS} FROM deliveries JOIN unnest($1::uuid[], $2::integer[]) AS seen (id, known) ON id = order_id
WHERE revision > known AND version > 0"""
PAGE = f"""
SELECT {COLUMNS} FROM deliveries WHERE version > 0 AND {{more}}
AND ($2::timestamptz IS NULL OR (created_at, order_id) < ($2, $3::uuid)) ORDER BY created_at DESC, order_id DESC
LIMIT $4"""
ANY_PAGE = PAGE.format(more="$1::text IS NULL")
# Statements of their own, so that the index deliveries_by_state is used: few of all deliveries are live.
STATE_PAGE = PAGE.format(more="state = $1::text")
REFUSALS = "SELECT order_id, courier_id FROM delivery_refusals WHERE order_id = ANY($1::uuid[])"
HISTORY = """
SELECT order_id, to_state, at FROM delivery_transitions WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, version"""
DEMAND = """
SELECT dropoff_junction AS junction, count(*) AS orders FROM deliveries
WHERE created_at >= $1 AND dropoff_junction IS NOT NULL GROUP BY dropoff_junction ORDER BY dropoff_junction"""

KITCHEN_STATES = """
SELECT order_id, state, at FROM kitchen_states WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, version"""

INSERT = """
INSERT INTO deliveries (order_id, state, courier_id, user_id, restaurant_id, restaurant_name, address, pickup_lat,
    pickup_lon, dropoff_lat, dropoff_lon, dropoff_junction, distance_m, code, ready_at, promised_at, eta,
    kitchen, kitchen_version, waiting_since, created_at, updated_at)
SELECT order_id, 'held', courier_id, user_id, restaurant_id, restaurant_name, address, pickup_lat, pickup_lon,
    dropoff_lat, dropoff_lon, dropoff_junction, distance_m, code, ready_at, promised_at, promised_at,
    kitchen.state, coalesce(kitchen.version, 0), $16, $16, $16
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::text[], $6::jsonb[], $7::float8[], $8::float8[],
    $9::float8[], $10::float8[], $11::smallint[], $12::integer[], $13::text[], $14::timestamptz[],
    $15::timestamptz[]) AS new (order_id, courier_id, user_id, restaurant_id, restaurant_name, address, pickup_lat,
    pickup_lon, dropoff_lat, dropoff_lon, dropoff_junction, distance_m, code, ready_at, promised_at)
LEFT JOIN LATERAL (
    SELECT state, version FROM kitchen_states AS k WHERE k.order_id = new.order_id ORDER BY version DESC LIMIT 1
) AS kitchen ON true
ORDER BY order_id"""
ADD_KITCHEN_STATES = """
INSERT INTO kitchen_states (order_id, version, state, at)
SELECT * FROM unnest($1::uuid[], $2::integer[], $3::text[], $4::timestamptz[]) ORDER BY 1, 2
ON CONFLICT DO NOTHING RETURNING order_id"""
TOMBSTONES = """
INSERT INTO deliveries (order_id, state, waiting_since, created_at, updated_at)
SELECT id, 'released', $2, $2, $2 FROM unnest($1::uuid[]) AS id ON CONFLICT (order_id) DO NOTHING"""
SAVED = {
    "state": "text",
    "version": "integer",
    "revision": "integer",
    "courier_id": "uuid",
    "reason": "text",
    "kitchen": "text",
    "kitchen_version": "integer",
    "ready_at": "timestamptz",
    "first_eta": "timestamptz",
    "eta": "timestamptz",
    "waiting_since": "timestamptz",
    "wrong_codes": "smallint",
    "wrong_codes_since": "timestamptz",
    "updated_at": "timestamptz",
}
"""The columns that change, with their types."""
_ARRAYS = ", ".join(f"${number}::{kind}[]" for number, kind in enumerate(SAVED.values(), 3))
SAVE = f"""
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], {_ARRAYS}) AS n (order_id, from_state, {", ".join(SAVED)})
), transitions AS (
    INSERT INTO delivery_transitions (order_id, version, from_state, to_state, courier_id, at)
    SELECT order_id, version, from_state, state, courier_id, updated_at FROM new
    WHERE from_state <> state AND state <> 'released'
)
UPDATE deliveries AS d SET {", ".join(f"{name} = new.{name}" for name in SAVED)}
FROM new WHERE d.order_id = new.order_id"""
REFUSE = """
INSERT INTO delivery_refusals (order_id, courier_id, at) SELECT order_id, courier_id, $3
FROM unnest($1::uuid[], $2::uuid[]) AS r (order_id, courier_id) ON CONFLICT DO NOTHING"""
DUE = f"""
SELECT EXISTS (
    SELECT FROM deliveries WHERE courier_id IS NULL AND state IN ('held', 'waiting') AND ready_at <= $2
) OR EXISTS (
    SELECT FROM couriers LEFT JOIN courier_positions ON courier_id = user_id
    WHERE on_shift AND load > 0 AND coalesce(fixed_at < $1, true) AND {HAS_NOT_PICKED_UP})"""
COUNT_IN_LINE = "SELECT count(*) FROM deliveries WHERE courier_id IS NULL AND state IN ('held', 'waiting')"

Change = tuple[Delivery, Delivery]
"""A delivery before and after."""
Place = tuple[datetime, UUID]
"""In the line, which is in the order in which the food is ready: that time, and the order."""
KitchenState = tuple[UUID, int, str, datetime]
"""An order, the version of its ticket, the ticket's state and since when."""
INSERTED = ("order_id", "courier_id", "user_id", "restaurant_id", "restaurant_name", "address")
PLANNED = ("dropoff_junction", "distance_m", "code", "ready_at", "promised_at")
"""Columns of INSERT before and after the two positions."""
COUNTED = ("ready_at", "given_back", "orders")
"""Columns of HEADS after the place."""
_FIELDS = [one.name for one in fields(Delivery) if one.name not in ("state", "pickup", "dropoff")]


class Head(NamedTuple):
    """A restaurant's orders in line: when the food of the first is ready, whether somebody gave one back, and how many
    they are."""

    restaurant_id: UUID
    pickup: Position
    ready_at: datetime
    given_back: bool
    orders: int


async def lock(connection: Connection) -> None:
    """Wait for the turn to decide; held until the transaction ends."""
    await connection.execute(LOCK, LOCK_KEY)


async def by_ids(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Delivery | None]:
    """The known ones; None for the tombstone of an order that was released first."""
    rows = await connection.fetch(BY_IDS, list(order_ids))
    return {row["order_id"]: None if row["user_id"] is None else delivery_of(row) for row in rows}


async def heads(connection: Connection, limit: int, after: Place | None) -> list[Head]:
    """The restaurants with orders in line behind ``after``, the first of the line first."""
    rows = await connection.fetch(HEADS, limit, *(after or (None, None)))
    return [
        Head(row["restaurant_id"], Position(row["pickup_lat"], row["pickup_lon"]), *(row[name] for name in COUNTED))
        for row in rows
    ]


async def in_line(
    connection: Connection, ready_by: datetime, limit: int, after: Place | None, due: Mapping[Head, datetime | None]
) -> list[Delivery]:
    """Deliveries without a courier whose food is ready by then, the first of the line first, or those behind ``after``.

    Only those of the ``due`` restaurants, each with food that is ready by its time, or which somebody gave back.
    """
    places = [(head.restaurant_id, *head.pickup, by) for head, by in due.items()]
    columns = (list(column) for column in zip(*places, strict=True))
    rows = await connection.fetch(IN_LINE, ready_by, limit, *(after or (None, None)), *columns) if due else []
    return [delivery_of(row) for row in rows]


async def count_by_trips(connection: Connection, now: datetime, trip_s: int) -> dict[int, int]:
    """Deliveries without a courier, by how many trips of this time are left until their food is ready."""
    return {row["trips"]: row["orders"] for row in await connection.fetch(COUNT_BY_TRIPS, now, trip_s)}


async def count_in_line(connection: Connection) -> int:
    return int(await connection.fetchval(COUNT_IN_LINE))


async def expired(connection: Connection, before: datetime, ready_before: datetime, limit: int) -> list[Delivery]:
    """Paid deliveries that have had no courier since ``before``, with food that is ready before the other time."""
    return [delivery_of(row) for row in await connection.fetch(EXPIRED, before, ready_before, limit)]


async def carried(connection: Connection, courier_ids: Sequence[UUID]) -> dict[UUID, list[Delivery]]:
    """What each courier holds or carries, reservations included; couriers with nothing are left out."""
    found: dict[UUID, list[Delivery]] = defaultdict(list)
    for row in await connection.fetch(CARRIED, list(courier_ids)) if courier_ids else ():
        found[row["courier_id"]].append(delivery_of(row))
    return found


async def refusals(connection: Connection, order_ids: Sequence[UUID]) -> Mapping[UUID, set[UUID]]:
    """The couriers who gave each order back."""
    found: dict[UUID, set[UUID]] = defaultdict(set)
    for row in await connection.fetch(REFUSALS, list(order_ids)):
        found[row["order_id"]].add(row["courier_id"])
    return found


async def insert(connection: Connection, new: Sequence[Delivery], now: datetime) -> None:
    """Store reservations."""
    rows = [
        (
            *(getattr(one, name) for name in INSERTED),
            *one.pickup,
            *one.dropoff,
            *(getattr(one, name) for name in PLANNED),
        )
        for one in new
    ]
    if rows:
        await connection.execute(INSERT, *(list(column) for column in zip(*rows, strict=True)), now)


async def save(connection: Connection, changes: Sequence[Change]) -> None:
    """Store what changed, and each change of state of a live delivery as a transition."""
    rows = [(old.order_id, old.state, *(getattr(new, name) for name in SAVED)) for old, new in changes]
    if rows:
        await connection.execute(SAVE, *(list(column) for column in zip(*rows, strict=True)))


async def add_kitchen_states(connection: Connection, states: Sequence[KitchenState]) -> set[UUID]:
    """Store states of kitchens; the orders of those that were not known."""
    columns = (list(column) for column in zip(*states, strict=True))
    return {row["order_id"] for row in await connection.fetch(ADD_KITCHEN_STATES, *columns)} if states else set()


async def add_tombstones(connection: Connection, order_ids: Sequence[UUID], now: datetime) -> None:
    """Keep orders that reserved nothing yet from reserving."""
    if order_ids:
        await connection.execute(TOMBSTONES, list(order_ids), now)


async def add_refusals(connection: Connection, given_back: Sequence[tuple[UUID, UUID]], now: datetime) -> None:
    """Orders and the couriers who gave them back."""
    if given_back:
        await connection.execute(REFUSE, *(list(column) for column in zip(*given_back, strict=True)), now)


class DeliveryRepository:
    """Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._turn = asyncio.Lock()
        """So that of this process only one connection waits for the lock."""

    @contextlib.asynccontextmanager
    async def deciding(self) -> AsyncIterator[Connection]:
        """A transaction in which nobody else changes deliveries or shifts."""
        with metrics.DISPATCH.time():
            async with self._turn, self.database.transaction() as connection:
                await lock(connection)
                yield connection

    async def is_due(self, lost_before: datetime, ready_by: datetime) -> bool:
        """Whether a delivery in line has its food ready by then, or a courier on shift has something that is not picked
        up and no fix since ``lost_before``."""
        return bool(await self.database.quick.fetchval(DUE, lost_before, ready_by))

    async def newer(self, seen: Mapping[UUID, int]) -> list[Delivery]:
        """Paid deliveries with a revision greater than the one that is known of each."""
        return [delivery_of(row) for row in await self.database.fetch(NEWER, list(seen), list(seen.values()))]

    async def history(self, order_ids: Sequence[UUID]) -> dict[UUID, list[tuple[State, datetime]]]:
        """The states that each delivery reached, and when."""
        found: dict[UUID, list[tuple[State, datetime]]] = defaultdict(list)
        for row in await self.database.fetch(HISTORY, list(order_ids)):
            found[row["order_id"]].append((State(row["to_state"]), row["at"]))
        return found

    async def kitchen_history(self, order_ids: Sequence[UUID]) -> dict[UUID, list[tuple[str, datetime]]]:
        """The states of each order in the kitchen, and since when."""
        found: dict[UUID, list[tuple[str, datetime]]] = defaultdict(list)
        for row in await self.database.fetch(KITCHEN_STATES, list(order_ids)):
            found[row["order_id"]].append((row["state"], row["at"]))
        return found

    async def page(self, state: State | None, before: tuple[datetime, UUID] | None, limit: int) -> list[Delivery]:
        """Paid deliveries, the newest first."""
        at, order_id = before or (None, None)
        statement = ANY_PAGE if state is None else STATE_PAGE
        return [delivery_of(row) for row in await self.database.fetch(statement, state, at, order_id, limit)]

    async def demand(self, since: datetime) -> list[tuple[int, int]]:
        """The orders since then, by the junction nearest to their customer."""
        return [(row["junction"], row["orders"]) for row in await self.database.fetch(DEMAND, since)]


def delivery_of(row: Record) -> Delivery:
    values: dict[str, Any] = {name: row[name] for name in _FIELDS}
    return Delivery(
        **values,
        state=State(row["state"]),
        pickup=Position(row["pickup_lat"], row["pickup_lon"]),
        dropoff=Position(row["dropoff_lat"], row["dropoff_lon"]),
    )
