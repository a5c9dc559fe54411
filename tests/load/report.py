"""The result of a bench as text for people."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tests.load import speed

FIRST_TARGET_PER_S = 400.0
IDLE_LOAD = 0.5
Json = dict[str, Any]


def lines(result: Json) -> Iterable[str]:
    """The whole report, line by line."""
    machine = result["machine"]
    yield f"machine: {machine['cpus']} CPUs, {machine['memory_gib']} GiB, Python {machine['python']}, everything on it"
    if machine["load_before"] > IDLE_LOAD:
        yield f"this machine was busy before (load average {machine['load_before']}): every number below is too low"
    if "speed" in machine:
        yield speed.line(machine["speed"])
    yield from _floor(result.get("floor"))
    if "startup_s" in result:
        yield f"shop: sold its catalogue {result['startup_s']:.1f} s after `shopctl up`"
    if "reads" in result:
        reads = result["reads"]
        service, gateway = reads["service_per_s"], reads["gateway_per_s"]
        yield f"product reads, closed loop: {service:.0f}/s at the service, {gateway:.0f}/s through the gateway"
    for run in result["runs"]:
        yield ""
        yield from _run(run)
    yield ""
    yield from _closing(result)


def _floor(floor: Json | None) -> Iterable[str]:
    if floor:
        five, one = floor["pgbench_five_statements_per_s"], floor["pgbench_one_statement_per_s"]
        hot = floor["pgbench_one_statement_hot_per_s"]
        yield f"floor: pgbench orders: five statements {five:.0f}/s, one {one:.0f}/s, one on a hot row {hot:.0f}/s"
        yield f"floor: bare FastAPI + asyncpg product read {floor['bare_reads_per_s']:.0f}/s"


def _run(run: Json) -> Iterable[str]:
    orders = run["orders"]
    yield f"{run['name']}: {run['offered_per_s']:g} orders/s offered for {run['seconds']:g} s"
    yield f"  accepted {orders['good_per_s']:.1f}/s, finished {run['finished_per_s']:.1f}/s ({run['finished']} orders)"
    yield f"  orders   {_latency(orders)}"
    if run["reads"]:
        yield f"  reads    {_latency(run['reads'])}, {run['reads']['good_per_s']:.0f}/s"
    yield (
        f"  cost     per order {run['statements_per_order']:.1f} SQL statements, {run['cpu_ms_per_order']:.2f} ms CPU; "
        f"generator {run['generator_cpu_s']:.1f} s CPU, at most {run['generator_late_ms']:.0f} ms late"
    )
    yield from counted(run.get("per_order", {}))
    yield f"  {'process':<16}{'CPU s':>9}{'MiB':>9}"
    for name, cpu_s in sorted(run["cpu_s"].items(), key=lambda item: -item[1]):
        yield f"  {name:<16}{cpu_s:>9.2f}{run['memory_mib'].get(name, 0):>9.1f}"
    yield f"  {'all':<16}{sum(run['cpu_s'].values()):>9.2f}{sum(run['memory_mib'].values()):>9.1f}"


def counted(each: Json) -> Iterable[str]:
    """What each order cost in the stores, by database."""
    if "commits" in each:
        yield (
            f"  stores   per order {each['commits']:.1f} commits, {each.get('wal_bytes', 0) / 1024:.1f} KiB of log in "
            f"{each.get('wal_syncs', 0):.2f} syncs, {each.get('messages_in', 0):.1f} messages in"
        )
    by_database = {name.partition(".")[2]: number for name, number in each.items() if name.startswith("statements.")}
    greatest = sorted(by_database.items(), key=lambda item: -item[1])
    if greatest:
        yield "  database " + ", ".join(f"{name} {number:.1f}" for name, number in greatest) + " statements per order"


def _latency(tally: Json) -> str:
    errors = sum(tally["errors"].values())
    text = f"p50 {tally['p50_ms']:.0f} ms, p95 {tally['p95_ms']:.0f} ms, p99 {tally['p99_ms']:.0f} ms, {errors} errors"
    return text + (f": {tally['errors']}" if errors else "")


def _closing(result: Json) -> Iterable[str]:
    if result.get("sustained_per_s") is not None:
        share = result["sustained_per_s"] / FIRST_TARGET_PER_S
        yield f"highest sustained rate: {result['sustained_per_s']:.0f} orders/s ({share:.0%} of the first target)"
    if "profile" in result:
        yield from _profile(result["profile"])
    yield from (f"flame graph: {file}" for file in result.get("flames", ()))
    audit = result["audit"]
    yield f"audit: {'all oracles hold' if audit['ok'] else 'VIOLATED'} ({len(audit['oracles'])} oracles)"
    for oracle in audit["oracles"]:
        if not oracle["ok"]:
            yield f"  {oracle['number']} {oracle['name']}: {oracle['violations'][:5]}"


def _profile(profile: Json) -> Iterable[str]:
    yield f"profile of {profile['service']}, by own time ({profile['file']}):"
    yield from (f"  {share:6.1%}  {name}" for name, share in profile["top"])
    yield "its functions with all that they called:"
    yield from (f"  {share:6.1%}  {name}" for name, share in profile["below"])
