"""Levers on a process's gRPC calls: those of its HTTP calls, with the same effect."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from services.kit.tests.grpc_service import FILE, Caller, EchoStub, Running, Settings, serving
from services.kit.tests.test_upstreams import HELD_S, INSIDE, Served
from shop.devkit.testing import INTERNAL_TOKEN
from shop.kit.app import Context, create_app
from shop.kit.errors import OutcomeUnknown, Unavailable
from shop.kit.grpc import GrpcClient
from shop.kit.http import ServiceClient


@dataclass
class Both:
    """An application that calls the same service by gRPC and by HTTP."""

    inside: httpx.AsyncClient
    grpc: Caller
    http: ServiceClient
    echo: Running

    async def put(self, lever: str, **body: Any) -> None:
        answer = await self.inside.put(f"/internal/upstreams/{lever}", json=body, headers=INSIDE)
        assert answer.status_code == 204, answer.text

    async def state(self) -> dict[str, Any]:
        [found] = (await self.inside.get("/internal/upstreams", headers=INSIDE)).json()["items"]
        return dict(found)


class Service:
    def __init__(self, context: Context, grpc_address: str, url: str) -> None:
        client = GrpcClient("echo", grpc_address, [FILE], INTERNAL_TOKEN)
        context.grpc_clients.append(client)
        self.grpc = Caller(client, EchoStub(client.channel))
        self.http = context.clients.get("echo", url)

    async def close(self) -> None:
        await self.grpc.client.close()


@pytest.fixture
async def both(served: Served) -> AsyncIterator[Both]:
    async def answer(_request: Request) -> Response:
        return Response("{}")

    settings = Settings(jwks_url="", internal_token=INTERNAL_TOKEN, fault_injection=True)
    async with contextlib.AsyncExitStack() as stack:
        echo = await stack.enter_async_context(serving())
        other = await stack.enter_async_context(served(Starlette(routes=[Route("/", answer)]), lifespan="off"))
        app = create_app(
            settings,
            title="Caller",
            build=lambda context: Service(context, echo.address, str(other.base_url)),
            uses_bus=False,
        )
        inside = await stack.enter_async_context(served(app))
        yield Both(inside, app.state.service.grpc, app.state.service.http, echo)


async def test_an_opened_breaker_keeps_calls_and_requests_back_until_it_is_closed(both: Both) -> None:
    await both.put("echo/breaker", state="open", seconds=HELD_S)
    with pytest.raises(Unavailable, match="breaker open"):
        await both.grpc.read("a")
    with pytest.raises(Unavailable, match="breaker open"):
        await both.http.get("/")
    assert (await both.state())["breaker"] == "open"
    await both.put("echo/breaker", state="closed")
    assert await both.grpc.read("b") == "said b"
    assert [text for text, _, _ in both.echo.echo.seen] == ["b"]
    assert (await both.state())["breaker"] == "closed"


async def test_an_injected_failure_is_no_call(both: Both) -> None:
    await both.put("echo/fault", error_percent=100, seconds=HELD_S)
    for ask in (both.grpc.say, both.grpc.read):
        with pytest.raises(OutcomeUnknown, match="injected"):
            await ask("a")
    with pytest.raises(OutcomeUnknown):
        await both.http.post("/")
    assert both.echo.echo.seen == []
    assert (await both.state())["fault"]["error_percent"] == 100
    await both.put("echo/fault")
    assert await both.grpc.say("b") == "said b"
    assert (await both.state())["fault"] is None


async def test_injected_latency_counts_against_the_deadline_of_a_call(both: Both) -> None:
    await both.put("echo/fault", latency_ms=10_000, seconds=HELD_S)
    with pytest.raises(OutcomeUnknown, match="injected"):
        await both.grpc.say("a", timeout_s=0.05)
    assert both.echo.echo.seen == []
    await both.put("echo/fault", latency_ms=1, seconds=HELD_S)
    assert await both.grpc.say("b") == "said b"
