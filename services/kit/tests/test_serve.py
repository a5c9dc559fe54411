"""How a process ends while clients hold connections to it."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send

from shop.devkit.testing import wait_until
from shop.kit import protocol, serve

FOREVER_S = 600.0
ANSWER_TIMEOUT_S = 10.0


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"hi"})


class Server(serve.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


@dataclass
class Running:
    server: Server
    task: asyncio.Task[None]
    port: int

    async def connect(self) -> Client:
        return Client(*await asyncio.open_connection("127.0.0.1", self.port))

    async def end(self) -> None:
        """Stop it, and return once it lingers."""
        self.server.should_exit = True
        await wait_until(lambda: serve.CLOSE in self.server.server_state.default_headers)

    async def ended(self) -> bool:
        await asyncio.wait_for(self.task, ANSWER_TIMEOUT_S)
        return True


@dataclass
class Client:
    """A kept connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def ask(self) -> bytes:
        """The head of the answer."""
        self.writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), ANSWER_TIMEOUT_S)
        assert await self.reader.readexactly(2) == b"hi"
        return head

    async def is_closed(self) -> bool:
        return await asyncio.wait_for(self.reader.read(), ANSWER_TIMEOUT_S) == b""


@pytest.fixture
async def running() -> AsyncIterator[Running]:
    config = uvicorn.Config(hello, port=0, http=protocol.LimitedProtocol, lifespan="off", log_config=None)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started)
    yield Running(server, task, server.servers[0].sockets[0].getsockname()[1])
    server.should_exit = server.force_exit = True
    await task
    gc.unfreeze()


async def test_an_answer_announces_the_end_of_a_kept_connection(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LINGER_S", FOREVER_S)
    client = await running.connect()
    assert b"connection: close" not in await client.ask()
    await running.end()
    assert b"connection: close" in await client.ask()
    assert await client.is_closed()
    assert await running.ended()


async def test_new_connections_are_served_while_lingering(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "LINGER_S", FOREVER_S)
    client = await running.connect()
    await client.ask()
    await running.end()
    late = await running.connect()
    assert b"connection: close" in await late.ask()
    await client.ask()
    assert await running.ended()


async def test_an_unused_connection_is_closed_after_the_linger_time(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve, "LINGER_S", 0.1)
    client = await running.connect()
    await client.ask()
    await running.end()
    assert await client.is_closed()
    assert await running.ended()


async def test_what_the_start_made_is_not_looked_through_by_collections(running: Running) -> None:
    assert running.server.started
    assert gc.get_freeze_count() > 0
    assert not any(one is running.server for one in gc.get_objects())


async def test_without_connections_it_ends_at_once(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(serve, "LINGER_S", FOREVER_S)
    await running.end()
    assert await running.ended()


async def test_the_end_is_not_waited_for_in_steps(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither by uvicorn's `on_tick` nor by another timer."""

    async def looked(counter: int) -> bool:
        raise AssertionError("an idle process was woken")

    monkeypatch.setattr(running.server, "on_tick", looked)
    client = await running.connect()
    await client.ask()
    client.writer.close()
    waits = [name for task in asyncio.all_tasks() if (name := _waits_for(task)).startswith("Server.main_loop")]
    assert waits == ["Server.main_loop Event.wait"]
    running.server.should_exit = True
    assert await running.ended()


def _waits_for(task: asyncio.Task[object]) -> str:
    """The coroutine of the server in which the task is, and what that awaits."""
    names, coroutine = [], task.get_coro()
    while coroutine is not None and hasattr(coroutine, "cr_await"):
        names.append(getattr(coroutine, "__qualname__", ""))
        coroutine = coroutine.cr_await
    return " ".join(names[names.index("Server.main_loop") :]) if "Server.main_loop" in names else ""


async def test_an_end_before_the_start_is_over_is_not_missed() -> None:
    server = Server(uvicorn.Config(hello, port=0, lifespan="off", log_config=None))
    server.should_exit = True
    await asyncio.wait_for(server.main_loop(), ANSWER_TIMEOUT_S)


async def test_the_first_answer_after_an_idle_minute_has_the_right_date(running: Running) -> None:
    now_s = 0.0
    running.server.server_state = state = serve.DatedState(lambda: now_s)
    state.default_headers = [(b"x-of", b"all")]
    client = await running.connect()
    for at_s, date in (
        (1_767_225_599.9, b"Wed, 31 Dec 2025 23:59:59 GMT"),
        (1_767_225_600.0, b"Thu, 01 Jan 2026 00:00:00 GMT"),
        (1_767_225_660.0, b"Thu, 01 Jan 2026 00:01:00 GMT"),
    ):
        now_s = at_s
        head = await client.ask()
        assert head.count(b"date: ") == 1
        assert b"date: " + date in head
        assert b"x-of: all" in head
