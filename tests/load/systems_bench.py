"""Food orders, rounds, recommendations and watched deliveries, each against its floor, in one run on one shop.

    python -m tests.load.systems_bench [--only food,rounds] [--seconds 4] [--json]

A shop of its own on this machine; beside it the bare servers of `bare_systems` and `bare_grpc` with a database in the
same PostgreSQL and a sorted set in the same Valkey. Shop and floor take turns. It takes three minutes, at most five.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import asyncpg
import psutil

from shop.devkit.embedded import ValkeyStore, free_port
from shop.devkit.processes import port_is_free
from shop.devkit.testing import wait_until
from shop.operator.local.data_dir import DataDir
from tests.integration import arcade, food
from tests.load import bare_systems, floor, food_bench, grpc_bench, speed, systems
from tests.load.bench import PIECES_PER_PRODUCT, machine, say
from tests.load.local_shop import BURSTS_ACCEPTED, CHEAP_PASSWORDS, LocalShop, ShopctlFailed, Usage, start, usage_of
from tests.load.profile import Profiler, ProfileRefused
from tests.load.shoppers import Shop, ShopError
from tests.load.systems import Addresses, Load, Web
from tests.load.systems_report import as_json, compared, lines

BOUND_S = 240.0
"""Of everything but the start and the end of the shop."""
NEEDED_S = 45.0
"""Of one system on a busy machine: with less left of the bound it is not begun."""
MAX_SECONDS = 8.0
WARM_UP_S = 1.0
TURNS = 2
CUSTOMERS = 128
COURIERS = 32
WATCHERS_OF_EACH = 8
SESSIONS_OF_EACH = 20
"""Fewer than the 30 results that a player may post in a minute."""
TRAINING_ORDERS = 200
KITCHENS = 16
KITCHEN_CAPACITY = 1_000
PREPARATION_S = 900
PRODUCTS = 200
WORKERS = 32
REST_LOOK_S = 0.3
REST_SHARE = 0.15
"""Of one core: below it the shop has finished what the load left to be done."""
REST_TIMEOUT_S = 6.0
IDLE_S = 3.0
FLAMES = Path(__file__).parents[2] / "build" / "bench"
SYSTEMS = ("food", "rounds", "recommend-http", "recommend-grpc", "watchers")
FIXED_RATE = ("watchers",)
"""Those whose load is given: what counts is how many of them a core is enough for."""
Json = dict[str, Any]


class Pair(NamedTuple):
    """A system and its floor."""

    ours: Load
    floor: Load


def arguments(given: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.load.systems_bench", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--only", type=chosen, default=SYSTEMS, metavar=",".join(SYSTEMS))
    parser.add_argument("--seconds", type=float, default=4.0, help=f"of each load, at most {MAX_SECONDS:g}")
    parser.add_argument("--flame", action="append", default=[], metavar="SERVICE", help="draw where it spends its time")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    options = parser.parse_args(given)
    options.seconds = min(options.seconds, MAX_SECONDS)
    return options


def chosen(text: str) -> tuple[str, ...]:
    """Systems in the order in which they are measured: watchers' couriers must not be taken by other orders."""
    wanted = set(text.split(","))
    if unknown := wanted - set(SYSTEMS):
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(sorted(unknown))}")
    return tuple(one for one in SYSTEMS if one in wanted)


