from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import sys
from collections.abc import AsyncIterator

import pytest
import uvicorn
from starlette.types import ASGIApp, Receive, Scope, Send

from shop.devkit.testing import wait_until
from shop.kit import protocol


async def hello(scope: Scope, receive: Receive, send: Send) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"%d bytes" % len(body)})


async def sized(scope: Scope, receive: Receive, send: Send) -> None:
    """A body of the length in the path; /broken sends the head alone, and /late first a piece without content."""
    broken, late = scope["path"] == "/broken", scope["path"] == "/late"
    length = 5 if broken or late else int(scope["path"][1:])
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % length)]})
    if late:
        await send({"type": "http.response.body", "body": b"", "more_body": True})
    if not broken:
        await send({"type": "http.response.body", "body": b"x" * length})


class Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


@contextlib.asynccontextmanager
async def serving(app: ASGIApp) -> AsyncIterator[int]:
    config = uvicorn.Config(app, port=0, http=protocol.LimitedProtocol, lifespan="off", log_config=None)
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started)
    yield server.servers[0].sockets[0].getsockname()[1]
    server.should_exit = True
    await task


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(hello) as port:
        yield port


async def exchange(port: int, *parts: bytes) -> bytes:
    """The bytes that the server sends until it closes the connection."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    with contextlib.suppress(ConnectionError):
        for part in parts:
            writer.write(part)
            await writer.drain()
    try:
        return await asyncio.wait_for(reader.read(), 10)
    except ConnectionResetError:
        return b""
    finally:
        writer.close()


async def test_usual_requests_pass_one_after_another_and_with_a_long_body(port: int) -> None:
    body = b"x" * (3 * protocol.MAX_HEAD_BYTES)
    post = b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body) + body
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await exchange(port, post, post, last)
    assert answer.count(b"HTTP/1.1 200") == 3
    assert answer.count(b"%d bytes" % len(body)) == 2


async def test_an_endless_header_closes_the_connection(port: int) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET / HTTP/1.1\r\nX-A: ")
    sent = 0
    with contextlib.suppress(ConnectionError):
        while sent < 100 * protocol.MAX_HEAD_BYTES and not reader.at_eof():
            writer.write(b"a" * 8_192)
            await writer.drain()
            await asyncio.sleep(0)
            sent += 8_192
    writer.close()
    assert sent < 100 * protocol.MAX_HEAD_BYTES


async def test_a_large_head_in_pieces_is_a_431(port: int) -> None:
    line = b"X-A: " + b"a" * 1_000 + b"\r\n"
    answer = await exchange(port, b"GET / HTTP/1.1\r\nHost: x\r\n", line * 66)
    assert_problem(answer, 431, "headers_too_large")


def assert_problem(answer: bytes, status: int, code: str) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status)
    assert b"content-type: application/problem+json" in head
    assert (json.loads(body)["status"], json.loads(body)["code"]) == (status, code)


@pytest.mark.parametrize("target", [b"/" + b"a" * 70_000, b"/?q=" + b"a" * 70_000, b"/" + b"a" * 40_000])
@pytest.mark.parametrize("rest", [b" HTTP/1.1\r\nHost: x\r\n\r\n", b""], ids=["whole", "unfinished"])
async def test_a_long_request_target_is_a_414(port: int, target: bytes, rest: bytes) -> None:
    assert_problem(await exchange(port, b"GET " + target + rest), 414, "uri_too_long")


async def test_the_longest_request_target_passes(port: int) -> None:
    target = b"/" + b"a" * (protocol.MAX_TARGET_BYTES - 1)
    answer = await exchange(port, b"GET " + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200")


async def test_what_is_not_http_is_a_400(port: int) -> None:
    assert_problem(await exchange(port, b"not http at all\r\n\r\n"), 400, "malformed_request")


@pytest.mark.parametrize("start", [b"", b"GET / HTTP/1.1\r\nHost:", b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HT"])
async def test_a_slow_request_head_closes_the_connection(
    port: int, start: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.2)
    answer = await exchange(port, start)
    assert answer.count(b"HTTP/1.1 200") == start.count(b"\r\n\r\n")


def data_segments(writer: asyncio.StreamWriter) -> int:
    """How many TCP segments with data the other side has sent: tcpi_data_segs_in of Linux's struct tcp_info."""
    info = writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 156)
    return int.from_bytes(info[152:156], sys.byteorder)


async def test_an_answer_is_sent_in_one_piece() -> None:
    async with serving(sized) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for answers in (1, 2):
            writer.write(b"GET /5 HTTP/1.1\r\nHost: x\r\n\r\n")
            await asyncio.wait_for(reader.readuntil(b"xxxxx"), 10)
            assert data_segments(writer) == answers
        writer.close()


@pytest.mark.parametrize("request_line", [b"HEAD /5", b"GET /0", b"GET /broken"])
async def test_a_head_without_a_body_is_sent(request_line: bytes) -> None:
    async with serving(sized) as port:
        found = await exchange(port, request_line + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    head, _, body = found.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200")
    assert not body


async def test_the_first_piece_of_a_body_may_be_empty() -> None:
    async with serving(sized) as port:
        found = await exchange(port, b"GET /late HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    assert found.endswith(b"\r\n\r\nxxxxx")
