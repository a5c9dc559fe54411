"""Compare two revisions under the same load, in turns: `make bench-compare BASE=rev`.

    make bench-compare BASE=main ARGS="--pairs 5"           a commit and the files as they are here
    make bench-compare BASE=main ARGS="--rates 20,90"       at these rates only, without looking for the highest

Each run has a new shop. Rounds begin in turns with either revision, so that a machine that becomes slower or faster
is no advantage. A ratio is of two runs of one round; what is reported is the median of all rounds, with the least and
the greatest. In each run the shop is looked at while it rests, at 20 orders/s, at half and at the whole of the rate
that its revision sustained in the first round, and at half of the rate that the base sustained. The driver, with
arrival times that are fixed beforehand, is the one here for both. A run takes about three minutes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import uvloop

from shop.devkit.embedded import free_port
from tests.load import compare_picture, compare_summary, counters, revisions, search, speed
from tests.load.bench import BUILD, MAX_CUSTOMERS, MAX_PRODUCTS, PIECES_PER_PRODUCT, machine, say, within
from tests.load.local_shop import ShopctlFailed
from tests.load.measure import Measured, Plan, cpu_differences, measure
from tests.load.open_loop import MAX_RATE_PER_S
from tests.load.revisions import BASE, Revision, RevisionFailed, RevisionShop
from tests.load.shoppers import Crowd, Shop, ShopError

MAX_PAIRS = 20
MAX_RATES = 6
MAX_SECONDS = 60.0
LIGHT_PER_S = 20.0
WARM_UP_S = 4.0
SEARCH_STEP_S = 6.0
FULL = 0.95
"""Of the highest rate that steps of `SEARCH_STEP_S` sustain, what a longer run is given."""
REST_AFTER_S = 4.0
REST_S = 10.0
MIB = 1 << 20
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-compare", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--base", required=True, metavar="REV", help="the commit that is compared with the files here")
    parser.add_argument("--pairs", type=_count, default=5, help=f"rounds of one run each, at most {MAX_PAIRS}")
    parser.add_argument("--seconds", type=within(5, MAX_SECONDS), default=20.0, help="at each rate")
    parser.add_argument("--rates", type=_rates, default=(), metavar="20,90", help="orders/s, instead of a search")
    parser.add_argument("--customers", type=within(1, MAX_CUSTOMERS), default=50)
    parser.add_argument("--products", type=within(1, MAX_PRODUCTS), default=200, help="spread the orders over as many")
    parser.add_argument("--reads", type=within(0, 100), default=1.0, help="product reads per order")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    return parser.parse_args(given)


def _count(text: str) -> int:
    return int(within(1, MAX_PAIRS)(text))


def _rates(text: str) -> tuple[float, ...]:
    rates = tuple(within(0.1, MAX_RATE_PER_S)(part) for part in text.split(","))
    if len(rates) > MAX_RATES:
        raise argparse.ArgumentTypeError(f"must be at most {MAX_RATES} rates")
    return rates


def order_of(revisions_: tuple[Revision, Revision], pairs: int) -> Iterable[tuple[int, Revision]]:
    """Each round with its revisions: A B, B A, A B and so on."""
    for pair in range(pairs):
        for revision in revisions_ if pair % 2 == 0 else reversed(revisions_):
            yield pair, revision


def levels(sustained: Mapping[str, float], revision: str) -> dict[str, float]:
    """The rates by their names; a base that sustains as much as the revision is not offered twice."""
    full, half_of_base = sustained[revision] * FULL, sustained[BASE] / 2
    found = {"light": LIGHT_PER_S, "half": sustained[revision] / 2, "base_half": half_of_base, "full": full}
    return {name: rate for name, rate in found.items() if name != "base_half" or revision != BASE}


class Run:
    """One run of one revision; ``figures`` grow as it goes on, named as in `compare_summary`."""

    def __init__(self, options: argparse.Namespace, local: RevisionShop, seed: int) -> None:
        self._options = options
        self._local = local
        self._seed = seed
        self.figures: dict[str, float] = {}

    async def run(self, sustained: dict[str, float], revision: Revision) -> None:
        """``sustained`` gets the revision's rate in its first run and tells later ones what to offer."""
        shop = Shop.at(self._local.status()["url"])
        try:
            crowd = await self._prepare(shop)
            await self._at(crowd, "warm-up", LIGHT_PER_S, WARM_UP_S)
            await self._rest()
            rates = {f"{rate:g}/s": rate for rate in self._options.rates}
            if not rates:
                found = await self._search(crowd, sustained.get(revision.name, 0.0))
                self.figures["sustained_per_s"] = round(found, 1)
                sustained.setdefault(revision.name, found)
                rates = levels(sustained, revision.name)
            for name, rate in rates.items():
                self._note(name, await self._at(crowd, name, rate, self._options.seconds))
            if not self._options.rates and revision.name == BASE:
                self._copy("half", "base_half")
        finally:
            await shop.close()

    async def _prepare(self, shop: Shop) -> Crowd:
        tokens = await shop.sign_up_many(int(self._options.customers))
        admin = await shop.token(*self._local.admin_login())
        products = await shop.products(int(self._options.products))
        await shop.restock(admin, products, PIECES_PER_PRODUCT)
        return Crowd.of(shop, tokens, [product["id"] for product in products], self._seed)

    async def _at(self, crowd: Crowd, name: str, rate: float, seconds: float) -> Measured:
        found = await measure(self._local, crowd, Plan(name, rate, rate * self._options.reads, seconds, self._seed))
        say(
            f"  {name}: {rate:.0f}/s offered, p50 {found.orders.p50_ms:.0f}, p99 {found.orders.p99_ms:.0f} ms, "
            f"{found.cpu_ms_per_order:.1f} ms CPU, {found.statements_per_order:.1f} statements an order"
        )
        return found

    async def _search(self, crowd: Crowd, guess: float) -> float:
        async def try_rate(rate: float) -> search.Verdict:
            return search.judge((await self._at(crowd, "search", rate, SEARCH_STEP_S)).raw)

        found = await search.near(try_rate, guess) if guess else 0.0
        found = found or await search.highest_sustainable(try_rate)
        if not found:
            raise ShopError("the shop sustains no rate at all")
        return found

    async def _rest(self) -> None:
        """Statements and processor time without a customer, some seconds after the last order."""
        await asyncio.sleep(REST_AFTER_S)
        counted, used, began = await counters.read(self._local), self._local.usage(), time.monotonic()
        await asyncio.sleep(REST_S)
        after, seconds = self._local.usage(), time.monotonic() - began
        grown = counters.per_order(counters.differences(counted, await counters.read(self._local)), 1)
        cpu_s = cpu_differences(used, after)
        self.figures |= {
            "rest.statements_per_s": round(grown.get("statements", 0.0) / seconds, 2),
            "rest.core_percent": round(100 * sum(cpu_s.values()) / seconds, 2),
            "rest.memory_mib": round(sum(one.memory_bytes for one in after) / MIB, 1),
            "rest.resident_mib": round(sum(one.resident_bytes for one in after) / MIB, 1),
        }

    def _note(self, level: str, found: Measured) -> None:
        self.figures |= {f"{level}.{name}": value for name, value in compare_summary.figures(found).items()}

    def _copy(self, level: str, to: str) -> None:
        same = {name: value for name, value in self.figures.items() if name.startswith(f"{level}.")}
        self.figures |= {f"{to}{name.removeprefix(level)}": value for name, value in same.items()}


