"""Server-sent events through the gateway: at once, for as long as both sides stay, and at no other request's cost."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import httpx
import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Open, Shop, Upstream, answer_json
from shop.devkit.testing import wait_until
from shop.gateway.routing import Target, route
from shop.gateway.services import EVENT_STREAMS
from shop.kit.balancing.instance import Instance

PATH = "/api/v1/deliveries/7/events"
EVENT = b'id: 4\nevent: state\ndata: {"state":"assigned"}\n\n'
HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    (b"x-accel-buffering", b"no"),
]


class Stream:
    """A handler whose streams send EVENT each time ``events`` is released, and break off once ``cut`` is set."""

    def __init__(self) -> None:
        self.events = asyncio.Semaphore(0)
        self.cut = asyncio.Event()
        self.open = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not scope["path"].endswith("/events"):
            await answer_json(send, {})
            return
        await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
        self.open += 1
        sending = asyncio.create_task(self._send(send))
        cutting = asyncio.create_task(self.cut.wait())
        leaving = asyncio.create_task(_left(receive))
        try:
            await asyncio.wait({sending, cutting, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if self.cut.is_set():
                raise ConnectionAbortedError
        finally:
            self.open -= 1
            for task in (sending, cutting, leaving):
                task.cancel()

    async def _send(self, send: Send) -> None:
        while True:
            await self.events.acquire()
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})


async def _left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


@contextlib.asynccontextmanager
async def watching(shop: Shop, count: int, path: str = PATH) -> AsyncIterator[list[httpx.Response]]:
    """Open streams whose heads have arrived."""
    async with contextlib.AsyncExitStack() as stack:
        headers = shop.customer() | {"Last-Event-ID": "3"}
        yield [await stack.enter_async_context(shop.client.stream("GET", path, headers=headers)) for _ in range(count)]


def instance_of(shop: Shop, noun: str = "delivery") -> Instance:
    return shop.gateway.upstreams[noun].instances[0]


@pytest.mark.parametrize("template", EVENT_STREAMS)
async def test_the_head_and_each_event_of_every_stream_pass_at_once(shop: Shop, template: str) -> None:
    path = template.replace("{id}", "7")
    target = route("GET", path, path.encode())
    assert isinstance(target, Target)
    assert target.path == template
    stream = Stream()
    shop.upstreams[target.service].handler = stream
    async with watching(shop, 1, path) as [answer]:
        assert {name: answer.headers[name] for name in ("content-type", "cache-control", "x-accel-buffering")} == {
            "content-type": "text/event-stream; charset=utf-8",
            "cache-control": "no-store",
            "x-accel-buffering": "no",
        }
        received = answer.aiter_raw()
        for _ in range(2):
            stream.events.release()
            assert await asyncio.wait_for(anext(received), 10) == EVENT
    [call] = shop.upstreams[target.service].calls
    assert call.header("last-event-id") == ["3"]
    await wait_until(lambda: stream.open == 0, what="the service to learn that the client left")


async def test_open_streams_take_no_place_of_other_requests(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("shop.kit.balancing.balancer.MAX_INFLIGHT", 2)
    shop.upstreams["delivery"].handler = Stream()
    instance = instance_of(shop)
    async with watching(shop, 3):
        assert (instance.inflight, instance.streams) == (0, 3)
        answer = await shop.client.post("/api/v1/couriers/me/positions", json={}, headers=shop.customer())
        assert answer.status_code == 200
        metrics = (await shop.client.get("/metrics")).text
        assert f'shop_gateway_upstream_streams{{instance="{instance.base_url}",upstream="delivery"}} 3.0' in metrics
    await wait_until(lambda: (instance.inflight, instance.streams) == (0, 0))


async def test_streams_that_break_off_do_not_open_the_breaker(open_shop: Open) -> None:
    async with open_shop(breaker_failures=2, breaker_reset_seconds=60) as shop:
        stream = Stream()
        shop.upstreams["delivery"].handler = stream
        async with watching(shop, 4) as answers:
            stream.cut.set()
            for answer in answers:
                with pytest.raises(httpx.RemoteProtocolError):
                    await answer.aread()
        assert instance_of(shop).breaker._failures == 0
        answer = await shop.client.get("/api/v1/deliveries/7", headers=shop.customer())
        assert answer.status_code == 200
        metrics = (await shop.client.get("/metrics")).text
        assert 'shop_gateway_upstream_failures_total{reason="broken",upstream="delivery"}' in metrics


async def test_a_silent_stream_that_is_closed_does_not_open_the_breaker(open_shop: Open) -> None:
    async with open_shop(stream_idle_timeout_s=0.3, breaker_failures=1, breaker_reset_seconds=60) as shop:
        shop.upstreams["delivery"].handler = Stream()
        async with watching(shop, 1) as [answer]:
            with pytest.raises(httpx.RemoteProtocolError):
                await answer.aread()
        assert instance_of(shop).breaker.state == "closed"


async def test_new_streams_go_where_fewer_are_open(open_shop: Open, all_upstreams: dict[str, Upstream]) -> None:
    first, second = all_upstreams["delivery"], all_upstreams["restaurant"]
    async with open_shop(delivery_url=f"{first.url},{second.url}") as shop:
        first.handler = second.handler = Stream()
        async with watching(shop, 6):
            assert [len(first.calls), len(second.calls)] == [3, 3]