class Bench:
    """One shop, its floors, and the people who use both."""

    def __init__(self, local: LocalShop, shop: Shop, at: Addresses, options: argparse.Namespace) -> None:
        self._local, self._shop, self._at, self._options = local, shop, at, options
        self._bare = Web(shop.session, at.bare)
        self._processes: dict[str, int] = {}
        self._idle: Counter[str] = Counter()
        """Processor time that a process uses at rest, in seconds of a second."""
        self._people: list[arcade.Player] = []
        self._admin = ""

    async def run(self, processes: Mapping[str, int]) -> dict[str, Json]:
        """Each wanted system with its floor; ``processes`` are those of the floors."""
        self._processes = dict(processes)
        self._admin = await self._shop.token(*self._local.admin_login())
        self._people = await arcade.players(self._shop, CUSTOMERS)
        self._idle = await self._at_rest()
        found: dict[str, Json] = {}
        ends_at = time.monotonic() + BOUND_S - NEEDED_S
        for name in sorted(self._options.only, key=lambda one: one != "watchers"):
            if time.monotonic() > ends_at:
                say(f"{name}: no time left")
                continue
            say(name)
            async with self._prepared(name) as pair:
                found[name] = compared(await self._in_turns(name, pair), per_core=name in FIXED_RATE)
            say(json.dumps(found[name]))
        return {name: found[name] for name in self._options.only if name in found}

    @contextlib.asynccontextmanager
    async def _prepared(self, name: str) -> AsyncIterator[Pair]:
        if name == "recommend-grpc":
            await self._train()
            calls = systems.RecommendCalls(self._at, [one.id for one in self._people])
            with bare_grpc_server(self._at.bare_grpc, await calls.answer()) as pid:
                self._processes["bare-grpc"] = pid
                yield _closed(calls)
                del self._processes["bare-grpc"]
            await calls.close()
        elif name == "watchers":
            ours, bare = await self._watchers()
            async with ours.opened(), bare.opened():
                yield Pair(ours.load, bare.load)
        else:
            prepare = {"food": self._food, "rounds": self._rounds, "recommend-http": self._recommendations}
            yield _closed(await prepare[name]())

    async def _food(self) -> systems.Food:
        await food_bench.put_couriers(self._local.database_url("delivery"), self._options.seed)
        more = {"preparation_s": PREPARATION_S, "kitchen_capacity": KITCHEN_CAPACITY}
        kitchens = [await food.kitchen(self._shop, self._admin, **more) for _ in range(KITCHENS)]
        return systems.Food(Web(self._shop.session, self._at.gateway), self._bare, self._tokens, kitchens)

    async def _rounds(self) -> systems.Rounds:
        await arcade.open_sessions(self._shop, self._people, SESSIONS_OF_EACH, self._options.seed)
        return systems.Rounds(Web(self._shop.session, self._at.player), self._bare, self._people)

    async def _recommendations(self) -> systems.Recommendations:
        await self._train()
        ours = Web(self._shop.session, self._at.recommendation)
        headers = {"Authorization": f"Bearer {self._tokens[0]}"}
        async with self._shop.session.get(f"{ours.url}/api/v1/recommendations", headers=headers) as response:
            answer = await response.read()
        if code := await self._bare.send("PUT", "/answer", systems.OK, data=answer):
            raise ShopError(f"the floor does not take the answer: {code}")
        return systems.Recommendations(ours, self._bare, self._tokens)

    async def _watchers(self) -> tuple[systems.Tracked, systems.Tracked]:
        tracked = await systems.live_deliveries(self._shop, self._admin, self._tokens, COURIERS)
        tracked.web = Web(self._shop.session, self._at.delivery)
        tracked.streams = [stream for stream in tracked.streams for _ in range(WATCHERS_OF_EACH)]
        couriers = range(len(tracked.reports))
        reports = [(f"/positions/{courier}", "") for courier in couriers]
        streams = [(f"/events/{number % len(couriers)}", "") for number in range(len(tracked.streams))]
        return tracked, systems.Tracked(self._bare, reports, streams)

    @property
    def _tokens(self) -> list[str]:
        return [one.token for one in self._people]

    async def _train(self) -> None:
        """Every customer bought something, and a model knows it."""
        model = await self._shop.call("GET", "/recommendations/model", self._admin)
        if model["orders"] < TRAINING_ORDERS:
            products = await self._shop.products(PRODUCTS)
            await self._shop.restock(self._admin, products, PIECES_PER_PRODUCT)
            await grpc_bench.buy(self._shop, self._tokens, products, TRAINING_ORDERS)
            await grpc_bench.known(self._shop, self._admin, TRAINING_ORDERS)

    async def _in_turns(self, name: str, pair: Pair) -> dict[str, list[Json]]:
        runs: dict[str, list[Json]] = {"ours": [], "floor": []}
        for side in pair:
            await side(WARM_UP_S)
        for turn in range(TURNS):
            sides = list(zip(runs, pair, strict=True))
            for name_of, load in sides if turn % 2 == 0 else reversed(sides):
                with self._flames(name, wanted=name_of == "ours" and turn == TURNS - 1):
                    runs[name_of].append(await self._measured(load))
        return runs

    @contextlib.contextmanager
    def _flames(self, name: str, *, wanted: bool) -> Iterator[None]:
        files = {one: FLAMES / f"flame-{name}-{one}.svg" for one in (self._options.flame if wanted else ())}
        seconds = self._options.seconds
        profilers = [Profiler.start(one, self._local.pid(one), seconds, file) for one, file in files.items()]
        yield
        for profiler in profilers:
            say(f"flame graph: {profiler.end()}")

    async def _at_rest(self) -> Counter[str]:
        await self._rest()
        before, began = self._usage(), time.monotonic()
        await asyncio.sleep(IDLE_S)
        return Counter({name: one / (time.monotonic() - began) for name, one in self._used(before).items()})

    def _used(self, before: Mapping[str, Usage]) -> dict[str, float]:
        """Processor time since ``before``, by process (s)."""
        return {name: one.cpu_s - before.get(name, one).cpu_s for name, one in self._usage().items()}

    async def _measured(self, load: Load) -> Json:
        """One load with everything that it leaves to be done, without what the processes use at rest."""
        statements, before, began = self._local.statements_by_service(), self._usage(), time.monotonic()
        done = await load(self._options.seconds)
        await self._rest()
        took_s, used_s = time.monotonic() - began, self._used(before)
        later = self._local.statements_by_service()
        cpu_s = {name: one - took_s * self._idle[name] for name, one in used_s.items()}
        grown = {noun: number - statements.get(noun, 0.0) for noun, number in later.items()}
        return as_json(done, cpu_s, grown)

    def _usage(self) -> dict[str, Usage]:
        bare = [usage_of(name, pid) for name, pid in self._processes.items()]
        return {one.name: one for one in [*self._local.usage(), *bare]}

    async def _rest(self) -> None:
        """Until relays and consumers have nothing left to do."""
        pids = [part["pid"] for part in self._local.status()["components"]]
        ends_at, used_s = time.monotonic() + REST_TIMEOUT_S, _cpu_s(pids)
        while time.monotonic() < ends_at:
            await asyncio.sleep(REST_LOOK_S)
            before_s, used_s = used_s, _cpu_s(pids)
            if used_s - before_s < REST_SHARE * REST_LOOK_S:
                return


