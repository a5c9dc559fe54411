from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import orjson
import pytest
from fastapi import FastAPI
from starlette.types import Receive, Scope, Send

from shop.devkit.testing import INTERNAL_TOKEN, Tokens, _served
from shop.gateway.gateway import Gateway
from shop.gateway.main import make_app
from shop.gateway.services import API, FALLBACK
from shop.gateway.settings import Settings

NOUNS = sorted({*API.values(), FALLBACK})
Handler = Callable[[Scope, Receive, Send], Awaitable[None]]


@dataclass
class Call:
    """A request as it reached an upstream."""

    service: str
    method: str
    path: str
    query: str
    headers: list[tuple[str, str]]
    body: bytes = b""

    def header(self, name: str) -> list[str]:
        return [value for key, value in self.headers if key == name]


@dataclass
class Upstream:
    """A small real server; it records its requests and answers with them, or by ``handler``."""

    name: str
    port: int = 0
    calls: list[Call] = field(default_factory=list)
    handler: Handler | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(key.decode(), value.decode(errors="replace")) for key, value in scope["headers"]]
        path, query = scope["raw_path"].decode(), scope["query_string"].decode()
        call = Call(self.name, scope["method"], path, query, headers)
        self.calls.append(call)
        if self.handler:
            await self.handler(scope, receive, send)
            return
        call.body = await read_body(receive)
        await answer_json(
            send, {"service": self.name, "path": path, "query": query, "body": call.body.decode(errors="replace")}
        )


async def read_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            return bytes(body)


async def answer_json(send: Send, document: Any, status: int = 200) -> None:
    headers = [(b"content-type", b"application/json"), (b"x-upstream", b"yes")]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": orjson.dumps(document)})


@dataclass
class Shop:
    """A running gateway, the servers behind it, and a client in front."""

    client: httpx.AsyncClient
    app: FastAPI
    upstreams: dict[str, Upstream]
    tokens: Tokens

    @property
    def gateway(self) -> Gateway:
        gateway: Gateway = self.app.state.service
        return gateway

    @property
    def product(self) -> Upstream:
        return self.upstreams["product"]

    @property
    def order(self) -> Upstream:
        return self.upstreams["order"]

    def calls(self) -> list[Call]:
        return [call for upstream in self.upstreams.values() for call in upstream.calls]

    def customer(self) -> dict[str, str]:
        return self.tokens.headers()

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A bare connection to the gateway."""
        return await asyncio.open_connection("127.0.0.1", self.client.base_url.port)

    async def raw(self, request: bytes) -> bytes:
        """All that the gateway answers to these bytes until it closes the connection."""
        reader, writer = await self.connect()
        writer.write(request)
        await writer.drain()
        try:
            return await asyncio.wait_for(reader.read(), 10)
        finally:
            writer.close()


Open = Callable[..., contextlib.AbstractAsyncContextManager[Shop]]
Served = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


@pytest.fixture(scope="session")
async def all_upstreams() -> AsyncIterator[dict[str, Upstream]]:
    """One server per service for all tests of this process: starting them anew for each would take most of the time."""
    upstreams = {noun: Upstream(noun) for noun in NOUNS}
    async with contextlib.AsyncExitStack() as stack:
        for upstream in upstreams.values():
            client = await stack.enter_async_context(_served(upstream, lifespan="off"))
            upstream.port = client.base_url.port or 0
        yield upstreams


@contextlib.contextmanager
def closed_port() -> Iterator[int]:
    """A reserved port without a listener."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved.getsockname()[1]


@pytest.fixture
def open_shop(served: Served, all_upstreams: dict[str, Upstream], tokens: Tokens) -> Open:
    """Starts a gateway; settings may be given, and ``down`` names services that cannot be connected to."""

    @contextlib.asynccontextmanager
    async def start(down: tuple[str, ...] = (), **changed: Any) -> AsyncIterator[Shop]:
        for upstream in all_upstreams.values():
            upstream.calls, upstream.handler = [], None
        limits = {"rate_limit_per_second": 0, "sign_in_rate_limit_per_second": 0, "connect_window_s": 0.1}
        with closed_port() as unused_port:
            urls = {f"{noun}_url": upstream.url for noun, upstream in all_upstreams.items()}
            urls |= {f"{noun}_url": f"http://127.0.0.1:{unused_port}" for noun in down}
            known: dict[str, Any] = {"jwks_url": tokens.jwks_url, "internal_token": INTERNAL_TOKEN, **urls, **limits}
            app = make_app(Settings(**known | changed))
            async with served(app) as client:
                yield Shop(client, app, all_upstreams, tokens)

    return start


@pytest.fixture
async def shop(open_shop: Open) -> AsyncIterator[Shop]:
    async with open_shop() as opened:
        yield opened
