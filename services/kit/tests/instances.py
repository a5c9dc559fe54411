"""Processes of a small service, and load on all of them by the kit's client."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import httpx
import psutil

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.kit.balancing.instance import Instance
from shop.kit.errors import Unavailable
from shop.kit.http import ServiceClient

PROGRAM = Path(__file__).with_name("instance_program.py")
AT_ONCE = 6
WINDOW = 200
"""Requests over which a share is taken."""
LITTLE, MUCH = 0.05, 0.15
WAIT_S = 30.0


class Starter:
    """The process whose forks the instances are."""

    def __init__(self) -> None:
        self._process = subprocess.Popen([sys.executable, PROGRAM], stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def start(self, port: int) -> int:
        """The id of a process that will serve at ``port``."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(f"{port}\n".encode())
        self._process.stdin.flush()
        return int(self._process.stdout.readline())

    def close(self) -> None:
        """End it, and with it every instance."""
        self._process.communicate()


class Program:
    """One instance."""

    def __init__(self, starter: Starter) -> None:
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._starter = starter
        self._pid = starter.start(self.port)

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
        await self.start()

    async def start(self) -> None:
        """Again at the same address, once the process before has ended."""
        await wait_until(lambda: not psutil.pid_exists(self._pid), WAIT_S, "its end")
        self._pid = self._starter.start(self.port)
        await self.ready()

    async def behave(self, **how: object) -> None:
        async with httpx.AsyncClient() as client:
            await client.post(f"{self.url}/behaviour", params={name: str(value) for name, value in how.items()})

    def signal(self, number: signal.Signals) -> None:
        os.kill(self._pid, number)


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
