"""Connections between services, byte by byte: what is sent, how answers are read, and when a connection is kept."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from pathlib import Path

import pytest

from services.kit.tests.certificates import self_signed
from services.kit.tests.http_programs import OK, Program, get, listening
from shop.devkit.testing import wait_until
from shop.kit.http import connections as of_connections
from shop.kit.http.answer import MAX_BUFFERED_BYTES
from shop.kit.http.connection import MAX_HEAD_BYTES, Broken, Closed, ConnectFailed
from shop.kit.http.connections import FAILED, Connections

UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\nall of it"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n"


@pytest.fixture
async def connections() -> AsyncIterator[Connections]:
    made = Connections()
    yield made
    await made.close()


@pytest.mark.parametrize(
    ("sent", "content"),
    [
        (OK, b"ok"),
        (CHUNKED, b"all of it"),
        (b"HTTP/1.1 204 No Content\r\n\r\n", b""),
        (b'HTTP/1.1 304 Not Modified\r\ncontent-length: 7\r\netag: "1"\r\n\r\n', b""),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b""),
        (b"HTTP/1.1 100 Continue\r\nx: y\r\n\r\n" + OK, b"ok"),
        (b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + CHUNKED, b"all of it"),
    ],
)
async def test_an_answer_is_read_to_its_end_and_its_connection_used_again(
    connections: Connections, sent: bytes, content: bytes
) -> None:
    program = Program(sent)
    async with listening(program) as url:
        status = int(sent[9:12]) if sent[9:10] != b"1" else 200
        for _ in range(3):
            assert await get(connections, url) == (status, content)
    assert (program.connections, len(program.requests)) == (1, 3)


@pytest.mark.parametrize(
    "sent",
    [
        UNTIL_CLOSED,
        b"HTTP/1.0 200 OK\r\ncontent-length: 9\r\n\r\nall of it",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\ncontent-length: 9\r\n\r\nall of it",
    ],
)
async def test_a_connection_that_the_other_side_closes_is_not_used_again(connections: Connections, sent: bytes) -> None:
    program = Program(sent, closes=True)
    async with listening(program) as url:
        for _ in range(2):
            assert await get(connections, url) == (200, b"all of it")
    assert program.connections == 2


async def test_the_answer_to_a_head_has_no_body_whatever_length_it_states(connections: Connections) -> None:
    program = Program(b"HTTP/1.1 200 OK\r\ncontent-length: 700\r\n\r\n", OK)
    async with listening(program) as url:
        assert await get(connections, url, "HEAD") == (200, b"")
        assert await get(connections, url) == (200, b"ok")
    assert program.connections == 1


async def test_headers_of_an_interim_answer_are_not_those_of_the_answer(connections: Connections) -> None:
    program = Program(
        b"HTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\nHTTP/1.1 200 OK\r\nETag: b\r\nContent-Length: 0\r\n\r\n"
    )
    async with listening(program) as url:
        answer = await connections.send(url, "GET", "/")
        assert answer.headers == [(b"etag", b"b"), (b"content-length", b"0")]
        assert (answer.header(b"etag"), answer.header(b"link")) == ("b", "")


@pytest.mark.parametrize(
    ("sent", "error"),
    [
        (b"", Closed),
        (b"HTTP/1.1 200 OK\r\nconte", Closed),
        (b"220 mail.example ready\r\n", Broken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall", Broken),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nall\r\n", Broken),
        (b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nx\r\n", Broken),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n", Broken),
        (b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n", Broken),
        (b"HTTP/1.1 200 OK\r\nx: " + MAX_HEAD_BYTES * b"y" + b"\r\n" + MAX_HEAD_BYTES * b"z", Broken),
    ],
)
async def test_an_answer_that_breaks_off_is_an_error(
    connections: Connections, sent: bytes, error: type[Exception]
) -> None:
    program = Program(sent, closes=True)
    async with listening(program) as url:
        with pytest.raises(error):
            await get(connections, url)
        assert issubclass(error, FAILED)
    await wait_until(lambda: program.open == 0)


async def test_what_comes_after_an_answer_ends_its_connection(connections: Connections) -> None:
    """It would be taken for the answer to the next request."""
    program = Program(OK + b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nwrong", OK)
    async with listening(program) as url:
        assert [await get(connections, url) for _ in range(3)] == 3 * [(200, b"ok")]
    assert program.connections == 2


async def test_an_idle_connection_on_which_something_comes_is_closed(connections: Connections) -> None:
    writers: list[asyncio.StreamWriter] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writers.append(writer)
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK)

    async with listening(serve) as url:
        assert await get(connections, url) == (200, b"ok")
        [kept] = connections._addresses[url].idle
        writers[0].write(OK)
        await wait_until(lambda: not kept.usable)
        assert await get(connections, url) == (200, b"ok")
    assert len(writers) == 2


async def test_an_address_that_refuses_connections_is_named(connections: Connections) -> None:
    async with listening(Program(OK)) as url:
        pass
    with pytest.raises(ConnectFailed, match=url.removeprefix("http://")):
        await connections.send(url, "GET", "/")
    assert {one.in_use for one in connections._addresses.values()} == {0}


async def test_each_ip_address_of_a_name_is_tried(connections: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    program = Program(OK)
    async with listening(program) as url:
        port = int(url.rpartition(":")[2])
        found = [(2, 1, 6, "", (ip, port)) for ip in ("127.0.0.2", "127.0.0.1", "127.0.0.1")]

        async def look_up(host: str, *_: object, **__: object) -> object:
            return found if host == "shop.example" else []

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", look_up)
        assert await get(connections, f"http://shop.example:{port}") == (200, b"ok")
        with pytest.raises(ConnectFailed, match=r"other\.example:1: the name has no address"):
            await connections.send("http://other.example:1", "GET", "/")
    assert f"host: shop.example:{port}".encode() in program.requests[0]


async def test_an_answer_that_is_not_read_is_not_taken_from_its_connection(connections: Connections) -> None:
    """A client that reads slowly would otherwise fill the memory of the gateway."""
    content = bytes(64 * MAX_BUFFERED_BYTES)
    written = 0

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal written
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(content))
        for _ in range(64):
            writer.write(bytes(MAX_BUFFERED_BYTES))
            await writer.drain()
            written += MAX_BUFFERED_BYTES

    async with listening(serve) as url:
        answer = await connections.send(url, "GET", "/")
        await wait_until(lambda: answer._buffered_bytes > MAX_BUFFERED_BYTES)
        for _ in range(100):
            await asyncio.sleep(0)
        assert answer._buffered_bytes < 5 * MAX_BUFFERED_BYTES
        assert written < len(content)
        assert len(await answer.read()) == len(content)


async def pieces(*given: bytes) -> AsyncGenerator[bytes]:
    for one in given:
        yield one


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ((), b"transfer-encoding: chunked\r\n\r\n3\r\nall\r\n6\r\n of it\r\n0\r\n\r\n"),
        ([("content-length", "9")], b"content-length: 9\r\n\r\nall of it"),
    ],
)
async def test_a_body_is_sent_as_it_comes(
    connections: Connections, headers: Sequence[tuple[str, str]], expected: bytes
) -> None:
    program = Program(OK)
    async with listening(program) as url:
        for _ in range(2):
            answer = await connections.send(url, "POST", "/", headers, pieces(b"all", b"", b" of it"))
            assert await answer.read() == b"ok"
    assert [request.partition(b"\r\nhost: ")[2].partition(b"\r\n")[2] for request in program.requests] == 2 * [expected]
    assert program.connections == 1


async def test_a_body_that_breaks_off_breaks_the_request_off(connections: Connections) -> None:
    async def broken() -> AsyncGenerator[bytes]:
        yield b"all"
        raise LookupError("the client is gone")

    program = Program(OK)
    async with listening(program) as url:
        with pytest.raises(Broken, match="LookupError: the client is gone"):
            await connections.send(url, "POST", "/", (), broken())
        await wait_until(lambda: program.open == 0)
        assert program.requests == []


async def test_an_answer_may_come_before_the_whole_body_was_sent(connections: Connections) -> None:
    """As a service does that refuses a body for its length; what is left of the body is not waited for."""
    stopped = asyncio.Event()

    async def endless() -> AsyncGenerator[bytes]:
        try:
            while True:
                yield bytes(65_536)
        finally:
            stopped.set()

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Too Large\r\ncontent-length: 2\r\n\r\nno")

    async with listening(refuse) as url:
        answer = await connections.send(url, "POST", "/", (), endless())
        assert (answer.status, await answer.read()) == (413, b"no")
        await asyncio.wait_for(stopped.wait(), 10)
        assert connections._addresses[url].idle == []


async def test_silence_is_limited_before_and_within_an_answer() -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        request = await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall" if b"/begins" in request else b"")
        await reader.read()

    connections = Connections(read_timeout_s=0.5)
    async with listening(silent) as url:
        with pytest.raises(TimeoutError, match=r"nothing was received for 0.5 s"):
            await connections.send(url, "GET", "/")
        answer = await connections.send(url, "GET", "/begins")
        assert await answer.read_some() == b"all"
        with pytest.raises(TimeoutError):
            await answer.read_some()
    await connections.close()


async def test_a_cancelled_request_ends_its_connection(connections: Connections) -> None:
    program = Program(b"HTTP/1.1 200 OK\r\n")
    async with listening(program) as url:
        asked = asyncio.create_task(get(connections, url))
        await wait_until(lambda: program.requests)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        await wait_until(lambda: program.open == 0)
        assert connections._addresses[url].in_use == 0


async def test_an_answer_that_is_closed_early_ends_its_connection(connections: Connections) -> None:
    program = Program(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nall")
    async with listening(program) as url:
        (await connections.send(url, "GET", "/")).close()
        await wait_until(lambda: program.open == 0)


async def test_the_connection_of_a_misrouted_answer_is_not_used_again(connections: Connections) -> None:
    """Also when the answer comes in two pieces; in `test_http_client` it comes in one."""
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 2\r\n\r\n")
        await go_on.wait()
        writer.write(b"no")

    async with listening(serve) as url:
        answer = await connections.send(url, "GET", "/", [("x-request-id", "1")])
        go_on.set()
        assert (answer.misrouted, await answer.read()) == (True, b"no")
        assert connections._addresses[url].idle == []


async def test_requests_at_a_time_are_limited_by_address() -> None:
    most = waiting = 0
    go_on = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal most, waiting
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n")
                waiting += 1
                most = max(most, waiting)
                await go_on.wait()
                waiting -= 1
                writer.write(OK)

    connections = Connections(per_host=3)
    async with listening(serve) as url:
        asked = [asyncio.create_task(get(connections, url)) for _ in range(10)]
        asked[9].cancel()
        await wait_until(lambda: waiting == 3)
        go_on.set()
        assert await asyncio.gather(*asked[:9]) == 9 * [(200, b"ok")]
    assert most == 3
    await connections.close()


async def test_a_connection_that_was_idle_for_too_long_is_closed(
    connections: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(of_connections, "KEEP_ALIVE_S", 0.02)
    program = Program(OK)
    async with listening(program) as url:
        await asyncio.gather(*(get(connections, url) for _ in range(3)))
        await wait_until(lambda: program.open == 0)
        await wait_until(lambda: not connections._addresses and not connections._open)
        assert await get(connections, url) == (200, b"ok")


async def test_a_new_connection_is_closed_after_its_request(connections: Connections) -> None:
    program = Program(OK)
    async with listening(program) as url:
        await get(connections, url)
        with contextlib.closing(await connections.send(url, "GET", "/", new=True)) as answer:
            assert await answer.read() == b"ok"
        await wait_until(lambda: program.open == 1)
    assert (program.connections, b"connection: close" in program.requests[1]) == (2, True)


async def test_https_needs_a_certificate_that_is_trusted(
    connections: Connections, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate, program = self_signed(tmp_path), Program(OK)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    server = await asyncio.start_server(program, "127.0.0.1", 0, ssl=context)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    of_connections._tls.cache_clear()
    with pytest.raises(ConnectFailed, match="self-signed certificate"):
        await connections.send(url, "GET", "/")
    assert program.requests == []
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    of_connections._tls.cache_clear()
    assert await get(connections, url) == (200, b"ok")
    of_connections._tls.cache_clear()
    server.close()
