"""Levers on a process's calls: breakers that an administrator opens and closes, and injected faults."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from shop.devkit.testing import INTERNAL_TOKEN, Tokens
from shop.kit.app import create_app
from shop.kit.balancing.balancer import Balancer
from shop.kit.balancing.breaker import RESET_S, Breaker, State
from shop.kit.balancing.instance import About
from shop.kit.errors import OutcomeUnknown, Unavailable
from shop.kit.http import ServiceClient
from shop.kit.http.faults import Fault
from shop.kit.settings import ServiceSettings

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]
HELD_S = 60.0
INSIDE = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}


@dataclass
class Time:
    at: float = 1_000.0

    def __call__(self) -> float:
        return self.at


def test_a_breaker_that_is_held_open_does_not_heed_results() -> None:
    now = Time()
    breaker = Breaker(now=now)
    breaker.hold_open(HELD_S)
    breaker.succeeded()
    breaker.try_again()
    breaker.open()
    now.at += RESET_S
    assert (breaker.state, breaker.allows()) == (State.OPEN, False)
    now.at += HELD_S
    assert breaker.allows(), "one request is the probe"
    breaker.succeeded()
    assert breaker.state is State.CLOSED


def test_a_breaker_is_closed_before_its_time() -> None:
    breaker = Breaker(now=Time())
    breaker.hold_open(HELD_S)
    breaker.close()
    assert (breaker.state, breaker.allows()) == (State.CLOSED, True)


def test_instances_that_are_found_meanwhile_get_nothing_either() -> None:
    balancer = Balancer(["http://a", "http://b"], now=Time())
    balancer.hold_open(HELD_S)
    balancer.update({"http://a": About(), "http://c": About()})
    assert balancer.pick() is None
    assert balancer.usable == 0
    balancer.close_breakers()
    assert balancer.pick() is not None
    balancer.update({"http://a": About(), "http://d": About()})
    assert balancer.usable == 2


async def test_a_fault_ends_by_itself() -> None:
    fault = Fault(latency_s=0.0, error_share=0.5, until=10.0)
    assert await fault.fails(9.0, draw=lambda: 0.4)
    assert not await fault.fails(9.0, draw=lambda: 0.5)
    assert not await fault.fails(10.0, draw=lambda: 0.4)


class Settings(ServiceSettings):
    service = "kit"


@dataclass
class Caller:
    """An application with a client of another service, which counts what reaches it."""

    inside: httpx.AsyncClient
    called: ServiceClient
    arrived: list[str] = field(default_factory=list)

    async def put(self, lever: str, status: int = 204, **body: Any) -> httpx.Response:
        answer = await self.inside.put(f"/internal/upstreams/{lever}", json=body, headers=INSIDE)
        assert answer.status_code == status, answer.text
        return answer

    async def state(self) -> dict[str, Any]:
        answer = await self.inside.get("/internal/upstreams", headers=INSIDE)
        [found] = answer.json()["items"]
        return dict(found)


@pytest.fixture
def open_caller(served: Served, tokens: Tokens) -> Callable[[bool], AbstractAsyncContextManager[Caller]]:
    @contextlib.asynccontextmanager
    async def start(fault_injection: bool) -> AsyncIterator[Caller]:
        arrived: list[str] = []

        async def answer(request: Request) -> Response:
            arrived.append(request.method)
            return Response("{}")

        methods = ["GET", "POST"]
        settings = Settings(jwks_url=tokens.jwks_url, internal_token=INTERNAL_TOKEN, fault_injection=fault_injection)
        async with served(Starlette(routes=[Route("/", answer, methods=methods)]), lifespan="off") as other:
            url = str(other.base_url)
            app = create_app(
                settings, title="Caller", build=lambda context: context.clients.get("product", url), uses_bus=False
            )
            async with served(app) as inside:
                yield Caller(inside, app.state.service, arrived)

    return start


@pytest.fixture
async def caller(open_caller: Any) -> AsyncIterator[Caller]:
    async with open_caller(True) as made:
        yield made


async def test_an_opened_breaker_keeps_requests_back_until_it_is_closed(caller: Caller) -> None:
    await caller.put("product/breaker", state="open", seconds=HELD_S)
    with pytest.raises(Unavailable):
        await caller.called.get("/")
    assert caller.arrived == []
    assert (await caller.state())["breaker"] == "open"
    await caller.put("product/breaker", state="closed")
    await caller.called.get("/")
    assert caller.arrived == ["GET"]
    assert (await caller.state())["breaker"] == "closed"


async def test_an_injected_failure_is_no_request(caller: Caller) -> None:
    await caller.put("product/fault", error_percent=100, seconds=HELD_S)
    with pytest.raises(OutcomeUnknown):
        await caller.called.post("/")
    assert caller.arrived == []
    fault = (await caller.state())["fault"]
    assert (fault["latency_ms"], fault["error_percent"]) == (0, 100)
    await caller.put("product/fault")
    await caller.called.post("/")
    assert caller.arrived == ["POST"]
    assert (await caller.state())["fault"] is None


async def test_injected_latency_is_time_in_which_nothing_is_sent(caller: Caller) -> None:
    await caller.put("product/fault", latency_ms=10_000, seconds=HELD_S)
    waiting = asyncio.create_task(caller.called.get("/", timeout_s=0.05))
    with pytest.raises(OutcomeUnknown):
        await waiting
    assert caller.arrived == []


async def test_faults_are_refused_where_they_are_not_allowed(open_caller: Any) -> None:
    async with open_caller(False) as caller:
        answer = await caller.put("product/fault", 409, error_percent=100)
        assert answer.json()["code"] == "faults_not_allowed"
        await caller.called.get("/")
        assert caller.arrived == ["GET"]
        await caller.put("product/breaker", state="closed")


async def test_levers_are_for_services_alone_and_have_limits(caller: Caller) -> None:
    for method, path in (("GET", ""), ("PUT", "/product/breaker"), ("PUT", "/product/fault")):
        answer = await caller.inside.request(method, f"/internal/upstreams{path}", json={"state": "open"})
        assert answer.status_code == 401, path
    await caller.put("wine/breaker", 404, state="open")
    await caller.put("product/breaker", 422, state="open", seconds=3_600)
    await caller.put("product/breaker", 422, state="ajar")
    await caller.put("product/fault", 422, latency_ms=60_000)
    await caller.put("product/fault", 422, error_percent=101)
    await caller.called.get("/")
