"""The SQL of what customers bought."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.kit.db import Connection, Database
from shop.kit.deleted_users import DeletedUsers

# The row lock makes transactions that change purchases take turns, so each statement after it sees what the others did:
# a cancellation or deletion that is committed meanwhile cannot be missed.
TAKE_TURN = "UPDATE revision SET value = value + 1, changed_at = $1"
CUSTOMERS_AND_ORDERS = """
), new_customers AS (
    INSERT INTO customers (user_id) SELECT DISTINCT user_id FROM counted
    WHERE NOT EXISTS (SELECT FROM customers WHERE customers.user_id = counted.user_id)
    RETURNING number, user_id
), buyers AS (
    SELECT number, user_id FROM new_customers
    UNION ALL SELECT number, user_id FROM customers WHERE user_id IN (SELECT user_id FROM counted)
"""
DELETED_CUSTOMERS = DeletedUsers("deleted_customers")
NOT_DELETED = f"NOT {DELETED_CUSTOMERS.holds('input.user_id')}"
# FULL JOIN finds what JOIN would, because each side has all that the other one has, and it reads each side once. With
# JOIN the planner expects one row and takes nested loops: 130,000 instead of 6,000 pages for 100 orders.
ADD = f"""
WITH input AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::timestamptz[], $4::uuid[])
        AS line (order_id, user_id, ordered_at, product_id)
), counted AS (
    SELECT * FROM input
    WHERE NOT EXISTS (SELECT FROM orders WHERE orders.order_id = input.order_id) AND {NOT_DELETED}
{CUSTOMERS_AND_ORDERS}
), new_products AS (
    INSERT INTO products (product_id) SELECT DISTINCT product_id FROM counted
    WHERE NOT EXISTS (SELECT FROM products WHERE products.product_id = counted.product_id)
    RETURNING number, product_id
), bought AS (
    SELECT number, product_id FROM new_products
    UNION ALL SELECT number, product_id FROM products WHERE product_id IN (SELECT product_id FROM counted)
), new_orders AS (
    INSERT INTO orders (order_id, customer)
    SELECT DISTINCT order_id, buyers.number FROM counted FULL JOIN buyers USING (user_id)
    RETURNING number, order_id
)
INSERT INTO purchases (order_number, product, customer, ordered_at)
SELECT DISTINCT new_orders.number, bought.number, buyers.number, ordered_at
FROM counted FULL JOIN new_orders USING (order_id) FULL JOIN bought USING (product_id) FULL JOIN buyers USING (user_id)
"""  # noqa: S608 - constants
CANCEL = f"""
WITH input AS (
    SELECT DISTINCT * FROM unnest($1::uuid[], $2::uuid[]) AS ended (order_id, user_id)
), counted AS (
    SELECT * FROM input WHERE {NOT_DELETED}
{CUSTOMERS_AND_ORDERS}
), cancelled AS (
    INSERT INTO orders (order_id, customer, cancelled_at)
    SELECT order_id, buyers.number, $3 FROM counted FULL JOIN buyers USING (user_id)
    ON CONFLICT (order_id) DO UPDATE SET cancelled_at = excluded.cancelled_at WHERE orders.cancelled_at IS NULL
    RETURNING number
)
DELETE FROM purchases USING cancelled WHERE purchases.order_number = cancelled.number"""  # noqa: S608 - constants
# Orders and purchases go with their customer.
DELETE_CUSTOMERS = "DELETE FROM customers WHERE user_id = ANY ($1::uuid[])"
# Subqueries, not joins: index lookups also while the statistics of a growing table are old (133 ms with a join).
HISTORY = """
SELECT (SELECT product_id FROM products WHERE number = product) AS product_id
FROM purchases WHERE customer = (SELECT number FROM customers WHERE {column} = $1)
ORDER BY ordered_at DESC, product LIMIT $2"""
HISTORY_OF_USER = HISTORY.format(column="user_id")
HISTORY_OF_ALIAS = HISTORY.format(column="alias")
NEWEST_ALIASES = """
SELECT alias FROM (SELECT number, alias FROM customers ORDER BY number DESC LIMIT 10 * $1) AS newest
WHERE EXISTS (SELECT FROM purchases WHERE customer = newest.number) ORDER BY number DESC LIMIT $1"""
MAX_HISTORY = 5_000
"""Products of a customer's orders that are read; older ones count as not bought."""


class Order(NamedTuple):
    """A confirmed order and its products."""

    order_id: UUID
    user_id: UUID
    ordered_at: datetime
    product_ids: Sequence[UUID]


class PurchaseRepository:
    """Methods with a connection run in the caller's transaction. All may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def take_turn(self, connection: Connection, now: datetime) -> None:
        """Wait for other changes of purchases to be committed; to be called before any change."""
        await connection.execute(TAKE_TURN, now)

    async def add(self, connection: Connection, orders: Sequence[Order]) -> None:
        """Add the orders that are new, not cancelled, and not of a deleted customer."""
        first = {order.order_id: order for order in reversed(orders)}
        lines = [(one.order_id, one.user_id, one.ordered_at, it) for one in first.values() for it in one.product_ids]
        if lines:
            await connection.execute(ADD, *(list(column) for column in zip(*lines, strict=True)))

    async def cancel(self, connection: Connection, orders: Sequence[tuple[UUID, UUID]], now: datetime) -> None:
        """Remove what was bought in the orders (order id, user id), now or when they arrive later."""
        await connection.execute(CANCEL, [order for order, _ in orders], [user for _, user in orders], now)

    async def delete_customers(self, connection: Connection, user_ids: Sequence[UUID]) -> None:
        """Remove every row of the customers in DELETED_CUSTOMERS; orders that arrive later are not stored."""
        await connection.execute(DELETE_CUSTOMERS, list(user_ids))

    async def history(self, user_id: UUID) -> list[UUID]:
        """The products that a user bought, each once, the last bought first."""
        return _products(await self._database.fetch(HISTORY_OF_USER, user_id, MAX_HISTORY))

    async def history_of_alias(self, alias: UUID) -> list[UUID]:
        """The same for the customer that administrators know by this id."""
        return _products(await self._database.fetch(HISTORY_OF_ALIAS, alias, MAX_HISTORY))

    async def aliases(self, limit: int) -> list[UUID]:
        """Of the newest customers who bought something."""
        return [row["alias"] for row in await self._database.fetch(NEWEST_ALIASES, limit)]


def _products(rows: Sequence[object]) -> list[UUID]:
    return list(dict.fromkeys(row["product_id"] for row in rows))  # type: ignore[index]
