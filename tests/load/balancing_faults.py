"""How soon a slow or failing instance of three is avoided, and used again: `python -m tests.load.balancing_faults`.

Real processes and the kit's client with its usual rules, six callers without a pause. Medians, in seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import statistics
import time
from collections.abc import Awaitable, Callable

from services.kit.tests.instances import AT_ONCE, Load, Program, Starter
from shop.kit.http import ServiceClient
from shop.kit.http.connections import Connections

RUNS = 5
STOPPED_S = 2.0

Change = Callable[[Program], Awaitable[None]]


async def stop(program: Program) -> None:
    program.signal(signal.SIGSTOP)


async def go_on(program: Program) -> None:
    program.signal(signal.SIGCONT)


FAULTS: dict[str, tuple[Change, Change]] = {
    "200 ms slower": (lambda one: one.behave(delay_s=0.2), lambda one: one.behave(delay_s=0)),
    "answers 503 at once": (lambda one: one.behave(status=503), lambda one: one.behave(status=200)),
    f"stopped for {STOPPED_S:g} s": (stop, go_on),
}


async def seconds_of(load: Load, program: Program, fault: tuple[Change, Change]) -> tuple[float, float]:
    """Until its share is below 5 %, and from when it is well until it is above 15 %."""
    await load.is_used(program)
    began = time.monotonic()
    await fault[0](program)
    await load.is_avoided(program)
    avoided_s = time.monotonic() - began
    await asyncio.sleep(max(0.0, STOPPED_S - avoided_s))
    began = time.monotonic()
    await fault[1](program)
    await load.is_used(program)
    return avoided_s, time.monotonic() - began


async def run() -> None:
    starter = Starter()
    programs = [Program(starter) for _ in range(3)]
    connections = Connections()
    try:
        await asyncio.gather(*(one.ready() for one in programs))
        load = Load(ServiceClient("bench", ",".join(one.url for one in programs), connections))
        callers = [asyncio.create_task(load.call()) for _ in range(AT_ONCE)]
        for name, fault in FAULTS.items():
            found = [await seconds_of(load, programs[number % 3], fault) for number in range(RUNS)]
            avoided_s, back_s = (statistics.median(part) for part in zip(*found, strict=True))
            failed = {method: len(errors) for method, errors in load.failed.items()}
            print(f"{name}: avoided after {avoided_s:.2f} s, back after {back_s:.1f} s; failed so far {failed}")
        print(f"{load.answered:,} calls answered")
        for caller in callers:
            caller.cancel()
    finally:
        await connections.close()
        starter.close()


def main() -> None:
    argparse.ArgumentParser(prog="tests.load.balancing_faults", description=__doc__).parse_args()
    asyncio.run(run())


if __name__ == "__main__":
    main()
