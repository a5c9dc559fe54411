"""What the client between services adds to balancing: repeats and their budget, hedging, health checks, Retry-After."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable

import pytest

from shop.kit.balancing.budget import MAX_SAVED, RETRY_SHARE
from shop.kit.balancing.rules import Rules
from shop.kit.errors import OutcomeUnknown
from shop.kit.http import ServiceClient
from shop.kit.http.connections import Connections

NEVER_OPENS = Rules(failures_to_open=1_000)
OK, ERROR = b"200 OK", b"500 Internal Server Error"
BUSY = b"503 Service Unavailable\r\nRetry-After: 20"


class Server:
    """Answers each request with the same status, or not at all while ``answer`` is empty."""

    def __init__(self, answer: bytes) -> None:
        self.answer = answer
        self.requests = 0
        self.url = ""

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while request := await reader.read(65_536):
            self.requests += 1
            own = [line for line in request.split(b"\r\n") if line.lower().startswith(b"x-request-id:")]
            if self.answer:
                writer.write(b"\r\n".join([b"HTTP/1.1 " + self.answer, *own, b"Content-Length: 2", b"", b"{}"]))
        writer.close()


ClientOf = Callable[..., ServiceClient]


@contextlib.asynccontextmanager
async def listening(*answers: bytes) -> AsyncIterator[list[Server]]:
    async with contextlib.AsyncExitStack() as stack:
        servers = [Server(answer) for answer in answers]
        for server in servers:
            opened = await asyncio.start_server(server, "127.0.0.1", 0)
            stack.callback(opened.close)
            server.url = f"http://127.0.0.1:{opened.sockets[0].getsockname()[1]}"
        yield servers


@pytest.fixture
async def client_of() -> AsyncIterator[ClientOf]:
    connections = Connections()

    def make(*servers: Server, rules: Rules = NEVER_OPENS) -> ServiceClient:
        return ServiceClient("product", ",".join(one.url for one in servers), connections, rules=rules)

    yield make
    await connections.close()


async def test_a_read_that_failed_is_sent_to_another_instance(client_of: ClientOf) -> None:
    async with listening(ERROR, OK, OK) as [failing, *others]:
        client = client_of(failing, *others)
        for busy in client.pool.instances[1:]:
            busy.inflight = 900
        for _ in range(10):
            assert (await client.get("/work")).status == 200
        assert failing.requests >= 1


async def test_repeats_stay_within_their_budget(client_of: ClientOf) -> None:
    async with listening(ERROR) as [failing]:
        client, calls = client_of(failing), 100
        for _ in range(calls):
            with pytest.raises(OutcomeUnknown):
                await client.get("/work")
        assert calls + MAX_SAVED <= failing.requests <= calls * (1 + 2 * RETRY_SHARE) + MAX_SAVED + 10


async def test_a_read_that_is_not_answered_in_time_is_sent_to_another_instance_if_that_is_wanted(
    client_of: ClientOf,
) -> None:
    async with listening(b"", OK) as [silent, quick]:
        client = client_of(silent, quick)
        client.pool.instances[1].inflight = 1
        assert (await client.get("/work", hedge_after_s=0.01)).status == 200
        assert (silent.requests, quick.requests) == (1, 1)
        client.pool.instances[1].inflight = 900
        with pytest.raises(OutcomeUnknown):
            await client.post("/work", hedge_after_s=0.01, timeout_s=0.5)
        assert (silent.requests, quick.requests) == (2, 1)


async def test_an_instance_that_asks_for_a_pause_gets_one(client_of: ClientOf) -> None:
    async with listening(BUSY, OK) as [busy, other]:
        client = client_of(busy, other)
        client.pool.instances[1].inflight = 1
        with pytest.raises(OutcomeUnknown):
            await client.post("/work")
        client.pool.instances[1].inflight = 900
        for _ in range(20):
            await client.post("/work")
        assert (busy.requests, other.requests) == (1, 20)


async def test_a_read_is_not_sent_again_to_an_instance_that_asked_for_a_pause(client_of: ClientOf) -> None:
    async with listening(BUSY, OK) as [busy, other]:
        with pytest.raises(OutcomeUnknown):
            await client_of(busy).get("/work")
        assert busy.requests == 1
        client = client_of(busy, other)
        client.pool.instances[1].inflight = 1
        assert (await client.get("/work")).status == 200
        assert (busy.requests, other.requests) == (2, 1)


async def test_instances_that_are_not_ready_are_passed_over(client_of: ClientOf) -> None:
    async with listening(OK, OK) as [ill, well]:
        client = client_of(ill, well)
        ill.answer = ERROR
        for _ in range(2):
            await client.pool.check(1.0)
        client.pool.instances[1].inflight = 900
        asked = ill.requests
        for _ in range(20):
            await client.post("/work")
        assert ill.requests == asked
        ill.answer = OK
        await client.pool.check(1.0)
        assert client.pool.balancer.usable == 2


async def test_a_single_instance_is_not_checked(client_of: ClientOf) -> None:
    async with listening(ERROR) as [only]:
        client = client_of(only)
        for _ in range(3):
            await client.pool.check(1.0)
        assert (only.requests, client.pool.balancer.usable) == (0, 1)
