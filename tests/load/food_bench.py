"""Finished orders of food a second against finished retail orders, in one run on one shop.

    .venv/bin/python -m tests.load.food_bench

A shop of its own on this machine, with couriers on shift and restaurants that cook for 15 minutes, so that an order is
accepted, promised a courier, priced, charged and confirmed. As many customers as `--workers` order one after another,
first retail, then food, and both once more. It takes two minutes, and at most four.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from shop.devkit.embedded import free_port
from shop.kit.ids import new_id
from shop.town import town
from tests.integration.food import Kitchen, kitchen, meal
from tests.load import delivery_bench, open_loop
from tests.load.bench import PIECES_PER_PRODUCT, machine, say
from tests.load.local_shop import LocalShop, ShopctlFailed, start
from tests.load.measure import CLOCK_SLACK, cpu_differences, settle
from tests.load.open_loop import Outcome
from tests.load.shoppers import Crowd, Shop, ShopError

BOUND_S = 200.0
"""Of the load; starting and ending the shop take some seconds more."""
MAX_SECONDS = 25.0
MAX_WORKERS = 64
ROUNDS = 2
WARM_UP_S = 3.0
PRODUCTS = 200
KITCHENS = 16
KITCHEN_CAPACITY = 1_000
COURIERS = 1_000
SHOWN_ERRORS = 3
Json = dict[str, Any]
Send = Callable[[], Awaitable[Outcome]]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.food_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--seconds", type=float, default=15.0, help=f"of each of four runs, at most {MAX_SECONDS:g}")
    parser.add_argument("--workers", type=int, default=32, help=f"customers at once, at most {MAX_WORKERS}")
    parser.add_argument("--preparation-s", type=int, default=900, help="60: couriers are chosen at the reservation")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.seconds = min(options.seconds, MAX_SECONDS)
    options.workers = max(1, min(options.workers, MAX_WORKERS))
    return options


class Eaters:
    """Customers who order one dish at one of the restaurants, to addresses all over the town."""

    def __init__(self, shop: Shop, tokens: Sequence[str], kitchens: Sequence[Kitchen], seed: int) -> None:
        self._shop = shop
        self._tokens = tokens
        self._kitchens = kitchens
        self._random = random.Random(seed)
        self._number = 0

    async def order(self) -> Outcome:
        self._number += 1
        body = meal(self._random.choice(self._kitchens), self._number)
        token = self._tokens[self._number % len(self._tokens)]
        return await self._shop.order(token, json.dumps(body))


async def measured(
    local: LocalShop, name: str, send: Send, workers: int, seconds: float, *, count_statements: bool = True
) -> Json:
    """One run: ``finished_per_s`` is what the database has as confirmed, from the first order to the last.

    Statements are counted by the services' metrics.
    """
    latencies: list[float] = []
    errors: Counter[str] = Counter()

    async def one() -> bool:
        began = time.perf_counter()
        outcome = await send()
        if outcome.ok:
            latencies.append(time.perf_counter() - began)
        else:
            errors[outcome.code] += 1
        return outcome.ok

    since, before = datetime.now(UTC) - CLOCK_SLACK, local.usage()
    statements = local.statements() if count_statements else 0.0
    await open_loop.closed_loop(one, workers=workers, seconds=seconds)
    finished, finished_per_s = await settle(local.database_url("order"), since)
    cpu_s = cpu_differences(before, local.usage())
    count = max(1, finished)
    result = {
        "name": name,
        "finished": finished,
        "finished_per_s": round(finished_per_s, 1),
        "cpu_ms_per_order": round(1_000 * sum(cpu_s.values()) / count, 1),
        "errors": dict(errors.most_common(SHOWN_ERRORS)),
    }
    if count_statements:
        result["sql_per_order"] = round((local.statements() - statements) / count, 1)
    percents = {f"p{p}_ms": round(1_000 * open_loop.percentile(sorted(latencies), p), 1) for p in (50, 99)}
    return result | (percents if latencies else {})


async def put_couriers(url: str, seed: int) -> None:
    """Couriers on shift all over the town, whose fix stays fresh for an hour."""
    chance = random.Random(seed)
    couriers = [new_id() for _ in range(COURIERS)]
    junctions = [chance.randrange(len(town().junctions)) for _ in couriers]
    spots = [town().junctions[junction] for junction in junctions]
    database = await asyncpg.connect(url)
    try:
        await database.execute(delivery_bench.COURIERS, couriers)
        columns = [spot.lat for spot in spots], [spot.lon for spot in spots]
        await database.execute(delivery_bench.POSITIONS, couriers, *columns, junctions)
    finally:
        await database.close()


async def load(local: LocalShop, shop: Shop, options: argparse.Namespace) -> list[Json]:
    say(f"signing up {options.workers} customers")
    tokens = await shop.sign_up_many(options.workers)
    admin = await shop.token(*local.admin_login())
    products = await shop.products(PRODUCTS)
    await shop.restock(admin, products, PIECES_PER_PRODUCT)
    await put_couriers(local.database_url("delivery"), options.seed)
    more = {"preparation_s": options.preparation_s, "kitchen_capacity": KITCHEN_CAPACITY}
    kitchens = [await kitchen(shop, admin, **more) for _ in range(KITCHENS)]
    crowd = Crowd.of(shop, tokens, [product["id"] for product in products], options.seed)
    kinds: dict[str, Send] = {"retail": crowd.buy, "food": Eaters(shop, tokens, kitchens, options.seed).order}
    runs = []
    for name, send in kinds.items():
        await measured(local, f"warm-up {name}", send, options.workers, WARM_UP_S)
    for _ in range(ROUNDS):
        for name, send in kinds.items():
            runs.append(await measured(local, name, send, options.workers, options.seconds))
            say(json.dumps(runs[-1]))
    return runs


async def run(options: argparse.Namespace) -> Json:
    """The whole result; the shop that was started for it is gone afterwards."""
    result: Json = {"machine": machine(), "couriers": COURIERS, "workers": options.workers}
    with tempfile.TemporaryDirectory(prefix="food-bench-", ignore_cleanup_errors=True) as folder:
        say("starting a shop")
        local = start(Path(folder) / "data", free_port(), modules={"food": True})
        shop = Shop.at(local.status()["url"])
        try:
            async with asyncio.timeout(BOUND_S):
                result["runs"] = await load(local, shop, options)
            result["food_share"] = share(result["runs"])
            result["audit"] = local.audit()["ok"]
        finally:
            await shop.close()
            local.down()
    return result


def share(runs: Sequence[Json]) -> float:
    """Food orders finished for each retail order, the best run of each."""
    best = {kind: max(one["finished_per_s"] for one in runs if one["name"] == kind) for kind in ("retail", "food")}
    return round(best["food"] / best["retail"], 2) if best["retail"] else 0.0


def lines(result: Json) -> Iterable[str]:
    """The result as a table."""
    about = result["machine"]
    yield f"{about['cpus']} CPUs, load before {about['load_before']}, {result['workers']} customers at once"
    yield f"{'':8}{'finished/s':>11}{'orders':>8}{'p50 ms':>9}{'p99 ms':>9}{'CPU ms':>9}{'SQL':>7}  errors"
    for one in result["runs"]:
        errors = ", ".join(f"{count}x {code[:60]}" for code, count in one["errors"].items()) or "-"
        yield (
            f"{one['name']:8}{one['finished_per_s']:11}{one['finished']:8}{one.get('p50_ms', '-'):>9}"
            f"{one.get('p99_ms', '-'):>9}{one['cpu_ms_per_order']:9}{one['sql_per_order']:7}  {errors}"
        )
    yield f"food orders for each retail order: {result['food_share']}; audit {'ok' if result['audit'] else 'FAILED'}"


def main() -> int:
    """1 when the audit found a violation, 2 when the shop could not be loaded or it took too long."""
    options = arguments()
    try:
        result = asyncio.run(run(options))
    except (ShopctlFailed, ShopError, TimeoutError) as error:
        say(str(error) or f"not done after {BOUND_S:g} s")
        return 2
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    return 0 if result["audit"] else 1


if __name__ == "__main__":
    sys.exit(main())
