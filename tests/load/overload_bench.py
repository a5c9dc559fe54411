"""What a shop does with more orders than it can process: `python -m tests.load.overload_bench`.

    python -m tests.load.overload_bench                     find the highest sustained rate, then offer twice as much
    python -m tests.load.overload_bench --rate 180 --times 3

A separate shop is offered half of the rate, all of it, ``--times`` as much, and half of it again, without a pause.
Expected: every refusal is a 503 with Retry-After; what is accepted has a p99 of at most 1 s; at least 85 % of the
orders a second that were accepted at the sustained rate; memory that grows by a quarter at most; and 5 s after the
overload nothing is refused or slow any more. What memory was at the sustained rate is printed beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

from shop.devkit.embedded import free_port
from tests.load import open_loop, search
from tests.load.bench import MAX_CUSTOMERS, PIECES_PER_PRODUCT, machine, say, within
from tests.load.local_shop import CHEAP_PASSWORDS, LocalShop, ShopctlFailed, start, usage_of
from tests.load.measure import Plan, measure
from tests.load.open_loop import Arrival, Sample
from tests.load.shoppers import RETRY_AFTER, Crowd, Shop, ShopError
from tests.load.speed import line as speed_line

MAX_SECONDS = 60.0
MAX_TIMES = 10.0
PRODUCTS = 200
SEARCH_STEP_S = 6.0
MEMORY_EVERY_S = 1.0
MAX_P99_S = 1.0
LEAST_GOODPUT = 0.85
MEMORY_GROWTH = 1.25
NORMAL_AFTER_S = 5.0
NORMAL_TIMES, NORMAL_LEAST_S = 2.0, 0.1
"""Orders are as fast as before when their p99 is at most so many times that of the first phase, or so many seconds."""
MIB = 1 << 20
Json = dict[str, Any]


class Phase(NamedTuple):
    """Arrivals from ``begins_s`` to ``ends_s`` of the run at one rate."""

    name: str
    rate_per_s: float
    begins_s: float
    ends_s: float


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.overload_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rate", type=within(1, 5_000), help="the sustained orders/s; default: search")
    parser.add_argument("--times", type=within(1, MAX_TIMES), default=2.0, help="that many times the rate are offered")
    parser.add_argument("--seconds", type=within(5, MAX_SECONDS), default=20.0, help="of each phase")
    parser.add_argument("--customers", type=within(1, MAX_CUSTOMERS), default=50)
    parser.add_argument("--reads", type=within(0, 100), default=1.0, help="product reads per order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(given)


def phases(rate: float, times: float, seconds: float) -> list[Phase]:
    rates = {"before": rate / 2, "sustained": rate, "overload": rate * times, "after": rate / 2}
    return [
        Phase(name, value, number * seconds, (number + 1) * seconds)
        for number, (name, value) in enumerate(rates.items())
    ]


def arrivals(planned: Sequence[Phase], reads: float, seed: int) -> list[Arrival]:
    """Of all phases, one after the other."""
    found: list[Arrival] = []
    for phase in planned:
        plan = Plan(phase.name, phase.rate_per_s, phase.rate_per_s * reads, phase.ends_s - phase.begins_s, seed)
        found += [Arrival(phase.begins_s + arrival.at_s, arrival.kind) for arrival in plan.arrivals()]
    return found


def of_phase(samples: Iterable[Sample], phase: Phase, from_s: float = 0.0) -> list[Sample]:
    """The orders that were due in ``phase``, those of its first ``from_s`` seconds left out."""
    return [
        sample
        for sample in samples
        if sample.kind == "order" and phase.begins_s + from_s <= sample.ended_s - sample.latency_s < phase.ends_s
    ]


def reads_per_s(samples: Iterable[Sample], phase: Phase) -> float:
    """Product reads that were due in ``phase`` and answered: what is offered doubles in an overload, as orders do."""
    due = (one for one in samples if one.kind != "order" and one.outcome.ok)
    count = sum(phase.begins_s <= one.ended_s - one.latency_s < phase.ends_s for one in due)
    return round(count / (phase.ends_s - phase.begins_s), 1)


def p99_s(samples: Iterable[Sample]) -> float:
    """Of the accepted ones."""
    return open_loop.percentile(sorted(sample.latency_s for sample in samples if sample.outcome.ok), 99)


def described(samples: Sequence[Sample], phase: Phase) -> Json:
    accepted = [sample for sample in samples if sample.outcome.ok]
    refused = Counter(sample.outcome.code for sample in samples if not sample.outcome.ok)
    return {
        "offered_per_s": round(phase.rate_per_s, 1),
        "accepted_per_s": round(len(accepted) / (phase.ends_s - phase.begins_s), 1),
        "p50_ms": round(1_000 * open_loop.percentile(sorted(one.latency_s for one in accepted), 50), 1),
        "p99_ms": round(1_000 * p99_s(samples), 1),
        "refused": dict(refused.most_common(8)),
    }


def normal_after_s(samples: Sequence[Sample], before: Phase, after: Phase) -> float:
    """Whole seconds of ``after`` from which on nothing was refused and the p99 was as before; its length if none."""
    usual_s = max(NORMAL_LEAST_S, NORMAL_TIMES * p99_s(of_phase(samples, before)))
    seconds = int(after.ends_s - after.begins_s)
    for second in range(seconds):
        left = of_phase(samples, after, float(second))
        if left and all(sample.outcome.ok for sample in left) and p99_s(left) <= usual_s:
            return float(second)
    return float(seconds)


def judged(run: open_loop.Run, planned: Sequence[Phase], memory_mib: Mapping[str, float]) -> Json:
    """The phases and whether each expectation was met."""
    by_name = {phase.name: phase for phase in planned}
    found = {
        name: described(of_phase(run.samples, phase), phase) | {"reads_per_s": reads_per_s(run.samples, phase)}
        for name, phase in by_name.items()
    }
    overload, goodput = (
        found["overload"],
        found["overload"]["accepted_per_s"] / max(0.1, found["sustained"]["accepted_per_s"]),
    )
    normal_s = normal_after_s(run.samples, by_name["before"], by_name["after"])
    polite = all(code.startswith("503 ") and RETRY_AFTER in code for code in overload["refused"])
    return {
        "phases": found,
        "goodput_share": round(goodput, 3),
        "normal_after_s": normal_s,
        "memory_mib": dict(memory_mib),
        "generator_late_ms": round(1_000 * run.late_s, 1),
        "met": {
            "every refusal is a 503 with Retry-After": polite and bool(overload["refused"]),
            f"p99 of accepted orders at most {MAX_P99_S:g} s": overload["p99_ms"] <= 1_000 * MAX_P99_S,
            f"goodput at least {LEAST_GOODPUT:.0%} of the sustained rate": goodput >= LEAST_GOODPUT,
            f"memory at most {MEMORY_GROWTH:g} times": memory_mib["most"] <= MEMORY_GROWTH * memory_mib["before"],
            f"normal within {NORMAL_AFTER_S:g} s": normal_s <= NORMAL_AFTER_S,
        },
    }


class Memory:
    """Looks at the memory of all processes once a second; all figures are in MiB."""

    def __init__(self, local: LocalShop) -> None:
        self._processes = [(part["name"], part["pid"]) for part in local.status()["components"]]
        self._before = self._now()
        self._seen: list[tuple[float, float]] = []

    def _now(self) -> float:
        return round(sum(usage_of(name, pid).memory_bytes for name, pid in self._processes) / MIB, 1)

    async def watch(self) -> None:
        began = time.monotonic()
        while True:
            await asyncio.sleep(MEMORY_EVERY_S)
            self._seen.append((time.monotonic() - began, await asyncio.to_thread(self._now)))

    def found(self, sustained: Phase) -> dict[str, float]:
        """At rest before, the most until the end of the sustained rate, and the most of all."""
        until = [mib for at_s, mib in self._seen if at_s <= sustained.ends_s]
        most = max((mib for _, mib in self._seen), default=self._before)
        return {"before": self._before, "sustained": max(until, default=self._before), "most": most}


async def prepared(local: LocalShop, shop: Shop, options: argparse.Namespace) -> Crowd:
    tokens = await shop.sign_up_many(int(options.customers))
    admin = await shop.token(*local.admin_login())
    products = await shop.products(PRODUCTS)
    await shop.restock(admin, products, PIECES_PER_PRODUCT)
    return Crowd.of(shop, tokens, [product["id"] for product in products], options.seed)


async def against(local: LocalShop, options: argparse.Namespace) -> Json:
    shop = Shop.at(local.status()["url"])
    try:
        crowd = await prepared(local, shop, options)
        rate = options.rate or await sustained(local, crowd, options)
        planned = phases(rate, options.times, options.seconds)
        memory = Memory(local)
        watching = asyncio.create_task(memory.watch())
        run = await open_loop.run(arrivals(planned, options.reads, options.seed), crowd.send)
        watching.cancel()
        found = judged(run, planned, memory.found(planned[1]))
    finally:
        await shop.close()
    audit = await asyncio.to_thread(local.audit)
    broken = [oracle for oracle in audit["oracles"] if not oracle["ok"]]
    return found | {"audit_ok": audit["ok"], "broken": broken}


async def sustained(local: LocalShop, crowd: Crowd, options: argparse.Namespace) -> float:
    async def try_rate(rate: float) -> search.Verdict:
        say(f"searching: {rate:.0f}/s")
        plan = Plan("search", rate, rate * options.reads, SEARCH_STEP_S, options.seed)
        return search.judge((await measure(local, crowd, plan)).raw)

    return await search.highest_sustainable(try_rate)


def lines(found: Json) -> Iterable[str]:
    """The result for people."""
    yield speed_line(found["machine"]["speed"])
    yield f"{'phase':<12}{'offered/s':>10}{'accepted/s':>12}{'reads/s':>9}{'p50 ms':>9}{'p99 ms':>9}  refused"
    for name, phase in found["phases"].items():
        refused = ", ".join(f"{count}x {code}" for code, count in phase["refused"].items()) or "none"
        yield (
            f"{name:<12}{phase['offered_per_s']:>10}{phase['accepted_per_s']:>12}{phase['reads_per_s']:>9}"
            f"{phase['p50_ms']:>9}{phase['p99_ms']:>9}  {refused}"
        )
    memory = found["memory_mib"]
    yield f"goodput {found['goodput_share']:.0%} of the sustained rate's, normal after {found['normal_after_s']:.0f} s"
    before, sustained, most = (round(memory[when]) for when in ("before", "sustained", "most"))
    yield f"memory {before} MiB before, {sustained} until the overload, {most} at most"
    yield f"the generator was at most {found['generator_late_ms']:.0f} ms late"
    yield from (f"{'met' if met else 'NOT MET'}: {what}" for what, met in found["met"].items())
    yield f"audit: {'all oracles hold' if found['audit_ok'] else 'VIOLATED'}"


async def bench(options: argparse.Namespace) -> Json:
    about = machine()
    with tempfile.TemporaryDirectory(prefix="shop-overload-", ignore_cleanup_errors=True) as folder:
        local = await asyncio.to_thread(start, Path(folder) / "data", free_port(), env=CHEAP_PASSWORDS)
        try:
            return {"machine": about} | await against(local, options)
        finally:
            local.down()


def main() -> int:
    """1 when an expectation was not met, 2 when the shop could not be loaded."""
    options = arguments()
    try:
        found = uvloop.run(bench(options))
    except (ShopctlFailed, ShopError) as error:
        say(str(error))
        return 2
    print(json.dumps(found, indent=1) if options.json else "\n".join(lines(found)))
    return 0 if found["audit_ok"] and all(found["met"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
