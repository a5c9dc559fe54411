"""Delivery alone under load: orders assigned a second, and positions delivered to customers who watch.

    .venv/bin/python -m tests.load.delivery_bench

One process of the service with a PostgreSQL and a NATS server of its own. First, callers hold, assign and release as
fast as they are answered (no charge lies between, so this is the most), many at once and then one alone. The food is
ready soon, so that each reservation chooses a courier. Then each courier reports a position every second while a
customer watches each delivery. It takes a minute and a half, and at most four.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import orjson

from shop.devkit import embedded
from shop.devkit.processes import free_port, launch, log_tail
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.devkit.testing_tokens import Tokens
from shop.kit import migrate
from shop.kit.ids import new_id
from shop.town import town
from tests.load.bench import machine, say
from tests.load.local_shop import usage_of
from tests.load.open_loop import closed_loop, percentile

MAX_COURIERS = 2_000
MAX_SECONDS = 30.0
BOUND_S = 230.0
READY_IN_S = 60
CALL_TIMEOUT_S = 30.0
WARM_UP_S = 2.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
SET_UP_AT_ONCE = 64
MIB = 1 << 20
COURIERS = """
INSERT INTO couriers (user_id, name, vehicle, capacity, on_shift, created_at, updated_at)
SELECT id, 'Courier', 'scooter', 2, true, now(), now() FROM unnest($1::uuid[]) AS id"""
POSITIONS = """
INSERT INTO courier_positions (courier_id, lat, lon, junction, fixed_at)
SELECT * , now() + interval '1 hour' FROM unnest($1::uuid[], $2::float8[], $3::float8[], $4::smallint[])"""
FRESH = "UPDATE courier_positions SET fixed_at = now()"
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.delivery_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--couriers", type=int, default=1_000, help=f"at most {MAX_COURIERS}")
    parser.add_argument("--callers", type=int, default=32, help="that assign at once")
    parser.add_argument("--watchers", type=int, default=1_000, help="at most one per courier")
    parser.add_argument("--seconds", type=float, default=10.0, help=f"of each measurement, at most {MAX_SECONDS:g}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.couriers = min(options.couriers, MAX_COURIERS)
    options.watchers = min(options.watchers, options.couriers)
    options.seconds = min(options.seconds, MAX_SECONDS)
    return options


class Service:
    """The running service, and the couriers and orders that it is loaded with."""

    def __init__(self, url: str, pid: int, database: asyncpg.Connection, tokens: Tokens, seed: int) -> None:
        self.url = url
        self.pid = pid
        self.database = database
        self.tokens = tokens
        self.random = random.Random(seed)
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(CALL_TIMEOUT_S)
        )
        self.couriers: list[UUID] = []

    async def add_couriers(self, count: int) -> None:
        self.couriers = [new_id() for _ in range(count)]
        junctions = [self.random.randrange(len(town().junctions)) for _ in range(count)]
        spots = [town().junctions[junction] for junction in junctions]
        await self.database.execute(COURIERS, self.couriers)
        columns = [one.lat for one in spots], [one.lon for one in spots]
        await self.database.execute(POSITIONS, self.couriers, *columns, junctions)

    def order(self) -> Json:
        """A request to reserve, between random places of the town."""
        streets = town().streets()
        street = self.random.choice(streets)
        pickup = self.random.choice(town().junctions)
        address = {"name": "Ada", "street": f"1 {street}", "city": "", "postal_code": "", "country": "GB"}
        return {
            "order_id": str(new_id()),
            "user_id": str(new_id()),
            "restaurant_id": str(new_id()),
            "restaurant_name": "Luigi's",
            "pickup": pickup._asdict(),
            "address": address,
            "ready_at": (datetime.now(UTC) + timedelta(seconds=READY_IN_S)).isoformat(),
        }

    async def internal(self, path: str, item: Json) -> Json:
        headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}", "Content-Type": "application/json"}
        body = orjson.dumps({"items": [item]})
        async with self.session.post(f"{self.url}/internal/{path}", data=body, headers=headers) as answer:
            answer.raise_for_status()
            result: Json = orjson.loads(await answer.read())["results"][0]
            return result

    async def live(self) -> Json:
        order = self.order()
        await self.internal("reservations", order)
        await self.internal("assignments", {"order_id": order["order_id"]})
        return order


@asynccontextmanager
async def running(folder: Path, couriers: int, seed: int) -> AsyncIterator[Service]:
    store, broker = embedded.start_postgres(folder / "postgres"), embedded.start_nats(folder / "nats")
    database = await asyncpg.connect(store.url)
    process, port, log = None, free_port(), folder / "delivery.log"
    try:
        await asyncio.to_thread(migrate.apply, "delivery", store.url)
        tokens = Tokens(folder / "jwks.json")
        env = os.environ | {
            "SHOP_DATABASE_URL": store.url,
            "SHOP_NATS_URL": broker.url,
            "SHOP_JWKS_URL": tokens.jwks_url,
            "SHOP_INTERNAL_TOKEN": INTERNAL_TOKEN,
            "SHOP_LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "shop.kit.serve", "delivery", "--port", str(port)]
        process = launch(command, env=env, log=log)
        service = Service(f"http://127.0.0.1:{port}", process.pid, database, tokens, seed)
        await wait_until(lambda: _ready(service), START_TIMEOUT_S, f"the service ({log_tail(log)})")
        await service.add_couriers(couriers)
        try:
            yield service
        finally:
            await service.session.close()
    finally:
        if process is not None:
            process.terminate()
            with suppress(subprocess.TimeoutExpired):
                process.wait(STOP_TIMEOUT_S)
            process.kill()
        await database.close()
        store.stop()
        broker.stop()


async def _ready(service: Service) -> bool:
    try:
        async with service.session.get(f"{service.url}/health/ready") as answer:
            return answer.status == 200
    except aiohttp.ClientError:
        return False


async def assignments(service: Service, callers: int, seconds: float) -> Json:
    """Each caller holds, assigns and releases orders, one after another."""
    latencies: dict[str, list[float]] = {"reserve": [], "assign": [], "release": []}
    rejected = 0

    async def timed(name: str, path: str, item: Json) -> Json:
        began = time.perf_counter()
        result = await service.internal(path, item)
        latencies[name].append(time.perf_counter() - began)
        return result

    async def one() -> bool:
        nonlocal rejected
        order = service.order()
        by_id = {"order_id": order["order_id"]}
        result = await timed("reserve", "reservations", order)
        if result["status"] != "reserved":
            rejected += 1
            return False
        await timed("assign", "assignments", by_id)
        await timed("release", "reservations/release", by_id)
        return True

    await closed_loop(one, workers=callers, seconds=WARM_UP_S)
    for values in latencies.values():
        values.clear()
    before = usage_of("delivery", service.pid)
    rate = await closed_loop(one, workers=callers, seconds=seconds)
    cpu_s = usage_of("delivery", service.pid).cpu_s - before.cpu_s
    count = max(1, len(latencies["release"]))
    result: Json = {"assigned_per_s": round(rate, 1), "rejected": rejected, "cpu_share": round(cpu_s / seconds, 2)}
    result["cpu_ms_each"] = round(1_000 * cpu_s / count, 2)
    for name, values in latencies.items():
        result[f"{name}_ms"] = {str(p): round(percentile(sorted(values), p) * 1_000, 1) for p in (50, 99)}
    return result


class Watcher:
    """A customer's open stream."""

    def __init__(self) -> None:
        self.positions = 0
        self.delays_s: list[float] = []
        self.open = asyncio.Event()

    async def watch(self, service: Service, order: Json) -> None:
        headers = service.tokens.headers("customer", UUID(order["user_id"]))
        url = f"{service.url}/api/v1/deliveries/{order['order_id']}/events"
        async with service.session.get(url, headers=headers, timeout=aiohttp.ClientTimeout(None)) as answer:
            name = b""
            async for line in answer.content:
                if line.startswith(b"event: "):
                    name = line[7:].strip()
                    self.open.set()
                elif line.startswith(b"data: ") and name == b"position":
                    at = datetime.fromisoformat(orjson.loads(line[6:])["at"])
                    self.positions += 1
                    self.delays_s.append((datetime.now(UTC) - at).total_seconds())


