"""Load a separate shop on this machine and report its throughput and latency: `make bench`.

    make bench                                      find the highest sustained rate, then measure it in full
    make bench ARGS="--rate 200 --seconds 30"       measure one rate
    make bench ARGS="--rate 200 --profile order"    and sample where a service spends its time
    make bench ARGS="--rate 200 --flame order"      the same as a picture: build/bench/flame-order.svg

It loads only shops on localhost, for at most ten minutes a run.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import psutil
import uvloop

from shop.devkit.embedded import free_port
from tests.load import floor, open_loop, report, search, speed
from tests.load.local_shop import LocalShop, ShopctlFailed, start
from tests.load.measure import Measured, Plan, measure
from tests.load.profile import Profiler, ProfileRefused
from tests.load.shoppers import Crowd, Shop, ShopError

BUILD = Path(__file__).parents[2] / "build" / "bench"
WARM_UP_S = 3.0
WARM_UP_RATE_PER_S = 20.0
STEP_S = 6.0
FLOOR_S = 4.0
READERS = 32
PIECES_PER_PRODUCT = 1_000_000
MAX_CUSTOMERS = 1_000
MAX_PRODUCTS = 1_000
RETREAT = 0.9
RETREATS = 4
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--rate", type=within(0.1, open_loop.MAX_RATE_PER_S), help="orders/s; default: search")
    parser.add_argument("--seconds", type=within(1, open_loop.MAX_SECONDS), default=20.0, help="of a measured run")
    parser.add_argument("--customers", type=within(1, MAX_CUSTOMERS), default=50)
    parser.add_argument("--products", type=within(1, MAX_PRODUCTS), default=200, help="spread the orders over as many")
    parser.add_argument("--reads", type=within(0, 100), default=1.0, help="product reads per order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replicas", action="append", default=[], metavar="order=2", help="as for shopctl up")
    parser.add_argument("--data-dir", type=Path, help="load the shop that runs there instead of a new one")
    parser.add_argument("--profile", metavar="SERVICE", help="sample this service's process during the spread run")
    parser.add_argument(
        "--flame", action="append", default=[], metavar="SERVICE", help="draw a flame graph of it during the spread run"
    )
    parser.add_argument("--no-floor", action="store_true", help="leave out what the machine does without the shop")
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(given)


def within(least: float, most: float) -> Any:
    def number(text: str) -> float:
        value = float(text)
        if not least <= value <= most:
            raise argparse.ArgumentTypeError(f"must be within {least:g}..{most:g}")
        return value

    return number


class Bench:
    """The steps of one bench; ``result`` grows as they are done."""

    def __init__(self, options: argparse.Namespace, local: LocalShop, shop: Shop) -> None:
        self._options = options
        self._local = local
        self._shop = shop
        self.result: Json = {"runs": []}

    async def run(self) -> None:
        crowd, hot = await self._prepare()
        await self._measure(crowd, self._plan("warm-up", WARM_UP_RATE_PER_S, WARM_UP_S))
        self.result["reads"] = await self._reads(crowd)
        rate = self._options.rate or await self._search(crowd)
        spread = await self._spread(crowd, rate)
        hot_run = await self._measure(hot, self._plan("hot item", spread.offered_per_s))
        self.result["runs"] = [spread.as_json(), hot_run.as_json()]
        self.result["audit"] = self._local.audit()

    async def _prepare(self) -> tuple[Crowd, Crowd]:
        say(f"signing up {self._options.customers:g} customers")
        tokens = await self._shop.sign_up_many(int(self._options.customers))
        admin = await self._shop.token(*self._local.admin_login())
        products = await self._shop.products(int(self._options.products))
        if not products:
            raise ShopError("the shop's catalogue is empty")
        await self._shop.restock(admin, products, PIECES_PER_PRODUCT)
        crowd = Crowd.of(self._shop, tokens, [product["id"] for product in products], self._options.seed)
        return crowd, crowd.only(products[0]["id"])

    def _plan(self, name: str, rate: float, seconds: float | None = None) -> Plan:
        return Plan(name, rate, rate * self._options.reads, seconds or self._options.seconds, self._options.seed)

    async def _measure(self, crowd: Crowd, plan: Plan) -> Measured:
        found = await measure(self._local, crowd, plan)
        say(
            f"{plan.name}: offered {plan.rate_per_s:.0f}/s, accepted {found.orders.good_per_s:.0f}/s, "
            f"finished {found.finished_per_s:.0f}/s, p99 {found.orders.p99_ms:.0f} ms"
        )
        return found

    async def _reads(self, crowd: Crowd) -> Json:
        """Product reads a second at most: through the gateway, and at the service itself."""
        parts = self._local.status()["components"]
        port = next(part["port"] for part in parts if part["name"] in {"product", "product-1"})
        direct = crowd.at(f"http://127.0.0.1:{port}")
        return {
            "service_per_s": await open_loop.closed_loop(direct.read_one, workers=READERS, seconds=STEP_S),
            "gateway_per_s": await open_loop.closed_loop(crowd.read_one, workers=READERS, seconds=STEP_S),
        }

    async def _search(self, crowd: Crowd) -> float:
        async def try_rate(rate: float) -> search.Verdict:
            verdict = search.judge((await self._measure(crowd, self._plan("search", rate, STEP_S))).raw)
            if not verdict.sustainable:
                say(f"  not sustained: {verdict.reason}")
            return verdict

        found = await search.highest_sustainable(try_rate)
        if not found:
            raise ShopError(f"the shop does not even sustain {search.FIRST_RATE_PER_S:g} orders/s")
        return found

    async def _spread(self, crowd: Crowd, rate: float) -> Measured:
        """The full run at ``rate``; after a search, a little lower until it is sustained for the whole time."""
        for _ in range(RETREATS):
            profiler, flames = self._profiler(), [self._flame(service) for service in self._options.flame]
            found = await self._measure(crowd, self._plan("spread items", rate))
            if profiler:
                self.result["profile"] = profiler.finish()
            self.result["flames"] = [str(flame.end()) for flame in flames]
            if self._options.rate:
                return found
            if search.judge(found.raw).sustainable:
                self.result["sustained_per_s"] = found.finished_per_s
                return found
            rate *= RETREAT
        return found

    def _flame(self, service: str) -> Profiler:
        return Profiler.start(service, self._local.pid(service), self._options.seconds, BUILD / f"flame-{service}.svg")

    def _profiler(self) -> Profiler | None:
        service = self._options.profile
        if not service:
            return None
        file = BUILD / f"profile-{service}.txt"
        return Profiler.start(service, self._local.pid(service), self._options.seconds, file)


def say(text: str) -> None:
    """Progress, apart from the result on standard output."""
    print(text, file=sys.stderr, flush=True)


def machine() -> Json:
    memory_gib = round(psutil.virtual_memory().total / 2**30, 1)
    busy = round(os.getloadavg()[0], 1)
    about = {"cpus": os.cpu_count(), "memory_gib": memory_gib, "python": platform.python_version()}
    return about | {"load_before": busy, "speed": speed.measure(Path(tempfile.gettempdir()))}


async def run(options: argparse.Namespace) -> Json:
    """The whole result; the shop that was started for it is gone afterwards."""
    head: Json = {"machine": machine()}
    if not options.no_floor:
        say("measuring the floor")
        head["floor"] = await floor.measure(FLOOR_S)
    if options.data_dir:
        return head | await against(options, LocalShop(options.data_dir))
    with tempfile.TemporaryDirectory(prefix="shop-bench-", ignore_cleanup_errors=True) as folder:
        say("starting a shop")
        started = time.monotonic()
        local = start(Path(folder) / "data", free_port(), options.replicas)
        head["startup_s"] = round(time.monotonic() - started, 2)
        try:
            return head | await against(options, local)
        finally:
            local.down()


async def against(options: argparse.Namespace, local: LocalShop) -> Json:
    shop = Shop.at(local.status()["url"])
    try:
        bench = Bench(options, local, shop)
        await bench.run()
        return bench.result
    finally:
        await shop.close()


def main() -> int:
    """1 when the audit found a violation, 2 when the shop could not be loaded."""
    options = arguments()
    try:
        result = uvloop.run(run(options))
    except (ShopctlFailed, ShopError, ProfileRefused) as error:
        say(str(error))
        return 2
    print(json.dumps(result, indent=2) if options.json else "\n".join(report.lines(result)))
    return 0 if result["audit"]["ok"] else 1


if __name__ == "__main__":
    sys.exit(main())
