"""A large board alone under load: reads, scores by calls and by events, and the time and memory to cache it.

    .venv/bin/python -m tests.load.leaderboard_bench --players 1000000

One process of the service with a PostgreSQL, a NATS and a Valkey of its own. Beside it the same is asked of a bare
sorted set in the same Valkey: what the machine can do without a service, without exact ties and without a database.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import aiohttp
import asyncpg
import nats
import orjson
import redis.asyncio as redis

from shop.contracts.events import PlayerScored
from shop.devkit import embedded
from shop.devkit.processes import free_port, launch, log_tail
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.devkit.testing_tokens import Tokens
from shop.kit import migrate, outbox
from shop.kit.ids import new_id
from tests.load.bench import machine, say
from tests.load.local_shop import usage_of
from tests.load.open_loop import closed_loop, percentile

MAX_PLAYERS = 2_000_000
MAX_SECONDS = 30.0
MAX_EVENTS = 100_000
BOUND_S = 600.0
CALL_TIMEOUT_S = 30.0
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 10.0
REBUILD_TIMEOUT_S = 240.0
EVENTS_TIMEOUT_S = 240.0
WARM_UP_S = 1.0
MAX_MEMORY = "3gb"
FILL_AT_ONCE = 10_000
PUBLISH_AT_ONCE = 500
MIB = 1 << 20
PATH = "/api/v1/leaderboards/stack"
BOARD = "- {board: stack, title: Stack, source: stack, operator: best}"
PLAYERS = """
INSERT INTO players (player_id, name, private, version)
SELECT gen_random_uuid(), 'Player ' || n, false, 1 FROM generate_series(1, $1) AS n"""
ENTRIES = """
INSERT INTO entries (board_id, season, player_id, score, sort_key, at, position, total, scores, listed)
SELECT $1, 'all', player_id, score, -score, '2026-01-01'::timestamptz + random() * interval '300 days', 0, score, 1,
    true
FROM (SELECT player_id, floor(random() * 1000000000)::bigint AS score FROM players OFFSET 0) AS made"""
SAMPLE = "SELECT player_id FROM players ORDER BY player_id LIMIT 10000"
Json = dict[str, Any]


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.leaderboard_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--players", type=int, default=1_000_000, help=f"on the board, at most {MAX_PLAYERS}")
    parser.add_argument("--events", type=int, default=20_000, help=f"scores by the broker, at most {MAX_EVENTS}")
    parser.add_argument("--callers", type=int, default=16, help="that ask at once")
    parser.add_argument("--seconds", type=float, default=5.0, help=f"of each measurement, at most {MAX_SECONDS:g}")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.players = min(max(options.players, 100), MAX_PLAYERS)
    options.events = min(options.events, MAX_EVENTS)
    options.seconds = min(options.seconds, MAX_SECONDS)
    return options


class RoomyValkey(embedded.ValkeyStore):
    """With more memory than a local shop's."""

    def command(self) -> list[str]:
        return [*super().command(), "--maxmemory", MAX_MEMORY]


