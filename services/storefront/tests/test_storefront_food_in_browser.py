"""Food pages in a real Chromium over HTTP/1.1: the menu's forms, and orders that are followed in many tabs."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from services.storefront.tests.conftest import ADMIN, CUSTOMER
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import money, product_id
from services.storefront.tests.scripted_food import CODE, food_id
from services.storefront.tests.scripted_staff import courier, job, ticket
from services.storefront.tests.test_storefront_in_browser import PHONE, sign_in, url, window
from services.storefront.tests.test_storefront_live import HIDE
from services.storefront.tests.test_storefront_restaurants import CALZONE, MARGHERITA, NAPOLI, OWL, SAKURA
from shop.devkit.testing import wait_until
from tests.e2e.browsing import low_contrast_texts, overflow_px, unlabelled

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

LATER = "2126-03-05T18:45:00+00:00"
ANNA = {"name": "Anna", "vehicle": "bicycle"}
ORDER = product_id("an order")
STREAMS = 3
"""That track.js opens at most in one browser."""
POLLED_TIMEOUT_MS = 20_000
"""Longer than the pause between two polls."""
HOME_ADDRESS = {
    "name": "Ada Lovelace", "street": "12 Abbot Gate", "city": "Millbridge", "postal_code": "10117", "country": "DE",
}  # fmt: skip


def ordered(scripted: ScriptedShop, number: int = 1, state: str = "assigned", **more: Any) -> str:
    """The path of a food order of the customer's, which has a courier."""
    body = {
        "kind": "food", "restaurant_id": food_id("Napoli"), "address": HOME_ADDRESS, "tip": money(0),
        "items": [{"item_id": CALZONE, "quantity": 1, "choices": []}],
    }  # fmt: skip
    order = scripted.make_order(scripted.people[CUSTOMER], body, product_id(f"food-order-{number}"))
    scripted.food.deliver(order["id"], state, courier=ANNA, eta=LATER, **more)
    return f"/orders/{order['id']}"


def deliver(scripted: ScriptedShop, path: str, state: str, **more: Any) -> None:
    scripted.food.deliver(path.rpartition("/")[2], state, **more)


@pytest.fixture
async def page(chromium: Browser, url: str, scripted: ScriptedShop) -> AsyncIterator[Page]:
    """A tab of a signed-in user."""
    async with window(chromium, url) as page:
        await sign_in(page, scripted)
        yield page


async def test_the_page_shows_each_state_and_the_courier_without_a_reload(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted)
    await page.goto(path)
    await wait_until(lambda: scripted.food.listening == 1)
    await page.evaluate("document.body.dataset.kept = 'yes'")
    stages = {
        "preparing": ("assigned", "Your food is being prepared"),
        "ready": ("at_restaurant", "Your food is ready"),
    }
    for kitchen, (state, headline) in stages.items():
        deliver(scripted, path, state, kitchen=kitchen)
        await expect(page.get_by_role("heading", level=1)).to_have_text(headline)
    deliver(scripted, path, "on_the_way", kitchen="picked_up", position={"lat": 51.8991, "lon": -0.1994})
    courier = page.locator("[data-marker=courier]")
    await expect(courier).to_be_visible()
    before = await courier.get_attribute("transform")
    assert before
    scripted.food.move(path.rpartition("/")[2], 51.9010, -0.2020)
    await expect(courier).not_to_have_attribute("transform", before)
    await expect(page.get_by_text(CODE)).to_be_visible()
    scripted.set_state(path.rpartition("/")[2], "delivered")
    deliver(scripted, path, "delivered")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Delivered")
    assert await page.evaluate("document.body.dataset.kept") == "yes"
    await wait_until(lambda: scripted.food.listening == 0)


async def test_the_tabs_of_an_order_share_one_stream_and_one_takes_over(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted)
    tabs = [page, *[await page.context.new_page() for _ in range(3)]]
    for tab in tabs:
        await tab.goto(path)
    await wait_until(lambda: scripted.food.listening == 1)
    deliver(scripted, path, "assigned", kitchen="preparing")
    for tab in tabs:
        await expect(tab.get_by_role("heading", level=1)).to_have_text("Your food is being prepared")
    assert scripted.food.listening == 1
    await tabs.pop(0).close()
    await wait_until(lambda: len(scripted.food.resumed_after) == 2)
    assert scripted.food.resumed_after[-1] == "2"
    deliver(scripted, path, "at_restaurant", kitchen="ready")
    for tab in tabs:
        await expect(tab.get_by_role("heading", level=1)).to_have_text("Your food is ready")
    await wait_until(lambda: scripted.food.listening == 1)


