"""The SQL of promotions and of who redeemed them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

import asyncpg

from shop.kit.db import Database, Record
from shop.kit.errors import Unavailable
from shop.pricing.domain import Discount, Promotion, Refusal

REDEEM_ATTEMPTS = 5
"""Runs of the redeeming statement; each one after the first decides what a concurrent caller left open."""

COLUMNS = (
    "code, kind, value, minimum_subtotal, starts_at, expires_at, usage_limit, once_per_user, active, used,"
    " only_for, created_at, updated_at"
)

INSERT = """
INSERT INTO promotions AS p (code, kind, value, minimum_subtotal, starts_at, expires_at, usage_limit, once_per_user,
    active, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $10)
"""
CREATE = f"{INSERT} ON CONFLICT (code) DO NOTHING RETURNING {COLUMNS}"
PUT = f"""
{INSERT}
ON CONFLICT (code) DO UPDATE SET kind = $2, value = $3, minimum_subtotal = $4, starts_at = $5, expires_at = $6,
    usage_limit = $7, once_per_user = $8, active = $9, updated_at = $10
RETURNING {COLUMNS}
"""

PAGE = f"SELECT {COLUMNS} FROM promotions WHERE code > $1 ORDER BY code LIMIT $2"  # noqa: S608 - constant
ONE = f"SELECT {COLUMNS} FROM promotions WHERE code = $1"  # noqa: S608 - constant

SEED = """
INSERT INTO promotions (code, kind, value, minimum_subtotal, created_at, updated_at)
VALUES ($1, $2, $3, $4, $5, $5) ON CONFLICT (code) DO NOTHING
"""

# The one rule of whether a coupon counts, for quotes and for redemptions: null, or why promotion `p` does not count for
# a subtotal at a time. A missing promotion is a row of nulls. That a promotion for one user exists
# is not said to another user, nor to one who is not known (null).
REFUSAL = """
    CASE WHEN p.active IS NULL THEN 'unknown_coupon'
         WHEN p.only_for IS NOT NULL AND p.only_for IS DISTINCT FROM {user} THEN 'unknown_coupon'
         WHEN NOT p.active THEN 'coupon_inactive'
         WHEN p.starts_at > {now} THEN 'coupon_not_started'
         WHEN p.expires_at <= {now} THEN 'coupon_expired'
         WHEN {subtotal} < p.minimum_subtotal THEN 'coupon_minimum_not_met'
         WHEN p.used >= p.usage_limit THEN 'coupon_exhausted'
    END"""

CHECK = f"""
SELECT kind, value, minimum_subtotal, {REFUSAL.format(subtotal="$2", now="$3", user="$4::uuid")} AS refusal
FROM promotions p WHERE code = $1"""  # noqa: S608 - constants

# The row locks, taken in the order of the codes, make `used` current whatever this statement's snapshot shows. The
# snapshot may lack a redemption committed while the lock was awaited: then ON CONFLICT leaves the row out, and the
# item is returned with neither discount nor refusal, to be tried again with a fresh snapshot.
REDEEM = f"""
WITH wanted AS (
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::bigint[]) WITH ORDINALITY
        AS w (order_id, user_id, code, subtotal, position)
), locked AS (
    SELECT * FROM promotions WHERE code = ANY ($3) ORDER BY code FOR UPDATE
), earlier AS (
    SELECT order_id, kind, value, released_at FROM redemptions WHERE order_id = ANY ($1)
), judged AS (
    SELECT w.*, p.kind, p.value, p.once_per_user, p.usage_limit, p.used,
        coalesce({REFUSAL.format(subtotal="w.subtotal", now="$5", user="w.user_id")},
            CASE WHEN p.once_per_user AND EXISTS (
                SELECT FROM redemptions r WHERE r.code = w.code AND r.user_id = w.user_id AND r.released_at IS NULL
            ) THEN 'coupon_already_used' END) AS refusal
    FROM wanted w LEFT JOIN locked p ON p.code = w.code
    WHERE w.order_id NOT IN (SELECT order_id FROM earlier)
), placed AS (
    SELECT *, row_number() OVER (PARTITION BY code ORDER BY position) AS place FROM judged WHERE refusal IS NULL
), taken AS (
    INSERT INTO redemptions (order_id, code, user_id, kind, value, once_per_user, redeemed_at)
    SELECT order_id, code, user_id, kind, value, once_per_user, $5 FROM placed
    WHERE usage_limit IS NULL OR used + place <= usage_limit
    ON CONFLICT DO NOTHING
    RETURNING order_id, code, kind, value
), counted AS (
    UPDATE promotions p SET used = p.used + t.redeemed
    FROM (SELECT code, count(*) AS redeemed FROM taken GROUP BY code) t WHERE p.code = t.code
)
SELECT coalesce(e.kind, t.kind) AS kind, coalesce(e.value, t.value) AS value,
    CASE WHEN e.released_at IS NOT NULL THEN 'released' ELSE j.refusal END AS refusal