class Service:
    """The running service and its servers."""

    def __init__(self, url: str, pid: int, database: asyncpg.Connection, valkey: Any, nats_url: str, seed: int) -> None:
        self.url = url
        self.pid = pid
        self.database = database
        self.valkey = valkey
        self.nats_url = nats_url
        self.random = random.Random(seed)
        self.players: list[UUID] = []
        self.session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0), timeout=aiohttp.ClientTimeout(CALL_TIMEOUT_S)
        )

    async def fill(self, count: int) -> None:
        board_id = await self.database.fetchval("SELECT id FROM boards WHERE board = 'stack'")
        await self.database.execute(PLAYERS, count)
        await self.database.execute(ENTRIES, board_id)
        await self.database.execute("VACUUM ANALYZE entries, players")
        self.players = [row["player_id"] for row in await self.database.fetch(SAMPLE)]

    async def get(self, path: str) -> bool:
        async with self.session.get(self.url + path) as answer:
            await answer.read()
            return answer.status == 200

    def some_player(self) -> UUID:
        return self.random.choice(self.players)

    def score(self) -> PlayerScored:
        """Mostly a better one."""
        score = self.random.randrange(900_000_000, 2_000_000_000)
        now = datetime.now(UTC)
        return PlayerScored(
            player_id=self.some_player(), occurred_at=now, result_id=new_id(), source="stack", score=score
        )

    async def record(self) -> bool:
        body = orjson.dumps({"event_id": new_id(), "event": self.score().model_dump(mode="json")})
        headers = {"Authorization": f"Bearer {INTERNAL_TOKEN}", "Content-Type": "application/json"}
        async with self.session.post(f"{self.url}/internal/scores", data=body, headers=headers) as answer:
            await answer.read()
            return answer.status == 200

    async def metric(self, name: str) -> float:
        async with self.session.get(f"{self.url}/metrics") as answer:
            text = await answer.text()
        found = re.search(rf"^{re.escape(name)} ([0-9.e+]+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    async def used_bytes(self) -> int:
        return int((await self.valkey.info("memory"))["used_memory"])


@asynccontextmanager
async def running(folder: Path, seed: int) -> AsyncIterator[Service]:
    store, broker = embedded.start_postgres(folder / "postgres"), embedded.start_nats(folder / "nats")
    cache = RoomyValkey(folder / "valkey").start()
    database, valkey = await asyncpg.connect(store.url), redis.from_url(cache.url)
    process, port, log = None, free_port(), folder / "leaderboard.log"
    try:
        await asyncio.to_thread(migrate.apply, "leaderboard", store.url)
        env = os.environ | {
            "SHOP_DATABASE_URL": store.url,
            "SHOP_NATS_URL": broker.url,
            "SHOP_VALKEY_URL": cache.url,
            "SHOP_JWKS_URL": Tokens(folder / "jwks.json").jwks_url,
            "SHOP_INTERNAL_TOKEN": INTERNAL_TOKEN,
            "SHOP_BOARDS": BOARD,
            "SHOP_LOG_LEVEL": "WARNING",
        }
        command = [sys.executable, "-m", "shop.kit.serve", "leaderboard", "--port", str(port)]
        process = launch(command, env=env, log=log)
        service = Service(f"http://127.0.0.1:{port}", process.pid, database, valkey, broker.url, seed)
        await wait_until(lambda: _ready(service), START_TIMEOUT_S, f"the service ({log_tail(log)})")
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
        await valkey.aclose()
        for server in (store, broker, cache):
            server.stop()


async def _ready(service: Service) -> bool:
    with suppress(aiohttp.ClientError):
        return await service.get("/health/ready")
    return False


async def rebuild(service: Service) -> Json:
    """The board is written to the cache while it is read."""
    before = await service.used_bytes()
    count, total = "shop_leaderboard_rebuild_seconds_count", "shop_leaderboard_rebuild_seconds_sum"
    done, took_s = await service.metric(count), await service.metric(total)
    await service.database.execute("UPDATE boards SET epoch = epoch + 1")
    while_building: list[float] = []

    async def rebuilt() -> bool:
        began = time.perf_counter()
        await service.get(PATH)
        while_building.append(time.perf_counter() - began)
        return await service.metric(count) > done

    await wait_until(rebuilt, REBUILD_TIMEOUT_S, "the cached board", poll_s=0.05)
    used = await service.used_bytes() - before
    return {
        "seconds": round(await service.metric(total) - took_s, 2),
        "memory_mib": round(used / MIB, 1),
        "top_ms_meanwhile": _milliseconds(while_building),
    }


async def measured(send: Callable[[], Awaitable[bool]], callers: int, seconds: float) -> Json:
    """Latencies of one caller, and how many a second are answered to many."""
    latencies: list[float] = []

    async def one() -> bool:
        began = time.perf_counter()
        good = await send()
        latencies.append(time.perf_counter() - began)
        return good

    await closed_loop(one, workers=1, seconds=WARM_UP_S)
    latencies.clear()
    await closed_loop(one, workers=1, seconds=seconds)
    alone = _milliseconds(latencies)
    latencies.clear()
    rate = await closed_loop(one, workers=callers, seconds=seconds)
    return {"one_caller_ms": alone, "per_s": round(rate), "many_callers_ms": _milliseconds(latencies)}


def _milliseconds(latencies: list[float]) -> Json:
    return {str(percent): round(percentile(sorted(latencies), percent) * 1_000, 2) for percent in (50, 99)}


async def by_events(service: Service, count: int) -> Json:
    """From the first one published to the last one that took effect."""
    client = await nats.connect(service.nats_url)
    stream = client.jetstream(publish_async_max_pending=2 * PUBLISH_AT_ONCE)
    began = time.perf_counter()
    taken = "SELECT count(*) FROM inbox WHERE consumer = 'scores'"
    before = await service.database.fetchval(taken)
    for start in range(0, count, PUBLISH_AT_ONCE):
        rows = [outbox.row(service.score()) for _ in range(min(PUBLISH_AT_ONCE, count - start))]
        sent = [await stream.publish_async(row.type, row.payload.encode()) for row in rows]
        await asyncio.gather(*sent)
    published_s = time.perf_counter() - began

    async def all_taken() -> bool:
        return bool(await service.database.fetchval(taken) >= before + count)

    await wait_until(all_taken, EVENTS_TIMEOUT_S, "the events' effect", poll_s=0.1)
    took_s = time.perf_counter() - began
    await client.close()
    return {"events": count, "published_s": round(published_s, 2), "taken_per_s": round(count / took_s)}


async def bare(service: Service, players: int, callers: int, seconds: float) -> Json:
    """A sorted set of doubles with text members: what most leaderboards are."""
    valkey, rng = service.valkey, service.random
    for start in range(0, players, FILL_AT_ONCE):
        count = min(FILL_AT_ONCE, players - start)
        await valkey.zadd("bare", {f"player-{start + n}": rng.randrange(10**9) for n in range(count)})

    def member() -> str:
        return f"player-{rng.randrange(players)}"

    async def zadd() -> bool:
        await valkey.zadd("bare", {member(): rng.randrange(10**9)})
        return True

    async def zrevrank() -> bool:
        return await valkey.zrevrank("bare", member()) is not None

    async def zrevrange() -> bool:
        return len(await valkey.zrevrange("bare", 0, 9, withscores=True)) == 10

    result = {}
    for name, send in (("zadd", zadd), ("zrevrank", zrevrank), ("zrevrange", zrevrange)):
        result[name] = await measured(send, callers, seconds)
    await valkey.unlink("bare")
    return result


async def run(options: argparse.Namespace) -> Json:
    result: Json = {"machine": machine(), "players": options.players, "callers": options.callers}
    with tempfile.TemporaryDirectory(prefix="leaderboard-bench-", ignore_cleanup_errors=True) as folder:
        async with asyncio.timeout(BOUND_S), running(Path(folder), options.seed) as service:
            say(f"{options.players} players")
            await service.fill(options.players)
            result["rebuild"] = await rebuild(service)
            say(json.dumps(result["rebuild"]))
            reads = {
                "top": lambda: service.get(f"{PATH}?top=10"),
                "rank": lambda: service.get(f"{PATH}/players/{service.some_player()}?neighbours=0"),
                "neighbours": lambda: service.get(f"{PATH}/players/{service.some_player()}?neighbours=5"),
                "record": service.record,
            }
            for name, send in reads.items():
                result[name] = await measured(send, options.callers, options.seconds)
                say(f"{name} {json.dumps(result[name])}")
            result["by_events"] = await by_events(service, options.events)
            say(json.dumps(result["by_events"]))
            result["from_cache"] = await service.metric('shop_leaderboard_reads_total{source="cache"}')
            result["from_database"] = await service.metric('shop_leaderboard_reads_total{source="database"}')
            result["service_memory_mib"] = round(usage_of("leaderboard", service.pid).memory_bytes / MIB, 1)
            result["bare"] = await bare(service, options.players, options.callers, options.seconds)
    result["load_after"] = round(os.getloadavg()[0], 1)
    return result


def lines(result: Json) -> Iterable[str]:
    """The result as a table."""
    about = result["machine"]
    loads = f"load {about['load_before']} before, {result['load_after']} after"
    yield f"{about['cpus']} CPUs, {loads}, {result['players']} players on the board"
    built, events = result["rebuild"], result["by_events"]
    yield f"cached in {built['seconds']} s, {built['memory_mib']} MiB; service {result['service_memory_mib']} MiB"
    yield f"top 10 meanwhile: p50 {built['top_ms_meanwhile']['50']} ms, p99 {built['top_ms_meanwhile']['99']} ms"
    yield f"{'':12}{'one caller p50/p99 ms':>24}{'a second':>10}{'many callers p50/p99 ms':>26}"
    rows = [(name, result[name]) for name in ("top", "rank", "neighbours", "record")]
    for name, one in [*rows, *result["bare"].items()]:
        alone, many = (f"{one[key]['50']:g} / {one[key]['99']:g}" for key in ("one_caller_ms", "many_callers_ms"))
        yield f"{name:12}{alone:>24}{one['per_s']:>10}{many:>26}"
    yield f"scores by events: {events['taken_per_s']}/s of {events['events']}"
    yield f"answered from the cache {result['from_cache']:g}, from the database {result['from_database']:g}"


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
