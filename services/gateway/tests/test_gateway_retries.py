"""A 503 of one instance is not passed on where the request may be sent again and another instance may do better."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Handler, Open, Shop, Upstream, answer_json
from shop.gateway.routing import is_safe
from shop.kit.balancing.budget import MAX_SAVED, RETRY_SHARE, RetryBudget

PATH = "/api/v1/orders"
KEY = {"Idempotency-Key": "7"}
BUSY = 900
"""Requests under way, with which the balancer chooses any other instance."""


def unavailable(retry_after_s: int = 0) -> Handler:
    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        headers = [(b"retry-after", b"%d" % retry_after_s)] if retry_after_s else []
        await send({"type": "http.response.start", "status": 503, "headers": headers})
        await send({"type": "http.response.body", "body": b"busy"})

    return handle


Two = tuple[Shop, Upstream, Upstream]


@pytest.fixture
async def two(open_shop: Open, all_upstreams: dict[str, Upstream]) -> AsyncIterator[Two]:
    """A shop with two instances of the order service, the first of which answers 503 and gets the first request."""
    one, other = all_upstreams["order"], all_upstreams["pricing"]
    async with open_shop(order_url=f"{one.url},{other.url}") as shop:
        one.handler = unavailable()
        with preferred(shop, one):
            yield shop, one, other


@contextlib.contextmanager
def preferred(shop: Shop, upstream: Upstream) -> Iterator[None]:
    others = [one for one in shop.gateway.upstreams["order"].instances if one.base_url != upstream.url]
    for one in others:
        one.inflight += BUSY
    yield
    for one in others:
        one.inflight -= BUSY


def asked(*upstreams: Upstream) -> list[int]:
    return [sum(call.path == PATH for call in one.calls) for one in upstreams]


@pytest.mark.parametrize(("method", "headers"), [("GET", {}), ("HEAD", {}), ("POST", KEY)])
async def test_what_may_be_sent_again_goes_to_another_instance(two: Two, method: str, headers: dict[str, str]) -> None:
    shop, failing, other = two
    answer = await shop.client.request(method, PATH, headers=shop.customer() | headers)
    assert answer.status_code == 200
    assert asked(failing, other) == [1, 1]
    assert 'shop_gateway_repeats_total{upstream="order"} ' in (await shop.client.get("/metrics")).text


async def test_it_keeps_its_place_among_the_requests_that_its_service_may_have(two: Two) -> None:
    shop, _, other = two
    places: list[int] = []

    async def handle(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == PATH:
            places.append(shop.gateway.limits.of("order").inflight)
        await answer_json(send, {})

    other.handler = handle
    assert (await shop.client.get(PATH, headers=shop.customer())).status_code == 200
    assert (places, shop.gateway.limits.of("order").inflight) == ([1], 0)


@pytest.mark.parametrize(("method", "headers"), [("POST", {}), ("PUT", KEY), ("PATCH", KEY), ("DELETE", {})])
async def test_what_may_have_had_an_effect_is_sent_once(two: Two, method: str, headers: dict[str, str]) -> None:
    shop, failing, other = two
    answer = await shop.client.request(method, PATH, headers=shop.customer() | headers, content=b"{}")
    assert (answer.status_code, answer.content) == (503, b"busy")
    assert asked(failing, other) == [1, 0]


async def test_instances_that_ask_for_a_pause_are_not_asked_again(two: Two) -> None:
    shop, one, other = two
    one.handler = other.handler = unavailable(retry_after_s=20)
    answer = await shop.client.get(PATH, headers=shop.customer())
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "20")
    assert asked(one, other) == [1, 1]
    await shop.client.get(PATH, headers=shop.customer())
    assert sum(asked(one, other)) == 3


async def test_requests_that_are_sent_again_stay_within_their_budget(two: Two) -> None:
    shop, one, other = two
    other.handler = unavailable()
    pool, requests = shop.gateway.upstreams["order"], 40
    pool.budget = RetryBudget(pool.balancer.now(), min_per_s=0.0)
    for _ in range(requests):
        assert (await shop.client.get(PATH, headers=shop.customer())).status_code == 503
    again = sum(asked(one, other)) - requests
    assert MAX_SAVED <= again <= MAX_SAVED + RETRY_SHARE * requests


@pytest.mark.parametrize(
    ("method", "path", "key", "safe"),
    [
        ("GET", "/anything", False, True),
        ("HEAD", "/anything", False, True),
        ("PUT", "/api/v1/products/7", False, False),
        ("DELETE", "/api/v1/products/7", False, False),
        ("POST", "/api/v1/orders", True, True),
        ("POST", "/api/v1/orders", False, False),
        ("POST", "/api/v1/users", True, False),
    ],
)
def test_which_requests_may_be_sent_again_after_an_answer(method: str, path: str, key: bool, safe: bool) -> None:
    assert is_safe(method, path, [("idempotency-key", "1")] if key else []) is safe
