"""The pages in a real Chromium, with scripted services: widths, focus, images, browser history."""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from services.storefront.tests.conftest import ADDRESS, ADMIN, CUSTOMER, PASSWORD, Served
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import NOW, Person, product, product_id
from services.storefront.tests.shared import shared_app
from shop.kit.errors import Problem
from shop.storefront.settings import Settings
from tests.e2e.browsing import overflow_px

pytestmark = [pytest.mark.browser]

PHONE, DESKTOP = {"width": 390, "height": 844}, {"width": 1280, "height": 800}
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 4


WIDEST = """() => [...document.querySelectorAll("body *")]
  .map(e => [Math.round(e.getBoundingClientRect().left + e.scrollWidth), e.tagName, e.className])
  .sort((a, b) => b[0] - a[0]).slice(0, 6)"""
"""The elements with the largest right edge."""


COVERED = """() => [...document.querySelectorAll(".cover img")].map(picture => {
  const drawn = getComputedStyle(picture, "::after");
  return !picture.naturalWidth && drawn.content.includes(picture.dataset.name)
    && parseFloat(drawn.width) >= picture.clientWidth && drawn.backgroundColor !== "rgba(0, 0, 0, 0)";
})"""
"""Whether each picture that did not come is covered by the placeholder that is drawn with its name."""


@pytest.fixture
async def url(settings: Settings, served: Served) -> AsyncIterator[str]:
    async with served(shared_app(settings)) as client:
        yield str(client.base_url).rstrip("/")


@contextlib.asynccontextmanager
async def window(chromium: Browser, url: str, **options: Any) -> AsyncIterator[Page]:
    context = await chromium.new_context(base_url=url, **{"viewport": DESKTOP, **options})
    context.set_default_timeout(20_000)
    yield await context.new_page()
    await context.close()


