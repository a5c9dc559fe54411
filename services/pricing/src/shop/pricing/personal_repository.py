"""The SQL of coupons that belong to one user."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.kit.db import Connection
from shop.kit.deleted_users import DeletedUsers

DELETED_USERS = DeletedUsers()

# A code that is taken is this coupon already, or another promotion, which is never replaced.
GRANT = f"""
INSERT INTO promotions (code, kind, value, expires_at, usage_limit, only_for, created_at, updated_at)
SELECT code, 'percentage', percent, expires_at, 1, user_id, $5, $5
FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::timestamptz[]) AS granted (code, user_id, percent, expires_at)
WHERE NOT {DELETED_USERS.holds("granted.user_id")}
ORDER BY code
ON CONFLICT (code) DO NOTHING
"""  # noqa: S608 - constants

# Before REVOKE and not in it: a redemption that is committed while the lock is awaited is in no earlier snapshot.
LOCK = "SELECT code FROM promotions WHERE only_for = ANY ($1) ORDER BY code FOR UPDATE"
REVOKE = """
WITH redeemed AS (
    UPDATE promotions p SET active = false
    WHERE only_for = ANY ($1) AND EXISTS (SELECT FROM redemptions r WHERE r.code = p.code)
)
DELETE FROM promotions p
WHERE only_for = ANY ($1) AND NOT EXISTS (SELECT FROM redemptions r WHERE r.code = p.code)
"""


class Grant(NamedTuple):
    """A coupon of ``percent`` off one order of this user, until ``expires_at``."""

    code: str
    user_id: UUID
    percent: int | None
    expires_at: datetime | None


async def grant(connection: Connection, grants: Sequence[Grant], now: datetime) -> None:
    """Create coupons that do not exist yet, except those of deleted users."""
    columns = zip(*grants, strict=True)
    await connection.execute(GRANT, *(list(column) for column in columns), now)


async def revoke(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Delete the users' coupons. What an order redeemed keeps its row, which cannot be used any more."""
    await connection.execute(LOCK, list(user_ids))
    await connection.execute(REVOKE, list(user_ids))
