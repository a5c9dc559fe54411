"""How the cost of orders and reads grows with stored orders, products, processor cores and processes of a service.

    python -m tests.load.growth --what orders                      10,000, 100,000 and 1,000,000 stored orders
    python -m tests.load.growth --what orders --orders 1e7         ten million at once: 44 GB free, a quarter of an hour
    python -m tests.load.growth --what products,cores,replicas
    python -m tests.load.growth --draw docs/growth.json            draws the pictures of a result again

Each part has a shop of its own below ``--folder``, which is deleted at the end. Results are added to
build/growth/growth.json, and drawn beside it. The load generator runs on the same machine.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg

from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from shop.order.retention_repository import REMOVE_HISTORY
from shop.product.repository import COUNT_STOCK
from tests.load import growth_fill, growth_picture, search, speed
from tests.load.local_shop import LocalShop, start
from tests.load.measure import SETTLE_TIMEOUT_S, Plan, measure
from tests.load.shoppers import ADDRESS, CARD, Crowd, Shop, ShopError

BUILD = Path(__file__).parents[2] / "build" / "growth"
PARTS = ("orders", "products", "cores", "replicas")
ORDERS, PRODUCTS, CORES, REPLICAS = (10_000, 100_000, 1_000_000), (1_000, 10_000, 100_000, 1_000_000), (1, 2), (1, 2, 3)
MAX_PRODUCTS = 1_000_000
BYTES_PER_PRODUCT = 3_000
"""Rows, indexes and log of a copy, more than measured: less free space is refused."""
TEMPLATES = 20
CUSTOMERS = 20
PIECES = 1_000_000
RATE_PER_S, SECONDS, WARM_UP_S, STEP_S = 20.0, 10.0, 3.0, 6.0
READS = 200
"""Of each kind, one after the other."""
READS_S = 15.0
"""Those of one kind end after so long."""
SQL_TIMES = """
SELECT datname || ': ' || left(regexp_replace(query, '\\s+', ' ', 'g'), 90) AS statement, sum(total_exec_time) AS ms
FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid JOIN pg_roles ON pg_roles.oid = userid
WHERE datname LIKE 'shop\\_%' AND rolname LIKE 'shop\\_%' GROUP BY 1"""
DEAREST = 6
"""Statements that a result names."""
SIZE = "SELECT sum(pg_database_size(datname))::bigint FROM pg_database WHERE datname LIKE 'shop\\_%'"
SOME_PRODUCTS = "SELECT id FROM products ORDER BY md5(id::text) LIMIT $1"
REMOVED_AFTER = timedelta(days=1)
"""For the measurement of one removal: the copies are older."""
Json = dict[str, Any]


def arguments(given: Sequence[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.growth", description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--what", default="orders", help=f"one or several of {','.join(PARTS)}")
    parser.add_argument("--orders", type=_sizes(growth_fill.MAX_ORDERS), default=ORDERS, metavar="N,N")
    parser.add_argument("--products", type=_sizes(MAX_PRODUCTS), default=PRODUCTS, metavar="N,N")
    parser.add_argument("--folder", type=Path, default=Path("/var/tmp"), help="where the shops have their data")
    parser.add_argument("--draw", type=Path, help="only draw this result, beside the file")
    found = parser.parse_args(given)
    found.what = found.what.split(",")
    if unknown := set(found.what) - set(PARTS):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return found


def _sizes(most: int) -> Callable[[str], tuple[int, ...]]:
    def sizes(text: str) -> tuple[int, ...]:
        found = tuple(sorted(int(float(one)) for one in text.split(",")))
        if not 0 < found[0] <= found[-1] <= most:
            raise argparse.ArgumentTypeError(f"must be within 1..{most:,}")
        return found

    return sizes


class Subject:
    """A shop that grows, and customers who buy in it."""

    def __init__(self, local: LocalShop, shop: Shop) -> None:
        self.local = local
        self.shop = shop
        self.product_ids: list[str] = []

    async def prepare(self) -> None:
        """Customers, and enough pieces of each product."""
        await self.sign_in()
        products = await self.shop.products(200)
        await self.shop.restock(self.admin, products, PIECES)
        self.product_ids[:] = [product["id"] for product in products]

    async def sign_in(self) -> None:
        """With new tokens: the shop may grow for longer than they are valid."""
        tokens = await self.shop.sign_up_many(CUSTOMERS)
        self.crowd = Crowd.of(self.shop, tokens, self.product_ids, seed=1)
        self.admin = await self.shop.token(*self.local.admin_login())

    async def orders_at(self, rate: float = RATE_PER_S) -> Json:
        """Latency, processor time and time in PostgreSQL of an order."""
        await measure(self.local, self.crowd, Plan("warm-up", rate, 0.0, WARM_UP_S, seed=1))
        before = await self._sql_times()
        found = await measure(self.local, self.crowd, Plan("orders", rate, 0.0, SECONDS, seed=2))
        if not found.finished:
            raise SystemExit(f"no order was accepted: {found.orders.errors}")
        spent = {name: ms - before.get(name, 0.0) for name, ms in (await self._sql_times()).items()}
        dearest = sorted(spent, key=lambda name: -spent[name])[:DEAREST]
        return {
            "p50_ms": found.orders.p50_ms,
            "p99_ms": found.orders.p99_ms,
            "errors": found.orders.errors,
            "statements": found.statements_per_order,
            "cpu_ms": found.cpu_ms_per_order,
            "sql_ms": round(sum(spent.values()) / max(1, found.finished), 3),
            "dearest": {name: round(spent[name] / max(1, found.finished), 3) for name in dearest},
        }

    async def _sql_times(self) -> dict[str, float]:
        """Milliseconds so far by statement."""
        connection = await asyncpg.connect(self.local.database_url())
        try:
            return {row["statement"]: row["ms"] for row in await connection.fetch(SQL_TIMES)}
        finally:
            await connection.close()

    async def highest_rate(self) -> Json:
        """Orders a second that are sustained, and where the processor time goes at that rate."""
        runs: Json = {}

        async def try_rate(rate: float) -> search.Verdict:
            found = await measure(self.local, self.crowd, Plan("step", rate, 0.0, STEP_S, seed=3))
            verdict = search.judge(found.raw)
            say(f"  {rate:.0f}/s: {verdict.reason or 'sustained'}")
            if verdict.sustainable:
                runs.update(cpu_ms=found.cpu_ms_per_order, cpu_s=found.cpu_s, p99_ms=found.orders.p99_ms)
            return verdict

        await measure(self.local, self.crowd, Plan("warm-up", RATE_PER_S, 0.0, WARM_UP_S, seed=1))
        return {"sustained_per_s": round(await search.highest_sustainable(try_rate), 1), **runs}

    async def timed(self, paths: Sequence[str], token: str = "") -> Json:
        """Median and 99th percentile in milliseconds of GETs, one after the other, and how many failed."""
        took_ms, failed, until = [], 0, time.perf_counter() + READS_S
        for path in paths:
            began = time.perf_counter()
            if began > until:
                break
            try:
                await self.shop.call("GET", path, token)
            except ShopError:
                failed += 1
            took_ms.append((time.perf_counter() - began) * 1000)
        ranked = sorted(took_ms)
        p99 = ranked[min(len(ranked) - 1, len(ranked) * 99 // 100)]
        return {"p50_ms": round(statistics.median(ranked), 2), "p99_ms": round(p99, 2), "failed": failed}

    async def templates(self) -> list[str]:
        """Ids of TEMPLATES confirmed orders whose events have all taken effect."""
        token = next(self.crowd.tokens)
        placed = []
        for number in range(TEMPLATES):
            items = [{"product_id": one, "quantity": 1} for one in self.product_ids[number : number + 1 + number % 2]]
            body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
            key = f"template-{number}"
            placed.append(str((await self.shop.call("POST", "/orders", token, body, **{"Idempotency-Key": key}))["id"]))
        await self._until_sold(placed)
        return placed

    async def _until_sold(self, order_ids: Sequence[str]) -> None:
        ids = [UUID(order_id) for order_id in order_ids]
        sold = "SELECT count(*) FROM reservations WHERE state = 'sold' AND order_id = ANY ($1)"
        sent = "SELECT count(DISTINCT order_id) FROM notifications WHERE state = 'sent' AND order_id = ANY ($1)"
        for noun, statement in (("product", sold), ("notification", sent)):

            async def all_have(noun: str = noun, statement: str = statement) -> bool:
                return await self._scalar(noun, statement, ids) >= len(ids)

            await wait_until(all_have, SETTLE_TIMEOUT_S, f"all orders have taken effect in {noun}")

    async def statement_ms(self, noun: str, statement: str, *given: Any) -> float:
        """How long a statement takes; what it changes is rolled back."""
        connection = await asyncpg.connect(self.local.database_url(noun), command_timeout=600)
        try:
            transaction = connection.transaction()
            await transaction.start()
            began = time.perf_counter()
            await connection.fetch(statement, *given)
            took_ms = (time.perf_counter() - began) * 1000
            await transaction.rollback()
            return round(took_ms, 1)
        finally:
            await connection.close()

    async def megabytes(self) -> float:
        return round(await self._scalar("", SIZE) / 2**20)

    async def _scalar(self, noun: str, statement: str, *given: Any) -> float:
        connection = await asyncpg.connect(self.local.database_url(noun))
        try:
            return float(await connection.fetchval(statement, *given))
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def growing(folder: Path, replicas: Sequence[str] = ()) -> AsyncIterator[Subject]:
    """A shop that sells; its data is deleted at the end."""
    with tempfile.TemporaryDirectory(prefix="growth-", dir=folder) as made:
        local = start(Path(made) / "shop", free_port(), replicas)
        shop = Shop.at(local.status()["url"])
        try:
            subject = Subject(local, shop)
            await subject.prepare()
            yield subject
        finally:
            await shop.close()
            local.down()


async def of_orders(options: argparse.Namespace) -> list[Json]:
    """The shop with ever more stored orders."""
    require_space(options.folder, growth_fill.bytes_of_orders(options.orders[-1]))
    found, stored = [], 0
    async with growing(options.folder) as subject:
        templates = await subject.templates()
        for size in options.orders:
            began = time.perf_counter()
            await growth_fill.add_orders(subject.local, templates, stored + 1, size)
            stored = size
            filled_s = round(time.perf_counter() - began, 1)
            await subject.sign_in()
            found.append({"orders": size, "filled_s": filled_s, **await _with_orders(subject)})
            say(json.dumps(found[-1]))
            if size == options.orders[0] and not (audit := subject.local.audit())["ok"]:
                raise SystemExit(f"the audit of {size} copies is not clean: {json.dumps(audit)[:2000]}")
    return found


async def _with_orders(subject: Subject) -> Json:
    removal_ms = await subject.statement_ms("order", REMOVE_HISTORY, datetime.now(UTC) - REMOVED_AFTER)
    customers = [f"/orders/all?limit=20&user_id={_customer(number)}" for number in range(READS)]
    return {
        "mb": await subject.megabytes(),
        "new_order": await subject.orders_at(),
        "orders_of_a_customer": await subject.timed(customers, subject.admin),
        "newest_orders": await subject.timed(["/orders/all?limit=20"] * READS, subject.admin),
        "pending_orders": await subject.timed(["/orders/all?limit=20&state=pending"] * READS, subject.admin),
        "removal_of_1000_ms": removal_ms,
        "stock_comparison_ms": await subject.statement_ms("product", COUNT_STOCK),
    }


def _customer(number: int) -> UUID:
    """One of those of the copies; see `growth_fill.CUSTOMER`."""
    return UUID(_digest(f"customer{number}"))


def _digest(text: str) -> str:
    """As PostgreSQL's md5()."""
    return md5(text.encode(), usedforsecurity=False).hexdigest()