async def positions(service: Service, watchers: int, seconds: float) -> Json:
    """Every courier reports once a second; a customer watches each of ``watchers`` deliveries."""
    orders: list[Json] = []
    while len(orders) < watchers:
        orders += await asyncio.gather(*(service.live() for _ in range(min(SET_UP_AT_ONCE, watchers - len(orders)))))
    say("watchers")
    open_streams = [Watcher() for _ in orders]
    watching: list[asyncio.Task[None]] = []
    for number in range(0, watchers, SET_UP_AT_ONCE):
        part = list(zip(open_streams, orders, strict=True))[number : number + SET_UP_AT_ONCE]
        watching += [asyncio.create_task(one.watch(service, order)) for one, order in part]
        await asyncio.wait_for(asyncio.gather(*(one.open.wait() for one, _ in part)), CALL_TIMEOUT_S)
    await service.database.execute(FRESH)
    reporting = [asyncio.create_task(_report(service, courier, seconds)) for courier in service.couriers]
    before, began = usage_of("delivery", service.pid), time.perf_counter()
    sent = sum(await asyncio.gather(*reporting))
    took_s = time.perf_counter() - began
    after = usage_of("delivery", service.pid)
    for task in watching:
        task.cancel()
    await asyncio.gather(*watching, return_exceptions=True)
    delays = sorted(delay for one in open_streams for delay in one.delays_s)
    return {
        "taken_per_s": round(sent / took_s, 1),
        "delivered_per_s": round(sum(one.positions for one in open_streams) / took_s, 1),
        "delay_ms": {str(p): round(percentile(delays, p) * 1_000) for p in (50, 99)},
        "cpu_share": round((after.cpu_s - before.cpu_s) / took_s, 2),
        "cpu_ms_each": round(1_000 * (after.cpu_s - before.cpu_s) / max(1, sent), 2),
        "memory_mib": round(after.memory_bytes / MIB),
    }


