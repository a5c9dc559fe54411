"""The client between services, against real servers on real ports."""

from __future__ import annotations

import asyncio
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from services.kit.tests.http_programs import OK, Program, listening
from shop.devkit.testing import wait_until
from shop.kit import spans
from shop.kit.balancing.breaker import State
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable, install_error_handlers
from shop.kit.http import Clients, ServiceClient
from shop.kit.http import client as http
from shop.kit.http.answer import Answer
from shop.kit.http.connections import Connections
from shop.kit.http.pool import READY_PATH
from shop.kit.observe import Observe

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Upstream:
    """A server that counts its calls and gives the configured answers."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.fail_next = 0
        self.hang = asyncio.Event()
        self.app = FastAPI()
        install_error_handlers(self.app)
        self.app.add_middleware(Observe, max_body_bytes=65_536)
        self.app.add_api_route("/echo", self.echo, methods=["GET", "POST"])
        self.app.add_api_route("/problem", self.problem, methods=["POST"])
        self.app.add_api_route("/slow", self.slow, methods=["POST"])
        self.app.add_api_route("/plain", self.plain)
        self.app.add_api_route("/busy", self.busy, methods=["POST"])

    async def echo(self, request: Request) -> Response:
        self.calls[request.method] += 1
        self.headers = dict(request.headers)
        if self.fail_next > 0:
            self.fail_next -= 1
            return Response(status_code=500)
        return Response(await request.body() or b"null", media_type="application/json")

    async def problem(self) -> None:
        raise Problem(409, "insufficient_stock", "Only 2 left.", extra={"available": 2})

    async def slow(self) -> None:
        self.calls["slow"] += 1
        await self.hang.wait()

    async def plain(self) -> Response:
        return Response("<h1>Teapot</h1>", 418)

    async def busy(self) -> None:
        raise Problem(503, "overloaded", "Too many at once.")


@pytest.fixture
async def upstream(served: Served) -> AsyncIterator[tuple[Upstream, ServiceClient]]:
    upstream = Upstream()
    async with served(upstream.app) as client:
        clients = Clients("secret")
        yield upstream, clients.get("product", str(client.base_url))
        upstream.hang.set()
        await clients.close()


Pair = tuple[Upstream, ServiceClient]


async def test_json_trace_and_tokens_are_sent(upstream: Pair) -> None:
    server, client = upstream
    spans.ServerSpan("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "request-1")
    answer = await client.post("/echo", json={"a": 1}, internal=True)
    assert (answer.status, answer.json) == (200, {"a": 1})
    assert server.headers["authorization"] == "Bearer secret"
    assert server.headers["traceparent"].split("-")[1] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert server.headers["x-request-id"] == "request-1"
    await client.get("/echo", token="person")
    assert server.headers["authorization"] == "Bearer person"


async def test_a_problem_document_is_raised_with_all_its_members(upstream: Pair) -> None:
    with pytest.raises(Problem) as caught:
        await upstream[1].post("/problem", json={})
    assert (caught.value.status, caught.value.code, caught.value.extra) == (409, "insufficient_stock", {"available": 2})


async def test_a_503_that_refuses_is_raised_as_its_problem(upstream: Pair) -> None:
    with pytest.raises(Problem) as caught:
        await upstream[1].post("/busy", json={}, refusals={"overloaded"})
    assert (caught.value.status, caught.value.code) == (503, "overloaded")
    with pytest.raises(OutcomeUnknown):
        await upstream[1].post("/busy", json={}, refusals={"no_courier"})


async def test_an_error_without_a_problem_document_leaves_the_outcome_unknown(upstream: Pair) -> None:
    with pytest.raises(OutcomeUnknown, match="product answered 418"):
        await upstream[1].get("/plain")


SERVED = b'HTTP/1.1 200 OK\r\nContent-Length: 19\r\n\r\n{"status":"served"}'
BUSY = b'HTTP/1.1 503 Busy\r\nX-Request-Id: %b\r\nContent-Length: 31\r\n\r\n{"code":"busy","detail":"Busy"}'
OTHER_PROGRAM = b"HTTP/1.1 %s\r\nContent-Length: 2\r\n\r\nno"


@pytest.fixture
async def client_of() -> AsyncIterator[Callable[[str], ServiceClient]]:
    connections = Connections()
    yield lambda urls: ServiceClient("product", urls, connections)
    await connections.close()


ClientOf = Callable[[str], ServiceClient]


@pytest.mark.parametrize("status", [b"403 Forbidden", b"503 Service Unavailable"])
async def test_a_misrouted_connection_is_closed(client_of: ClientOf, status: bytes) -> None:
    """The other program keeps it open and would answer every later request; the service is there by now."""
    other = Program(OTHER_PROGRAM % status)
    listening_other = await asyncio.start_server(other, "127.0.0.1", 0, reuse_port=True)
    port = listening_other.sockets[0].getsockname()[1]
    client = client_of(f"http://127.0.0.1:{port}")
    with pytest.raises(OutcomeUnknown, match="a misrouted connection answered"):
        await client.post("/echo", json={})
    listening_other.close()
    service = await asyncio.start_server(Program(SERVED), "127.0.0.1", port, reuse_port=True)
    assert (await client.post("/echo", json={})).json == {"status": "served"}
    await wait_until(lambda: other.closed)
    service.close()


async def test_idle_connections_to_the_address_of_a_misrouted_one_are_closed_too(client_of: ClientOf) -> None:
    server = Program(SERVED)
    async with listening(server) as url:
        client = client_of(url)
        await asyncio.gather(*(client.post("/echo", json={}) for _ in range(3)))
        assert (server.connections, server.closed) == (3, 0)
        server.answer_with(OTHER_PROGRAM % b"403 Forbidden")
        with pytest.raises(OutcomeUnknown):
            await client.post("/echo", json={})
        await wait_until(lambda: server.closed == 3)


async def test_closing_the_clients_closes_their_connections() -> None:
    server = Program(SERVED)
    clients = Clients("secret")
    async with listening(server) as url:
        await clients.get("product", url).post("/echo")
        assert server.closed == 0
        await clients.close()
        await wait_until(lambda: server.closed == 1)


async def test_the_connection_to_a_service_that_fails_is_kept(client_of: ClientOf) -> None:
    server = Program(BUSY)
    async with listening(server) as url:
        client = client_of(url)
        for _ in range(2):
            with pytest.raises(OutcomeUnknown, match="product answered 503"):
                await client.post("/busy", json={})
        assert (server.connections, len(server.requests)) == (1, 2)


@pytest.mark.parametrize(("method", "sent"), [("PUT", 2), ("DELETE", 2), ("POST", 1), ("PATCH", 1)])
async def test_what_a_closing_connection_lost_is_repeated_if_it_is_idempotent(
    client_of: ClientOf, method: str, sent: int
) -> None:
    requests: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        requests.append(await reader.readuntil(b"\r\n\r\n"))
        writer.close()

    async with listening(serve) as url:
        client = client_of(url)
        with pytest.raises(OutcomeUnknown):
            await client.request(method, "/echo")
        assert len(requests) == sent


async def test_a_get_is_tried_again_and_a_post_is_not(upstream: Pair) -> None:
    server, client = upstream
    server.fail_next = 1
    assert (await client.get("/echo")).status == 200
    assert server.calls["GET"] == 2
    server.fail_next = 1
    with pytest.raises(OutcomeUnknown):
        await client.post("/echo", json={})
    assert server.calls["POST"] == 1


async def test_a_deadline_leaves_the_outcome_unknown(upstream: Pair) -> None:
    with pytest.raises(OutcomeUnknown) as caught:
        await upstream[1].post("/slow", json={}, timeout_s=0.05)
    assert caught.value.service == "product"


@pytest.fixture
def short_window(monkeypatch: pytest.MonkeyPatch) -> None:
    """A short window for refused connections."""
    monkeypatch.setattr(http, "CONNECT_WINDOW_S", 0.4)


@pytest.fixture
def closed() -> Iterator[socket.socket]:
    """A port that refuses connections until a server listens on it."""
    with socket.socket() as reserved:
        reserved.bind(("127.0.0.1", 0))
        yield reserved


def address(listener: socket.socket) -> str:
    return f"http://127.0.0.1:{listener.getsockname()[1]}"


def counted(client: ServiceClient, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every try of the client from now on."""
    tries: list[str] = []
    connections = client.pool.connections
    send = connections.send

    async def counting(base_url: str, method: str, target: str, *request: Any, **options: Any) -> Answer:
        if target != READY_PATH:
            tries.append(method)
        return await send(base_url, method, target, *request, **options)

    monkeypatch.setattr(connections, "send", counting)
    return tries