async def of_products(options: argparse.Namespace) -> list[Json]:
    """The shop with ever more products."""
    require_space(options.folder, options.products[-1] * BYTES_PER_PRODUCT)
    found, stored = [], 0
    async with growing(options.folder) as subject:
        for size in options.products:
            await growth_fill.add_products(subject.local, stored + 1, size)
            stored = size
            await subject.sign_in()
            found.append({"products": size, **await _with_products(subject)})
            say(json.dumps(found[-1]))
    return found


async def _with_products(subject: Subject) -> Json:
    words = [_digest(f"word{number}")[:7] for number in range(2 * READS)]
    ids = await _some_products(subject)
    return {
        "mb": await subject.megabytes(),
        "search": await subject.timed([f"/products?limit=20&query={word}" for word in words[:READS]]),
        "search_by_prefix": await subject.timed([f"/products?limit=20&query={word[:3]}" for word in words[READS:]]),
        "product": await subject.timed([f"/products/{product_id}" for product_id in ids]),
        "newest_products": await subject.timed([f"/products?sort=newest&limit={n % 50 + 1}" for n in range(READS)]),
        "new_order": await subject.orders_at(),
    }


async def _some_products(subject: Subject) -> list[str]:
    connection = await asyncpg.connect(subject.local.database_url("product"))
    try:
        rows = await connection.fetch(SOME_PRODUCTS, READS)
        return [str(row["id"]) for row in rows]
    finally:
        await connection.close()


