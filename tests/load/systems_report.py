"""What `systems_bench` measured: turns of a system and its floor become one row, and rows a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from tests.load import speed
from tests.load.open_loop import percentile
from tests.load.systems import Done

SHOWN_PROCESSES = 5
SHOWN_ERRORS = 3
Json = dict[str, Any]


def as_json(done: Done, cpu_s: Mapping[str, float], statements: Mapping[str, float]) -> Json:
    """One load, with processor time by process and statements by service."""
    latencies = sorted(done.latencies_s)
    return {
        "operations": done.operations,
        "seconds": done.seconds,
        "cpu_s": {name: one for name, one in cpu_s.items() if one > 0},
        "statements": {noun: one for noun, one in statements.items() if one > 0},
        "p50_ms": round(percentile(latencies, 50) * 1_000, 2),
        "p99_ms": round(percentile(latencies, 99) * 1_000, 2),
        "errors": dict(done.errors.most_common(SHOWN_ERRORS)),
    }


def summed(runs: Sequence[Json]) -> Json:
    """Runs of one side as one: rates and costs of all operations together, the worst latencies, all errors."""
    operations = sum(one["operations"] for one in runs)
    cpu: Counter[str] = Counter()
    statements: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    for one in runs:
        cpu.update(one["cpu_s"])
        statements.update(one["statements"])
        errors.update(one["errors"])
    each = max(1, operations)
    return {
        "operations": operations,
        "per_s": round(operations / sum(one["seconds"] for one in runs), 1),
        "p50_ms": max(one["p50_ms"] for one in runs),
        "p99_ms": max(one["p99_ms"] for one in runs),
        "cpu_ms": round(1_000 * sum(cpu.values()) / each, 3),
        "cpu_ms_by_process": {name: round(1_000 * one / each, 3) for name, one in cpu.most_common()},
        "statements": {noun: round(one / each, 2) for noun, one in statements.most_common()},
        "errors": dict(errors),
    }


def compared(runs: Mapping[str, Sequence[Json]], *, per_core: bool) -> Json:
    """``ratio``: operations a second by the floor's; ``cpu_ratio``: processor time of one by the floor's.

    ``per_core``: operations a second are those that one core is enough for.
    """
    ours, bare = summed(runs["ours"]), summed(runs["floor"])
    if per_core:
        for side in (ours, bare):
            side["per_s"] = round(1_000 / side["cpu_ms"], 1) if side["cpu_ms"] else 0.0
    return {
        "ours": ours,
        "floor": bare,
        "ratio": round(ours["per_s"] / bare["per_s"], 3) if bare["per_s"] else None,
        "cpu_ratio": round(ours["cpu_ms"] / bare["cpu_ms"], 1) if bare["cpu_ms"] else None,
    }


def lines(result: Json) -> Iterator[str]:
    """The result as a table."""
    yield f"{result['machine']['cpus']} CPUs; {speed.line(result['speed'])}"
    yield f"{result['turns']} turns of {result['seconds']:g} s, {result['workers']} at once; CPU of all processes"
    heads = {
        "ours/s": 9,
        "floor/s": 9,
        "ratio": 7,
        "CPU ms": 9,
        "floor": 8,
        "times": 7,
        "p50 ms": 8,
        "p99 ms": 8,
        "SQL": 7,
    }
    yield " " * 16 + "".join(f"{head:>{width}}" for head, width in heads.items())
    for name, one in result["systems"].items():
        ours, bare = one["ours"], one["floor"]
        sql = sum(ours["statements"].values())
        yield (
            f"{name:16}{ours['per_s']:>9}{bare['per_s']:>9}{one['ratio'] or '-':>7}{ours['cpu_ms']:>9}"
            f"{bare['cpu_ms']:>8}{one['cpu_ratio'] or '-':>7}{ours['p50_ms']:>8}{ours['p99_ms']:>8}{sql:>7.1f}"
        )
        yield f"  CPU ms: {_greatest(ours['cpu_ms_by_process'])}; floor: {_greatest(bare['cpu_ms_by_process'])}"
        if ours["statements"]:
            yield f"  statements: {_greatest(ours['statements'])}"
        for side, codes in (("ours", ours["errors"]), ("floor", bare["errors"])):
            if codes:
                yield f"  errors of {side}: {codes}"
    audit = result["audit"]
    yield f"audit: {'all oracles hold' if audit['ok'] else 'VIOLATED'} ({len(audit['oracles'])} oracles)"
    yield from (
        f"  {one['number']} {one['name']}: {one['violations'][:5]}" for one in audit["oracles"] if not one["ok"]
    )


def _greatest(numbers: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {number:g}" for name, number in list(numbers.items())[:SHOWN_PROCESSES])
