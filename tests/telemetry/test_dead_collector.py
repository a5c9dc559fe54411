"""A collector that is away or never answers delays neither requests nor the end of a process."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from services.kit.tests.grpc_process import starter
from services.kit.tests.grpc_service import calling
from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from shop.kit.serve import LINGER_S
from shop.kit.span_export import FLUSH_TIMEOUT_S, MAX_QUEUED_SPANS, SpanExport
from shop.kit.spans import Kind, Span
from shop.kit.telemetry import new_trace
from tests.telemetry.otlp import receiving

STARTED_WITHIN_S = 60.0
ENDED_WITHIN_S = 5.0
"""From SIGTERM to the exit of the process."""
ANSWER_TIMEOUT_S = 10.0
REQUESTS = 20


@contextmanager
def nobody() -> Iterator[str]:
    """An address that refuses connections."""
    yield f"http://127.0.0.1:{free_port()}"


@contextmanager
def black_hole() -> Iterator[str]:
    """An address that takes connections and never reads from them."""
    with socket.create_server(("127.0.0.1", 0), backlog=16) as server:
        yield f"http://127.0.0.1:{server.getsockname()[1]}"


@contextmanager
def silent() -> Iterator[str]:
    """A collector that reads each export and never answers it."""
    with receiving() as receiver:
        receiver.answering.clear()
        yield receiver.url


def status(url: str) -> int:
    """Of an answer; 0 without one."""
    try:
        with urllib.request.urlopen(url, timeout=ANSWER_TIMEOUT_S) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


@pytest.mark.parametrize("collector", [nobody, black_hole, silent])
async def test_a_dead_collector_delays_neither_requests_nor_the_end(collector: object) -> None:
    assert callable(collector)
    port = free_port()
    with ExitStack() as stack:
        environment = os.environ | {
            "SHOP_TRACING_ENDPOINT": stack.enter_context(collector()),
            "SHOP_TRACE_SAMPLE_RATIO": "1",
        }
        command = [sys.executable, "-m", "shop.kit.serve", "gateway", "--host", "127.0.0.1", "--port", str(port)]
        process = stack.enter_context(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        try:
            await wait_until(lambda: status(f"http://127.0.0.1:{port}/health/live") == 200, STARTED_WITHIN_S)
            answers = [status(f"http://127.0.0.1:{port}/api/v1/unknown") for _ in range(REQUESTS)]
            assert answers == [404] * REQUESTS
            process.terminate()
            assert process.wait(ENDED_WITHIN_S) is not None
        finally:
            process.kill()


async def test_a_dead_collector_delays_no_grpc_call_and_not_the_end(tmp_path: Path) -> None:
    with starter(tmp_path) as start, black_hole() as url:
        process = start(free_port(), SHOP_TRACING_ENDPOINT=url, SHOP_TRACE_SAMPLE_RATIO="1")
        await process.ready()
        async with calling(process.address) as caller:
            assert [await caller.read("hello") for _ in range(REQUESTS)] == ["said hello"] * REQUESTS
        process.program.terminate()
        assert await asyncio.to_thread(process.program.wait, ENDED_WITHIN_S) is not None


def test_the_limits_of_a_stop_leave_time() -> None:
    assert LINGER_S + FLUSH_TIMEOUT_S < ENDED_WITHIN_S


async def test_spans_that_wait_for_a_dead_collector_are_bounded() -> None:
    with nobody() as url:
        export = SpanExport("test", url)
        trace = new_trace(sampled=True)
        for _ in range(MAX_QUEUED_SPANS + 100):
            export.add(Span("work", Kind.INTERNAL, trace, "", {}), 1)
        assert len(export._processor._batch_processor._queue) <= MAX_QUEUED_SPANS
