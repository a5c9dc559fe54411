"""What callers notice when one of three instances is killed, and while NATS is away.

`python -m tests.load.balancing_outages`. The first with real processes and the kit's client with its usual rules, six
callers without a pause; the second with a shop of three processes of the product service, which are found by the
registry.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import signal
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from services.kit.tests.instances import AT_ONCE, Load, Program, Starter
from shop.devkit.processes import free_port
from shop.kit.http import Response, ServiceClient
from shop.kit.http.connections import Connections
from shop.kit.http.pool import Exchange
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


@dataclass(frozen=True, slots=True)
class Call:
    """``ended_at`` on the monotonic clock; ``disturbed``: it was sent again, moved to another instance, or failed."""

    ended_at: float
    taken_s: float
    disturbed: bool


class Timed(ServiceClient):
    """A client that notes each call."""

    def __init__(self, urls: str, connections: Connections) -> None:
        super().__init__("bench", urls, connections)
        self.calls: list[Call] = []
        self._exchanges: ContextVar[list[Exchange]] = ContextVar("exchanges")

    async def request(self, method: str, path: str, **options: Any) -> Response:
        exchanges: list[Exchange] = []
        self._exchanges.set(exchanges)
        began, failed = time.monotonic(), True
        try:
            answer = await super().request(method, path, **options)
            failed = False
            return answer
        finally:
            ended = time.monotonic()
            disturbed = failed or len(exchanges) > 1 or any(one.reconnects or one.repeated for one in exchanges)
            self.calls.append(Call(ended, ended - began, disturbed))

    def _exchange(self, *arguments: Any) -> Exchange:
        made = super()._exchange(*arguments)
        self._exchanges.get().append(made)
        return made

    def p99_ms(self, begin: float, end: float) -> float:
        taken = sorted(call.taken_s for call in self.calls if begin <= call.ended_at < end)
        return 1_000 * percentile(taken, 99) if taken else math.inf

    def windows_ms(self, begin: float, seconds: float) -> list[float]:
        """The 99th percentile of each WINDOW_S, which begin every STEP_S."""
        starts = [begin + STEP_S * number for number in range(round((seconds - WINDOW_S) / STEP_S) + 1)]
        return [self.p99_ms(start, start + WINDOW_S) for start in starts]


@dataclass(frozen=True, slots=True)
class Seen:
    """Of the AFTER_S after a kill, or after nothing was done.

    ``usual_ms`` and ``after_ms`` are 99th percentiles: of the worst window before, and of the first second after.
    ``back_s``: when the last window begins that is slow in comparison; 0 when none is. ``disturbed`` calls met
    the dead instance, the last of them ``last_s`` after the kill; they took up to ``slowest_ms``.
    """

    usual_ms: float
    after_ms: float
    back_s: float
    disturbed: int
    last_s: float
    slowest_ms: float


def seen(timed: Timed, began: float, at: float) -> Seen:
    usual_ms = max(timed.windows_ms(began, STEADY_S))
    after = timed.windows_ms(at, AFTER_S)
    slow = [number for number, p99_ms in enumerate(after) if p99_ms > BACK_FACTOR * usual_ms]
    disturbed = [call for call in timed.calls if call.ended_at >= at and call.disturbed]
    return Seen(
        usual_ms=usual_ms,
        after_ms=timed.p99_ms(at, at + 1.0),
        back_s=STEP_S * (slow[-1] + 1) if slow else 0.0,
        disturbed=len(disturbed),
        last_s=max((call.ended_at - at for call in disturbed), default=0.0),
        slowest_ms=1_000 * max((call.taken_s for call in disturbed), default=0.0),
    )


async def observe(load: Load, timed: Timed, program: Program, *, kill: bool) -> Seen:
    await load.is_used(program)
    timed.calls.clear()
    began = time.monotonic()
    await asyncio.sleep(STEADY_S)
    at = time.monotonic()
    if kill:
        program.signal(signal.SIGKILL)
    await asyncio.sleep(AFTER_S)
    found = seen(timed, began, at)
    if kill:
        await program.start()
    return found


def print_seen(what: str, found: Sequence[Seen]) -> None:
    usual_ms = statistics.median(one.usual_ms for one in found)
    after_ms = statistics.median(one.after_ms for one in found)
    print(f"{what}: p99 {usual_ms:.1f} ms in the worst half second before, {after_ms:.1f} ms in the second after")
    print(f"{what}: as before after (s) {' '.join(f'{one.back_s:.1f}' for one in found)}")
    calls, last_s = sum(one.disturbed for one in found), max(one.last_s for one in found)
    slowest_ms = max(one.slowest_ms for one in found)
    print(f"{what}: {calls} calls disturbed, the last {last_s:.2f} s after; they took up to {slowest_ms:.1f} ms")


async def kills(runs: int) -> None:
    """Kills and, alternating with them, the same time without one: what the machine alone makes slow."""
    starter = Starter()
    programs = [Program(starter) for _ in range(3)]
    connections = Connections()
    try:
        await asyncio.gather(*(one.ready() for one in programs))
        timed = Timed(",".join(one.url for one in programs), connections)
        load = Load(timed)
        callers = [asyncio.create_task(load.call()) for _ in range(AT_ONCE)]
        found: dict[bool, list[Seen]] = {True: [], False: []}
        for number in range(2 * runs):
            kill = number % 2 == 0
            found[kill].append(await observe(load, timed, programs[number // 2 % 3], kill=kill))
        for caller in callers:
            caller.cancel()
        print_seen("killed", found[True])
        print_seen("nothing done", found[False])
        failed = {method: len(errors) for method, errors in load.failed.items()}
        print(f"{load.answered:,} calls answered, failed {failed}")
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