FROM wanted w
LEFT JOIN earlier e ON e.order_id = w.order_id
LEFT JOIN taken t ON t.order_id = w.order_id
LEFT JOIN judged j ON j.position = w.position
ORDER BY w.position
"""  # noqa: S608 - constants

# Reading `locked` in `wanted` makes PostgreSQL take the locks first, in the same order as REDEEM does. `locked` lacks
# the codes of redemptions under way, which `freed` then waits for: so `used` is read from rows that are locked after
# that, because CHECK (used >= 0) is tested on what this statement's snapshot shows before the newest row is looked at.
RELEASE = """
WITH locked AS (
    SELECT code FROM promotions WHERE code IN (
        SELECT code FROM redemptions WHERE order_id = ANY ($1) AND released_at IS NULL
    ) ORDER BY code FOR UPDATE
), wanted AS (
    SELECT DISTINCT order_id FROM unnest($1::uuid[]) AS w (order_id) WHERE (SELECT count(*) FROM locked) >= 0
), freed AS (
    INSERT INTO redemptions AS r (order_id, released_at) SELECT order_id, $2 FROM wanted ORDER BY order_id
    ON CONFLICT (order_id) DO UPDATE SET released_at = $2 WHERE r.released_at IS NULL
    RETURNING code
), newest AS (
    SELECT code, used FROM promotions WHERE code IN (SELECT code FROM freed) ORDER BY code FOR UPDATE
)
UPDATE promotions p SET used = n.used - f.released
FROM newest n JOIN (SELECT code, count(*) AS released FROM freed GROUP BY code) f USING (code) WHERE p.code = n.code
"""


@dataclass(frozen=True, slots=True)
class Redemption:
    """A coupon ``code`` to redeem for an order of ``user_id`` with items worth ``subtotal`` minor units."""

    order_id: UUID
    user_id: UUID
    code: str
    subtotal: int


@dataclass(frozen=True, slots=True)
class StoredPromotion(Promotion):
    """A promotion as an administrator sees it."""

    created_at: datetime | None = None
    updated_at: datetime | None = None


class CheckedCoupon(NamedTuple):
    """What a coupon is worth, and why it does not count at the moment, if it does not."""

    discount: Discount
    minimum_subtotal: int
    refusal: Refusal | None


def _promotion(row: Record) -> StoredPromotion:
    fields = dict(row.items())
    discount = Discount(fields.pop("kind"), fields.pop("value"))
    return StoredPromotion(discount=discount, **fields)


class PricingRepository:
    """Promotions and who redeemed them."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def promotions(self, after: str, limit: int) -> list[StoredPromotion]:
        """Up to ``limit`` promotions by code, from the first one behind ``after``."""
        rows = await self._database.fetch(PAGE, after, limit)
        return [_promotion(row) for row in rows]

    async def promotion(self, code: str) -> StoredPromotion | None:
        row = await self._database.fetchrow(ONE, code)
        return _promotion(row) if row else None

    async def check_coupon(
        self, code: str, subtotal: int, now: datetime, user_id: UUID | None = None
    ) -> CheckedCoupon | None:
        """Whether the coupon counts for items worth ``subtotal`` of this user; None if there is none of this code."""
        row = await self._database.fetchrow(CHECK, code, subtotal, now, user_id)
        if row is None or row["refusal"] == "unknown_coupon":
            return None
        return CheckedCoupon(Discount(row["kind"], row["value"]), row["minimum_subtotal"], row["refusal"])

    async def put(self, promotion: Promotion, now: datetime, *, create: bool = False) -> StoredPromotion | None:
        """Create or replace a rule; how often it was used and whose it is stay. With ``create``, None when the code is
        taken."""
        rule = asdict(promotion)
        discount = rule.pop("discount")
        names = ("minimum_subtotal", "starts_at", "expires_at", "usage_limit", "once_per_user", "active")
        values = [rule[name] for name in names]
        statement = CREATE if create else PUT
        row = await self._database.fetchrow(
            statement, promotion.code, discount["kind"], discount["value"], *values, now
        )
        return _promotion(row) if row else None

    async def seed(self, promotion: Promotion, now: datetime) -> None:
        """Create a promotion unless its code is taken."""
        discount = promotion.discount
        await self._database.execute(
            SEED, promotion.code, discount.kind, discount.value, promotion.minimum_subtotal, now
        )

    async def redeem(self, batch: Sequence[Redemption], now: datetime) -> list[Discount | Refusal]:
        """The discount that each order gets, or why it gets none; one statement unless callers compete for a code.

        An order that redeemed before keeps the rule that it saw then, whatever the promotion says now.
        """
        decided: dict[int, Discount | Refusal] = {}
        for _ in range(REDEEM_ATTEMPTS):
            open_items = [at for at in range(len(batch)) if at not in decided]
            decided |= await self._redeem_once([(at, batch[at]) for at in open_items], now)
            if len(decided) == len(batch):
                return [decided[at] for at in range(len(batch))]
        raise Unavailable("database", f"coupons still contended after {REDEEM_ATTEMPTS} attempts")

    async def _redeem_once(
        self, items: Sequence[tuple[int, Redemption]], now: datetime
    ) -> dict[int, Discount | Refusal]:
        wanted = [item for _, item in items]
        try:
            rows = await self._database.fetch(
                REDEEM,
                [item.order_id for item in wanted],
                [item.user_id for item in wanted],
                [item.code for item in wanted],
                [item.subtotal for item in wanted],
                now,
            )
        except asyncpg.DeadlockDetectedError:
            return {}
        verdicts = [row["refusal"] or (Discount(row["kind"], row["value"]) if row["kind"] else None) for row in rows]
        return {at: verdict for (at, _), verdict in zip(items, verdicts, strict=True) if verdict}

    async def release(self, order_ids: Sequence[UUID], now: datetime) -> None:
        """Release each order's redemption, once; an order that has none cannot redeem afterwards."""
        for _ in range(REDEEM_ATTEMPTS):
            try:
                await self._database.execute(RELEASE, list(order_ids), now)
                return
            except asyncpg.DeadlockDetectedError:
                continue
        raise Unavailable("database", f"coupons still contended after {REDEEM_ATTEMPTS} attempts")
