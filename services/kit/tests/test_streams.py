"""The end of a process ends its event streams between two events, also at the gateway that forwards them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from shop.devkit.testing import Tokens, wait_until
from shop.kit import protocol, serve, streams
from shop.kit.app import create_app
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

ANSWER_TIMEOUT_S = 10.0


class Settings(ServiceSettings):
    service = "kit"


class Server(serve.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave the signals to pytest."""
        yield


@dataclass
class Source:
    """The source of the stream: chunks that the test sends."""

    pieces: asyncio.Queue[bytes] = field(default_factory=asyncio.Queue)
    ended: bool = False

    async def events(self) -> AsyncIterator[bytes]:
        try:
            while True:
                yield await self.pieces.get()
        finally:
            self.ended = True


@pytest.fixture
def source() -> Source:
    return Source()


@pytest.fixture
def app(source: Source, tokens: Tokens) -> FastAPI:
    api = router(prefix="/api/v1/notes")

    @api.get("/events")
    async def events() -> StreamingResponse:
        return StreamingResponse(source.events(), media_type="text/event-stream")

    return create_app(Settings(jwks_url=tokens.jwks_url), title="Notes", routers=[api], uses_bus=False)


@pytest.fixture
async def server(app: FastAPI) -> AsyncIterator[Server]:
    config = uvicorn.Config(
        app, port=0, http=protocol.LimitedProtocol, log_config=None, timeout_graceful_shutdown=int(ANSWER_TIMEOUT_S)
    )
    server = Server(config)
    task = asyncio.create_task(server.serve())
    await wait_until(lambda: server.started)
    yield server
    server.should_exit = server.force_exit = True
    await task


@dataclass
class Listener:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    @classmethod
    async def open(cls, server: Server) -> Listener:
        port = server.servers[0].sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"GET /api/v1/notes/events HTTP/1.1\r\nHost: x\r\n\r\n")
        head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), ANSWER_TIMEOUT_S)
        assert b"transfer-encoding: chunked" in head
        return cls(reader, writer)

    async def chunk(self) -> bytes:
        """The next chunk; b"" is the regular end of the answer."""
        size = int(await asyncio.wait_for(self.reader.readline(), ANSWER_TIMEOUT_S), 16)
        data = await self.reader.readexactly(size)
        assert await self.reader.readexactly(2) == b"\r\n"
        return data


async def test_an_idle_stream_ends_at_once(server: Server, source: Source) -> None:
    source.pieces.put_nowait(b"data: 1\n\n")
    listener = await Listener.open(server)
    assert await listener.chunk() == b"data: 1\n\n"
    server.should_exit = True
    assert await listener.chunk() == b""
    await wait_until(lambda: source.ended and not streams._open)


async def test_an_event_that_is_half_sent_is_finished_first(server: Server, source: Source) -> None:
    source.pieces.put_nowait(b"id: 1\ndata: ")
    listener = await Listener.open(server)
    assert await listener.chunk() == b"id: 1\ndata: "
    server.should_exit = True
    await wait_until(lambda: serve.CLOSE in server.server_state.default_headers)
    source.pieces.put_nowait(b"whole\n\n")
    source.pieces.put_nowait(b"data: never sent\n\n")
    assert await listener.chunk() == b"whole\n\n"
    assert await listener.chunk() == b""


async def test_a_stream_whose_client_left_is_forgotten(server: Server, source: Source) -> None:
    listener = await Listener.open(server)
    assert len(streams._open) == 1
    listener.writer.close()
    await wait_until(lambda: source.ended and not streams._open)
