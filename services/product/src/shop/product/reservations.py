"""The only SQL of reservations: stock that cannot be oversold.

A batch locks its products in the order of their ids, is decided in memory by `domain.allocate`, and is written by
one statement. Concurrent batches wait for each other's rows and see the stock that the other left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shop.kit.db import Connection, Database, Record
from shop.kit.errors import Unavailable
from shop.product.domain import Request, Shortage, allocate
from shop.product.metrics import STOCK_OUTS

MAX_ATTEMPTS = 5
"""Attempts at one batch; each further one follows a deadlock or a concurrent change."""

LOCK = """
SELECT id AS product_id, stock, sku, name, category, price, currency FROM products
WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"""

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
SELL = """
UPDATE reservations SET state = 'sold', updated_at = $2
WHERE order_id IN (
    SELECT order_id FROM reservations WHERE order_id = ANY($1::uuid[]) AND state = 'reserved'
    ORDER BY order_id FOR UPDATE
)"""


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
        for attempt in range(MAX_ATTEMPTS):
            try:
                return await self._reserve(requests, now, look_up=attempt > 0)
            except (ConcurrentChange, asyncpg.DeadlockDetectedError):
                continue
        raise Unavailable("database", f"reservations still contended after {MAX_ATTEMPTS} tries")

    async def _reserve(self, requests: Sequence[Request], now: datetime, *, look_up: bool) -> dict[UUID, Answer]:
        """Treat every order as new; if that fails, ``look_up`` those that reserved before.

        The look-up comes after the locks, so an order that is requested twice at once has its answer by then. Without
        the look-up nothing is rejected: what seems to be short may be held by the order itself.
        """
        async with self._database.transaction() as connection:
            wanted = sorted({product_id for request in requests for product_id in request.lines})
            rows = {row["product_id"]: row for row in await connection.fetch(LOCK, wanted)}
            known = await _known(connection, [request.order_id for request in requests]) if look_up else {}
            fresh = [request for request in requests if request.order_id not in known]
            stock = {product_id: row["stock"] for product_id, row in rows.items()}
            shortages = allocate(fresh, stock)
            if any(shortages) and not look_up:
                raise ConcurrentChange
            served = [request for request, shortage in zip(fresh, shortages, strict=True) if shortage is None]
            if served:
                await self._write(connection, served, now)
        taken = {product_id for request in served for product_id in request.lines}
        STOCK_OUTS.inc(sum(stock[product_id] == 0 for product_id in taken))
        answers = {
            request.order_id: shortage or _lines(request, rows)
            for request, shortage in zip(fresh, shortages, strict=True)
        }
        return {**known, **answers}

    async def _write(self, connection: Connection, served: Sequence[Request], now: datetime) -> None:
        lines = [(request.order_id, product, count) for request in served for product, count in request.lines.items()]
        taken: dict[UUID, int] = {}
        for _, product, count in lines:
            taken[product] = taken.get(product, 0) + count
        columns = [list(column) for column in zip(*lines, strict=True)]
        order_ids = [request.order_id for request in served]
        arguments = (order_ids, *columns, list(taken), list(taken.values()), now)
        try:
            reserved = await connection.fetchval(RESERVE, *arguments)
        except (asyncpg.ForeignKeyViolationError, asyncpg.UniqueViolationError) as error:
            raise ConcurrentChange from error
        if reserved != len(order_ids):
            raise ConcurrentChange

    async def release(self, order_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        """Release what the orders hold, once, and keep unknown orders from reserving; return the restocked products."""
        for _ in range(MAX_ATTEMPTS):
            try:
                return await self._release(sorted(set(order_ids)), now)
            except asyncpg.DeadlockDetectedError:
                continue
        raise Unavailable("database", f"reservations still contended after {MAX_ATTEMPTS} tries")

    async def _release(self, order_ids: Sequence[UUID], now: datetime) -> list[UUID]:
        async with self._database.transaction() as connection:
            await connection.fetch(LOCK_RELEASED, order_ids)
            released = [row["order_id"] for row in await connection.fetch(RELEASE, order_ids, now)]
            return [row["id"] for row in await connection.fetch(RESTOCK, released)] if released else []


async def sell(connection: Connection, order_ids: Sequence[UUID], now: datetime) -> None:
    """Mark what the orders reserved as sold; an order that was released meanwhile stays so."""
    await connection.execute(SELL, list(order_ids), now)


async def _known(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Answer]:
    states = await connection.fetch(KNOWN, list(order_ids))
    known: dict[UUID, Answer] = {row["order_id"]: None if row["state"] == "released" else Reserved() for row in states}
    for row in await connection.fetch(KNOWN_LINES, list(known)):
        lines = known[row["order_id"]]
        if isinstance(lines, Reserved):
            lines.append(dict(row.items()))
    return known


def _lines(request: Request, products: Mapping[UUID, Record]) -> Reserved:
    return Reserved(
        {**products[product_id], "quantity": quantity} for product_id, quantity in sorted(request.lines.items())
    )
