"""Levers on the calls between two services, over callers that are real applications of the kit."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest

from services.ops.tests.conftest import Browser
from shop.devkit.testing import INTERNAL_TOKEN, Running, Tokens
from shop.kit.app import create_app
from shop.kit.http.pool import ServicePool
from shop.kit.settings import ServiceSettings
from shop.ops.access import FRESH_S
from shop.ops.app import make_app
from shop.ops.settings import Settings

SERVICE = "/ops/services/order"
LEVERS = f"{SERVICE}/calls/payment"
NOWHERE = "http://127.0.0.1:9"


class OrderSettings(ServiceSettings):
    service = "order"


@dataclass
class Order:
    """Two instances of a service that calls payment."""

    urls: list[str]
    pools: list[ServicePool]

    @property
    def breakers(self) -> list[str]:
        return [str(one.breaker.state) for pool in self.pools for one in pool.instances]

    @property
    def faults(self) -> list[tuple[float, float] | None]:
        faults = [pool.fault for pool in self.pools]
        return [None if one is None else (one.latency_s, one.error_share) for one in faults]


@pytest.fixture
async def order(served: Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]) -> AsyncIterator[Order]:
    settings = OrderSettings(jwks_url="", internal_token=INTERNAL_TOKEN, fault_injection=True)
    made = Order([], [])
    async with contextlib.AsyncExitStack() as stack:
        for _ in range(2):
            app = create_app(
                settings, title="Order", build=lambda context: context.clients.get("payment", NOWHERE), uses_bus=False
            )
            client = await stack.enter_async_context(served(app))
            made.urls.append(str(client.base_url).rstrip("/"))
            made.pools.append(app.state.service.pool)
        yield made


def with_order(settings: Settings, order: Order, **changed: Any) -> Settings:
    """A shop of order and payment, of which payment is away."""
    absent: dict[str, Any] = dict.fromkeys((name for name in Settings.model_fields if name.endswith("_url")), "")
    kept = {"jwks_url": settings.jwks_url, "order_url": ",".join(order.urls), "payment_url": NOWHERE}
    return settings.model_copy(update=absent | kept | changed)


@pytest.fixture
async def browser(running: Running, settings: Settings, order: Order, tokens: Tokens) -> AsyncIterator[Browser]:
    async with running(make_app(with_order(settings, order))) as client:
        made = Browser(client, tokens)
        made.sign_in()
        yield made


@pytest.fixture
async def in_cluster(running: Running, settings: Settings, order: Order, tokens: Tokens) -> AsyncIterator[Browser]:
    """The same shop, without a data folder on this machine."""
    link = "https://logs.example.com/?app={service}"
    async with running(make_app(with_order(settings, order, local_data_dir=None, log_link=link))) as client:
        made = Browser(client, tokens)
        made.sign_in()
        yield made


async def test_a_breaker_is_opened_in_every_instance_and_closed(browser: Browser, order: Order, logged: Any) -> None:
    assert "Open the breaker from order to payment?" in (await browser.post(f"{LEVERS}/open", 200)).text
    assert order.breakers == ["closed", "closed"]
    answer = await browser.post(f"{LEVERS}/open", confirmed="1")
    assert answer.headers["location"] == f"{SERVICE}#calls"
    assert order.breakers == ["open", "open"]
    text = (await browser.get(SERVICE)).text
    assert "Order sends payment no requests for 60 s (2 of 2 instances of order)." in text
    assert "open (2 of 2)" in text
    await browser.post(f"{LEVERS}/close", confirmed="1")
    assert order.breakers == ["closed", "closed"]
    found = [(line["action"], line["component"], line["outcome"]) for line in logged(event="lever_used")]
    assert found == [("open breaker", "order to payment", "done"), ("close breaker", "order to payment", "done")]


async def test_a_fault_is_injected_and_ended(browser: Browser, order: Order) -> None:
    text = (await browser.post(f"{LEVERS}/inject", 200)).text
    assert 'name="latency_ms" value="500"' in text
    await browser.post(f"{LEVERS}/inject", confirmed="1", latency_ms="250", error_percent="20")
    assert order.faults == [(0.25, 0.2)] * 2
    assert "250 ms later, 20 % fail, for" in (await browser.get(SERVICE)).text
    await browser.post(f"{LEVERS}/end", confirmed="1")
    assert order.faults == [None, None]


@pytest.mark.parametrize(
    "numbers",
    [("0", "0"), ("-1", "50"), ("10001", "0"), ("0", "101"), ("nan", "0"), ("soon", "0")],
)
async def test_a_fault_has_limits(browser: Browser, order: Order, numbers: tuple[str, str]) -> None:
    latency_ms, error_percent = numbers
    await browser.post(f"{LEVERS}/inject", 422, confirmed="1", latency_ms=latency_ms, error_percent=error_percent)
    assert order.faults == [None, None]


@pytest.mark.parametrize("call", ["order/calls/product", "payment/calls/order", "wine/calls/payment"])
async def test_there_are_levers_for_calls_of_this_shop_alone(browser: Browser, call: str, logged: Any) -> None:
    await browser.post(f"/ops/services/{call}/open", 404, confirmed="1")
    assert logged(event="lever_used") == []


async def test_what_no_instance_accepts_is_said_and_logged(
    running: Running, settings: Settings, order: Order, tokens: Tokens, logged: Any
) -> None:
    order.urls = [NOWHERE]
    async with running(make_app(with_order(settings, order))) as client:
        browser = Browser(client, tokens)
        browser.sign_in()
        await browser.post(f"{LEVERS}/open", confirmed="1")
        assert "Nothing was changed: 0 of 1 instances of order accepted it." in (await browser.get(SERVICE)).text
        assert [line["outcome"] for line in logged(event="lever_used")] == ["failed"]


async def test_in_a_cluster_breakers_are_offered_and_faults_are_not(in_cluster: Browser, order: Order) -> None:
    text = (await in_cluster.get(SERVICE)).text
    assert f'action="{LEVERS}/open"' in text
    assert f'action="{LEVERS}/inject"' not in text
    assert "https://logs.example.com/?app=order" in text
    await in_cluster.post(f"{LEVERS}/inject", 404, confirmed="1", latency_ms="250", error_percent="0")
    assert order.faults == [None, None]
    await in_cluster.post(f"{LEVERS}/open", confirmed="1")
    assert order.breakers == ["open", "open"]


async def test_in_a_cluster_the_page_of_levers_says_what_is_done_elsewhere(in_cluster: Browser) -> None:
    text = (await in_cluster.get("/ops/levers")).text
    assert 'id="cluster"' in text
    assert 'id="scale"' not in text
    assert f'href="{SERVICE}#calls"' in text
    await in_cluster.post("/ops/levers/scale", 404, service="order", count="2", confirmed="1")
    await in_cluster.post("/ops/levers/order-1/stop", 404, confirmed="1")


@pytest.mark.parametrize("action", ["open", "close", "inject", "end"])
async def test_they_need_an_administrator_a_form_of_this_visitor_and_a_password_of_minutes_ago(
    browser: Browser, order: Order, action: str
) -> None:
    fields: dict[str, Any] = {"confirmed": "1", "latency_ms": "250", "error_percent": "0"}
    await browser.post(f"{LEVERS}/{action}", 403, **fields, csrf_token="0" * 64)
    browser.sign_in(ago_s=FRESH_S + 5)
    answer = await browser.post(f"{LEVERS}/{action}", **fields)
    assert answer.headers["location"] == "/sign-in?next=%2Fops%2Fservices%2Forder&again=1"
    browser.sign_in("customer")
    await browser.post(f"{LEVERS}/{action}", 403, **fields)
    assert (order.breakers, order.faults) == (["closed", "closed"], [None, None])
