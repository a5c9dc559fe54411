"""Requests as they are written, and answers as they are read, without a network."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.kit.http.connection import Connection, request_head


def test_a_request_is_written_as_one_reads_it() -> None:
    head = request_head("POST", "/a?b=1", "shop:80", [("x-request-id", "r"), ("name", "Zoë")], b"body")
    written = "POST /a?b=1 HTTP/1.1\r\nhost: shop:80\r\nx-request-id: r\r\nname: Zoë\r\ncontent-length: 4\r\n\r\n"
    assert head == written.encode()
    assert b"host: there\r\n" in request_head("GET", "/", "here", [("host", "there")], None)
    assert b"host: here" not in request_head("GET", "/", "here", [("host", "there")], None)


@pytest.mark.parametrize(
    ("method", "length"), [("GET", b""), ("HEAD", b""), ("POST", b"0"), ("PUT", b"0"), ("DELETE", b"0")]
)
def test_the_length_of_a_missing_body_is_stated_where_one_is_expected(method: str, length: bytes) -> None:
    head = request_head(method, "/", "shop", (), None)
    assert head.partition(b"content-length: ")[2].strip() == length


@pytest.mark.parametrize(
    ("target", "header"),
    [("/", "a\r\nx: y"), ("/", "a\nb"), ("/", "a\rb"), ("/", "a\0"), ("/ HTTP/1.1\r\nx: y", "a"), ("/a b", "a")],
)
def test_nothing_in_a_header_or_target_becomes_another_header(target: str, header: str) -> None:
    with pytest.raises(ValueError, match="line breaks"):
        request_head("GET", target, "shop", [("name", header)], None)


class Recorded(asyncio.Transport):
    """A transport without a network."""

    def __init__(self) -> None:
        super().__init__()
        self.closed = False

    def write(self, data: object) -> None: ...

    def pause_reading(self) -> None: ...

    def resume_reading(self) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    abort = close


def chunked(content: bytes, sizes: Sequence[int]) -> bytes:
    """The content in chunks of these sizes."""
    written, rest = b"", content
    for size in sizes:
        part, rest = rest[:size], rest[size:]
        written += b"%x;name=value\r\n%b\r\n" % (len(part), part) if part else b""
    return written + (b"%X\r\n%b\r\n" % (len(rest), rest) if rest else b"") + b"0\r\nTrailer: x\r\n\r\n"


@settings(max_examples=100, deadline=None)
@given(
    content=st.binary(max_size=300),
    sizes=st.none() | st.lists(st.integers(1, 40), max_size=6),
    headers=st.lists(
        st.tuples(st.from_regex(r"X-[A-Za-z]{1,9}", fullmatch=True), st.from_regex(r"[!-~]{0,20}", fullmatch=True)),
        max_size=5,
    ),
    cuts=st.lists(st.integers(1, 60), max_size=30),
)
def test_an_answer_is_the_same_however_it_is_cut(
    content: bytes, sizes: list[int] | None, headers: list[tuple[str, str]], cuts: list[int]
) -> None:
    framing = b"Content-Length: %d" % len(content) if sizes is None else b"Transfer-Encoding: chunked"
    fields = b"".join(f"{name}: {value}\r\n".encode() for name, value in headers)
    body = content if sizes is None else chunked(content, sizes)
    sent = b"HTTP/1.1 200 OK\r\n" + fields + framing + b"\r\n\r\n" + body
    asyncio.run(read_in_pieces(sent, cuts, content, [(name.lower(), value) for name, value in headers]))


async def read_in_pieces(sent: bytes, cuts: list[int], content: bytes, headers: list[tuple[str, str]]) -> None:
    ended: list[bool] = []
    connection = Connection(lambda _, reusable: ended.append(reusable), None)
    connection.connection_made(Recorded())
    for _ in range(2):
        asked = asyncio.create_task(connection.send("GET", b"", None, ""))
        await asyncio.sleep(0)
        rest = sent
        for size in cuts:
            piece, rest = rest[:size], rest[size:]
            if piece:
                connection.data_received(piece)
        if rest:
            connection.data_received(rest)
        answer = await asked
        assert [(name.decode(), value.decode()) for name, value in answer.headers[: len(headers)]] == headers
        assert await answer.read() == content
    assert ended == [True, True]
