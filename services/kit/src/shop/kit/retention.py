"""Rows that are not needed any more are removed in small batches, by rules that say what goes and after how long.

The outbox and the inbox have a rule of their own in `shop.kit.outbox`: which rows of theirs are needed depends on the
broker. docs/retention.md lists every table with its rule.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Never

from prometheus_client import Counter

from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.exposition import start_at_zero

REMOVED = Counter("shop_retention_removed_total", "Rows or histories that were removed because of their age", ["rule"])

MAX_REMOVED = 1_000
"""Of one rule in one statement. A rule writes the number into its statement: the planner would take the parameter of a
LIMIT for a tenth of the table, and read all of it."""
AGAIN_S = 1.0
"""Pause after a round in which a rule removed MAX_REMOVED."""
LOOK_EVERY_S = 3_600.0
FIRST_LOOK_S = 300.0
"""After the start of a process: in an upgrade, processes of the version before have ended by then."""
LOCK_KEY = 0x52455441


@dataclass(frozen=True)
class Rule:
    """``statement`` removes at most MAX_REMOVED of what ended before $1 and returns their number.

    Its cost must not depend on what is kept: it reads the oldest rows in the order of an index.
    """

    name: str
    keep: timedelta
    statement: str


def first_id(time: str) -> str:
    """SQL: the least id that `shop.kit.ids.new_id` gives at ``time``, an SQL expression.

    Ids are ordered by time, so the primary key finds the oldest rows and no further index is needed.
    """
    milliseconds = f"floor(extract(epoch FROM {time}::timestamptz) * 1000)::bigint"
    return f"(lpad(to_hex({milliseconds}), 12, '0') || repeat('0', 20))::uuid"


def of_ended(owner: str, states: Sequence[str], history: str, *others: str) -> str:
    """SQL: remove how rows of the table ``owner``, by order id, came to one of the final ``states`` long ago.

    ``history`` and ``others`` are tables with the column order_id; of those without a row in ``history`` nothing is
    removed. Ids are ordered by time, so the primary key of ``history`` has the oldest first.
    """
    ended = ", ".join(f"'{state}'" for state in states)
    removed = "".join(
        f", removed_{table} AS (DELETE FROM {table} t USING ended e WHERE t.order_id = e.order_id)"  # noqa: S608
        for table in (history, *others)
    )
    return f"""
WITH ended AS MATERIALIZED (
    SELECT DISTINCT h.order_id FROM {history} h JOIN {owner} o USING (order_id)
    WHERE h.order_id < {first_id("$1")} AND o.updated_at < $1 AND o.state IN ({ended})
    ORDER BY h.order_id LIMIT {MAX_REMOVED}
){removed}
SELECT count(*) FROM ended"""  # noqa: S608 - constants


class Retention:
    """Applies the rules of one service, in whichever replica comes first."""

    def __init__(self, database: Database, clock: Clock, rules: Sequence[Rule]) -> None:
        self._database = database
        self._clock = clock
        self._rules = rules
        start_at_zero(REMOVED, [rule.name for rule in rules])

    async def run(self) -> Never:
        """Remove what is due every LOOK_EVERY_S seconds, until cancelled."""
        await asyncio.sleep(FIRST_LOOK_S * random.uniform(1.0, 1.5))
        while True:
            more = await self.remove_once()
            await asyncio.sleep(AGAIN_S if more else LOOK_EVERY_S)

    async def remove_once(self) -> bool:
        """Apply each rule once, in a transaction of its own; whether one of them may have more to remove.

        One that fails keeps no other from being applied; the first failure is raised at the end.
        """
        removed, failures = [0], list[Exception]()
        for rule in self._rules:
            try:
                removed.append(await self._apply(rule))
            except Unavailable as error:
                failures.append(error)
        if failures:
            raise failures[0]
        return max(removed) >= MAX_REMOVED

    async def _apply(self, rule: Rule) -> int:
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY):
                return 0
            removed = int(await connection.fetchval(rule.statement, self._clock.now() - rule.keep))
        REMOVED.labels(rule.name).inc(removed)
        return removed
