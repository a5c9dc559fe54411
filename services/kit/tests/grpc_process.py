"""Processes of the Echo service, as `shop.kit.serve` runs services, and a name server for their addresses."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from services.kit.tests.grpc_service import calling
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.kit.errors import Unavailable

ROOT = Path(__file__).parents[3]
TIMEOUT_S = 90.0
READY_POLL_S = 0.1
"""A look at a process that starts makes a channel, which would take the time that the process needs."""
MAIN = """
from services.kit.tests.grpc_service import FILE, Echo, Settings
from shop.kit.app import create_app
from shop.kit.grpc import GrpcServer

settings = Settings()
app = create_app(settings, title="Echo", beside=[GrpcServer(settings, Echo().register, [FILE])], uses_bus=False)
"""


@dataclass
class Process:
    program: subprocess.Popen[bytes]
    host: str
    port: int

    @property
    def address(self) -> str:
        return f"{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        return self.program.pid

    async def exit_code(self) -> int:
        return await asyncio.to_thread(self.program.wait, TIMEOUT_S)

    async def answers(self) -> bool:
        async with calling(self.address) as caller:
            try:
                return await caller.read("hello") == "said hello"
            except Unavailable:
                return False

    async def ready(self) -> Process:
        await wait_until(self.answers, TIMEOUT_S, f"the start of {self.address}", READY_POLL_S)
        return self


async def all_ready(*processes: Process) -> list[Process]:
    return list(await asyncio.gather(*(process.ready() for process in processes)))


class Starter:
    """Starts processes of a service named echo; their code is in ``folder``."""

    def __init__(self, folder: Path) -> None:
        package = folder / "src" / "shop" / "echo"
        package.mkdir(parents=True)
        (package / "main.py").write_text(MAIN, encoding="utf-8")
        (package / "settings.py").write_text("from services.kit.tests.grpc_service import Settings\n", encoding="utf-8")
        self._path = os.pathsep.join([str(folder / "src"), str(ROOT)])
        self._started: list[subprocess.Popen[bytes]] = []

    def __call__(self, port: int, host: str = "127.0.0.1", **variables: str) -> Process:
        """A process that serves gRPC there; ``variables`` are settings such as SHOP_LOG_LEVEL."""
        environment = {
            **os.environ,
            "PYTHONPATH": self._path,
            "SHOP_GRPC_HOST": host,
            "SHOP_GRPC_PORT": str(port),
            "SHOP_INTERNAL_TOKEN": INTERNAL_TOKEN,
            "SHOP_JWKS_URL": "",
            **variables,
        }
        command = [sys.executable, "-m", "shop.kit.serve", "echo", "--host", "127.0.0.1", "--port", str(free_port())]
        self._started.append(subprocess.Popen(command, env=environment, cwd=ROOT))
        return Process(self._started[-1], host, port)

    def end(self) -> None:
        for one in self._started:
            one.kill()
            one.wait()


@contextlib.contextmanager
def starter(folder: Path) -> Iterator[Starter]:
    made = Starter(folder)
    try:
        yield made
    finally:
        made.end()


@dataclass
class NameServer(asyncio.DatagramProtocol):
    """A DNS server that answers each question for IPv4 addresses with ``addresses``, which are not to be cached."""

    addresses: list[str] = field(default_factory=list)
    port: int = 0
    _transport: Any = None

    def connection_made(self, transport: Any) -> None:
        self._transport = transport
        self.port = transport.get_extra_info("sockname")[1]

    def datagram_received(self, data: bytes, peer: Any) -> None:
        question = data[12 : data.index(b"\0", 12) + 5]
        addresses = self.addresses if question[-4:-2] == b"\0\1" else []
        counts = b"\0\1" + len(addresses).to_bytes(2) + bytes(4)
        head = b"\xc0\x0c" + b"\0\1\0\1" + bytes(4) + b"\0\4"
        records = b"".join(head + socket.inet_aton(address) for address in addresses)
        self._transport.sendto(data[:2] + b"\x85\x80" + counts + question + records, peer)

    def target(self, port: int) -> str:
        """What a client is given: a name that this server resolves."""
        return f"dns://127.0.0.1:{self.port}/echo-grpc:{port}"


@contextlib.asynccontextmanager
async def name_server(*addresses: str) -> AsyncIterator[NameServer]:
    loop = asyncio.get_running_loop()
    transport, server = await loop.create_datagram_endpoint(
        lambda: NameServer(list(addresses)), local_addr=("127.0.0.1", 0)
    )
    try:
        yield server
    finally:
        transport.close()
