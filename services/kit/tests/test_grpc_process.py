"""A gRPC server in a process of its own, as services run."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit.tests.grpc_service import calling
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.kit.errors import Unavailable
from shop.kit.serve import START_FAILED

ROOT = Path(__file__).parents[3]
END_TIMEOUT_S = 30.0
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
    address: str

    async def exit_code(self) -> int:
        return await asyncio.to_thread(self.program.wait, END_TIMEOUT_S)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[[int], Process]]:
    """``start(grpc_port)``: a process of a service named echo."""
    package = tmp_path / "src" / "shop" / "echo"
    package.mkdir(parents=True)
    (package / "main.py").write_text(MAIN, encoding="utf-8")
    (package / "settings.py").write_text("from services.kit.tests.grpc_service import Settings\n", encoding="utf-8")
    started: list[subprocess.Popen[bytes]] = []

    def process(grpc_port: int) -> Process:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(tmp_path / "src"), str(ROOT)]),
            "SHOP_GRPC_HOST": "127.0.0.1",
            "SHOP_GRPC_PORT": str(grpc_port),
            "SHOP_INTERNAL_TOKEN": INTERNAL_TOKEN,
            "SHOP_JWKS_URL": "",
        }
        command = [sys.executable, "-m", "shop.kit.serve", "echo", "--host", "127.0.0.1", "--port", str(free_port())]
        started.append(subprocess.Popen(command, env=environment, cwd=ROOT))
        return Process(started[-1], f"127.0.0.1:{grpc_port}")

    yield process
    for one in started:
        one.kill()
        one.wait()


async def answers(address: str) -> bool:
    async with calling(address) as caller:
        try:
            return await caller.read("hello") == "said hello"
        except Unavailable:
            return False


async def test_terminated_process_reports_it_finishes_its_calls_and_ends(
    start: Callable[[int], Process], tmp_path: Path
) -> None:
    process, file = start(free_port()), tmp_path / "proceed"
    await wait_until(lambda: answers(process.address), END_TIMEOUT_S)
    async with calling(process.address) as caller, grpc.aio.insecure_channel(process.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def is_serving() -> bool:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5.0)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        async def is_leaving() -> bool:
            return not await is_serving()

        await wait_until(is_serving)
        call = asyncio.create_task(caller.say(str(file), timeout_s=END_TIMEOUT_S))
        await wait_until(Path(f"{file}.started").exists)
        process.program.send_signal(signal.SIGTERM)
        await wait_until(is_leaving)
        assert process.program.poll() is None
        file.touch()
        assert await call == f"said {file}"
    # After its shutdown uvicorn ends by the signal that it got.
    assert await process.exit_code() == -signal.SIGTERM


async def test_process_ends_when_its_grpc_port_is_in_use(start: Callable[[int], Process]) -> None:
    first = start(free_port())
    await wait_until(lambda: answers(first.address), END_TIMEOUT_S)
    second = start(int(first.address.rpartition(":")[2]))
    assert await second.exit_code() == START_FAILED
    assert await answers(first.address)
