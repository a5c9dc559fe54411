"""The only SQL of the catalogue: products, stock movements, and searches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from itertools import count
from typing import Any
from uuid import UUID

import asyncpg

from shop.kit.db import Database, Record
from shop.kit.ids import new_id
from shop.product import errors
from shop.product.domain import search_words, sort_name

COLUMNS = "id, sku, name, description, category, price, currency, stock, attributes, sort_name"

# Sort -> the column compared, its direction; the id settles ties, so a cursor points between two rows.
SORTS: Mapping[str, tuple[str, str, type]] = {
    "name": ("sort_name", "ASC", str),
    "newest": ("created_at", "DESC", datetime),
    "price": ("price", "ASC", int),
    "-price": ("price", "DESC", int),
}
TYPES = {str: "text", int: "bigint", datetime: "timestamptz"}


NEAREST = 2_000
"""So many products are looked through in order for a page of those that match a search."""


@cache
def page_statement(sort: str, *, words: bool, category: bool, after: bool) -> str:
    """The statement of a page with just the conditions that it has, so that each has its own plan.

    Its arguments are the limit, then those of words, category, and the sort key and id to start behind.

    A page of frequent words is found soon by reading in order, one of rare words by the index of words. By its
    estimates PostgreSQL reads 100,000 products in order when the matches are the last ones, or fetches and sorts
    50,000 matches. So here the NEAREST products are read first, and the index when they are not enough.
    """
    column, direction, kind = SORTS[sort]
    numbers = count(2)
    matches = f"search @@ to_tsquery('simple', ${next(numbers)})" if words else "true"
    of_category = f"category = ${next(numbers)}" if category else "true"
    beyond = ">" if direction == "ASC" else "<"
    behind = f"({column}, id) {beyond} (${next(numbers)}::{TYPES[kind]}, ${next(numbers)}::uuid)" if after else "true"
    where = f"{of_category} AND {behind}"
    # Only by name there is an index of each category's products.
    in_order = where if sort == "name" else behind
    order = f"ORDER BY {column} {direction}, id {direction}"
    columns = f"{COLUMNS}, created_at"
    if not words:
        return f"SELECT {columns} FROM products WHERE {where} {order} LIMIT $1"  # noqa: S608 - constants
    return f"""
WITH nearest AS MATERIALIZED (
    SELECT {columns} FROM (
        SELECT {columns}, search FROM products WHERE {in_order} {order} LIMIT {NEAREST}
    ) AS first WHERE {matches} AND {of_category} LIMIT $1
), enough AS MATERIALIZED (SELECT count(*) = $1 AS yes FROM nearest), hits AS MATERIALIZED (
    SELECT id, {column} FROM products WHERE NOT (SELECT yes FROM enough) AND {matches} AND {where}
)
SELECT {columns} FROM nearest WHERE (SELECT yes FROM enough)
UNION ALL
(SELECT {columns} FROM products WHERE id = ANY(ARRAY(SELECT id FROM hits {order} LIMIT $1)) {order})"""  # noqa: S608 - constants


BY_IDS = f"SELECT {COLUMNS} FROM products WHERE id = ANY($1::uuid[])"  # noqa: S608 - constant
BY_ID = f"SELECT {COLUMNS} FROM products WHERE id = $1"  # noqa: S608 - constant
CATEGORIES = "SELECT category AS name, count(*) AS count FROM products GROUP BY category ORDER BY category"

INSERT = f"""
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i(id uuid, sku text, name text, sort_name text, description text,
        category text, price bigint, currency text, stock integer, attributes jsonb, words text)
), added AS (
    INSERT INTO products (id, sku, name, sort_name, description, category, price, currency, stock, attributes, search,
                          created_at, updated_at)
    SELECT id, sku, name, sort_name, description, category, price, currency, stock, attributes,
           to_tsvector('simple', words), $2, $2
    FROM input ON CONFLICT (sku) DO NOTHING
    RETURNING *
), received AS (
    INSERT INTO stock_movements (product_id, delta, reason, at)
    SELECT id, stock, $3, $2 FROM added WHERE stock > 0
)
SELECT {COLUMNS} FROM added"""  # noqa: S608 - constants

UPDATE = f"""
UPDATE products SET
    name = coalesce($2, name), sort_name = coalesce($3, sort_name), description = coalesce($4, description),
    category = coalesce($5, category), price = coalesce($6, price), attributes = coalesce($7, attributes),
    updated_at = $8
