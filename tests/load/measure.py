"""One measured run against a shop: orders offered, accepted and finished, and their cost."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import asyncpg
import psutil

from shop.devkit.testing import wait_until
from shop.kit.retention import first_id
from tests.load import counters, open_loop
from tests.load.local_shop import LocalShop, Usage
from tests.load.shoppers import Crowd

SETTLE_TIMEOUT_S = 120.0
CLOCK_SLACK = timedelta(milliseconds=50)
PERCENTS = (50, 95, 99)
UNFINISHED = f"SELECT count(*) FROM orders WHERE id >= {first_id('$1')} AND state = 'pending'"
FINISHED = f"""
SELECT count(*) AS orders,
       coalesce(extract(epoch FROM max(updated_at) - min(created_at)), 0)::float8 AS seconds
FROM orders WHERE id >= {first_id("$1")} AND state = 'confirmed'"""


@dataclass(frozen=True)
class Latency:
    """Of one kind of request, from the time it was due: percentiles in milliseconds, and errors by code."""

    sent: int
    good_per_s: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    errors: dict[str, int]

    @classmethod
    def of(cls, tally: open_loop.Tally) -> Latency:
        p50, p95, p99 = (round(tally.latency_s(percent) * 1000, 1) for percent in PERCENTS)
        return cls(tally.sent, round(tally.good_per_s, 1), p50, p95, p99, dict(tally.codes.most_common(8)))


@dataclass(frozen=True)
class Measured:
    """One run. ``finished_per_s`` is from the first order's creation to the last one's confirmation in the database."""

    name: str
    offered_per_s: float
    seconds: float
    orders: Latency
    reads: Latency | None
    finished: int
    finished_per_s: float
    statements_per_order: float
    cpu_ms_per_order: float
    cpu_s: dict[str, float]
    memory_mib: dict[str, float]
    resident_mib: float
    per_order: dict[str, float]
    """Statements, commits, log and messages, see `tests.load.counters`."""
    generator_cpu_s: float
    generator_late_ms: float
    raw: open_loop.Run = field(repr=False)

    def as_json(self) -> dict[str, Any]:
        return {key: value for key, value in asdict(self).items() if key != "raw"}


@dataclass(frozen=True)
class Plan:
    """Orders and catalogue reads a second, for how long; ``seed`` fixes the arrival times."""

    name: str
    rate_per_s: float
    reads_per_s: float
    seconds: float
    seed: int

    def arrivals(self) -> list[open_loop.Arrival]:
        rates = {"order": self.rate_per_s, "browse": self.reads_per_s}
        return open_loop.poisson({kind: rate for kind, rate in rates.items() if rate}, self.seconds, self.seed)


async def measure(shop: LocalShop, crowd: Crowd, plan: Plan) -> Measured:
    """Carry out ``plan`` and wait until every order of it has ended."""
    since = datetime.now(UTC) - CLOCK_SLACK
    counted_before = await counters.read(shop)
    before, own_before = shop.usage(), _own_cpu_s()
    run = await open_loop.run(plan.arrivals(), crowd.send)
    own_s = _own_cpu_s() - own_before
    finished, finished_per_s = await settle(shop.database_url("order"), since)
    after = shop.usage()
    per_order = counters.per_order(counters.differences(counted_before, await counters.read(shop)), finished)
    cpu_s = cpu_differences(before, after)
    reads = run.of("browse")
    return Measured(
        name=plan.name,
        offered_per_s=round(plan.rate_per_s, 1),
        seconds=plan.seconds,
        orders=Latency.of(run.of("order")),
        reads=Latency.of(reads) if reads.sent else None,
        finished=finished,
        finished_per_s=round(finished_per_s, 1),
        statements_per_order=round(per_order.get("statements", 0.0), 2),
        cpu_ms_per_order=round(sum(cpu_s.values()) * 1000 / max(1, finished), 3),
        cpu_s=cpu_s,
        memory_mib={usage.name: round(usage.memory_bytes / 2**20, 1) for usage in after},
        resident_mib=round(sum(usage.resident_bytes for usage in after) / 2**20, 1),
        per_order=per_order,
        generator_cpu_s=round(own_s, 2),
        generator_late_ms=round(run.late_s * 1000, 1),
        raw=run,
    )


async def settle(url: str, since: datetime) -> tuple[int, float]:
    """Wait until no order since then is pending; how many were confirmed, and how many a second."""
    connection = await asyncpg.connect(url)
    try:

        async def all_ended() -> bool:
            return not await connection.fetchval(UNFINISHED, since)

        await wait_until(all_ended, SETTLE_TIMEOUT_S, "the end of every order")
        row = await connection.fetchrow(FINISHED, since)
    finally:
        await connection.close()
    orders, seconds = (int(row["orders"]), float(row["seconds"])) if row else (0, 0.0)
    return orders, orders / seconds if seconds else 0.0


def cpu_differences(before: Sequence[Usage], after: Sequence[Usage]) -> dict[str, float]:
    earlier = {usage.name: usage.cpu_s for usage in before}
    return {usage.name: round(usage.cpu_s - earlier.get(usage.name, 0.0), 2) for usage in after}


def _own_cpu_s() -> float:
    times = psutil.Process().cpu_times()
    return float(times.user + times.system)
