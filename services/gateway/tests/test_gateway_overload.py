"""The limit of requests at once: what is accepted is answered soon, and a service is used as much as it can be."""

from __future__ import annotations

import asyncio
import heapq
from collections.abc import Callable
from statistics import median

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Open, answer_json
from shop.devkit.testing import wait_until
from shop.gateway import overload
from shop.gateway.overload import ConcurrencyLimit, ConcurrencyLimits, Slot

TARGET_S = 0.4
SERVES_PER_S = 250.0
LEARNING_S = 5.0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Service:
    """A service in simulated time that processes one request after another, or answers each after the same time."""

    def __init__(self, takes_s: Callable[[float, float], float], late: Callable[[], bool] = lambda: False) -> None:
        self.clock = Clock()
        self.limit = ConcurrencyLimit(TARGET_S, late=late, now=self.clock)
        self._takes_s = takes_s
        self._ends: list[tuple[float, int, float, Slot]] = []
        self._sent = 0
        self._free_at = 0.0

    def offer(self, rate_per_s: float, seconds: float) -> tuple[list[float], float]:
        """Requests at equal distances: latencies of the accepted ones after the time for learning, and their share."""
        latencies, offered = [], 0
        begins, ends_at = self.clock.now, self.clock.now + seconds
        while self.clock.now < ends_at:
            self.clock.now += 1.0 / rate_per_s
            self._end_until(self.clock.now)
            latency_s = self._send()
            if self.clock.now - begins >= LEARNING_S:
                offered += 1
                latencies += [latency_s] if latency_s is not None else []
        return latencies, len(latencies) / offered

    def _send(self) -> float | None:
        now = self.clock.now
        slot = self.limit.begin()
        if slot is None:
            return None
        self._free_at = max(now, self._free_at) + 1.0 / SERVES_PER_S
        ends_at = self._takes_s(now, self._free_at)
        self._sent += 1
        heapq.heappush(self._ends, (ends_at, self._sent, now, slot))
        return ends_at - now

    def _end_until(self, until: float) -> None:
        while self._ends and self._ends[0][0] <= until:
            self.clock.now, _, _, slot = heapq.heappop(self._ends)
            slot.end()
        self.clock.now = until


def one_after_another(now: float, free_at: float) -> float:
    return free_at


def after_two_seconds(now: float, free_at: float) -> float:
    return now + 2.0


@pytest.mark.parametrize("times", [1.2, 2.0, 5.0])
def test_what_is_accepted_under_overload_is_answered_soon_and_the_service_stays_busy(times: float) -> None:
    latencies_s, accepted = Service(one_after_another).offer(SERVES_PER_S * times, 30.0)
    assert median(latencies_s) <= TARGET_S * 1.2
    assert max(latencies_s) <= 1.0
    assert accepted * times >= 0.95


def test_nothing_is_refused_below_the_capacity_also_after_an_overload() -> None:
    service = Service(one_after_another)
    for times, least in ((0.9, 1.0), (3.0, 0.0), (0.9, 1.0)):
        assert service.offer(SERVES_PER_S * times, 20.0)[1] >= least


def test_slowness_that_is_not_load_is_accepted() -> None:
    service = Service(after_two_seconds)
    service.offer(80.0, 20.0)
    assert service.offer(80.0, 20.0)[1] == 1.0


def test_slowness_of_a_gateway_that_is_late_is_not_accepted() -> None:
    service = Service(after_two_seconds, late=lambda: True)
    service.offer(80.0, 20.0)
    assert service.limit.limit == overload.MIN_LIMIT


def test_the_limit_stays_within_its_bounds() -> None:
    clock = Clock()
    limit = ConcurrencyLimit(TARGET_S, first=overload.MAX_LIMIT, now=clock)
    for latency_s in [0.01] * 20 + [5.0] * 60:
        slots = [slot for slot in (limit.begin() for _ in range(overload.MAX_LIMIT)) if slot is not None]
        clock.now += latency_s
        for slot in slots:
            slot.end()
        assert overload.MIN_LIMIT <= limit.limit <= overload.MAX_LIMIT
        assert limit.inflight == 0


def test_a_place_is_given_back_once_and_a_few_slow_requests_change_nothing() -> None:
    clock = Clock()
    limit = ConcurrencyLimit(TARGET_S, first=1, now=clock)
    slot = limit.begin()
    assert slot is not None
    assert limit.begin() is None
    clock.now += 60.0
    slot.end()
    slot.end()
    assert (limit.inflight, limit.limit) == (0, 1.0)


