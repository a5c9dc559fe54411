"""The client between services, against real servers on real ports."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager

import httpx
import pytest
from fastapi import FastAPI, Request, Response

from shop.kit import telemetry
from shop.kit.breaker import State
from shop.kit.embedded import free_port
from shop.kit.errors import OutcomeUnknown, Problem, Unavailable, install_error_handlers
from shop.kit.http import Clients, ServiceClient

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


class Upstream:
    """A server that counts its calls and answers as told."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.headers: dict[str, str] = {}
        self.fail_next = 0
        self.hang = asyncio.Event()
        self.app = FastAPI()
        install_error_handlers(self.app)
        self.app.add_api_route("/echo", self.echo, methods=["GET", "POST"])
        self.app.add_api_route("/problem", self.problem, methods=["POST"])
        self.app.add_api_route("/slow", self.slow, methods=["POST"])
        self.app.add_api_route("/plain", self.plain)

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
    telemetry.begin_request("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "request-1")
    answer = await client.post("/echo", json={"a": 1}, internal=True)
    assert (answer.status, answer.json) == (200, {"a": 1})
    assert server.headers["authorization"] == "Bearer secret"
    assert server.headers["traceparent"].split("-")[1] == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert server.headers["x-request-id"] == "request-1"
    await client.get("/echo", token="person")
    assert server.headers["authorization"] == "Bearer person"


async def test_a_problem_of_the_upstream_arrives_whole(upstream: Pair) -> None:
    with pytest.raises(Problem) as caught:
        await upstream[1].post("/problem", json={})
    assert (caught.value.status, caught.value.code, caught.value.extra) == (409, "insufficient_stock", {"available": 2})


async def test_an_odd_answer_is_a_problem_too(upstream: Pair) -> None:
    with pytest.raises(Problem) as caught:
        await upstream[1].get("/plain")
    assert (caught.value.status, caught.value.code) == (418, "upstream_error")


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


async def test_a_refused_connection_is_known_not_to_have_happened() -> None:
    client = ServiceClient("product", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable) as caught:
        await client.post("/echo", json={})
    assert not isinstance(caught.value, OutcomeUnknown)
    await client.close()


async def test_the_breaker_opens_and_the_other_instance_takes_over(upstream: Pair) -> None:
    server, client = upstream
    both = ServiceClient("product", f"http://127.0.0.1:{free_port()},{client._instances[0].url}")
    refused = 0
    for _ in range(60):
        try:
            await both.post("/echo", json={})
        except Unavailable:
            refused += 1
    dead = both._instances[0].breaker
    assert (refused, dead.state) == (dead.failures_to_open, State.OPEN)
    assert server.calls["POST"] == 60 - refused
    await both.close()


async def test_open_breakers_everywhere_are_unavailable_without_a_call(upstream: Pair) -> None:
    server, client = upstream
    server.fail_next = 5
    for _ in range(5):
        with pytest.raises(Unavailable):
            await client.post("/echo", json={})
    with pytest.raises(Unavailable, match="breaker open"):
        await client.post("/echo", json={})
    assert server.calls["POST"] == 5
