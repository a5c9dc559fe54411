"""Calls to three real processes, of which one is killed, stopped, slow, failing or restarted meanwhile.

The times of the rules are short, so that what happens in seconds happens in less; nothing here measures time.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.kit.balancing.breaker import State
from shop.kit.balancing.instance import About, Instance
from shop.kit.balancing.rules import Rules
from shop.kit.errors import Unavailable
from shop.kit.http import ServiceClient
from shop.kit.http.connections import Connections

PROGRAM = Path(__file__).with_name("instance_program.py")
RULES = Rules(latency_decay_s=0.3, reset_s=0.3, max_reset_s=1.0, slow_start_s=0.3, faults_decay_s=0.5)
AT_ONCE = 6
WINDOW = 200
"""Requests over which a share is taken."""
LITTLE, MUCH = 0.05, 0.15
WAIT_S = 30.0


class Program:
    """One instance."""

    def __init__(self) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._process = self._spawn()

    def _spawn(self) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, str(PROGRAM), str(self.port)])

    async def ready(self) -> None:
        async def answers() -> bool:
            with contextlib.suppress(httpx.TransportError):
                async with httpx.AsyncClient() as client:
                    return (await client.get(f"{self.url}/health/ready")).status_code == 200
            return False

        await wait_until(answers, WAIT_S, self.url)

    async def restart(self) -> None:
        """As an orchestrator does it: the end, and then the same address again."""
        self.signal(signal.SIGTERM)
        await asyncio.to_thread(self._process.wait, WAIT_S)
        self._process = self._spawn()
        await self.ready()

    async def behave(self, **how: object) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{self.url}/behaviour", params={name: str(value) for name, value in how.items()})

    def signal(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def end(self) -> None:
        self._process.kill()
        self._process.wait()


class Load:
    """AT_ONCE callers, each of which reads twice and writes once in turn, without a pause."""

    def __init__(self, client: ServiceClient) -> None:
        self.client = client
        self.failed: dict[str, list[Exception]] = {"GET": [], "POST": []}
        self.answered = 0

    async def call(self) -> None:
        while True:
            for method in ("GET", "GET", "POST"):
                try:
                    await self.client.request(method, "/work")
                    self.answered += 1
                except Unavailable as error:
                    self.failed[method].append(error)
                    await asyncio.sleep(0.001)

    def instance(self, program: Program) -> Instance:
        return next(one for one in self.client.pool.instances if one.base_url == program.url)

    async def share(self, program: Program) -> float:
        """Of the next WINDOW requests."""
        one, everyone = self.instance(program), self.client.pool.instances

        def sent() -> int:
            return sum(each.sent for each in everyone)

        before, begun = one.sent, sent()
        await wait_until(lambda: sent() >= begun + WINDOW, WAIT_S, "requests")
        return (one.sent - before) / (sent() - begun)

    async def is_avoided(self, program: Program) -> None:
        async def little() -> bool:
            return await self.share(program) < LITTLE

        await wait_until(little, WAIT_S, "a small share")

    async def is_used(self, program: Program) -> None:
        async def much() -> bool:
            return await self.share(program) > MUCH

        await wait_until(much, WAIT_S, "a large share")


@pytest.fixture(scope="module")
async def programs() -> AsyncIterator[list[Program]]:
    made = [Program() for _ in range(3)]
    await asyncio.gather(*(one.ready() for one in made))
    yield made
    for one in made:
        one.end()


@pytest.fixture
async def load(programs: list[Program]) -> AsyncIterator[Load]:
    """All three answer, and each has had its share."""
    connections = Connections()
    client = ServiceClient("product", ",".join(one.url for one in programs), connections, rules=RULES)
    made = Load(client)
    tasks = [asyncio.create_task(made.call()) for _ in range(AT_ONCE)]
    for one in programs:
        await made.is_used(one)
    yield made
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    await connections.close()


async def test_a_slow_instance_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    await programs[0].behave(delay_s=0.2)
    await load.is_avoided(programs[0])
    await programs[0].behave(delay_s=0)
    await load.is_used(programs[0])
    assert load.failed == {"GET": [], "POST": []}


async def test_an_instance_that_fails_fast_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    await programs[1].behave(status=503)
    await load.is_avoided(programs[1])
    await programs[1].behave(status=200)
    await load.is_used(programs[1])
    assert load.failed["GET"] == []


async def test_a_stopped_instance_is_avoided_and_comes_back(load: Load, programs: list[Program]) -> None:
    programs[2].signal(signal.SIGSTOP)
    await load.is_avoided(programs[2])
    programs[2].signal(signal.SIGCONT)
    await load.is_used(programs[2])
    assert load.failed == {"GET": [], "POST": []}


async def test_nothing_fails_while_all_are_restarted_one_after_another(load: Load, programs: list[Program]) -> None:
    for one in programs:
        await one.restart()
        await load.is_used(one)
    assert load.failed == {"GET": [], "POST": []}


async def test_an_instance_at_a_new_address_gets_requests_and_the_old_one_none(
    load: Load, programs: list[Program]
) -> None:
    moved = Program()
    await moved.ready()
    left = load.instance(programs[0])
    load.client.pool.update({one.url: About() for one in (moved, *programs[1:])})
    await load.is_used(moved)
    await wait_until(lambda: left.inflight == 0)
    before = left.sent
    await load.share(moved)
    assert left.sent == before
    moved.end()


async def test_no_read_fails_when_an_instance_is_killed(load: Load, programs: list[Program]) -> None:
    killed = load.instance(programs[0])
    programs[0].end()
    await wait_until(lambda: killed.breaker.state is State.OPEN)
    await load.is_avoided(programs[0])
    assert load.failed["GET"] == []
    # A write that it had may have been carried out.
    assert len(load.failed["POST"]) <= AT_ONCE
