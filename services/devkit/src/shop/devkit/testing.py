"""The pytest plugin of the project: real servers, a fresh migrated database per test, tokens, running applications.

Servers start once per test process, on free ports of this machine; a database is cloned from a migrated template,
so a test starts within milliseconds and sees no data of another. Everything async runs on one loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import inspect
import io
import itertools
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator, Iterator
from functools import cache
from pathlib import Path
from typing import Any, Literal

import asyncpg
import httpx
import nats
import orjson
import pytest
import redis.asyncio as redis
import uvicorn
from fastapi import FastAPI

from shop.devkit import embedded, handlers, memory
from shop.devkit.testing_tokens import Tokens
from shop.kit import db, migrate
from shop.kit.auth import Principal
from shop.kit.ids import new_id
from shop.kit.log_limits import CountingHandler
from shop.kit.logging import JsonFormatter

WAIT_TIMEOUT_S = 20.0
"""Enough for a machine with too much to do, and below the broker's 30 s for an event that was not acknowledged, so that
what is repeated then cannot pass for what was to come at once."""
WAIT_POLL_S = 0.01
WAIT_POLL_MAX_S = 0.05
WAIT_POLL_GROWTH = 1.2
SERVE_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 1
REQUEST_TIMEOUT_S = 30.0
KEEP_ALIVE_S = 75
"""As services have it. uvicorn's 5 s are httpx's as well, and both ends would close an idle connection at once."""
ROLE_PASSWORD = "test"
INTERNAL_TOKEN = "test-internal"
CHEAP_PASSWORDS = {"scram_iterations": "1"}
"""Tests open thousands of connections, each of which hashes a role's password, usually 4,096 times."""

DatabaseFor = Callable[[str], Awaitable[str]]
Running = Callable[[FastAPI], contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]

handlers.keep()

__all__ = ["INTERNAL_TOKEN", "DatabaseFor", "Principal", "Running", "Tokens", "wait_until"]


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Nothing looks for garbage in what is imported and collected: it stays until the end."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


async def wait_until(
    predicate: Callable[[], Any],
    timeout_s: float = WAIT_TIMEOUT_S,
    what: str = "the condition",
    poll_s: float = WAIT_POLL_S,
) -> Any:
    """Poll ``predicate`` (plain or async) until it is true and return its value; AssertionError after ``timeout_s``.

    ``poll_s``: first pause between two looks, larger for predicates that cost something. The pauses become longer, up
    to `WAIT_POLL_MAX_S`: looking at a service takes time that the service could use.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        value = predicate()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"{what} did not come true within {timeout_s:g} s")
        await asyncio.sleep(poll_s)
        poll_s = max(poll_s, min(poll_s * WAIT_POLL_GROWTH, WAIT_POLL_MAX_S))


@pytest.fixture(scope="session")
def servers_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """For the data of servers, each in a folder below: in memory if there is room, otherwise on disk."""
    with memory.folder() as made:
        yield made or tmp_path_factory.mktemp("servers")


@pytest.fixture(scope="session")
def postgres(servers_folder: Path) -> Iterator[embedded.Server]:
    """A PostgreSQL server; its ``url`` is the superuser's."""
    server = embedded.start_postgres(servers_folder / "postgres", durable=False, settings=CHEAP_PASSWORDS)
    yield server
    server.stop()


@pytest.fixture(scope="session")
def nats_server(servers_folder: Path) -> Iterator[embedded.Server]:
    """A NATS server with JetStream; a test that stops it starts it again."""
    server = embedded.start_nats(servers_folder / "nats")
    yield server
    server.stop()


@pytest.fixture(scope="session")
def valkey_server(servers_folder: Path) -> Iterator[embedded.Server]:
    """A Redis-protocol server."""
    server = embedded.start_valkey(servers_folder / "valkey")
    yield server
    server.stop()


async def without_streams(server: embedded.Server) -> str:
    """The URL of the NATS server, without any stream of an earlier test."""
    client = await nats.connect(server.url)
    context = client.jetstream()
    for info in await context.streams_info():
        await context.delete_stream(str(info.config.name))
    await client.close()
    return server.url


@pytest.fixture
async def nats_url(nats_server: embedded.Server) -> str:
    """The URL of the NATS server, without any stream of an earlier test."""
    return await without_streams(nats_server)


@pytest.fixture
async def valkey_url(valkey_server: embedded.Server) -> str:
    """The URL of an empty Redis-protocol server."""
    client = redis.from_url(valkey_server.url)
    await client.flushall()
    await client.aclose()
    return valkey_server.url


