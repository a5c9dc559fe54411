"""A gRPC server in a process of its own, as services run."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from services.kit.tests.grpc_process import TIMEOUT_S, Starter, starter
from services.kit.tests.grpc_service import calling
from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.kit.serve import START_FAILED


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with starter(tmp_path) as made:
        yield made


async def test_terminated_process_reports_it_finishes_its_calls_and_ends(start: Starter, tmp_path: Path) -> None:
    process, file = await start(free_port()).ready(), tmp_path / "proceed"
    async with calling(process.address) as caller, grpc.aio.insecure_channel(process.address) as channel:
        stub: Any = health_pb2_grpc.HealthStub(channel)

        async def is_serving() -> bool:
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=5.0)
            return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)

        async def is_leaving() -> bool:
            return not await is_serving()

        await wait_until(is_serving)
        call = asyncio.create_task(caller.say(str(file), timeout_s=TIMEOUT_S))
        await wait_until(Path(f"{file}.started").exists)
        process.program.send_signal(signal.SIGTERM)
        await wait_until(is_leaving)
        assert process.program.poll() is None
        file.touch()
        assert await call == f"said {file}"
    # After its shutdown uvicorn ends by the signal that it got.
    assert await process.exit_code() == -signal.SIGTERM


async def test_process_ends_when_its_grpc_port_is_in_use(start: Starter) -> None:
    first = await start(free_port()).ready()
    second = start(first.port)
    assert await second.exit_code() == START_FAILED
    assert await first.answers()
