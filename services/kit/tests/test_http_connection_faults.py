"""Requests that are cancelled, closed or answered out of turn do no harm to others on the same connections."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator

import pytest

from services.kit.tests.http_programs import OK, Program, get, listening
from shop.devkit.testing import wait_until
from shop.kit.balancing.instance import Instance
from shop.kit.http import connections as of_connections
from shop.kit.http.answer import Answer
from shop.kit.http.connection import Broken, Connection
from shop.kit.http.connections import Connections
from shop.kit.http.pool import ServicePool

UNREAD = bytes(30_000_000)
"""More than the buffers of two sockets."""


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    made = Connections()
    yield made
    await made.close()


async def test_a_request_cancelled_with_its_answer_there_does_no_harm_to_the_next(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the end of an answer and the turn of the task that waits for it, another request takes the connection."""
    program = Program(OK)
    second: list[asyncio.Task[tuple[int, bytes]]] = []
    async with listening(program) as url:
        first = asyncio.create_task(get(connections, url))
        end = Answer.end

        def ended(answer: Answer) -> None:
            end(answer)
            monkeypatch.undo()
            asyncio.get_running_loop().call_soon(take_over)

        def take_over() -> None:
            request = get(connections, url)
            second.append(asyncio.Task(request, eager_start=True, loop=asyncio.get_running_loop()))
            first.cancel()

        monkeypatch.setattr(Answer, "head", head_in_two_turns)
        monkeypatch.setattr(Answer, "end", ended)
        with pytest.raises(asyncio.CancelledError):
            await first
        assert await asyncio.wait_for(second[0], 10.0) == (200, b"ok")
    assert program.connections == 1


async def head_in_two_turns(answer: Answer) -> None:
    """As a busy event loop does it."""
    while not answer.status:
        await answer._change()
    await asyncio.sleep(0)
    await asyncio.sleep(0)


async def test_closing_ends_the_requests_that_are_under_way(connections: Connections) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if b"/begins" in await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall")
        await reader.read()

    async with listening(serve) as url:
        waiting = asyncio.create_task(get(connections, url))
        answer = await connections.send(url, "GET", "/begins")
        await wait_until(lambda: len(connections._open) == 2)
        await connections.close()
        assert await answer.read_some() == b"all"
        for request in (waiting, answer.read_some()):
            with pytest.raises(Broken, match="was broken off"):
                await asyncio.wait_for(request, 10.0)


async def test_health_checks_do_not_wait_for_slow_requests() -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                if b"/health" not in await reader.readuntil(b"\r\n\r\n"):
                    await go_on.wait()
                writer.write(OK)

    connections = Connections(per_host=2)
    async with listening(serve) as url:
        slow = [asyncio.create_task(get(connections, url)) for _ in range(3)]
        await wait_until(lambda: len(connections._open) == 2)
        pool = ServicePool("order", [url], connections)
        assert await pool._is_ready(pool.instances[0], 10.0)
        go_on.set()
        await asyncio.gather(*slow)
    await connections.close()


async def test_an_instance_that_is_not_ready_keeps_its_connections(connections: Connections) -> None:
    """A health check has no request id, so the answer says nothing about where connections lead."""
    program = Program(OK, b"HTTP/1.1 503 No\r\nx-request-id: 1\r\ncontent-length: 0\r\n\r\n")
    async with listening(program) as url:
        await get(connections, url)
        pool = ServicePool("order", [url], connections)
        [instance] = pool.instances
        assert isinstance(instance, Instance)
        assert not await pool._is_ready(instance, 10.0)
        [kept] = connections._addresses[url].idle
        assert kept.usable


async def endless() -> AsyncGenerator[bytes]:
    while True:
        yield bytes(65_536)


@pytest.mark.parametrize("body", [UNREAD, endless()])
async def test_a_body_that_the_answer_did_not_wait_for_ends_the_connection(
    connections: Connections, body: bytes | AsyncGenerator[bytes]
) -> None:
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.transport.pause_reading()  # type: ignore[attr-defined]
        writer.write(OK)
        await go_on.wait()

    async with listening(serve) as url:
        answer = await connections.send(url, "POST", "/", (), body)
        assert await answer.read() == b"ok"
        assert connections._addresses[url].idle == []
        connection = answer._source
        assert isinstance(connection, Connection)
        await wait_until(lambda: connection._transport.get_write_buffer_size() == 0)
        go_on.set()


@pytest.mark.parametrize(
    ("method", "sent"),
    [
        ("HEAD", b"HTTP/1.1 200 OK\r\ncontent-length: 60\r\n\r\nxx"),
        ("HEAD", b"HTTP/1.1 200 OK\r\nconnection: x, close\r\ncontent-length: 60\r\n\r\n"),
        ("HEAD", b"HTTP/1.0 200 OK\r\ncontent-length: 60\r\n\r\n"),
        ("GET", b"HTTP/1.1 204 No Content\r\n\r\nok"),
    ],
)
async def test_a_connection_is_not_used_again_after_what_is_not_plain(
    connections: Connections, method: str, sent: bytes
) -> None:
    program = Program(sent, OK)
    async with listening(program) as url:
        assert (await get(connections, url, method))[1] == b""
        assert await get(connections, url) == (200, b"ok")
    assert program.connections == 2


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 104 X\r\ncontent-length: 5\r\n\r\nhello" + OK,
        b"HTTP/1.1 104 X\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n" + OK,
        b"HTTP/1.1 099 X\r\ncontent-length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n0\r\n" + 9_000 * b"x: yyyyy\r\n" + b"\r\n",
    ],
)
async def test_what_no_service_answers_is_refused(connections: Connections, sent: bytes) -> None:
    async with listening(Program(sent)) as url:
        with pytest.raises(Broken, match="the answer is not HTTP"):
            await get(connections, url)


async def test_addresses_are_forgotten_when_nothing_is_connected(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_connections, "KEEP_ALIVE_S", 0.02)
    async with listening(Program(OK)) as url:
        await get(connections, url)
        await connections.close()
        await get(connections, url)
        (await connections.send(url, "GET", "/", new=True)).close()
    with contextlib.suppress(OSError):
        await connections.send(url.replace("127.0.0.1", "127.0.0.2"), "GET", "/", new=True)
    await wait_until(lambda: not connections._addresses and not connections._open)
    assert connections._sweep_timer is None


async def test_the_address_of_a_request_that_waits_for_its_turn_is_not_forgotten() -> None:
    connections = Connections(per_host=1)
    async with listening(Program(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\no", OK)) as url:
        first = await connections.send(url, "GET", "/")
        waiting = asyncio.create_task(get(connections, url))
        address = connections._addresses[url]
        await wait_until(lambda: address.in_use == 2)
        first.close()
        connections._sweep()
        assert connections._addresses[url] is address
        assert await waiting == (200, b"ok")
    await connections.close()
