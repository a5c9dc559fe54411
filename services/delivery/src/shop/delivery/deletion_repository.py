"""The SQL by which deleted users leave. Triggers do the same for what ends, or is reported, after their deletion."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shop.kit.db import Connection
from shop.kit.deleted_users import DeletedUsers

DELETED_USERS = DeletedUsers()

# The trigger deleted_courier takes the name.
END_WORK = """
WITH gone AS (
    DELETE FROM courier_positions WHERE courier_id = ANY ($1::uuid[])
)
UPDATE couriers SET on_shift = false, name = name, updated_at = $2, revision = revision + 1
WHERE user_id = ANY ($1::uuid[]) RETURNING user_id"""
ERASE_ENDED = """
UPDATE deliveries SET address = '{}', code = '0000', dropoff_lat = pickup_lat, dropoff_lon = pickup_lon,
    dropoff_junction = NULL
WHERE user_id = ANY ($1::uuid[]) AND state IN ('released', 'delivered', 'failed', 'cancelled')"""


async def end_work(connection: Connection, user_ids: Sequence[UUID], now: datetime) -> list[UUID]:
    """Take shift, name and positions of those who are couriers, and return their ids."""
    return [row["user_id"] for row in await connection.fetch(END_WORK, list(user_ids), now)]


async def erase_ended(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Take address and code from the customers' deliveries that have ended."""
    await connection.execute(ERASE_ENDED, list(user_ids))
