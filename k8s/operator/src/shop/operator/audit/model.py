"""Types of the audit: oracles, their findings, their access to the databases."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import asyncpg

Row = asyncpg.Record
SOLD = ("confirmed", "fulfilled", "delivered")
UNDONE = ("rejected", "cancelled")
# A charge that arrives late belongs to an order of the same moment; see Settings.saga_deadline_s of the order service.
ORDER_DEADLINE_S = 960.0
SETTLE_S = 10.0
SAMPLE_ORDERS = 500


@dataclass(frozen=True)
class Options:
    """`settle_s`: rows younger than this are ignored: their effects in other services may be missing yet.

    `order_deadline_s`: the age at which an order must have ended. `acknowledged`: ids of orders that were
    acknowledged to customers, where they were recorded. `sample`: how many orders the trace is followed for.
    """

    settle_s: float = SETTLE_S
    order_deadline_s: float = ORDER_DEADLINE_S
    acknowledged: frozenset[str] = frozenset()
    sample: int = SAMPLE_ORDERS


@dataclass
class Finding:
    """`violations` maps the offending id to what is wrong with it."""

    checked: int = 0
    violations: dict[str, str] = field(default_factory=dict)

    def add(self, rows: list[Row], what: str) -> None:
        """Count each row's `id` as a violation; `what` may name columns in braces."""
        for row in rows:
            self.violations[str(row["id"])] = what.format(**dict(row))


@dataclass(frozen=True)
class Oracle:
    """One invariant."""

    number: int
    name: str
    check: Callable[["Audit"], Awaitable[Finding]]


@dataclass(frozen=True)
class Result:
    """What one oracle found."""

    number: int
    name: str
    checked: int
    violations: Mapping[str, str]

    @property
    def ok(self) -> bool:
        return not self.violations

    def document(self) -> dict[str, Any]:
        """For machines: `violations` are ids, `details` says what is wrong with each."""
        return {
            "number": self.number,
            "name": self.name,
            "ok": self.ok,
            "checked": self.checked,
            "violations": list(self.violations),
            "details": dict(self.violations),
        }


@dataclass
class Audit:
    """One check of a shop: a read-only connection per service's database, and the addresses of broker and cache.

    Rows changed after `cutoff` are ignored: their effects may be missing yet.
    """

    connections: Mapping[str, asyncpg.Connection]
    nats_url: str
    cutoff: datetime
    now: datetime
    options: Options = Options()
    cache_url: str = ""
    _orders: dict[str, Row] | None = None

    async def fetch(self, noun: str, sql: str, *arguments: Any) -> list[Row]:
        """Rows of one service's database."""
        return list(await self.connections[noun].fetch(sql, *arguments))

    async def count(self, noun: str, table: str) -> int:
        """How many rows `table` has."""
        return int(await self.connections[noun].fetchval(f"SELECT count(*) FROM {table}"))  # noqa: S608 - our own names

    async def orders(self) -> dict[str, Row]:
        """Every order by id, with the columns that other services' rows are compared with."""
        if self._orders is None:
            rows = await self.fetch("order", ORDERS)
            self._orders = {str(row["id"]): row for row in rows}
        return self._orders

    async def unchanged_orders(self, *states: str) -> dict[str, Row]:
        """Orders in `states` that have not changed since the cutoff and are not being cancelled."""
        orders = await self.orders()
        return {key: row for key, row in orders.items() if row["state"] in states and self._is_unchanged(row)}

    def _is_unchanged(self, order: Row) -> bool:
        cancelling = order["state"] == "confirmed" and order["cancel_requested_at"] is not None
        return order["updated_at"] < self.cutoff and not cancelling


ORDERS = """
SELECT id, user_id, kind, state, version, total, currency, coupon, created_at, updated_at, cancel_requested_at,
       lines::text AS lines
FROM orders"""
