"""The SQL of what customers were told about the delivery of food."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from uuid import UUID

from shop.kit.db import Connection, Database
from shop.notification.food import FoodOrder
from shop.notification.repository import DELETED_USERS

COLUMNS = "order_id, user_id, email, phone, confirmed, over, version, courier, on_the_way, held"

# Rows are locked in the order of their keys. A deleted user gets no row, so nothing is told about their deliveries.
LOCK = f"""
INSERT INTO food_orders AS f (order_id, user_id, used_at)
SELECT order_id, user_id, $3 FROM unnest($1::uuid[], $2::uuid[]) AS w (order_id, user_id)
WHERE NOT {DELETED_USERS.holds("w.user_id")}
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET used_at = excluded.used_at
RETURNING {COLUMNS}"""  # noqa: S608 - constants

KNOWN = "SELECT EXISTS (SELECT FROM food_orders WHERE order_id = ANY ($1::uuid[]))"
SAVE = """
UPDATE food_orders f SET email = r.email, phone = r.phone, confirmed = r.confirmed, over = r.over, version = r.version,
    courier = r.courier, on_the_way = r.on_the_way, held = r.held
FROM jsonb_to_recordset($1) AS r (order_id uuid, user_id uuid, email text, phone text, confirmed boolean, over boolean,
    version integer, courier text, on_the_way boolean, held jsonb)
WHERE f.order_id = r.order_id"""


async def is_any_known(database: Database, order_ids: Sequence[UUID]) -> bool:
    """Whether there have been events about one of the orders before."""
    return bool(await database.fetchval(KNOWN, list(order_ids)))


async def lock(connection: Connection, users: Mapping[UUID, UUID], now: datetime) -> dict[UUID, FoodOrder]:
    """What was told about each order, locked until the transaction ends; ``users`` are the orders' customers."""
    rows = await connection.fetch(LOCK, list(users), list(users.values()), now)
    return {row["order_id"]: FoodOrder(**dict(row.items())) for row in rows}


async def save(connection: Connection, orders: Iterable[FoodOrder]) -> None:
    await connection.execute(SAVE, [asdict(order) for order in orders])
