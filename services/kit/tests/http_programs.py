"""Programs at the other end of connections between services, which answer with whatever bytes a test gives them."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

from shop.kit.http.connections import Connections

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BODY_LENGTH = re.compile(rb"content-length: (\d+)")
REQUEST_ID = re.compile(rb"x-request-id: (\S+)")


class Program:
    """Answers each request with the next of ``answers``, and the last one for ever; "" closes the connection.

    The id of the request stands in the answer where it has ``%b``.
    """

    def __init__(self, *answers: bytes, closes: bool = False) -> None:
        self.requests: list[bytes] = []
        self.connections = 0
        self.open = 0
        self._closes = closes
        self.answer_with(*answers)

    def answer_with(self, *answers: bytes) -> None:
        self._answers: Iterator[bytes] = itertools.chain(answers, itertools.repeat(answers[-1]))

    @property
    def closed(self) -> int:
        return self.connections - self.open

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            while True:
                self.requests.append(await read_request(reader))
                writer.write(with_id_of(self.requests[-1], next(self._answers)))
                await writer.drain()
                if self._closes:
                    break
        self.open -= 1
        writer.close()


def with_id_of(request: bytes, answer: bytes) -> bytes:
    return answer % REQUEST_ID.findall(request)[0] if b"%b" in answer else answer


async def read_request(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    if b"transfer-encoding: chunked" in head:
        return head + await reader.readuntil(b"0\r\n\r\n")
    length = BODY_LENGTH.search(head)
    return head + await reader.readexactly(int(length[1])) if length else head


type Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@contextlib.asynccontextmanager
async def listening(program: Serve) -> AsyncIterator[str]:
    server = await asyncio.start_server(program, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()


async def get(connections: Connections, url: str, method: str = "GET") -> tuple[int, bytes]:
    with contextlib.closing(await connections.send(url, method, "/")) as answer:
        return answer.status, await answer.read()
