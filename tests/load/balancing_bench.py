"""What balancing adds to a call: `python -m tests.load.balancing_bench`.

Choosing an instance and noting its answer, alone; and whole calls to one and to three instances and,
in the same run, with one of its connections alone and with aiohttp. Processor time of this process for each, medians.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp

from shop.kit.balancing.balancer import Balancer
from shop.kit.http import ServiceClient
from shop.kit.http.connections import Connections

FLEETS = (1, 3, 30, 300)
PICKS = 20_000
CALLS = 2_000
RUNS = 7
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"

Call = Callable[[], Awaitable[object]]


def pick_us(size: int) -> float:
    """Microseconds of one pick with its answer."""
    balancer = Balancer([str(number) for number in range(size)])
    began = time.process_time()
    for _ in range(PICKS):
        chosen = balancer.pick()
        if chosen is not None:
            number = chosen.began(balancer.now())
            chosen.ended(number)
            balancer.succeeded(chosen, 0.005)
    return (time.process_time() - began) / PICKS * 1e6


async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while await reader.read(65_536):
            writer.write(ANSWER)
    writer.close()


@contextlib.asynccontextmanager
async def servers(count: int) -> AsyncIterator[list[str]]:
    async with contextlib.AsyncExitStack() as stack:
        opened = [await asyncio.start_server(serve, "127.0.0.1", 0) for _ in range(count)]
        for one in opened:
            stack.callback(one.close)
        yield [f"http://127.0.0.1:{one.sockets[0].getsockname()[1]}" for one in opened]


async def call_us(call: Call) -> float:
    """Microseconds of one call, the server's share in this process included."""
    began = time.process_time()
    for _ in range(CALLS):
        await call()
    return (time.process_time() - began) / CALLS * 1e6


async def calls() -> dict[str, float]:
    connections = Connections()
    async with servers(3) as urls, aiohttp.ClientSession() as session:

        async def plain() -> None:
            async with session.get(urls[0]) as answer:
                await answer.read()

        async def unbalanced() -> None:
            with contextlib.closing(await connections.send(urls[0], "GET", "/")) as answer:
                await answer.read()

        one, three = (ServiceClient("bench", ",".join(urls[:count]), connections) for count in (1, 3))
        measured: dict[str, Call] = {
            "aiohttp": plain,
            "a connection": unbalanced,
            "one instance": lambda: one.get("/"),
            "three instances": lambda: three.get("/"),
        }
        found = {name: [await call_us(call)] for name, call in measured.items()}
        for _ in range(RUNS):
            for name, call in measured.items():
                found[name].append(await call_us(call))
    await connections.close()
    return {name: statistics.median(values[1:]) for name, values in found.items()}


def main() -> None:
    argparse.ArgumentParser(prog="tests.load.balancing_bench", description=__doc__).parse_args()
    for size in FLEETS:
        print(f"choosing among {size}: {statistics.median(pick_us(size) for _ in range(RUNS)):.1f} µs")
    for name, microseconds in asyncio.run(calls()).items():
        print(f"a call, {name}: {microseconds:.0f} µs")


if __name__ == "__main__":
    main()