async def test_more_orders_than_streams_say_so_and_are_updated_all_the_same(page: Page, scripted: ScriptedShop) -> None:
    paths = [ordered(scripted, number) for number in range(STREAMS + 1)]
    tabs = [page, *[await page.context.new_page() for _ in range(STREAMS)]]
    for tab, path in zip(tabs, paths, strict=True):
        await tab.goto(path)
    await wait_until(lambda: scripted.food.listening == STREAMS)
    await expect(tabs[-1].locator("#stream-note")).to_be_visible()
    await expect(tabs[0].locator("#stream-note")).to_be_hidden()
    deliver(scripted, paths[-1], "assigned", kitchen="preparing")
    heading = tabs[-1].get_by_role("heading", level=1)
    await expect(heading).to_have_text("Your food is being prepared", timeout=POLLED_TIMEOUT_MS)
    await tabs[0].close()
    await expect(tabs[-1].locator("#stream-note")).to_be_hidden(timeout=POLLED_TIMEOUT_MS)
    await wait_until(lambda: scripted.food.listening == STREAMS)


async def test_a_hidden_tab_has_no_stream_and_updates_when_visible(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted)
    await page.goto(path)
    await wait_until(lambda: scripted.food.listening == 1)
    await page.evaluate(HIDE, "hidden")
    deliver(scripted, path, "assigned", kitchen="preparing")
    await wait_until(lambda: scripted.food.listening == 0)
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your order is accepted")
    await page.evaluate(HIDE, "visible")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your food is being prepared")


async def test_without_locks_each_tab_has_its_own_stream(page: Page, scripted: ScriptedShop) -> None:
    await page.context.add_init_script("Object.defineProperty(navigator, 'locks', { value: undefined })")
    path = ordered(scripted)
    tabs = [page, await page.context.new_page()]
    for tab in tabs:
        await tab.goto(path)
    await wait_until(lambda: scripted.food.listening == len(tabs))
    deliver(scripted, path, "assigned", kitchen="preparing")
    for tab in tabs:
        await expect(tab.get_by_role("heading", level=1)).to_have_text("Your food is being prepared")


async def test_a_menu_is_used_without_a_page_load(page: Page, scripted: ScriptedShop) -> None:
    await page.goto(NAPOLI)
    await page.evaluate("document.body.dataset.kept = 'yes'")
    await page.get_by_text("Options and extras").click()
    await page.get_by_role("button", name="Add Margherita").click()
    await expect(page.locator(f"#item-{MARGHERITA} input:invalid").first).to_be_visible()
    await page.get_by_label("Large").check()
    await page.get_by_label("Olives").check()
    await page.get_by_role("button", name="Add Margherita").click()
    await expect(page.locator("#food-bar")).to_contain_text("1 item")
    await page.get_by_role("button", name="Add Calzone").click()
    await expect(page.locator("#food-bar")).to_contain_text("2 items")
    assert await page.evaluate("document.body.dataset.kept") == "yes"
    await page.goto(SAKURA)
    await page.get_by_role("button", name="Add Maki").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Start a new cart?")


async def test_streets_are_suggested_with_the_typed_number(page: Page) -> None:
    await page.goto("/eat")
    await page.get_by_label("Deliver to").press_sequentially("12 A")
    assert await page.evaluate("document.querySelector('#streets').options[0].value") == "12 Abbot Gate"
    await page.get_by_label("Deliver to").fill("Abb")
    assert await page.evaluate("document.querySelector('#streets').options[0].value") == "Abbot Gate"


async def test_the_totals_are_those_of_the_last_change(page: Page, scripted: ScriptedShop) -> None:
    await page.goto(NAPOLI)
    await page.get_by_role("button", name="Add Calzone").click()
    await expect(page.locator("#food-bar")).to_contain_text("1 item")
    await page.goto("/eat/checkout")
    await page.get_by_label("Street and number").fill("12 Abbot Gate")
    await page.keyboard.press("Tab")
    await expect(page.locator("#sums .total")).to_be_visible()
    scripted.food.quotes.clear()
    for percent in (5, 10, 15):
        await page.locator(f"[name=tip][value='{percent}']").check()
    scripted.food.quotes.set()
    await expect(page.locator("#sums")).to_contain_text("1,65 €")


async def test_the_total_appears_when_pricing_is_back(page: Page, scripted: ScriptedShop) -> None:
    await page.goto(NAPOLI)
    await page.get_by_role("button", name="Add Calzone").click()
    await expect(page.locator("#food-bar")).to_contain_text("1 item")
    scripted.down = {"pricing"}
    await page.goto("/eat/checkout")
    await page.get_by_label("Street and number").fill("12 Abbot Gate")
    await page.keyboard.press("Tab")
    await expect(page.locator("#sums")).to_contain_text("The total cannot be calculated at the moment.")
    scripted.down = set()
    await expect(page.locator("#sums .total")).to_be_visible(timeout=POLLED_TIMEOUT_MS)


