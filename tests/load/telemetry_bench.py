"""What telemetry costs: orders a second, processor time and memory with everything, with metrics alone, with nothing.

    python -m tests.load.telemetry_bench --rounds 20

Three shops on this machine, of which one at a time is kept busy by as many customers as `--workers`. "everything"
exports 1 % of the traces to a receiver of OTLP and is scraped as Prometheus does; "metrics" is scraped; "off" counts
and records nothing (SHOP_METRICS=false, no endpoint). They take turns of a few seconds, because the machine's own speed
changes within minutes by more than what is measured; each round begins with another. Twenty rounds take six minutes;
all ends after at most BOUND_S.

    python -m tests.load.telemetry_bench --control-room

compares two shops instead: "metrics", and "room", which is scraped as well and sends what `./shopctl up` samples to its
control room, which nobody looks at. Twenty rounds take less than five minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import json
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
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

BOUND_S = 1_800.0
MAX_ROUNDS = 60
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
EVERYTHING, METRICS, OFF, ROOM = "everything", "metrics", "off", "room"
VARIANTS = (OFF, METRICS, EVERYTHING)
"""The first is what the others are compared with."""
WITH_ROOM = (METRICS, ROOM)
FIGURES = ("finished_per_s", "cpu_ms_per_order", "p99_ms")
COUNT_NOTHING = {noun: {"SHOP_METRICS": "false"} for noun in SERVICES}
MIB = 1 << 20
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.telemetry_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=20, help=f"turns of each shop, at most {MAX_ROUNDS}")
    parser.add_argument("--seconds", type=float, default=5.0, help=f"of load in each turn, at most {MAX_SECONDS:g}")
    parser.add_argument("--workers", type=int, default=32, help=f"customers at once, at most {MAX_WORKERS}")
    parser.add_argument("--scrape-every-s", type=float, default=15.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--control-room", action="store_true", help="compare shops with a control room and without")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.rounds = max(1, min(options.rounds, MAX_ROUNDS))
    options.seconds = min(options.seconds, MAX_SECONDS)
    options.workers = max(1, min(options.workers, MAX_WORKERS))
    return options


@dataclass
class Scrapes:
    """Of each service: seconds of each scrape, and the last one's time series and bytes as they were sent.

    ``due_s``: seconds of load after which the shop is scraped again; other shops' turns do not count.
    """

    ports: Mapping[str, int]
    every_s: float
    due_s: float = 0.0
    seconds: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    series: dict[str, int] = field(default_factory=dict)
    sent_bytes: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, local: LocalShop, every_s: float) -> Scrapes:
        services = [part for part in local.status()["components"] if part["kind"] == "service"]
        return cls({part["name"]: part["port"] for part in services}, every_s)

    async def during(self, turn_s: float) -> None:
        """The scrapes that are due in a turn of ``turn_s``, one service after another."""
        timeout = aiohttp.ClientTimeout(total=SCRAPE_TIMEOUT_S)
        async with aiohttp.ClientSession(timeout=timeout, auto_decompress=False) as session:
            left_s = turn_s
            while self.due_s < left_s:
                await asyncio.sleep(self.due_s)
                left_s -= self.due_s
                for name, port in self.ports.items():
                    await self.take(session, name, port)
                self.due_s = self.every_s
            self.due_s -= left_s

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


@contextmanager
def started(variant: str, folder: Path, traces_to: str) -> Iterator[LocalShop]:
    env: dict[str, dict[str, str]] = {noun: dict(variables) for noun, variables in local_shop.CHEAP_PASSWORDS.items()}
    for noun, variables in (COUNT_NOTHING if variant == OFF else {}).items():
        env[noun] = env.get(noun, {}) | variables
    local = local_shop.start(
        folder / variant,
        free_port(),
        env=env,
        traces_to=traces_to if variant == EVERYTHING else "",
        trace_ratio=SAMPLE_RATIO,
        control_room=variant == ROOM,
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


@dataclass
class Contender:
    """One of the shops, with its customers."""

    variant: str
    local: LocalShop
    shop: Shop
    crowd: Crowd
    scrapes: Scrapes

    async def turn(self, options: argparse.Namespace) -> Json:
        scraping = asyncio.create_task(self.scrapes.during(options.seconds)) if self.variant != OFF else None
        found = await measured(
            self.local, self.variant, self.crowd.buy, options.workers, options.seconds, count_statements=False
        )
        if scraping is not None:
            await scraping
        return found

    def result(self) -> Json:
        memory_mib = round(sum(usage.memory_bytes for usage in self.local.usage()) / MIB)
        return {"memory_mib": memory_mib, "services": self.scrapes.as_json(), "audit": self.local.audit()["ok"]}


@asynccontextmanager
async def contender(
    variant: str, folder: Path, traces_to: str, options: argparse.Namespace
) -> AsyncIterator[Contender]:
    """A shop that has been warmed up; gone after the block."""
    with started(variant, folder, traces_to) as local:
        shop = Shop.at(local.status()["url"])
        try:
            crowd = await crowd_of(local, shop, options)
            await measured(local, "warm-up", crowd.buy, options.workers, WARM_UP_S, count_statements=False)
            yield Contender(variant, local, shop, crowd, Scrapes.of(local, options.scrape_every_s))
        finally:
            await shop.close()


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"machine": machine(), "workers": options.workers, "seconds": options.seconds, "rounds": []}
    async with AsyncExitStack() as stack:
        temporary = tempfile.TemporaryDirectory(prefix="telemetry-bench-", ignore_cleanup_errors=True)
        folder = Path(stack.enter_context(temporary))
        receiver = stack.enter_context(receiving())
        variants = WITH_ROOM if options.control_room else VARIANTS
        contenders = [
            await stack.enter_async_context(contender(variant, folder, receiver.url, options)) for variant in variants
        ]
        await stack.enter_async_context(asyncio.timeout(BOUND_S))
        for number in range(options.rounds):
            first = number % len(contenders)
            turns = [await one.turn(options) for one in contenders[first:] + contenders[:first]]
            result["rounds"].append({turn["name"]: turn for turn in turns})
            say(", ".join(f"{turn['name']} {turn['finished_per_s']}" for turn in turns))
        result["shops"] = {one.variant: one.result() for one in contenders}
        result["spans"] = len(receiver.spans())
    return result | {"summary": summary(result["rounds"], variants[0])}


def summary(rounds: Sequence[Json], base: str = OFF) -> Json:
    """By variant: median, least and greatest of each figure, and what it costs: how much less than ``base`` it has sold
    in the same number of turns, with the quartiles of the single rounds."""
    found: Json = {
        variant: {name: spread([one[variant][name] for one in rounds if name in one[variant]]) for name in FIGURES}
        for variant in rounds[0]
    }
    for variant in found.keys() - {base}:
        sold, compared = ([one[name]["finished_per_s"] for one in rounds] for name in (variant, base))
        each = sorted(1 - mine / theirs for mine, theirs in zip(sold, compared, strict=True))
        found[variant]["cost"] = round(1 - sum(sold) / sum(compared), 3)
        found[variant]["cost_quartiles"] = [round(each[len(each) // 4], 3), round(each[len(each) * 3 // 4], 3)]
    return found


def spread(values: Sequence[float]) -> Mapping[str, float]:
    return {"median": median(values), "least": min(values), "most": max(values)} if values else {"median": 0.0}


def lines(result: Json) -> Iterable[str]:
    """The result as tables."""
    about = result["machine"]
    yield f"{about['cpus']} CPUs, load before {about['load_before']}, {result['workers']} customers at once"
    yield f"{'':12}{'orders/s':>22}{'cost (quartiles)':>26}{'CPU ms/order':>20}{'p99 ms':>20}{'MiB':>6}"
    for variant in result["shops"]:
        one, shop = result["summary"][variant], result["shops"][variant]
        rate, cpu, p99 = (_shown(one[name]) for name in FIGURES)
        cost = "{:.1%} ({:.1%} to {:.1%})".format(one["cost"], *one["cost_quartiles"]) if "cost" in one else "-"
        yield f"{variant:12}{rate:>22}{cost:>26}{cpu:>20}{p99:>20}{shop['memory_mib']:6}"
    yield f"{'service':20}{'scrape ms':>10}{'series':>8}{'bytes':>8}"
    for name, one in list(result["shops"].values())[-1]["services"].items():
        yield f"{name:20}{one['scrape_ms']:10}{one['series']:8}{one['sent_bytes']:8}"
    errors = [turn["errors"] for one in result["rounds"] for turn in one.values() if turn["errors"]]
    audits = all(one["audit"] for one in result["shops"].values())
    yield f"errors: {errors or 'none'}; audits: {'ok' if audits else 'FAILED'}"


def _shown(one: Mapping[str, float]) -> str:
    least, most = one.get("least", 0.0), one.get("most", 0.0)
    return f"{one['median']:g} ({least:g}-{most:g})"


def main() -> int:
    """1 when an audit found a violation, 2 when a shop could not be loaded or took too long."""
    options = arguments()
    try:
        result = asyncio.run(run(options))
    except (ShopctlFailed, ShopError, TimeoutError) as error:
        say(str(error) or f"not done after {BOUND_S:g} s")
        return 2
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    return 0 if all(one["audit"] for one in result["shops"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