async def sign_in(page: Page, scripted: ScriptedShop, email: str = CUSTOMER, role: str = "customer") -> None:
    scripted.people.setdefault(email, Person("Ada Lovelace", email, PASSWORD, role))
    await page.goto("/sign-in")
    await page.get_by_label("Email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_role("main").get_by_role("button", name="Sign in").click()
    await expect(page.get_by_text("Welcome back.")).to_be_visible()


async def add(page: Page, sku: str) -> None:
    await page.goto(f"/products/{product_id(sku)}")
    await page.get_by_role("button", name="Add to cart").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Your cart")


def quantity(page: Page, name: str = "Pride and Prejudice") -> Locator:
    return page.get_by_label(f"Quantity of {name}")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_a_long_word_never_widens_a_page(
    chromium: Browser, url: str, scripted: ScriptedShop, viewport: dict[str, int]
) -> None:
    long = product("long", LONG[:300], 1299, 3, description=LONG * 3, attributes={"author": LONG[:300], "fact": LONG})
    scripted.products[long["id"]] = long
    scripted.promotions["CODE"] = {"code": "A" * 32, "kind": "percentage", "value": 10}
    scripted.messages = [
        {"id": product_id("m"), "subject": LONG, "created_at": NOW, "recipient": CUSTOMER, "error": LONG}
    ]
    paths = ["/", f"/search?query={LONG[:100]}", "/category/fiction", f"/products/{long['id']}", "/cart", "/checkout"]
    async with window(chromium, url, viewport=viewport) as page:
        await sign_in(page, scripted)
        customer = scripted.people[CUSTOMER]
        customer.addresses.append({**ADDRESS, "street": LONG[:120], "name": LONG[:120], "id": product_id("address")})
        await add(page, "long")
        item = {"product_id": long["id"], "quantity": 2}
        order = scripted.make_order(customer, {"items": [item], "address": customer.addresses[0]}, product_id("order"))
        paths += [f"/orders/{order['id']}", "/account", "/account/addresses", "/account/messages", f"/{LONG}"]
        paths += [f"/cart/lines/{long['id']}/remove"]
        await check_widths(page, paths)
        await page.context.clear_cookies()
        await sign_in(page, scripted, ADMIN, "admin")
        admin = ["/admin", "/admin/stock", "/admin/promotions", "/admin/messages", f"/admin/orders/{order['id']}"]
        await check_widths(page, admin)


async def check_widths(page: Page, paths: list[str]) -> None:
    for path in paths:
        await page.goto(path)
        assert await overflow_px(page) == 0, (path, await page.evaluate(WIDEST))


async def test_admin_lists_show_the_status_on_a_phone(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    body = {"items": [{"product_id": product_id("pride"), "quantity": 2}], "address": ADDRESS}
    scripted.make_order(Person("Ada", CUSTOMER, PASSWORD), body, product_id("order"))
    scripted.promotions["CODE"] = {"code": "WELCOME10", "kind": "percentage", "value": 10}
    scripted.messages = [{"id": product_id("m"), "subject": "Hello", "created_at": NOW, "state": "sent"}]
    async with window(chromium, url, viewport=PHONE) as page:
        await sign_in(page, scripted, ADMIN, "admin")
        await page.goto("/admin")
        link = await page.get_by_role("link", name="Control room").bounding_box()
        assert link is not None
        assert 0 <= link["x"] < link["x"] + link["width"] <= PHONE["width"]
        for path in ("/admin", "/admin/promotions", "/admin/messages"):
            await page.goto(path)
            box = await page.locator("td .state").first.bounding_box()
            assert box is not None, path
            assert 0 <= box["x"] < box["x"] + box["width"] <= PHONE["width"], path


async def test_the_focus_is_on_the_error_message(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    for script in (True, False):
        async with window(chromium, url, java_script_enabled=script) as page:
            await page.goto("/sign-up")
            await page.get_by_label("Name").fill("Ada")
            await page.get_by_label("Email").fill("ada@example.com")
            await page.get_by_label("Password").fill("short")
            await page.keyboard.press("Enter")
            await expect(page.locator("#problem")).to_be_focused()
            await expect(page.get_by_label("Password")).to_have_attribute("aria-describedby", "password-error")
            await page.locator("#problem").get_by_role("link", name="Password").click()
            await expect(page.get_by_label("Password")).to_be_focused()


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
async def test_a_changed_quantity_keeps_the_focus(
    chromium: Browser, url: str, scripted: ScriptedShop, script: bool
) -> None:
    async with window(chromium, url, java_script_enabled=script) as page:
        await add(page, "rocks")
        await add(page, "pride")
        await quantity(page).fill("4")
        await quantity(page).press("Enter")
        await expect(page.locator("#cart-count")).to_contain_text("5")
        await expect(quantity(page)).to_have_value("4")
        await expect(quantity(page)).to_be_focused()
        if script:
            await quantity(page).fill("6")
            await quantity(page).press("Tab")
            await expect(page.locator("#cart-count")).to_contain_text("7")
            await expect(page.get_by_role("button", name="Update").nth(1)).to_be_focused()
        await quantity(page).fill("0")
        await quantity(page).press("Enter")
        await expect(page.locator("#cart-count")).to_contain_text("1")
        await expect(page.get_by_role("heading", level=1)).to_be_focused()


async def test_enter_in_the_coupon_field_applies_it(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    for script in (True, False):
        async with window(chromium, url, java_script_enabled=script) as page:
            await add(page, "pride")
            await sign_in(page, scripted, f"{script}@example.com".lower())
            await page.goto("/checkout")
            await page.get_by_label("Street and number").fill("Linden 5")
            await page.get_by_label("Coupon").fill("spring 10")
            await page.get_by_label("Coupon").press("Enter")
            await expect(page.locator("#sums")).to_contain_text("Coupon SPRING10 applied.")
            await expect(page.get_by_label("Street and number")).to_have_value("Linden 5")
    assert scripted.orders == {}
    assert scripted.order_requests == []


async def fill_checkout(page: Page, card: str) -> None:
    for label, value in {"Street and number": "Linden 5", "Postal code": "10117", "City": "Berlin"}.items():
        await page.get_by_label(label).fill(value)
    await page.get_by_role("radio", name=card).check()


async def test_a_declined_card_then_back_then_another_card(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url) as page:
        await add(page, "pride")
        await sign_in(page, scripted)
        await page.goto("/checkout")
        await fill_checkout(page, "Test card: declined")
        scripted.refuse = Problem(402, "payment_declined", "No.")
        await page.get_by_role("button", name="Buy now").click()
        await expect(page.locator("#problem")).to_be_focused()
        await expect(page.locator("#problem")).to_contain_text("Your card was declined.")
        scripted.refuse = None
        await page.go_back()
        await fill_checkout(page, "Test card: approved")
        await page.get_by_role("button", name="Buy now").dblclick()
        await expect(page.get_by_role("heading", level=1)).to_have_text("Thank you for your order")
    assert len(scripted.orders) == 1
    cards = [json.loads(body)["payment"]["token"] for _, body in scripted.order_requests]
    assert (cards[0], set(cards[1:])) == ("tok_declined", {"tok_visa"})


async def test_an_invalid_stock_change_keeps_the_focus(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url, java_script_enabled=False) as page:
        await sign_in(page, scripted, ADMIN, "admin")
        await page.goto("/admin/stock")
        field = page.get_by_label("Change the stock of The Last Copy by")
        await field.fill("-5")
        await field.press("Enter")
        await expect(field).to_be_focused()
        await expect(field).to_have_value("-5")
        await expect(page.get_by_role("alert")).to_contain_text("There is not so much.")


@pytest.mark.parametrize("script", [True, False], ids=["script", "no-script"])
async def test_missing_images_have_placeholders(
    chromium: Browser, url: str, scripted: ScriptedShop, script: bool
) -> None:
    for one in scripted.products.values():
        one["image_url"] = f"/api/v1/products/{one['id']}/cover.svg"
    async with window(chromium, url, java_script_enabled=script) as page:
        await page.goto("/search")
        covers = page.locator(".cover")
        assert await covers.count() == len(scripted.products)
        await expect(covers.first.locator(".placeholder")).to_be_visible()
        if script:
            await expect(page.locator(".cover img")).to_have_count(0)
        else:
            assert await page.evaluate(COVERED) == [True] * len(scripted.products)


async def test_nothing_of_the_previous_user_remains(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url) as page:
        await add(page, "pride")
        await sign_in(page, scripted)
        for path in ("/account", "/cart", "/checkout"):
            await page.goto(path)
        await page.get_by_role("button", name="Sign out").click()
        await expect(page.get_by_text("You have signed out.")).to_be_visible()
        for _ in range(3):
            await page.go_back()
            await expect(page.get_by_text("Ada Lovelace")).to_have_count(0)
            await expect(page.get_by_label(re.compile("Quantity of"))).to_have_count(0)
        await sign_in(page, scripted, "eve@example.com")
        await page.goto("/cart")
        await expect(page.get_by_text("Your cart is empty")).to_be_visible()


async def test_a_second_browser_has_the_same_cart(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url) as one, window(chromium, url, viewport=PHONE) as other:
        await sign_in(one, scripted)
        await add(one, "pride")
        await add(other, "rocks")
        await sign_in(other, scripted)
        await other.goto("/cart")
        await expect(quantity(other)).to_have_value("1")
        await one.goto("/cart")
        await expect(quantity(one, "On Rocks")).to_have_value("1")


async def test_the_fields_of_an_address_follow_its_country(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    """At the checkout and in the address book; what was typed in the other fields stays."""
    async with window(chromium, url) as page:
        await sign_in(page, scripted)
        await page.goto(f"/products/{product_id('pride')}")
        await page.get_by_role("button", name="Add to cart").click()
        for path in ("/account/addresses", "/checkout"):
            await page.goto(path)
            await page.get_by_label("Street and number").fill("1 Nathan Road")
            await page.get_by_label("Country").select_option("HK")
            await expect(page.get_by_label("Area")).to_be_visible()
            await expect(page.get_by_label("Postal code")).to_have_count(0)
            await page.get_by_label("Country").select_option("US")
            await expect(page.get_by_label("ZIP code")).to_be_visible()
            await page.get_by_label("State").select_option("NV")
            await page.get_by_label("Country").select_option("DE")
            await expect(page.get_by_label("State")).to_have_count(0)
            await expect(page.get_by_label("Street and number")).to_have_value("1 Nathan Road")


async def test_a_saved_address_fills_the_fields_of_its_country(
    chromium: Browser, url: str, scripted: ScriptedShop
) -> None:
    place = {"street": "5 Elm St", "city": "Reno", "region": "NV", "postal_code": "89501", "country": "US"}
    async with window(chromium, url) as page:
        await sign_in(page, scripted)
        saved = [{**place, "name": "Ada", "id": product_id("us")}, {**ADDRESS, "id": product_id("de")}]
        scripted.people[CUSTOMER].addresses += saved
        await page.goto(f"/products/{product_id('pride')}")
        await page.get_by_role("button", name="Add to cart").click()
        await page.goto("/checkout")
        await expect(page.get_by_label("City")).to_have_value("Berlin")
        await page.get_by_label("Use a saved address").select_option(product_id("us"))
        await expect(page.get_by_label("State")).to_have_value("NV")
        await expect(page.get_by_label("ZIP code")).to_have_value("89501")
        await expect(page.get_by_label("City")).to_have_value("Reno")


def quotes(scripted: ScriptedShop) -> int:
    return sum(path == "/api/v1/quotes" for _, path, _ in scripted.calls)


async def test_a_change_of_country_or_address_requests_one_quote(
    chromium: Browser, url: str, scripted: ScriptedShop
) -> None:
    async with window(chromium, url) as page:
        await sign_in(page, scripted)
        scripted.people[CUSTOMER].addresses.append({**ADDRESS, "city": "Potsdam", "id": product_id("de")})
        await add(page, "pride")
        await page.goto("/checkout")
        for label, option, shown in (
            ("Country", "US", page.get_by_label("ZIP code")),
            ("Use a saved address", "", page.get_by_label("ZIP code")),
            ("Use a saved address", product_id("de"), page.get_by_label("Postal code")),
        ):
            before = quotes(scripted)
            scripted.products[product_id("pride")]["price"]["amount"] += 100
            async with page.expect_response("**/checkout/quote") if option else contextlib.nullcontext():
                await page.get_by_label(label).select_option(option)
            await expect(shown).to_be_visible()
            await page.wait_for_load_state("networkidle")
            assert quotes(scripted) - before == (1 if option else 0), label
            if option:
                new_price = f"{scripted.products[product_id('pride')]['price']['amount'] / 100:.2f}".replace(".", ",")
                await expect(page.locator("#sums")).to_contain_text(new_price)
