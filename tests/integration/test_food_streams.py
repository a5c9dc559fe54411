"""The event streams of food through the gateway: delivery is killed behind it, and clients resume where they were."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator
from dataclasses import dataclass
from functools import partial

import aiohttp
import orjson
import pytest

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration import food
from tests.integration.audit import assert_clean
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

WATCHERS = 8
"""More than the failures that open a breaker of the gateway."""
BACK_WITHIN_S = 60.0
EVENT_WITHIN_S = 30.0
FAILED_STREAM = 'shop_gateway_upstream_failures_total{reason="broken",upstream="delivery"}'


@dataclass(frozen=True)
class Event:
    id: int
    state: str


@contextlib.asynccontextmanager
async def watching(
    api: Shop, token: str, order_id: str, seen: int | None = None
) -> AsyncIterator[aiohttp.StreamReader]:
    """An open stream of a delivery, whose head has arrived."""
    headers = {"Authorization": f"Bearer {token}"} | ({} if seen is None else {"Last-Event-ID": str(seen)})
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=EVENT_WITHIN_S, sock_read=EVENT_WITHIN_S)
    url = f"{api.url}/api/v1/deliveries/{order_id}/events"
    async with api.session.get(url, headers=headers, timeout=timeout) as response:
        assert (response.status, response.content_type) == (200, "text/event-stream")
        assert response.headers["X-Accel-Buffering"] == "no"
        yield response.content


async def next_state(stream: aiohttp.StreamReader) -> Event:
    """The next `state` event; comments and positions before it are passed over."""
    async with asyncio.timeout(EVENT_WITHIN_S):
        while True:
            text = (await stream.readuntil(b"\n\n")).decode()
            if not text:
                raise EOFError("the stream has ended")
            if found := re.match(r"id: (\d+)\nevent: state\ndata: (.*)\n\n", text):
                return Event(int(found[1]), orjson.loads(found[2])["state"])


async def read_on(stream: aiohttp.StreamReader, seen: list[Event]) -> None:
    """Until the stream ends: the kitchen may have become ready meanwhile."""
    while True:
        seen.append(await next_state(stream))


async def test_streams_resume_after_delivery_is_killed(shop: RunningShop, api: Shop, admin: str) -> None:
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, place.position)
    [customer] = await api.sign_up_many(1)
    answer = await food.send(api, customer, food.meal(place))
    order_id = (await food.comes_to(api, answer, "confirmed"))["id"]
    await food.is_assigned(api, admin, order_id, crew[0], place.position)
    async with contextlib.AsyncExitStack() as stack:
        streams = [await stack.enter_async_context(watching(api, customer, order_id)) for _ in range(WATCHERS)]
        seen = [await next_state(stream) for stream in streams]
        assert {one.state for one in seen} == {"assigned"}
        os.kill(shop.local.pid("delivery"), signal.SIGKILL)
        for stream in streams:
            with pytest.raises(aiohttp.ClientPayloadError):
                await read_on(stream, seen)
    last = max(one.id for one in seen)
    assert FAILED_STREAM in await metrics(api)
    await wait_until(
        partial(readable, api, customer, order_id), BACK_WITHIN_S, "delivery to answer again", food.LOOK_EVERY_S
    )
    async with watching(api, customer, order_id, seen=last) as stream:
        await food.fix(api, crew[0], place.position)
        await api.call("POST", f"/deliveries/{order_id}/arrive", crew[0].token)
        while (event := await next_state(stream)).state == "assigned":  # the kitchen may have become ready meanwhile
            assert event.id > last
        assert (event.state, event.id > last) == ("at_restaurant", True)
    await finish(shop, api, admin, order_id, crew)


async def readable(api: Shop, token: str, order_id: str) -> bool:
    with contextlib.suppress(aiohttp.ClientError, TimeoutError):
        async with api.session.get(
            f"{api.url}/api/v1/deliveries/{order_id}", headers={"Authorization": f"Bearer {token}"}
        ) as answer:
            return answer.status == 200
    return False


async def metrics(api: Shop) -> str:
    async with api.session.get(f"{api.url}/metrics") as answer:
        return await answer.text()


async def finish(shop: RunningShop, api: Shop, admin: str, order_id: str, crew: list[food.Courier]) -> None:
    await api.call("POST", f"/orders/{order_id}/cancel", admin)
    await food.end_shift(api, crew[0])
    await assert_clean(shop)
