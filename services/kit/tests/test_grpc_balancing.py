"""Calls are spread over the instances that run, and none fails while instances come and go."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections import Counter, deque
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from services.kit.tests.grpc_process import TIMEOUT_S, Process, Starter, all_ready, name_server, starter
from services.kit.tests.grpc_service import Caller, EchoStub, calling
from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.kit.balancing.instance import About
from shop.kit.errors import Unavailable

HOSTS = ("127.0.0.11", "127.0.0.12", "127.0.0.13")
AT_ONCE = 2
PAUSE_S = 0.002
RECENT = 60
AGE = {"SHOP_GRPC_MAX_CONNECTION_AGE_S": "1"}
"""All connections of a channel end at nearly the same time, once a second."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with starter(tmp_path) as made:
        yield made


class Load:
    """Calls by AT_ONCE callers: who answered the last RECENT ones, and what failed."""

    def __init__(self) -> None:
        self.recent: deque[int] = deque(maxlen=RECENT)
        self.failed: list[Exception] = []
        self.caller: Caller

    async def run(self, caller: Caller, *, idempotent: bool) -> None:
        ask = caller.read if idempotent else caller.say
        while True:
            try:
                self.recent.append(int(await ask("process")))
            except Unavailable as error:
                self.failed.append(error)
            await asyncio.sleep(PAUSE_S)

    async def spread_over(self, *processes: Process) -> None:
        """Wait until these processes, and no others, have about equal shares of the recent calls."""
        wanted = {process.pid for process in processes}
        least = RECENT / len(wanted) / 2

        def spread() -> bool:
            shares = Counter(self.recent)
            return len(self.recent) == RECENT and set(shares) == wanted and min(shares.values()) >= least

        await wait_until(spread, TIMEOUT_S, f"calls at {sorted(wanted)}")


@contextlib.asynccontextmanager
async def load(target: str, *, idempotent: bool = False) -> AsyncIterator[Load]:
    made = Load()
    async with calling(target) as caller:
        made.caller = caller
        tasks = [asyncio.create_task(made.run(caller, idempotent=idempotent)) for _ in range(AT_ONCE)]
        try:
            yield made
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def test_instances_that_are_added_get_calls_and_none_fails(start: Starter) -> None:
    port = free_port()
    first, *others = await all_ready(*(start(port, host, **AGE) for host in HOSTS))
    async with name_server(HOSTS[0]) as names, load(names.target(port)) as calls:
        await calls.spread_over(first)
        names.addresses = list(HOSTS)
        await calls.spread_over(first, *others)
    assert calls.failed == []


async def test_no_idempotent_call_fails_while_instances_are_replaced(start: Starter) -> None:
    """As in a rolling update: a new one is ready, the old one's address goes, then it is terminated."""
    port = free_port()
    old, new = await all_ready(*(start(port, host) for host in HOSTS[:2]))
    async with name_server(HOSTS[0]) as names, load(names.target(port), idempotent=True) as calls:
        await calls.spread_over(old)
        names.addresses = [HOSTS[1]]
        old.program.send_signal(signal.SIGTERM)
        await calls.spread_over(new)
        assert await old.exit_code() == -signal.SIGTERM
    assert calls.failed == []


async def test_no_idempotent_call_fails_when_an_instance_is_killed(start: Starter) -> None:
    processes = await all_ready(*(start(free_port()) for _ in range(3)))
    addresses = ",".join(process.address for process in processes)
    async with load(addresses, idempotent=True) as calls:
        await calls.spread_over(*processes)
        processes[0].program.kill()
        await calls.spread_over(*processes[1:])
    assert calls.failed == []


async def test_killed_instance_gets_calls_again_once_it_is_back(start: Starter) -> None:
    ports = [free_port(), free_port()]
    one, two = await all_ready(*map(start, ports))
    async with load(f"{one.address},{two.address}", idempotent=True) as calls:
        await calls.spread_over(one, two)
        one.program.kill()
        await calls.spread_over(two)
        again = await start(ports[0]).ready()
        await calls.spread_over(again, two)


async def test_calls_follow_the_instances_that_discovery_finds(start: Starter) -> None:
    """Not before it knows every one of them, and no call under way is lost."""
    first, *others = await all_ready(*(start(free_port()) for _ in range(3)))
    found = {one.address: About(id=str(one.pid), grpc=one.address) for one in others}
    async with load(first.address) as calls:
        await calls.spread_over(first)
        client, before = calls.caller.client, calls.caller.client.channel
        client.replace({**found, "http://of.the.settings": About()})
        client.replace({"http://without.grpc": About(id="one")})
        assert client.channel is before
        client.replace(found)
        calls.caller.stub = EchoStub(client.channel)
        await calls.spread_over(*others)
    assert calls.failed == []
