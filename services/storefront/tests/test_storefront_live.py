"""Order pages that follow their order, in a real Chromium over HTTP/1.1: many tabs, one stream."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from services.storefront.tests.conftest import ADDRESS, CUSTOMER
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product_id
from services.storefront.tests.test_storefront_in_browser import sign_in, url, window
from shop.devkit.testing import wait_until

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

TABS = 8
"""Two more than the connections that a browser makes to one host over HTTP/1.1."""
HIDE = """state => {
  Object.defineProperty(document, "visibilityState", { configurable: true, get: () => state });
  document.dispatchEvent(new Event("visibilitychange"));
}"""


def ordered(scripted: ScriptedShop, number: int, state: str = "confirmed") -> str:
    """The path of an order of the customer's."""
    body: dict[str, Any] = {"items": [{"product_id": product_id("pride"), "quantity": 1}], "address": ADDRESS}
    order = scripted.make_order(scripted.people[CUSTOMER], body, product_id(f"order-{number}"))
    order["state"] = state
    return f"/orders/{order['id']}"


@pytest.fixture
async def page(chromium: Browser, url: str, scripted: ScriptedShop) -> AsyncIterator[Page]:
    """A tab of a signed-in user."""
    async with window(chromium, url) as page:
        await sign_in(page, scripted)
        yield page


async def test_many_open_orders_share_one_stream(page: Page, scripted: ScriptedShop) -> None:
    paths = [ordered(scripted, number) for number in range(TABS)]
    tabs = [page, *[await page.context.new_page() for _ in range(TABS - 1)]]
    for tab, path in zip(tabs, paths, strict=True):
        await tab.goto(path)
        await expect(tab.get_by_role("heading", level=1)).to_be_visible()
    await wait_until(lambda: scripted.listening == 1)
    for path in paths:
        scripted.set_state(path.rpartition("/")[2], "fulfilled")
    for tab in tabs:
        await expect(tab.locator("#order")).to_have_attribute("data-state", "fulfilled")
    await wait_until(lambda: scripted.listening == 1)
    extra = await page.context.new_page()
    await extra.goto("/search?query=pride")
    await expect(extra.get_by_role("heading", level=1)).to_be_visible()


async def test_another_tab_takes_over_the_stream(page: Page, scripted: ScriptedShop) -> None:
    first, second = ordered(scripted, 1), ordered(scripted, 2)
    await page.goto(first)
    await wait_until(lambda: scripted.listening == 1)
    other = await page.context.new_page()
    await other.goto(second)
    requests_before = len(scripted.calls)
    await page.close()
    await wait_until(lambda: any(path.endswith("/events") for _, path, _ in scripted.calls[requests_before:]))
    await wait_until(lambda: scripted.listening == 1)
    scripted.set_state(second.rpartition("/")[2], "fulfilled")
    await expect(other.locator("#order")).to_have_attribute("data-state", "fulfilled")


async def test_a_hidden_tab_has_no_stream_and_updates_when_visible(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted, 1)
    await page.goto(path)
    await wait_until(lambda: scripted.listening == 1)
    await page.evaluate(HIDE, "hidden")
    scripted.set_state(path.rpartition("/")[2], "fulfilled")
    await wait_until(lambda: scripted.listening == 0)
    await expect(page.locator("#order")).to_have_attribute("data-state", "confirmed")
    await page.evaluate(HIDE, "visible")
    await expect(page.locator("#order")).to_have_attribute("data-state", "fulfilled")


@pytest.mark.parametrize("state", ["delivered", "rejected", "cancelled"])
async def test_a_final_order_has_no_stream(page: Page, scripted: ScriptedShop, state: str) -> None:
    path = ordered(scripted, 1, state)
    await page.goto(path)
    await expect(page.locator("#order")).not_to_have_attribute("data-live", "")
    await page.goto(ordered(scripted, 2))
    await wait_until(lambda: scripted.listening == 1)
    assert [called for _, called, _ in scripted.calls if called.endswith("/events")] == [
        f"/api/v1/orders/{product_id('order-2')}/events"
    ]
