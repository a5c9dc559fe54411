"""A server that dies, hangs or answers something else: calls end within their deadline, and later ones work again."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.wrappers_pb2 import StringValue

from services.kit.tests.grpc_process import TIMEOUT_S, Starter, starter
from services.kit.tests.grpc_service import SERVICE, Caller, EchoStub, calling, serving
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, wait_until
from shop.kit.balancing.breaker import FAILURES_TO_OPEN
from shop.kit.errors import OutcomeUnknown, Unavailable
from shop.kit.grpc import channels
from shop.kit.grpc import server as grpc_server
from shop.kit.grpc.settings import GrpcSettings

AUTHORIZED = (("authorization", f"Bearer {INTERNAL_TOKEN}"),)
SHORT_S = 0.3
ENDLESS_S = 600.0
HTTP_1 = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 3\r\nConnection: close\r\n\r\nno\n"
GARBAGE = bytes(range(256)) * 8
SETTINGS_FRAME = bytes.fromhex("000000040000000000")
"""The only frame of a server that speaks HTTP/2 and then says nothing."""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Starter]:
    with starter(tmp_path) as made:
        yield made


async def answers(caller: Caller) -> bool:
    try:
        return await caller.read("hello") == "said hello"
    except Unavailable:
        return False


async def test_call_ends_when_its_server_is_killed(start: Starter, tmp_path: Path) -> None:
    process, file = await start(free_port()).ready(), tmp_path / "proceed"
    async with calling(process.address) as caller:
        call = asyncio.create_task(caller.say(str(file), timeout_s=ENDLESS_S))
        await wait_until(Path(f"{file}.started").exists)
        process.program.kill()
        with pytest.raises(OutcomeUnknown, match="UNAVAILABLE"):
            await asyncio.wait_for(call, TIMEOUT_S)
        start(process.port)
        await wait_until(lambda: answers(caller), TIMEOUT_S)


async def test_call_ends_at_its_deadline_when_its_server_hangs(start: Starter) -> None:
    process = await start(free_port()).ready()
    async with calling(process.address) as caller:
        assert await answers(caller)
        process.program.send_signal(signal.SIGSTOP)
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(OutcomeUnknown, match="DEADLINE_EXCEEDED"):
                await caller.read("hello", timeout_s=SHORT_S)
        with pytest.raises(Unavailable, match="breaker open"):
            await caller.read("hello", timeout_s=SHORT_S)
        process.program.send_signal(signal.SIGCONT)
        await wait_until(lambda: answers(caller), TIMEOUT_S)


@contextlib.asynccontextmanager
async def answering(content: bytes, *, closes: bool) -> AsyncIterator[int]:
    """The port of a server that sends ``content`` to each client that connects."""
    ended = asyncio.Event()

    async def answer(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(content)
        if not closes:
            await ended.wait()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        ended.set()
        server.close()


@pytest.mark.parametrize(
    ("content", "closes"),
    [(HTTP_1, True), (GARBAGE, False), (b"", True), (b"", False), (SETTINGS_FRAME, False), (SETTINGS_FRAME, True)],
    ids=["http/1", "garbage", "closes", "silent", "http/2 and silent", "http/2 and closes"],
)
async def test_call_to_something_else_fails_and_the_right_server_is_found_later(content: bytes, closes: bool) -> None:
    async with answering(content, closes=closes) as port, calling(f"127.0.0.1:{port}") as caller:
        with pytest.raises(Unavailable, match=r"echo: (UNAVAILABLE|DEADLINE_EXCEEDED)"):
            await asyncio.wait_for(caller.read("hello", timeout_s=SHORT_S), TIMEOUT_S)
    async with calling(f"127.0.0.1:{port}") as caller:
        assert not await answers(caller)
        async with serving(grpc_port=port):
            await wait_until(lambda: answers(caller), TIMEOUT_S)


@contextlib.asynccontextmanager
async def replying(reply: bytes | None) -> AsyncIterator[str]:
    """The address of a gRPC server whose method Say returns these bytes; with None it has no such method."""

    async def say(_request: bytes, _context: Any) -> bytes:
        return reply or b""

    server = grpc.aio.server()
    handlers: dict[str, Any] = {"Say" if reply is not None else "Other": grpc.unary_unary_rpc_method_handler(say)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


async def test_reply_that_is_not_the_message_is_a_failure() -> None:
    async with replying(b"\xff\xff\xff") as address, calling(address) as caller:
        for _ in range(FAILURES_TO_OPEN):
            with pytest.raises(OutcomeUnknown, match="not of the method's type"):
                await caller.say("hello")
        with pytest.raises(Unavailable, match="breaker open"):
            await caller.say("hello")


async def test_server_without_the_method_is_a_failure() -> None:
    async with replying(None) as address, calling(address) as caller:
        with pytest.raises(OutcomeUnknown, match="UNIMPLEMENTED"):
            await caller.say("hello")


def test_clients_ping_no_more_often_than_servers_allow() -> None:
    class Settings(GrpcSettings):
        service = "echo"

    allowed = dict(grpc_server.options(Settings()))["grpc.http2.min_ping_interval_without_data_ms"]
    assert allowed <= channels.KEEPALIVE_S * 1_000


@contextlib.asynccontextmanager
async def pinged(interval_s: float, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[asyncio.Task[Any]]:
    """A call that lasts, to a server that allows a ping every ``interval_s``, from a client that pings all the time."""
    monkeypatch.setattr(grpc_server, "MIN_PING_INTERVAL_S", interval_s)
    options = [("grpc.keepalive_time_ms", 20), ("grpc.http2.max_pings_without_data", 0)]
    async with serving(drain_seconds=0.0) as running, grpc.aio.insecure_channel(running.address, options) as channel:
        call = EchoStub(channel).Say(StringValue(value="wait"), timeout=ENDLESS_S, metadata=AUTHORIZED)
        await running.echo.started.wait()
        task = asyncio.ensure_future(_answer(call))
        yield task
        task.cancel()
        await asyncio.wait([task])


async def _answer(call: Any) -> Any:
    return await call


async def test_connection_survives_pings_that_the_server_allows(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the server with grpc's own limit of 300 s has ended the connection, the other one has not."""
    async with pinged(300, monkeypatch) as strict, pinged(0.001, monkeypatch) as lenient:
        with pytest.raises(grpc.aio.AioRpcError, match=r"(?i)too.many.pings"):
            await asyncio.wait_for(strict, TIMEOUT_S)
        assert not lenient.done()