async def test_an_order_without_script(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url, java_script_enabled=False) as page:
        await sign_in(page, scripted)
        path = ordered(scripted)
        await page.goto(path)
        deliver(scripted, path, "at_restaurant", kitchen="ready")
        await page.get_by_role("link", name="Reload").click()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your food is ready")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_food_pages_fit_a_phone_and_can_be_read(
    chromium: Browser, url: str, scripted: ScriptedShop, scheme: str
) -> None:
    async with window(chromium, url, viewport=PHONE, color_scheme=scheme) as page:
        await sign_in(page, scripted)
        await page.goto("/eat")
        await page.get_by_label("Deliver to").fill("12 Abbot Gate")
        await page.get_by_role("button", name="Set address").click()
        await page.goto(NAPOLI)
        await page.get_by_role("button", name="Add Calzone").click()
        await expect(page.locator("#food-bar")).to_contain_text("1 item")
        await page.goto("/eat")
        order = ordered(scripted, state="on_the_way", position={"lat": 51.9010, "lon": -0.2020})
        for path in ("/eat", NAPOLI, OWL, "/eat/cart", "/eat/checkout", order):
            await page.goto(path)
            assert await overflow_px(page) == 0, path
            assert not await unlabelled(page), path
            assert not await low_contrast_texts(page, 4.5), path


async def test_a_kitchen_sees_new_orders_and_counts_down_without_a_reload(page: Page, scripted: ScriptedShop) -> None:
    scripted.food.staff[scripted.people[CUSTOMER].id] = [food_id("Napoli")]
    await page.goto("/kitchen")
    await page.evaluate("document.body.dataset.kept = 'yes'")
    await expect(page.get_by_label("Sound for new orders")).not_to_be_checked()
    scripted.food.tickets[ORDER] = ticket(ORDER, "waiting", until=LATER)
    scripted.food.notify()
    await expect(page.get_by_role("button", name="Accept: order")).to_be_visible()
    await expect(page.locator("[data-deadline]")).to_have_text(re.compile(r"\(\d+:\d\d\)"))
    scripted.food.change_ticket(ORDER, "preparing")
    await expect(page.get_by_role("button", name="Ready: order")).to_be_visible()
    assert await page.evaluate("document.body.dataset.kept") == "yes"


async def test_a_courier_gets_a_delivery_and_taps_the_map(page: Page, scripted: ScriptedShop) -> None:
    own = scripted.people[CUSTOMER].id
    scripted.food.couriers[own] = courier("Anna", "bike", on_shift=True)
    await page.goto("/courier")
    await expect(page.get_by_text("We do not know where you are")).to_be_visible()
    await page.locator("#courier [data-map]").click()
    await expect(page.locator("[data-marker=courier]")).to_be_visible()
    await expect(page.get_by_text("We do not know where you are")).to_be_hidden()
    assert scripted.food.couriers[own]["position"]["lat"] == pytest.approx(51.9, abs=0.02)
    order_id = product_id("a job")
    scripted.food.jobs[order_id] = job(order_id)
    scripted.food.notify()
    await expect(page.get_by_role("button", name="I am at the restaurant")).to_be_visible()


async def test_a_courier_shares_the_position_of_the_browser(
    chromium: Browser, url: str, scripted: ScriptedShop
) -> None:
    where = {"latitude": 51.9012, "longitude": -0.2034}
    async with window(chromium, url, geolocation=where, permissions=["geolocation"], viewport=PHONE) as page:
        await sign_in(page, scripted)
        own = scripted.people[CUSTOMER].id
        scripted.food.couriers[own] = courier("Anna", "bike", on_shift=True)
        await page.goto("/courier")
        await page.get_by_label("Share my position").check()
        await wait_until(lambda: scripted.food.couriers[own]["position"])
        assert scripted.food.couriers[own]["position"] == {"lat": 51.9012, "lon": -0.2034}


async def test_staff_pages_fit_a_phone_and_can_be_read(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url, viewport=PHONE) as page:
        await sign_in(page, scripted, ADMIN, "admin")
        own = scripted.people[ADMIN].id
        scripted.food.staff[own] = [food_id("Napoli")]
        scripted.food.couriers[own] = courier("Anna", "bike", on_shift=True)
        for number, state in enumerate(("waiting", "accepted", "preparing", "ready")):
            order_id = product_id(f"ticket {number}")
            scripted.food.tickets[order_id] = ticket(order_id, state, until=LATER, note="No onions")
        scripted.food.jobs[ORDER] = job(ORDER, "on_the_way")
        for path in ("/kitchen", "/courier", "/admin/town"):
            await page.goto(path)
            assert await overflow_px(page) == 0, path
            assert not await unlabelled(page), path
            assert not await low_contrast_texts(page, 4.5), path
