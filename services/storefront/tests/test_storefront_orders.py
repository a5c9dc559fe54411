from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from services.storefront.tests.conftest import Browser, Served
from services.storefront.tests.scripted_data import product_id
from shop.storefront.app import make_app
from shop.storefront.order_pages import steps
from shop.storefront.schemas import Order
from shop.storefront.settings import Settings

EVENT_TIMEOUT_S = 30.0


@pytest.fixture
async def bought(browser: Browser) -> str:
    """The path of an order that was just placed."""
    await browser.add("pride", 2)
    await browser.sign_in()
    await browser.checkout()
    return browser.path


def order(state: str) -> Order:
    now = datetime(2026, 3, 5, 14, 7, tzinfo=UTC)
    return Order(id=uuid4(), state=state, created_at=now, updated_at=now)


@pytest.mark.parametrize(
    ("state", "looks"),
    [
        ("pending", ["now", "ahead", "ahead", "ahead"]),
        ("confirmed", ["done", "now", "ahead", "ahead"]),
        ("fulfilled", ["done", "done", "now", "ahead"]),
        ("delivered", ["done", "done", "done", "done"]),
        ("rejected", ["done", "stopped"]),
        ("cancelled", ["done", "done", "stopped"]),
        ("a state of tomorrow", ["now", "ahead", "ahead", "ahead"]),
    ],
)
def test_the_steps_of_an_order(state: str, looks: list[str]) -> None:
    assert [step.look for step in steps(order(state))] == looks


async def test_states_have_headlines(browser: Browser, bought: str) -> None:
    words = {"fulfilled": "Your order has shipped", "delivered": "Delivered", "cancelled": "Order cancelled"}
    for state, headline in words.items():
        browser.shop.set_state(bought.rsplit("/", 1)[1], state)
        page = await browser.get(bought)
        assert page.one("h1").text == headline
        listens = "data-live" in page.one("div", id="order").attributes
        assert listens == (state == "fulfilled")


async def test_a_late_rejection_shows_reason_and_products(browser: Browser, bought: str) -> None:
    stored = browser.shop.orders[bought.rsplit("/", 1)[1]]
    stored |= {"state": "rejected", "reason": "payment_declined", "total": None, "subtotal": None}
    stored["lines"] = [{"product_id": product_id("pride"), "quantity": 2}]
    page = await browser.get(bought)
    assert "Your card was declined. You were not charged." in page.text
    assert "Pride and Prejudice" in page.text
    stored["reason"] = "something_new"
    assert "Something new." in (await browser.get(bought)).text


async def test_cancelling(browser: Browser, bought: str) -> None:
    page = await browser.get(bought)
    page = await browser.send(page.form(f"{bought}/cancel"))
    assert page.one("h1").text == "Cancel this order?"
    assert browser.shop.orders[bought.rsplit("/", 1)[1]]["state"] == "confirmed"
    page = await browser.confirm()
    assert page.one("h1").text == "Order cancelled"
    assert not [form for form in page.all("form") if form.attributes["action"] == f"{bought}/cancel"]


async def test_cancelling_too_late_is_a_conflict(browser: Browser, bought: str) -> None:
    page = await browser.get(bought)
    browser.shop.set_state(bought.rsplit("/", 1)[1], "delivered")
    await browser.send(page.form(f"{bought}/cancel"))
    page = await browser.confirm(409)
    assert page.one("h1").text == "The order status has changed"


async def test_ordering_again(browser: Browser, bought: str) -> None:
    page = await browser.get(bought)
    page = await browser.send(page.form(f"{bought}/again"))
    assert page.one("input", id=f"quantity-{product_id('pride')}").attributes["value"] == "2"


async def test_the_order_of_another_user_is_not_found(browser: Browser, bought: str) -> None:
    browser.client.cookies.clear()
    await browser.sign_in("eve@example.com")
    await browser.get(bought, 404)
    answer = await browser.client.get(f"{bought}/events")
    assert (answer.status_code, answer.content) == (204, b"")


async def test_account_lists_orders_newest_as_served(browser: Browser, bought: str) -> None:
    page = await browser.get("/account")
    assert bought in page.links()
    assert page.one("span", **{"class": "state confirmed"}).text == "Confirmed"


async def test_states_arrive_live(settings: Settings, browser: Browser, bought: str, served: Served) -> None:
    async with served(make_app(settings)) as client:
        browser.copy_cookies_to(client)
        async with asyncio.timeout(EVENT_TIMEOUT_S), client.stream("GET", f"{bought}/events") as stream:
            assert stream.headers["content-type"].startswith("text/event-stream")
            seen: list[str] = []
            async for line in stream.aiter_lines():
                seen += [line] if line.startswith("data:") else []
                if len(seen) == 1 and "confirmed" in seen[0]:
                    browser.shop.set_state(bought.rsplit("/", 1)[1], "delivered")
    assert seen == ['data: {"state":"confirmed"}', 'data: {"state":"delivered"}']


async def test_without_the_order_service_the_stream_says_retry(
    browser: Browser, settings: Settings, served: Served
) -> None:
    await browser.sign_in()
    nowhere = settings.model_copy(update={"order_url": "http://127.0.0.1:1"})
    async with served(make_app(nowhere)) as client:
        browser.copy_cookies_to(client)
        answer = await client.get(f"/orders/{uuid4()}/events")
    assert (answer.status_code, answer.text) == (200, "retry: 3000\n\n")


async def test_events_need_a_session(browser: Browser, bought: str) -> None:
    browser.client.cookies.clear()
    answer = await browser.client.get(f"{bought}/events")
    assert answer.status_code == 303