WHERE id = $1 RETURNING {COLUMNS}"""  # noqa: S608 - constants
REINDEX = "UPDATE products SET search = to_tsvector('simple', $2) WHERE id = $1"

# A statement of its own, before MOVE: an UPDATE holds what it computes from its snapshot against the CHECK before it
# notices a newer row, so MOVE's snapshot is taken when no other transaction can change the stock.
LOCK = BY_ID + " FOR UPDATE"
# A key that was used before changes nothing: the row of the first movement is in the way of the second.
# All stock ever received has to fit into an integer, not only what is left: orders may release what they hold.
MOVE = f"""
WITH moved AS (
    INSERT INTO stock_movements (product_id, delta, reason, key, at) VALUES ($1, $2, $3, $4, $5)
    ON CONFLICT ON CONSTRAINT one_movement_per_key DO NOTHING
    RETURNING product_id
)
UPDATE products SET stock = stock + $2, updated_at = $5 FROM moved WHERE id = product_id
RETURNING {COLUMNS},
    ($2 + (SELECT coalesce(sum(delta), 0) FROM stock_movements WHERE product_id = $1))::integer AS received"""  # noqa: S608 - constants

# One statement, so one snapshot: reservations that commit meanwhile are not seen in part.
COUNT_STOCK = """
SELECT count(*) FILTER (WHERE stock = 0) AS sold_out,
    count(*) FILTER (WHERE stock + coalesce(held, 0) <> coalesce(received, 0)) AS drift
FROM products
LEFT JOIN (SELECT product_id, sum(delta) AS received FROM stock_movements GROUP BY product_id) AS came
    ON came.product_id = id
LEFT JOIN (
    SELECT product_id, sum(quantity) AS held FROM reservation_lines JOIN reservations USING (order_id)
    WHERE state <> 'released' GROUP BY product_id
) AS went ON went.product_id = id"""


class ProductRepository:
    """Products. Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self, *, query: str, category: str | None, sort: str, after: tuple[Any, UUID] | None, limit: int
    ) -> list[Record]:
        """Products in the order of ``sort``, behind the row whose sort key and id are ``after``."""
        words = list(dict.fromkeys(search_words(query)))
        if query and not words:
            return []
        statement = page_statement(sort, words=bool(words), category=category is not None, after=after is not None)
        conditions = [" & ".join(f"{word}:*" for word in words)] if words else []
        if category is not None:
            conditions.append(category)
        return await self._database.fetch(statement, limit, *conditions, *(after or ()))

    async def by_ids(self, ids: Sequence[UUID]) -> list[Record]:
        return await self._database.fetch(BY_IDS, list(ids))

    async def get(self, product_id: UUID) -> Record | None:
        return await self._database.fetchrow(BY_ID, product_id)

    async def categories(self) -> list[Record]:
        return await self._database.fetch(CATEGORIES)

    async def count_stock(self) -> tuple[int, int]:
        """Products without stock, and those whose stock is not what movements and reservations leave."""
        row = await self._database.fetchrow(COUNT_STOCK)
        return (row["sold_out"], row["drift"]) if row else (0, 0)

    async def insert(self, products: Sequence[Mapping[str, Any]], now: datetime, reason: str) -> list[Record]:
        """Add those whose SKU is new, with their first stock, in one statement; return them."""
        rows = [_row(product) for product in products]
        return await self._database.fetch(INSERT, rows, now, reason)

    async def update(self, product_id: UUID, change: Mapping[str, Any], now: datetime) -> Record | None:
        """Change what ``change`` names; None if there is no such product."""
        name = change.get("name")
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(
                UPDATE,
                product_id,
                name,
                sort_name(name) if name else None,
                *(change.get(field) for field in ("description", "category", "price", "attributes")),
                now,
            )
            if row is not None:
                await connection.execute(REINDEX, product_id, _words(row))
        return row

    async def move_stock(
        self, product_id: UUID, delta: int, reason: str, key: str | None, now: datetime
    ) -> tuple[Record, bool]:
        """Add ``delta`` to the stock, once per ``key``, and whether that was now.

        Problem 404, or 409 below zero and beyond what is counted.
        """
        async with self._database.transaction() as connection:
            product = await connection.fetchrow(LOCK, product_id)
            if product is None:
                raise errors.unknown_product(product_id)
            try:
                moved = await connection.fetchrow(MOVE, product_id, delta, reason, key, now)
            except asyncpg.CheckViolationError:
                raise errors.insufficient_stock(product_id, product["stock"]) from None
            except asyncpg.NumericValueOutOfRangeError:
                raise errors.stock_too_large() from None
        return (product, False) if moved is None else (moved, True)


def _row(product: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": new_id(),
        **product,
        "sort_name": sort_name(product["name"]),
        "words": _words(product),
    }


def _words(product: Mapping[str, Any] | Record) -> str:
    """What a search finds the product by: title, author, category and SKU."""
    attributes = product["attributes"]
    texts = (product["name"], attributes.get("author"), product["category"], product["sku"])
    return " ".join(word for text in texts if text for word in search_words(str(text), limit=100))