def _cpu_s(pids: Iterable[int]) -> float:
    """Of those that still run."""
    used_s = 0.0
    for pid in pids:
        with contextlib.suppress(psutil.Error):
            used_s += sum(psutil.Process(pid).cpu_times()[:2])
    return used_s


def _closed(system: Any) -> Pair:
    return Pair(systems.closed_loop(system.ours, WORKERS), systems.closed_loop(system.floor, WORKERS))


@contextlib.contextmanager
def bare_grpc_server(address: str, answer: bytes) -> Iterator[int]:
    """The process of a server that answers Recommend so."""
    port = address.rpartition(":")[2]
    with tempfile.NamedTemporaryFile() as file:
        file.write(answer)
        file.flush()
        with floor.process([sys.executable, "-m", "tests.load.bare_grpc", port, file.name], {}) as pid:
            while port_is_free(int(port)):
                time.sleep(0.05)
            yield pid


@contextlib.asynccontextmanager
async def bare_application(local: LocalShop, shop: Shop, url: str) -> AsyncIterator[int]:
    """The process of `bare_systems`, with a database of its own in the shop's PostgreSQL."""
    connection = await asyncpg.connect(local.database_url())
    await connection.execute("CREATE DATABASE bare")
    await connection.execute("REVOKE CONNECT ON DATABASE bare FROM PUBLIC")
    await connection.close()
    database = local.database_url().rpartition("/")[0] + "/bare"
    connection = await asyncpg.connect(database)
    await connection.execute(bare_systems.SCHEMA)
    await connection.close()
    cache = next(part["port"] for part in local.status()["components"] if part["name"] == "valkey")
    env = {
        "BARE_DATABASE_URL": database,
        "BARE_VALKEY_URL": ValkeyStore(local.data_dir / "valkey", port=cache).url,
    }
    with floor.process(floor.uvicorn("tests.load.bare_systems:app", int(url.rpartition(":")[2])), env) as pid:
        await wait_until(lambda: floor.answers(shop.session, f"{url}/openapi.json"), floor.START_TIMEOUT_S, "the floor")
        yield pid


def addresses(local: LocalShop) -> Addresses:
    parts = {part["name"]: part for part in local.status()["components"]}

    def port_of(noun: str, key: str = "port") -> int:
        return int((parts.get(f"{noun}-1") or parts[noun])[key])

    def web(noun: str) -> str:
        return f"http://127.0.0.1:{port_of(noun)}"

    return Addresses(
        gateway=local.status()["url"],
        player=web("player"),
        delivery=web("delivery"),
        recommendation=web("recommendation"),
        recommendation_grpc=f"127.0.0.1:{port_of('recommendation', 'grpc_port')}",
        bare=f"http://127.0.0.1:{free_port()}",
        bare_grpc=f"127.0.0.1:{free_port()}",
        internal_token=DataDir(local.data_dir).internal_token(),
    )


async def run(options: argparse.Namespace) -> Json:
    """The whole result; the shop that was started for it is gone afterwards."""
    random.seed(options.seed)
    result: Json = {"machine": machine(), "seconds": options.seconds, "turns": TURNS, "workers": WORKERS}
    with tempfile.TemporaryDirectory(prefix="systems-bench-", ignore_cleanup_errors=True) as folder:
        result["speed"] = speed.measure(Path(folder))
        say("starting a shop")
        modules = {"food": True, "arcade": True, "recommendations": True}
        local = start(Path(folder) / "data", free_port(), modules=modules, env=CHEAP_PASSWORDS | BURSTS_ACCEPTED)
        at = addresses(local)
        shop = Shop.at(at.gateway)
        try:
            async with asyncio.timeout(BOUND_S), bare_application(local, shop, at.bare) as pid:
                result["systems"] = await Bench(local, shop, at, options).run({"bare": pid})
            result["audit"] = local.audit()
        finally:
            await shop.close()
            local.down()
    return result


def main() -> int:
    """1 when the audit found a violation, 2 when the shop could not be loaded or the time was too short for all."""
    options = arguments()
    try:
        result = asyncio.run(run(options))
    except (ShopctlFailed, ShopError, ProfileRefused, TimeoutError) as error:
        say(str(error) or f"not done after {BOUND_S:g} s")
        return 2
    print(json.dumps(result, indent=1) if options.json else "\n".join(lines(result)))
    if not result["audit"]["ok"]:
        return 1
    return 0 if len(result["systems"]) == len(options.only) else 2


if __name__ == "__main__":
    sys.exit(main())