class Databases:
    """Databases of one server: a template per service, created and migrated on first use, and clones of it."""

    def __init__(self, server: embedded.Server) -> None:
        self._server = server
        self._templates: set[str] = set()
        self._numbers = itertools.count(1)
        self._connection: asyncpg.Connection | None = None
        self._one_at_a_time = asyncio.Lock()

    def url(self, database: str, role: str) -> str:
        address = self._server.url.rsplit("@", 1)[1].split("/", 1)[0]
        return f"postgresql://{role}:{ROLE_PASSWORD}@{address}/{database}"

    async def template(self, noun: str) -> str:
        """The name of ``noun``'s migrated template database, owned by the role ``shop_<noun>``."""
        name, role = f"template_{noun}", f"shop_{noun}"
        if noun not in self._templates:
            await self._admin(
                f"CREATE ROLE {role} LOGIN PASSWORD '{ROLE_PASSWORD}'",
                f"CREATE DATABASE {name} OWNER {role}",
                f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
            )
            await asyncio.to_thread(migrate.apply, noun, self.url(name, role))
            self._templates.add(noun)
        return name

    async def clone(self, noun: str, source: str | None = None) -> str:
        """The URL, for ``noun``'s own role, of a fresh copy of its template, or of ``source``, which nobody uses."""
        template = await self.template(noun) if source is None else source
        name = f"test_{noun}_{next(self._numbers)}"
        await self._admin(
            # The other strategy writes every page of the template to the log, too.
            f"CREATE DATABASE {name} TEMPLATE {template} OWNER shop_{noun} STRATEGY file_copy",
            f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC",
        )
        return self.url(name, f"shop_{noun}")

    async def drop(self, url: str) -> None:
        await self._admin(f"DROP DATABASE IF EXISTS {url.rsplit('/', 1)[1]} WITH (FORCE)")

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()

    async def _admin(self, *statements: str) -> None:
        """Over a connection that stays open: most tests make a database and drop it."""
        async with self._one_at_a_time:
            if self._connection is None or self._connection.is_closed():
                self._connection = await asyncpg.connect(self._server.url)
            for statement in statements:
                await self._connection.execute(statement)


@pytest.fixture(scope="session")
async def databases(postgres: embedded.Server) -> AsyncIterator[Databases]:
    made = Databases(postgres)
    yield made
    await made.close()


@pytest.fixture
async def database_for(databases: Databases, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[DatabaseFor]:
    """``await database_for("order")`` is the URL of a fresh database with that service's schema and role.

    A busy machine takes seconds for dozens of transactions at once: their turn at a connection is waited for.
    """
    monkeypatch.setattr(db, "ACQUIRE_TIMEOUT_S", WAIT_TIMEOUT_S)
    made: list[str] = []

    async def make(noun: str) -> str:
        made.append(await databases.clone(noun))
        return made[-1]

    yield make
    for url in made:
        await databases.drop(url)


@pytest.fixture(scope="session")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """Access tokens, valid and invalid ones, and the key set that they are verified with."""
    return Tokens(tmp_path_factory.mktemp("keys") / "jwks.json")


Logged = Callable[..., list[dict[str, Any]]]


@pytest.fixture
def logged() -> Iterator[Logged]:
    """``logged(event="order_confirmed")``: the lines, as a service writes them, whose fields have these values."""
    stream, root = io.StringIO(), logging.getLogger()
    handler = CountingHandler(stream)
    handler.setFormatter(JsonFormatter("test"))
    level = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)

    def lines(**wanted: Any) -> list[dict[str, Any]]:
        found = [orjson.loads(line) for line in stream.getvalue().splitlines()]
        return [line for line in found if wanted.items() <= line.items()]

    yield lines
    root.removeHandler(handler)
    root.setLevel(level)


@pytest.fixture(scope="session")
def running() -> Running:
    """``async with running(app) as client``: the application started up, called in process."""
    return _running


@contextlib.asynccontextmanager
async def _running(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=transport, base_url="http://test", timeout=REQUEST_TIMEOUT_S) as client,
    ):
        yield client


class _Server(uvicorn.Server):
    """Ends as uvicorn does, but without its pauses of 0.1 s."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ending = asyncio.Event()

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals are pytest's."""
        yield

    async def main_loop(self) -> None:
        await self.on_tick(0)
        await self.ending.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for server in self.servers:
            server.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        with contextlib.suppress(AssertionError):
            await wait_until(lambda: not state.connections and not state.tasks, STOP_TIMEOUT_S)
        for task in state.tasks:
            task.cancel()
        await self.lifespan.shutdown()


@cache
def _tls() -> ssl.SSLContext:
    """One for all clients: to read the certificates of the machine takes longer than most tests' requests."""
    return ssl.create_default_context()


@pytest.fixture(scope="session")
def served() -> Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]:
    """``async with served(app) as client``: the application on a port of its own; ``client.base_url`` names it."""
    return _served


@contextlib.asynccontextmanager
async def _served(
    app: Any, *, port: int = 0, lifespan: Literal["on", "off"] = "on"
) -> AsyncIterator[httpx.AsyncClient]:
    # By its protocol asyncio knows that it may turn Nagle's algorithm off; with it each answer takes 40 ms.
    listener = socket.socket(proto=socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind(("127.0.0.1", port))
    chosen = listener.getsockname()[1]
    config = uvicorn.Config(
        app,
        log_config=None,
        lifespan=lifespan,
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    server = _Server(config)
    task = asyncio.create_task(server.serve([listener]))
    try:
        await wait_until(lambda: server.started or task.done(), SERVE_TIMEOUT_S, "the application's start")
        base_url = f"http://127.0.0.1:{chosen}"
        async with httpx.AsyncClient(base_url=base_url, verify=_tls(), timeout=REQUEST_TIMEOUT_S) as client:
            yield client
    finally:
        server.ending.set()
        await task


@pytest.fixture
def unique_email() -> str:
    return f"customer-{new_id().hex[-12:]}@example.com"


class RecordedStatements:
    """A database that records the statements which are sent to it outside of transactions, and has no others."""

    def __init__(self, real: Any, seen: list[str]) -> None:
        self._real = real
        self._seen = seen

    @property
    def quick(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def statement(sql: str, *args: Any) -> Any:
            self._seen.append(sql)
            return await method(sql, *args)

        return statement