async def test_a_gateway_that_is_late_notices_it() -> None:
    clock = Clock()
    limits = ConcurrencyLimits(TARGET_S, now=clock)
    watching = asyncio.create_task(limits.watch())

    def late_while_time_flies() -> bool:
        clock.now += 1.0
        return limits.late()

    await wait_until(late_while_time_flies)
    await wait_until(lambda: not limits.late())
    watching.cancel()


async def test_a_request_beyond_the_limit_is_a_503_with_retry_after(open_shop: Open) -> None:
    async with open_shop() as shop:
        shop.gateway.limits.of("product").limit = 1
        go_on, arrived = asyncio.Event(), asyncio.Event()

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            arrived.set()
            await asyncio.wait_for(go_on.wait(), 10)
            await answer_json(send, {})

        shop.product.handler = handler
        first = asyncio.create_task(shop.client.get("/api/v1/products"))
        await asyncio.wait_for(arrived.wait(), 10)
        refused = await shop.client.get("/api/v1/products")
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["retry-after"] == str(overload.RETRY_AFTER_S)
        assert (await shop.client.get("/")).status_code == 200
        go_on.set()
        assert (await first).status_code == 200
        assert (await shop.client.get("/api/v1/products")).status_code == 200
        metrics = (await shop.client.get("/metrics")).text
        assert 'shop_gateway_concurrency_limit{upstream="product"} 1.0' in metrics


async def test_a_service_that_is_full_is_refused_before_the_token_is_checked(open_shop: Open) -> None:
    """Checking a token costs more than the refusal."""
    async with open_shop() as shop:
        shop.gateway.limits.of("order").limit = 0
        refused = await shop.client.get("/api/v1/orders", headers={"Authorization": "Bearer wrong"})
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        shop.gateway.limits.of("order").limit = 1
        assert (await shop.client.get("/api/v1/orders", headers={"Authorization": "Bearer wrong"})).status_code == 401


async def test_a_preflight_is_answered_while_its_service_is_full(open_shop: Open) -> None:
    """The gateway answers it itself."""
    async with open_shop(cors_origins="https://a.example") as shop:
        shop.gateway.limits.of("order").limit = 0
        asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
        assert (await shop.client.options("/api/v1/orders", headers=asked)).status_code == 204


SHRUNK = [(1.1, overload.SHRINK_LEAST), (1.5, 1 / 1.5), (10.0, overload.SHRINK_MOST)]


@pytest.mark.parametrize(("times", "left"), SHRUNK)
def test_after_one_slow_window_the_limit_shrinks_by_as_much_as_the_latency_is_too_high(
    times: float, left: float
) -> None:
    clock = Clock()
    limit = ConcurrencyLimit(TARGET_S, first=100, now=clock)
    for expected in (100 * overload.SHRINK_LEAST, 100 * overload.SHRINK_LEAST * left):
        slots = [limit.begin() for _ in range(int(limit.limit))]
        clock.now += TARGET_S * times
        for slot in filter(None, slots):
            slot.end()
        assert limit.limit == pytest.approx(expected)


async def test_open_streams_and_failed_connections_take_no_place(open_shop: Open) -> None:
    async with open_shop(down=("order",)) as shop:
        ends = asyncio.Event()

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            headers = [(b"content-type", b"text/event-stream")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b": begins\n\n", "more_body": True})
            await asyncio.wait_for(ends.wait(), 10)

        shop.product.handler = handler
        async with shop.client.stream("GET", "/api/v1/products") as stream:
            await anext(stream.aiter_bytes())
            assert shop.gateway.limits.of("product").inflight == 0
            ends.set()
        answer = await shop.client.get("/api/v1/orders", headers=shop.customer())
        assert (answer.status_code, answer.json()["code"]) == (503, "order_unavailable")
        await wait_until(lambda: shop.gateway.limits.of("order").inflight == 0)


def test_a_target_of_zero_leaves_the_greatest_limit() -> None:
    clock = Clock()
    limits = ConcurrencyLimits(0.0, now=clock)
    slots = [limits.begin("product") for _ in range(overload.MIN_SAMPLES)]
    clock.now += 3600.0
    for slot in slots:
        slot.end()
    assert limits.of("product").limit == overload.MAX_LIMIT
