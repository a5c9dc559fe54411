"""The only SQL of reservations: stock that cannot be oversold.

A batch locks its products in the order of their ids. When all of its orders are new and there is enough for all of
them, which is nearly always so, one statement does everything. Else it changes nothing, and `domain.allocate` decides
in memory, within a transaction. Concurrent batches wait for each other's rows and see the stock that the other left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shop.kit.db import Connection, Database, Record
from shop.kit.errors import Unavailable
from shop.kit.inbox import CLAIMED
from shop.product.domain import Request, Shortage, allocate
from shop.product.metrics import STOCK_OUTS

MAX_ATTEMPTS = 5
"""Attempts at one batch; each further one follows a deadlock or a concurrent change."""

LOCK = """
SELECT id AS product_id, stock, sku, name, category, price, currency FROM products
WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"""

# Every change waits for the CTE `possible`, which waits for all locks. The new stock is what the locked row has, less
# what is taken: the snapshot of the statement may be older, and a stock computed from it could fail the CHECK.
RESERVE_AT_ONCE = """
WITH locked AS MATERIALIZED (
    SELECT id, stock, sku, name, category, price, currency FROM products
    WHERE id = ANY($5::uuid[]) ORDER BY id FOR UPDATE
), left_over AS (
    SELECT locked.id, stock - quantity AS stock
    FROM locked JOIN unnest($5::uuid[], $6::integer[]) AS taken (id, quantity) USING (id)
), possible AS (
    SELECT count(*) = cardinality($5) AND min(stock) >= 0
        AND NOT EXISTS (SELECT FROM reservations WHERE order_id = ANY($1::uuid[])) AS yes
    FROM left_over
), reserved AS (
    INSERT INTO reservations (order_id, state, created_at, updated_at)
    SELECT order_id, 'reserved', $7, $7 FROM unnest($1::uuid[]) AS input (order_id)
    WHERE (SELECT yes FROM possible) ORDER BY order_id
), reserved_lines AS (
    INSERT INTO reservation_lines (order_id, product_id, quantity, sku, name, category, price, currency)
    SELECT order_id, locked.id, quantity, sku, name, category, price, currency
    FROM unnest($2::uuid[], $3::uuid[], $4::integer[]) AS line (order_id, id, quantity) JOIN locked USING (id)
    WHERE (SELECT yes FROM possible)
), updated AS (
    UPDATE products SET stock = left_over.stock FROM left_over
    WHERE products.id = left_over.id AND (SELECT yes FROM possible)
)
SELECT id AS product_id, stock, sku, name, category, price, currency FROM locked WHERE (SELECT yes FROM possible)"""

KNOWN = "SELECT order_id, state FROM reservations WHERE order_id = ANY($1::uuid[])"
KNOWN_LINES = """
SELECT order_id, product_id, quantity, sku, name, category, price, currency FROM reservation_lines
WHERE order_id = ANY($1::uuid[]) ORDER BY order_id, product_id"""

RESERVE = """
WITH reserved AS (
    INSERT INTO reservations (order_id, state, created_at, updated_at)
    SELECT order_id, 'reserved', $7, $7 FROM unnest($1::uuid[]) AS input (order_id) ORDER BY order_id
    ON CONFLICT (order_id) DO NOTHING
    RETURNING order_id
), reserved_lines AS (
    INSERT INTO reservation_lines (order_id, product_id, quantity, sku, name, category, price, currency)
    SELECT l.order_id, l.product_id, l.quantity, p.sku, p.name, p.category, p.price, p.currency
    FROM unnest($2::uuid[], $3::uuid[], $4::integer[]) AS l (order_id, product_id, quantity)
    JOIN products p ON p.id = l.product_id
), taken AS (
    UPDATE products SET stock = stock - t.quantity
    FROM unnest($5::uuid[], $6::integer[]) AS t (product_id, quantity) WHERE id = t.product_id
)
SELECT count(*) FROM reserved"""

LOCK_RELEASED = """
SELECT id FROM products WHERE id IN (SELECT product_id FROM reservation_lines WHERE order_id = ANY($1::uuid[]))
ORDER BY id FOR UPDATE"""
RELEASE = """
INSERT INTO reservations AS r (order_id, state, created_at, updated_at)
SELECT DISTINCT order_id, 'released', $2::timestamptz, $2::timestamptz FROM unnest($1::uuid[]) AS input (order_id)
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET state = 'released', updated_at = $2 WHERE r.state <> 'released'
RETURNING order_id"""
# A statement of its own: only a snapshot taken after RELEASE has waited for a reservation in flight sees its lines.
RESTOCK = """
UPDATE products SET stock = stock + back.quantity FROM (
    SELECT product_id, sum(quantity)::integer AS quantity FROM reservation_lines
    WHERE order_id = ANY($1::uuid[]) GROUP BY product_id
) AS back WHERE id = back.product_id
RETURNING id"""
SELL = f"""
WITH {CLAIMED}, sold AS (
    UPDATE reservations SET state = 'sold', updated_at = $4
    WHERE order_id IN (
        SELECT order_id FROM reservations WHERE state = 'reserved' AND order_id IN (
            SELECT order_id FROM unnest($2::uuid[], $3::uuid[]) AS sale (event_id, order_id)
            JOIN claimed USING (event_id)
        ) ORDER BY order_id FOR UPDATE
    )
)
SELECT event_id FROM claimed"""  # noqa: S608 - constants


class ConcurrentChange(Exception):
    """Another transaction reserved or released one of the orders meanwhile."""


class Reserved(list[Mapping[str, Any]]):
    """The lines of a reservation, each with the price at which it was made."""


Answer = Reserved | Shortage | None
"""The reserved lines, what is short, or None for an order that was released."""


class ReservationRepository:
    """Reservations by order id. Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def reserve(self, requests: Sequence[Request], now: datetime) -> dict[UUID, Answer]:
        """The answer for each order (orders distinct); asking again gives the same lines at the same prices."""
        try:
            if (answers := await self._reserve_at_once(requests, now)) is not None:
                return answers
        except (asyncpg.UniqueViolationError, asyncpg.DeadlockDetectedError):
            pass
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._allocate(requests, now)
            except (ConcurrentChange, asyncpg.DeadlockDetectedError):
                continue
        raise Unavailable("database", f"reservations still contended after {MAX_ATTEMPTS} tries")

    async def _reserve_at_once(self, requests: Sequence[Request], now: datetime) -> dict[UUID, Answer] | None:
        """One statement that reserves all of it; None, with nothing changed, when something is short or not new.

        A unique violation says that another transaction reserved or released one of the orders meanwhile.
        """
        rows = await self._database.fetch(RESERVE_AT_ONCE, *_arguments(requests, now))
        if not rows:
            return None
        products = {row["product_id"]: row for row in rows}
        return _answers(requests, [None] * len(requests), products)

    async def _allocate(self, requests: Sequence[Request], now: datetime) -> dict[UUID, Answer]:
        """Serve the orders one after the other, as far as the stock suffices and they did not reserve before.

        What is known of them is looked up after the locks, so an order that is requested twice at once has its answer
        by then.
        """
        async with self._database.transaction() as connection:
            wanted = sorted({product_id for request in requests for product_id in request.lines})
            rows = {row["product_id"]: row for row in await connection.fetch(LOCK, wanted)}
            known = await _known(connection, [request.order_id for request in requests])
            fresh = [request for request in requests if request.order_id not in known]
            shortages = allocate(fresh, {product_id: row["stock"] for product_id, row in rows.items()})
            served = [request for request, shortage in zip(fresh, shortages, strict=True) if shortage is None]
            if served:
                await self._write(connection, served, now)
        return {**known, **_answers(fresh, shortages, rows)}

    async def _write(self, connection: Connection, served: Sequence[Request], now: datetime) -> None:
        try:
            reserved = await connection.fetchval(RESERVE, *_arguments(served, now))
        except (asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError) as error:
            raise ConcurrentChange from error
        if reserved != len(served):
            raise ConcurrentChange

    async def release(self, order_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        """Release what the orders hold, once, and keep unknown orders from reserving; return their products.

        Those too that were restocked before: an earlier call may have done it and failed afterwards.
        """
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._release(sorted(set(order_ids)), now)
            except asyncpg.DeadlockDetectedError:
                continue
        raise Unavailable("database", f"reservations still contended after {MAX_ATTEMPTS} tries")

    async def _release(self, order_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        async with self._database.transaction() as connection:
            locked = [row["id"] for row in await connection.fetch(LOCK_RELEASED, order_ids)]
            released = [row["order_id"] for row in await connection.fetch(RELEASE, order_ids, now)]
            if released:
                locked += [row["id"] for row in await connection.fetch(RESTOCK, released)]
            return locked


async def sell(database: Database, consumer: str, sales: Sequence[tuple[UUID, UUID]], now: datetime) -> set[UUID]:
    """Mark what orders reserved as sold; one that was released meanwhile stays so.

    ``sales`` are ids of events, each with its order's. Returns the events that the consumer had not processed before.
    """
    rows = await database.fetch(SELL, consumer, *map(list, zip(*sales, strict=True)), now)
    return {row["event_id"] for row in rows}


async def _known(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Answer]:
    states = await connection.fetch(KNOWN, list(order_ids))
    known: dict[UUID, Answer] = {row["order_id"]: None if row["state"] == "released" else Reserved() for row in states}
    for row in await connection.fetch(KNOWN_LINES, list(known)):
        lines = known[row["order_id"]]
        if isinstance(lines, Reserved):
            lines.append(dict(row.items()))
    return known


def _arguments(requests: Sequence[Request], now: datetime) -> tuple[Any, ...]:
    """Of a statement: the orders, their lines in columns, what is taken of each product, and when."""
    lines = [(request.order_id, product, count) for request in requests for product, count in request.lines.items()]
    taken: dict[UUID, int] = {}
    for _, product, count in lines:
        taken[product] = taken.get(product, 0) + count
    columns = [list(column) for column in zip(*lines, strict=True)]
    return [request.order_id for request in requests], *columns, list(taken), list(taken.values()), now


def _answers(
    requests: Sequence[Request], shortages: Sequence[Shortage | None], products: Mapping[UUID, Record]
) -> dict[UUID, Answer]:
    """What each request has got of the ``products`` as they were locked; counts those of which nothing is left."""
    left = {product_id: row["stock"] for product_id, row in products.items()}
    answers: dict[UUID, Answer] = {}
    for request, shortage in zip(requests, shortages, strict=True):
        answers[request.order_id] = shortage or _lines(request, products)
        for product_id, quantity in request.lines.items() if shortage is None else ():
            left[product_id] -= quantity
            STOCK_OUTS.inc(left[product_id] == 0)
    return answers


def _lines(request: Request, products: Mapping[UUID, Record]) -> Reserved:
    return Reserved(
        {**products[product_id], "quantity": quantity} for product_id, quantity in sorted(request.lines.items())
    )
