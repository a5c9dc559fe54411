"""Runs of two revisions as medians with their spread, and as ratios of the runs of one round."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Any, NamedTuple

from tests.load.measure import Measured
from tests.load.revisions import BASE, HEAD

OFFERED = ".offered_per_s"
REPLICA = re.compile(r"-[0-9]+$")
MAIN = {
    "startup_s": "from up to a shop that sells, s",
    "sustained_per_s": "orders/s sustained, p99 below 1 s",
    "rest.statements_per_s": "at rest: statements/s",
    "rest.core_percent": "at rest: % of a core",
    "rest.memory_mib": "at rest: memory, MiB",
}
AT_EACH_RATE = {
    "p50_ms": "p50, ms",
    "p99_ms": "p99, ms",
    "cpu_ms": "CPU ms an order",
    "statements": "statements an order",
    "commits": "commits an order",
    "wal_bytes": "bytes of log an order",
    "wal_syncs": "disk syncs of the log an order",
    "messages_in": "messages an order",
    "message_bytes_in": "bytes of messages an order",
    "memory_mib": "memory, MiB",
    "errors": "orders that were refused or failed",
    "generator_late_ms": "the generator late at most, ms",
}
RATE_NAMES = {
    "light": "20/s",
    "half": "half of its own rate",
    "base_half": "half of the base's rate",
    "full": "full rate",
}
Json = dict[str, Any]


class Spread(NamedTuple):
    """Of several runs."""

    median: float
    least: float
    greatest: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        return cls(median(values), min(values), max(values))


def figures(found: Measured) -> dict[str, float]:
    """What one measured rate says, in numbers by their names; per order where the unit is not a rate or a latency."""
    cpu_ms: dict[str, float] = {}
    for process, cpu_s in found.cpu_s.items():
        name = f"cpu_ms.{REPLICA.sub('', process)}"
        cpu_ms[name] = round(cpu_ms.get(name, 0.0) + 1_000 * cpu_s / max(1, found.finished), 3)
    return {
        "offered_per_s": found.offered_per_s,
        "finished_per_s": found.finished_per_s,
        "errors": float(sum(found.orders.errors.values())),
        "p50_ms": found.orders.p50_ms,
        "p99_ms": found.orders.p99_ms,
        "cpu_ms": found.cpu_ms_per_order,
        "memory_mib": round(sum(found.memory_mib.values()), 1),
        "resident_mib": found.resident_mib,
        "generator_late_ms": found.generator_late_ms,
        **cpu_ms,
        **found.per_order,
    }


def summary(runs: Sequence[Json]) -> Json:
    """Of each figure: the spread of either revision and of the ratio, head to base in one round."""
    names = dict.fromkeys(name for run in runs for name in run["figures"])
    return {name: found for name in names if (found := _summary_of(name, runs))}


def _summary_of(name: str, runs: Sequence[Json]) -> Json:
    values: dict[str, dict[int, float]] = {BASE: {}, HEAD: {}}
    for run in runs:
        value = run["figures"].get(name)
        if value is not None and math.isfinite(value):
            values[run["revision"]][run["pair"]] = value
    found = {revision: Spread.of(list(by_pair.values()))._asdict() for revision, by_pair in values.items() if by_pair}
    ratios = [values[HEAD][pair] / value for pair, value in values[BASE].items() if value and pair in values[HEAD]]
    return found | ({"ratio": Spread.of(ratios)._asdict()} if ratios else {})


def shown(found: Json) -> list[tuple[str, Json]]:
    """The figures that people look at, titled, in their order; those at each rate under the rate's name."""
    summed: Json = found["summary"]
    titled = [(title, name) for name, title in MAIN.items()]
    for level in _levels(summed):
        titled += [
            (f"{RATE_NAMES.get(level, level)}: {title}", f"{level}.{name}") for name, title in AT_EACH_RATE.items()
        ]
    return [(title, summed[name]) for title, name in titled if name in summed]


def _levels(summed: Json) -> list[str]:
    """The names of the measured rates, in the order in which they were offered."""
    return [name.removesuffix(OFFERED) for name in summed if name.endswith(OFFERED)]


def lines(found: Json) -> Iterable[str]:
    """The table for people, with the machine's speed over all runs."""
    commits, runs = found["commits"], found["runs"]
    yield f"base {commits[BASE]}, head {commits[HEAD]}: {len(runs)} runs; median (least to greatest) of all rounds"
    yield from (f"  {name} {speed_of(runs, name)}" for name in ("additions_s", "syncs_per_s", "others_percent"))
    yield f"{'':<50}{'base':>28}{'head':>28}{'head / base':>24}"
    for title, one in shown(found):
        yield f"{title:<50}{text(one.get(BASE)):>28}{text(one.get(HEAD)):>28}{text(one.get('ratio')):>24}"
    yield from _details(found["summary"])
    broken = [f"{run['revision']} of round {run['pair'] + 1}" for run in runs if not run["audit_ok"]]
    yield f"audits: {'VIOLATED in ' + ', '.join(broken) if broken else 'all oracles hold'}"


def _details(summed: Json) -> Iterable[str]:
    """At the first rate: processor time by process, statements by database."""
    level = next(iter(_levels(summed)), "")
    for figure, title in (("cpu_ms", "CPU ms"), ("statements", "statements")):
        start = f"{level}.{figure}."
        rows = [(name.removeprefix(start), one) for name, one in summed.items() if name.startswith(start)]
        rows.sort(key=lambda row: -_median(row[1].get(BASE)))
        if rows:
            yield f"{title} an order at {RATE_NAMES.get(level, level)}, base -> head: " + ", ".join(
                f"{name} {_median(one.get(BASE)):.2f} -> {_median(one.get(HEAD)):.2f}" for name, one in rows
            )


def speed_of(runs: Sequence[Json], name: str) -> str:
    """The spread of a figure of the machine's speed."""
    return text(Spread.of([run["speed"][name] for run in runs])._asdict())


def _median(spread: Mapping[str, float] | None) -> float:
    return spread["median"] if spread else 0.0


def text(spread: Mapping[str, float] | None) -> str:
    """A median with its spread, with three significant digits."""
    if not spread:
        return "not measured"
    middle, least, greatest = (_short(spread[name]) for name in ("median", "least", "greatest"))
    return f"{middle} ({least} to {greatest})"


def _short(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"