async def of_cores(options: argparse.Namespace) -> list[Json]:
    """Everything on one core, the load generator too, and on two."""
    everywhere, found = os.sched_getaffinity(0), []
    for cores in CORES:
        os.sched_setaffinity(0, sorted(everywhere)[:cores])
        try:
            async with growing(options.folder) as subject:
                found.append({"cores": cores, **await subject.highest_rate()})
        finally:
            os.sched_setaffinity(0, everywhere)
        say(json.dumps(found[-1]))
    return found


async def of_replicas(options: argparse.Namespace) -> list[Json]:
    """One to three processes of order on the same cores."""
    found = []
    for count in REPLICAS:
        async with growing(options.folder, [f"order={count}"] if count > 1 else []) as subject:
            found.append({"replicas": count, **await subject.highest_rate()})
        say(json.dumps(found[-1]))
    return found


MEASURES: dict[str, Callable[[argparse.Namespace], Awaitable[list[Json]]]] = {
    "orders": of_orders,
    "products": of_products,
    "cores": of_cores,
    "replicas": of_replicas,
}


def require_space(folder: Path, wanted_bytes: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < wanted_bytes:
        raise SystemExit(
            f"{folder} has {free / 2**30:.0f} GiB left, and up to {wanted_bytes / 2**30:.0f} may be needed"
        )


def say(text: str) -> None:
    sys.stderr.write(text + "\n")


def draw(result: Json, folder: Path) -> None:
    for name, svg in growth_picture.pictures(result).items():
        (folder / f"growth-{name}.svg").write_text(svg, encoding="utf-8")


async def main(options: argparse.Namespace) -> None:
    BUILD.mkdir(parents=True, exist_ok=True)
    file = BUILD / "growth.json"
    result: Json = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    for part in options.what:
        before = speed.measure(options.folder)
        say(f"{part}: {speed.line(before)}")
        result[part] = {"speed": before, "found": await MEASURES[part](options)}
        file.write_text(json.dumps(result, indent=1), encoding="utf-8")
    draw(result, BUILD)
    say(f"{file}, and the pictures beside it")


if __name__ == "__main__":
    chosen = arguments()
    if chosen.draw:
        draw(json.loads(chosen.draw.read_text(encoding="utf-8")), chosen.draw.parent)
    else:
        asyncio.run(main(chosen))