async def one_run(options: argparse.Namespace, revision: Revision, pair: int, sustained: dict[str, float]) -> Json:
    """The result of one run; its shop is gone afterwards."""
    with tempfile.TemporaryDirectory(prefix="shop-compare-", ignore_cleanup_errors=True) as folder:
        fast = await asyncio.to_thread(speed.measure, Path(folder))
        say(f"round {pair + 1}, {revision.name} {revision.commit}; {speed.line(fast)}")
        began = time.monotonic()
        local = await asyncio.to_thread(revision.start, Path(folder) / "data", free_port())
        run = Run(options, local, options.seed + pair)
        run.figures["startup_s"] = round(time.monotonic() - began, 2)
        try:
            await run.run(sustained, revision)
            audit = local.audit()
        finally:
            local.down()
    return {"revision": revision.name, "pair": pair, "speed": fast, "figures": run.figures, "audit_ok": audit["ok"]}


async def compare(options: argparse.Namespace, found: Json, file: Path) -> None:
    """All runs; ``file`` and the picture beside it are written after each."""
    pair = (revisions.base(options.base), revisions.head())
    found["commits"] = {revision.name: revision.commit for revision in pair}
    sustained: dict[str, float] = {}
    for revision in pair:
        with tempfile.TemporaryDirectory(prefix="shop-compare-", ignore_cleanup_errors=True) as folder:
            await asyncio.to_thread(revision.compiled, Path(folder) / "data", free_port())
    for number, revision in order_of(pair, options.pairs):
        found["runs"].append(await one_run(options, revision, number, sustained))
        found["summary"] = compare_summary.summary(found["runs"])
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(found, indent=1), encoding="utf-8")
        file.with_suffix(".svg").write_text(compare_picture.picture(found), encoding="utf-8")


def main() -> int:
    """1 when an audit found a violation, 2 when a revision could not be measured."""
    options = arguments()
    file = BUILD / f"compare-{options.base.replace('/', '-')}.json"
    found: Json = {"machine": machine(), "options": {**vars(options)}, "runs": []}
    try:
        uvloop.run(compare(options, found, file))
    except (RevisionFailed, ShopctlFailed, ShopError) as error:
        say(str(error))
        return 2
    print(json.dumps(found, indent=1) if options.json else "\n".join(compare_summary.lines(found)))
    say(f"{file} and {file.with_suffix('.svg').name}")
    return 0 if all(run["audit_ok"] for run in found["runs"]) else 1


if __name__ == "__main__":
    sys.exit(main())
