"""What telemetry costs: orders a second, processor time and memory with everything, with metrics alone, with nothing.

    python -m tests.load.telemetry_bench --runs 5

Each run has a new shop on this machine, which as many customers as `--workers` keep busy. "everything" exports 1 % of
the traces to a receiver of OTLP and is scraped as Prometheus does; "metrics" is scraped; "off" counts and records
nothing (SHOP_METRICS=false, no endpoint). The three take turns, each round beginning with another. Fifteen runs take
ten minutes; each ends after at most RUN_BOUND_S.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gzip
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

import aiohttp

from shop.devkit.embedded import free_port
from shop.operator.services import SERVICES
from tests.load import local_shop
from tests.load.bench import PIECES_PER_PRODUCT, machine, say
from tests.load.food_bench import measured
from tests.load.local_shop import LocalShop, ShopctlFailed
from tests.load.shoppers import Crowd, Shop, ShopError
from tests.telemetry.otlp import receiving

RUN_BOUND_S = 180.0
MAX_RUNS = 20
MAX_SECONDS = 60.0
MAX_WORKERS = 64
WARM_UP_S = 4.0
PRODUCTS = 50
SCRAPE_TIMEOUT_S = 10.0
SAMPLE_RATIO = 0.01
AS_PROMETHEUS = {
    "Accept": "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.2",
    "Accept-Encoding": "gzip",
}
EVERYTHING, METRICS, OFF = "everything", "metrics", "off"
VARIANTS = (EVERYTHING, METRICS, OFF)
FIGURES = ("finished_per_s", "cpu_ms_per_order", "memory_mib", "p99_ms")
COUNT_NOTHING = {noun: {"SHOP_METRICS": "false"} for noun in SERVICES}
MIB = 1 << 20
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.telemetry_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--runs", type=int, default=5, help=f"of each of {', '.join(VARIANTS)}; at most {MAX_RUNS}")
    parser.add_argument("--seconds", type=float, default=20.0, help=f"of load in each run, at most {MAX_SECONDS:g}")
    parser.add_argument("--workers", type=int, default=32, help=f"customers at once, at most {MAX_WORKERS}")
    parser.add_argument("--scrape-every-s", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.runs = max(1, min(options.runs, MAX_RUNS))
    options.seconds = min(options.seconds, MAX_SECONDS)
    options.workers = max(1, min(options.workers, MAX_WORKERS))
    return options


@dataclass
class Scrapes:
    """Of each service: seconds of each scrape, and the last one's time series and bytes as they were sent."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    series: dict[str, int] = field(default_factory=dict)
    sent_bytes: dict[str, int] = field(default_factory=dict)

    async def take(self, session: aiohttp.ClientSession, name: str, port: int) -> None:
        began = time.perf_counter()
        async with session.get(f"http://127.0.0.1:{port}/metrics", headers=AS_PROMETHEUS) as answer:
            sent = await answer.read()
            encoding = answer.headers.get("Content-Encoding")
        self.seconds[name].append(time.perf_counter() - began)
        self.sent_bytes[name] = len(sent)
        text = gzip.decompress(sent) if encoding == "gzip" else sent
        self.series[name] = sum(not line.startswith(b"#") for line in text.splitlines())

    def as_json(self) -> Json:
        return {
            name: {
                "scrape_ms": round(1_000 * median(self.seconds[name]), 1),
                "series": self.series[name],
                "sent_bytes": self.sent_bytes[name],
            }
            for name in sorted(self.series)
        }


@asynccontextmanager
async def scraped(local: LocalShop, every_s: float) -> AsyncIterator[Scrapes]:
    """Every service is scraped at the beginning of the block and then at intervals, one after another."""
    ports = {part["name"]: part["port"] for part in local.status()["components"] if part["kind"] == "service"}
    found = Scrapes()
    timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
    async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:

        async def scrape() -> None:
            while True:
                for name, port in ports.items():
                    await found.take(session, name, port)
                await asyncio.sleep(every_s)

        task = asyncio.create_task(scrape())
        try:
            yield found
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@asynccontextmanager
async def not_scraped() -> AsyncIterator[Scrapes]:
    yield Scrapes()


@contextmanager
def started(variant: str, folder: Path, traces_to: str) -> Iterator[LocalShop]:
    env: dict[str, dict[str, str]] = {noun: dict(variables) for noun, variables in local_shop.CHEAP_PASSWORDS.items()}
    for noun, variables in (COUNT_NOTHING if variant == OFF else {}).items():
        env[noun] = env.get(noun, {}) | variables
    local = local_shop.start(
        folder / "data",
        free_port(),
        env=env,
        traces_to=traces_to if variant == EVERYTHING else "",
        trace_ratio=SAMPLE_RATIO,
    )
    try:
        yield local
    finally:
        local.down()


