"""What callers notice when one of three instances is killed, and while NATS is away.

`python -m tests.load.balancing_outages`. The first with real processes and the kit's client with its usual rules, six
callers without a pause; the second with a shop of three processes of the product service, which are found by the
registry.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from services.kit.tests.instances import AT_ONCE, Load, Program, Starter
from shop.devkit.processes import free_port
from shop.kit.http import Response, ServiceClient
from shop.kit.http.connections import Connections
from tests.load import local_shop
from tests.load.open_loop import percentile
from tests.load.shoppers import Shop

RUNS = 5
STEADY_S = 3.0
AFTER_S = 5.0
WINDOW_S = 0.5
STEP_S = 0.1
BACK_FACTOR = 2.0
"""A 99th percentile of so many times that of before counts as back."""
AWAY_S = 60.0
READERS = 4
PAUSE_S = 0.02
"""Between two requests of a reader of the shop."""


class Timed(ServiceClient):
    """A client that notes when each request ended, and how long it took, in seconds."""

    def __init__(self, urls: str, connections: Connections) -> None:
        super().__init__("bench", urls, connections)
        self.taken: list[tuple[float, float]] = []

    async def request(self, method: str, path: str, **options: Any) -> Response:
        began = time.monotonic()
        try:
            return await super().request(method, path, **options)
        finally:
            ended = time.monotonic()
            self.taken.append((ended, ended - began))

    def p99_ms(self, begin: float, end: float) -> float:
        return 1_000 * percentile(sorted(taken for ended, taken in self.taken if begin <= ended < end), 99)


def back_after_s(timed: Timed, killed_at: float, usual_ms: float) -> float:
    """When the last window begins in which the 99th percentile is not as before; 0 when there is none."""
    windows = [STEP_S * number for number in range(int((AFTER_S - WINDOW_S) / STEP_S))]
    slow = [
        begin
        for begin in windows
        if timed.p99_ms(killed_at + begin, killed_at + begin + WINDOW_S) > BACK_FACTOR * usual_ms
    ]
    return slow[-1] + STEP_S if slow else 0.0


async def kill_one(load: Load, timed: Timed, program: Program) -> tuple[float, float, float]:
    """The 99th percentile before and in the second after the kill, and after how many seconds it is as before."""
    await load.is_used(program)
    timed.taken.clear()
    began = time.monotonic()
    await asyncio.sleep(STEADY_S)
    killed_at = time.monotonic()
    program.signal(signal.SIGKILL)
    await asyncio.sleep(AFTER_S)
    usual_ms = timed.p99_ms(began, killed_at)
    found = usual_ms, timed.p99_ms(killed_at, killed_at + 1.0), back_after_s(timed, killed_at, usual_ms)
    await program.start()
    return found


async def kills(runs: int) -> None:
    starter = Starter()
    programs = [Program(starter) for _ in range(3)]
    connections = Connections()
    try:
        await asyncio.gather(*(one.ready() for one in programs))
        timed = Timed(",".join(one.url for one in programs), connections)
        load = Load(timed)
        callers = [asyncio.create_task(load.call()) for _ in range(AT_ONCE)]
        found = [await kill_one(load, timed, programs[number % 3]) for number in range(runs)]
        for caller in callers:
            caller.cancel()
        before_ms, after_ms, back_s = map(statistics.median, zip(*found, strict=True))
        failed = {method: len(errors) for method, errors in load.failed.items()}
        print(
            f"killed: p99 {before_ms:.1f} ms before, {after_ms:.1f} ms in the second after, back after {back_s:.1f} s"
        )
        print(f"killed: {load.answered:,} calls answered, failed {failed}; each back_s {[one[2] for one in found]}")
    finally:
        await connections.close()
        starter.close()


async def read(shop: Shop, taken: list[float], failed: list[str], done: asyncio.Event) -> None:
    while not done.is_set():
        began = time.monotonic()
        async with shop.session.get(f"{shop.url}/api/v1/products?limit=5") as answer:
            await answer.read()
            if answer.status != 200:
                failed.append(str(answer.status))
        taken.append(time.monotonic() - began)
        await asyncio.sleep(PAUSE_S)


async def reads_for(shop: Shop, seconds: float, when: str) -> None:
    taken: list[float] = []
    failed: list[str] = []
    done = asyncio.Event()
    readers = [asyncio.create_task(read(shop, taken, failed, done)) for _ in range(READERS)]
    await asyncio.sleep(seconds)
    done.set()
    await asyncio.gather(*readers)
    print(f"NATS {when} for {seconds:g} s: {len(taken):,} reads, {len(failed)} failed, {' '.join(quantiles(taken))}")


def quantiles(taken: Sequence[float]) -> Iterator[str]:
    for percent in (50, 99):
        yield f"p{percent} {1_000 * percentile(sorted(taken), percent):.1f} ms"


async def without_nats(away_s: float) -> None:
    with tempfile.TemporaryDirectory(prefix="shop-outages-", ignore_cleanup_errors=True) as folder:
        local = await asyncio.to_thread(local_shop.start, Path(folder) / "shop", free_port(), ["product=3"])
        try:
            shop = Shop.at(local.status()["url"])
            await reads_for(shop, STEADY_S, "warm-up")
            await reads_for(shop, away_s / 2, "there")
            await asyncio.to_thread(local.stop, "nats")
            await reads_for(shop, away_s, "away")
            await asyncio.to_thread(local.start, "nats")
            await reads_for(shop, away_s / 2, "back")
            await shop.session.close()
        finally:
            await asyncio.to_thread(local.down)


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.load.balancing_outages", description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help="kills")
    parser.add_argument("--away-s", type=float, default=AWAY_S, help="seconds without NATS; 0 for not at all")
    options = parser.parse_args()
    if options.runs:
        asyncio.run(kills(options.runs))
    if options.away_s:
        asyncio.run(without_nats(options.away_s))


if __name__ == "__main__":
    main()