async def _report(service: Service, courier: UUID, seconds: float) -> int:
    """One courier's fixes, at moments of their own; return how many were taken, which those without answer are not."""
    headers = service.tokens.headers("customer", courier)
    url = f"{service.url}/api/v1/couriers/me/positions"
    await asyncio.sleep(service.random.random())
    loop = asyncio.get_running_loop()
    ends_at, due, taken = loop.time() + seconds, loop.time(), 0
    while due < ends_at:
        spot = service.random.choice(town().junctions)
        body = {"lat": spot.lat, "lon": spot.lon, "at": datetime.now(UTC).isoformat()}
        with suppress(aiohttp.ClientError, TimeoutError):
            async with service.session.post(url, json=body, headers=headers) as answer:
                taken += answer.status == 204
        due += 1.0
        await asyncio.sleep(max(0.0, due - loop.time()))
    return taken


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"machine": machine(), "couriers": options.couriers, "watchers": options.watchers}
    with tempfile.TemporaryDirectory(prefix="delivery-bench-", ignore_cleanup_errors=True) as folder:
        async with asyncio.timeout(BOUND_S), running(Path(folder), options.couriers, options.seed) as service:
            say("assignments")
            result["assignments"] = await assignments(service, options.callers, options.seconds)
            say(json.dumps(result["assignments"]))
            result["one_caller"] = await assignments(service, 1, options.seconds)
            say(json.dumps(result["one_caller"]))
            result["positions"] = await positions(service, options.watchers, options.seconds)
    result["load_after"] = round(os.getloadavg()[0], 1)
    return result


def lines(result: Json) -> Iterable[str]:
    """The result as a table."""
    about = result["machine"]
    loads = f"load {about['load_before']} before, {result['load_after']} after"
    yield f"{about['cpus']} CPUs, {loads}, {result['couriers']} couriers on shift"
    yield f"{'':14}{'assigned/s':>11}{'reserve p50/p99 ms':>21}{'assign p50/p99 ms':>20}{'CPU ms':>8}{'rejected':>10}"
    for key, name in (("assignments", "many callers"), ("one_caller", "one caller")):
        one = result[key]
        reserve, assign = (f"{one[step]['50']:g} / {one[step]['99']:g}" for step in ("reserve_ms", "assign_ms"))
        rate, cpu, rejected = one["assigned_per_s"], one["cpu_ms_each"], one["rejected"]
        yield f"{name:14}{rate:>11}{reserve:>21}{assign:>20}{cpu:>8}{rejected:>10}"
    one = result["positions"]
    yield (
        f"positions: {one['taken_per_s']:g}/s taken, {one['delivered_per_s']:g}/s sent to {result['watchers']}"
        f" watchers, delay p50 {one['delay_ms']['50']} ms, p99 {one['delay_ms']['99']} ms"
    )
    yield f"  of one core {one['cpu_share']:.0%}, {one['cpu_ms_each']} ms CPU each, {one['memory_mib']} MiB"


def main() -> int:
    """2 when it took too long."""
    options = arguments()
    try:
        result = asyncio.run(run(options))
    except TimeoutError:
        say(f"not done after {BOUND_S:g} s")
        return 2
    print(json.dumps(result, indent=2) if options.json else "\n".join(lines(result)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