async def crowd_of(local: LocalShop, shop: Shop, options: argparse.Namespace) -> Crowd:
    tokens = await shop.sign_up_many(options.workers)
    admin = await shop.token(*local.admin_login())
    products = await shop.products(PRODUCTS)
    await shop.restock(admin, products, PIECES_PER_PRODUCT)
    return Crowd.of(shop, tokens, [product["id"] for product in products], options.seed)


async def load(local: LocalShop, variant: str, options: argparse.Namespace) -> Json:
    shop = Shop.at(local.status()["url"])
    try:
        crowd = await crowd_of(local, shop, options)
        await measured(local, "warm-up", crowd.buy, options.workers, WARM_UP_S, count_statements=False)
        scraping = not_scraped() if variant == OFF else scraped(local, options.scrape_every_s)
        async with scraping as scrapes:
            result = await measured(local, variant, crowd.buy, options.workers, options.seconds, count_statements=False)
    finally:
        await shop.close()
    memory_mib = round(sum(usage.memory_bytes for usage in local.usage()) / MIB)
    return result | {"memory_mib": memory_mib, "services": scrapes.as_json(), "audit": local.audit()["ok"]}


async def run_once(variant: str, options: argparse.Namespace) -> Json:
    """One run; the shop that was started for it is gone afterwards."""
    with (
        tempfile.TemporaryDirectory(prefix="telemetry-bench-", ignore_cleanup_errors=True) as folder,
        receiving() as receiver,
        started(variant, Path(folder), receiver.url) as local,
    ):
        async with asyncio.timeout(RUN_BOUND_S):
            found = await load(local, variant, options)
        found["spans"] = len(receiver.spans())
    say(f"{variant}: {found['finished_per_s']} orders/s, {found['cpu_ms_per_order']} ms CPU, {found['spans']} spans")
    return found


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"machine": machine(), "workers": options.workers, "seconds": options.seconds, "runs": []}
    for number in range(options.runs):
        first = number % len(VARIANTS)
        for variant in VARIANTS[first:] + VARIANTS[:first]:
            result["runs"].append(await run_once(variant, options))
    return result | {"summary": summary(result["runs"])}


def summary(runs: Sequence[Json]) -> Json:
    """By variant and figure: median, least and greatest; and how much less than "off" the median throughput is."""
    by_variant = {variant: [one for one in runs if one["name"] == variant] for variant in VARIANTS}
    found: Json = {
        variant: {name: spread([one[name] for one in several if name in one]) for name in FIGURES}
        for variant, several in by_variant.items()
    }
    off = found[OFF]["finished_per_s"]["median"]
    for variant in VARIANTS:
        found[variant]["cost"] = round(1 - found[variant]["finished_per_s"]["median"] / off, 3) if off else None
    return found


def spread(values: Sequence[float]) -> Mapping[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)} if values else {"median": 0.0}


def lines(result: Json) -> Iterable[str]:
    """The result as tables."""
    about = result["machine"]
    yield f"{about['cpus']} CPUs, load before {about['load_before']}, {result['workers']} customers at once"
    yield f"{'':12}{'orders/s':>22}{'cost':>8}{'CPU ms/order':>20}{'MiB':>20}{'p99 ms':>20}"
    for variant in VARIANTS:
        one = result["summary"][variant]
        rate, cpu, memory, p99 = (_shown(one[name]) for name in FIGURES)
        cost = "-" if one["cost"] is None else f"{one['cost']:.1%}"
        yield f"{variant:12}{rate:>22}{cost:>8}{cpu:>20}{memory:>20}{p99:>20}"
    yield f"{'service':20}{'scrape ms':>10}{'series':>8}{'bytes':>8}"
    services: Json = next((one["services"] for one in reversed(result["runs"]) if one["services"]), {})
    for name, one in services.items():
        yield f"{name:20}{one['scrape_ms']:10}{one['series']:8}{one['sent_bytes']:8}"
    errors = [one["errors"] for one in result["runs"] if one["errors"]]
    yield f"errors: {errors or 'none'}; audits: {'ok' if all(one['audit'] for one in result['runs']) else 'FAILED'}"


def _shown(one: Mapping[str, float]) -> str:
    least, most = one.get("least", 0.0), one.get("most", 0.0)
    return f"{one['median']:g} ({least:g}-{most:g})"


def main() -> int:
    """1 when an audit found a violation, 2 when a shop could not be loaded or took too long."""
    options = arguments()
    try:
        result = asyncio.run(run(options))
    except (ShopctlFailed, ShopError, TimeoutError) as error:
        say(str(error) or f"a run was not done after {RUN_BOUND_S:g} s")
        return 2
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    return 0 if all(one["audit"] for one in result["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