@pytest.mark.usefixtures("short_window")
async def test_a_refused_connection_is_unavailable_and_has_no_effect(
    client_of: ClientOf, closed: socket.socket
) -> None:
    client = client_of(address(closed))
    with pytest.raises(Unavailable) as caught:
        await client.post("/echo", json={})
    assert not isinstance(caught.value, OutcomeUnknown)


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_request_waits_for_a_service_that_is_starting(
    client_of: ClientOf, closed: socket.socket, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    monkeypatch.setattr(http, "CONNECT_WINDOW_S", 30.0)
    client = client_of(address(closed))
    tries = counted(client, monkeypatch)
    asked = asyncio.create_task(client.request(method, "/echo", timeout_s=60.0))
    await wait_until(lambda: len(tries) > 6)
    assert client.pool.instances[0].breaker._failures == 0
    service = Program(OK, closes=True)
    async with await asyncio.start_server(service, sock=closed):
        assert (await asked).status == 200
    assert len(service.requests) == 1


@pytest.mark.usefixtures("short_window")
async def test_a_refused_request_counts_once_however_often_it_was_tried(
    client_of: ClientOf, closed: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = client_of(address(closed))
    tries = counted(client, monkeypatch)
    breaker = client.pool.instances[0].breaker
    for number in range(1, breaker.failures_to_open + 1):
        assert breaker.state is State.CLOSED
        with pytest.raises(Unavailable):
            await client.post("/echo", json={})
        assert len(tries) > number
    assert breaker.state is State.OPEN
    del tries[:]
    with pytest.raises(Unavailable, match="breaker open"):
        await client.post("/echo", json={})
    assert tries == []


@pytest.mark.usefixtures("short_window")
async def test_an_instance_that_is_ready_again_gets_requests_at_once(
    client_of: ClientOf, closed: socket.socket
) -> None:
    """However long its breaker would stay open: it opened because connections were refused."""
    client = client_of(address(closed))
    breaker = client.pool.instances[0].breaker
    breaker.reset_s = 600.0
    for _ in range(breaker.failures_to_open):
        with pytest.raises(Unavailable):
            await client.post("/echo", json={})
    assert str(breaker.state) == "open"
    service = Program(OK, closes=True)
    async with await asyncio.start_server(service, sock=closed):
        assert (await client.post("/echo", json={})).status == 200
    assert [request.split(b" ")[1] for request in service.requests] == [b"/health/ready", b"/echo"]
    assert str(breaker.state) == "closed"


async def test_the_other_instance_takes_over_and_the_breaker_opens(
    client_of: ClientOf, upstream: Pair, closed: socket.socket
) -> None:
    server, client = upstream
    both = client_of(f"{address(closed)},{client.pool.instances[0].base_url}")
    both.pool.instances[0].breaker.reset_s = 600.0
    for _ in range(60):
        await both.post("/echo", json={})
    assert both.pool.instances[0].breaker.state is State.OPEN
    assert server.calls["POST"] == 60


async def test_a_window_never_takes_more_than_half_of_a_calls_limit(client_of: ClientOf, closed: socket.socket) -> None:
    client = client_of(address(closed))
    with pytest.raises(Unavailable) as caught:
        await client.post("/echo", json={}, timeout_s=0.4)
    assert not isinstance(caught.value, OutcomeUnknown)


async def test_open_breakers_everywhere_are_unavailable_without_a_call(upstream: Pair) -> None:
    server, client = upstream
    server.fail_next = 5
    for _ in range(5):
        with pytest.raises(Unavailable):
            await client.post("/echo", json={})
    with pytest.raises(Unavailable, match="breaker open"):
        await client.post("/echo", json={})
    assert server.calls["POST"] == 5
