"""The shop as people meet it: a real browser against the whole running shop."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import RunningShop
from tests.e2e.browsing import Person, faint_texts, open_browser, overflow_px, person, unlabelled
from tests.integration.buyers import new_product
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

PHONE = {"width": 360, "height": 740}
LEAST_CONTRAST = 4.5
LIVE_TIMEOUT_MS = 10_000
SLOW_BANK_TIMEOUT_MS = 60_000
PUBLIC_PATHS = (
    "/",
    "/search",
    "/category/poetry",
    "/search?query=nothingatall",
    "/cart",
    "/sign-in",
    "/sign-up",
    "/nowhere",
)
CUSTOMER_PATHS = ("/checkout", "/account", "/account/addresses", "/account/messages")
ADMIN_PATHS = ("/admin", "/admin/stock", "/admin/promotions", "/admin/promotions/new", "/admin/messages")
FOCUSED = "() => document.activeElement.id || document.activeElement.textContent.trim()"


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with open_browser() as browser:
        yield browser


@pytest.fixture
async def reader(browser: Browser, shop: RunningShop) -> AsyncIterator[Person]:
    """A visitor that nobody knows yet."""
    async with person(browser, shop.url) as somebody:
        yield somebody


@pytest.fixture
async def keeper(browser: Browser, shop: RunningShop) -> AsyncIterator[Person]:
    """The shopkeeper, signed in."""
    async with person(browser, shop.url) as somebody:
        await somebody.sign_in(shop.admin_email, shop.admin_password, "/admin")
        yield somebody


async def stock(api: Api, product: dict[str, Any]) -> int:
    found = await api.call("GET", f"/products/{product['id']}")
    return int(found["stock"])


async def test_a_customer_signs_up_and_buys_a_book(reader: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book, 2)
    await expect(reader.page.locator("#cart-count")).to_contain_text("2")
    await reader.sign_up()
    await reader.buy()
    await expect(reader.heading).to_have_text("Thank you for your order")
    await expect(reader.main.get_by_role("link", name=book["name"])).to_be_visible()
    await expect(reader.page.locator("#cart-count")).to_contain_text("0")
    await reader.go("/account")
    await expect(reader.main.get_by_role("link", name=book["name"])).to_contain_text("Confirmed")
    assert await stock(api, book) == 3


async def test_a_declined_card_leaves_nothing_behind(reader: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book, 2)
    await reader.sign_up()
    await reader.buy("Test card: declined")
    await expect(reader.page.get_by_role("alert")).to_contain_text("Your card was declined. You were not charged")
    await expect(reader.page.get_by_label("Street and number")).to_have_value("Linden 5")
    await reader.go("/account")
    await expect(reader.main.get_by_text("Confirmed")).to_have_count(0)
    await reader.go("/cart")
    await expect(reader.page.get_by_label(f"Quantity of {book['name']}")).to_have_value("2")
    assert await stock(api, book) == 5
    await reader.buy()
    await expect(reader.heading).to_have_text("Thank you for your order")
    assert await stock(api, book) == 3


async def test_two_browsers_race_for_the_last_copy(browser: Browser, shop: RunningShop, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=1)
    async with person(browser, shop.url) as one, person(browser, shop.url) as other:
        for racer in (one, other):
            await racer.add_to_cart(book)
            await racer.sign_up()
            await racer.fill_checkout()
        await asyncio.gather(one.press("Buy now"), other.press("Buy now"))
        headings = [await racer.heading.inner_text() for racer in (one, other)]
        assert sorted(headings) == ["Checkout", "Thank you for your order"]
        loser = one if headings[0] == "Checkout" else other
        await expect(loser.page.get_by_role("alert")).to_contain_text(f"“{book['name']}” is sold out.")
        await loser.go("/cart")
        await expect(loser.main).to_contain_text("Sold out")
    assert await stock(api, book) == 0


async def test_pressing_twice_buys_once(reader: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book)
    await reader.sign_up()
    await reader.fill_checkout()
    await reader.main.get_by_role("button", name="Buy now").dblclick()
    await expect(reader.heading).to_have_text("Thank you for your order")
    await reader.go("/account")
    await expect(reader.main.get_by_role("link", name=book["name"])).to_have_count(1)
    assert await stock(api, book) == 4


async def test_a_purchase_without_script(browser: Browser, shop: RunningShop, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    async with person(browser, shop.url, java_script_enabled=False) as reader:
        await reader.add_to_cart(book)
        await reader.page.get_by_label(f"Quantity of {book['name']}").fill("3")
        await reader.press("Update")
        await expect(reader.page.locator("#cart-count")).to_contain_text("3")
        await reader.sign_up()
        await reader.fill_checkout()
        await reader.page.get_by_label("Coupon").fill("NO-SUCH-COUPON")
        await reader.press("Apply")
        await expect(reader.main).to_contain_text("There is no such coupon.")
        await reader.page.get_by_label("Coupon").fill("")
        await reader.press("Buy now")
        await expect(reader.heading).to_have_text("Thank you for your order")
    assert await stock(api, book) == 2


async def test_an_order_moves_before_the_readers_eyes(reader: Person, keeper: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book)
    await reader.sign_up()
    await reader.buy()
    await expect(reader.heading).to_have_text("Thank you for your order")
    await reader.page.evaluate("() => { window.sameDocument = true; }")
    await keeper.page.goto(reader.page.url.replace("/orders/", "/admin/orders/"))
    for button, headline in (("Mark as shipped", "Your order has shipped"), ("Mark as delivered", "Delivered")):
        await keeper.press(button)
        await expect(reader.heading).to_have_text(headline, timeout=LIVE_TIMEOUT_MS)
    assert await reader.page.evaluate("() => window.sameDocument")


async def test_the_cart_and_the_sums_follow_by_themselves(reader: Person, api: Api, admin: str) -> None:
    book, code = await new_product(api, admin, stock=50, price=1_000), f"E2E-{uuid.uuid4().hex[:8].upper()}"
    await api.call("PUT", f"/promotions/{code}", admin, json={"kind": "percentage", "value": 50})
    await reader.add_to_cart(book)
    await reader.page.get_by_label(f"Quantity of {book['name']}").fill("4")
    await reader.page.get_by_label(f"Quantity of {book['name']}").press("Tab")
    await expect(reader.page.locator("#cart-count")).to_contain_text("4")
    await expect(reader.page.locator("#cart .sums")).to_contain_text("40,00")
    await reader.sign_up()
    await reader.fill_checkout()
    await reader.page.get_by_label("Coupon").fill(code.lower())
    await reader.page.get_by_label("Coupon").press("Tab")
    await expect(reader.page.locator("#sums")).to_contain_text(f"Coupon {code} applied.")
    await expect(reader.page.locator("#sums")).to_contain_text("−20,00")
    await reader.press("Buy now")
    await expect(reader.main).to_contain_text("−20,00")


async def test_a_slow_bank_is_waited_for_before_the_readers_eyes(reader: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book)
    await reader.sign_up()
    await reader.buy("Test card: slow bank")
    await expect(reader.heading).to_have_text("Thank you for your order", timeout=SLOW_BANK_TIMEOUT_MS)
    assert await stock(api, book) == 4


async def test_cancelling_gives_the_stock_back(reader: Person, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await reader.add_to_cart(book, 2)
    await reader.sign_up()
    await reader.buy()
    await reader.press("Cancel order")
    await expect(reader.heading).to_have_text("Cancel this order?")
    await reader.press("Cancel order")
    await expect(reader.heading).to_have_text("Order cancelled", timeout=LIVE_TIMEOUT_MS)
    assert await stock(api, book) == 5


async def test_the_shopkeeper_changes_stock_and_gives_money_back(
    reader: Person, keeper: Person, api: Api, admin: str
) -> None:
    book = await new_product(api, admin, stock=5)
    await keeper.go(f"/admin/stock?query={book['name'].split()[1]}")
    await keeper.page.get_by_label(f"Change the stock of {book['name']} by").fill("-2")
    await keeper.press("Update")
    await expect(keeper.page.get_by_text(f"Stock updated: 3 of “{book['name']}” in stock.")).to_be_visible()
    assert await stock(api, book) == 3
    await reader.add_to_cart(book)
    await reader.sign_up()
    await reader.buy()
    await expect(reader.heading).to_have_text("Thank you for your order")
    await keeper.page.goto(reader.page.url.replace("/orders/", "/admin/orders/"))
    await expect(keeper.page.get_by_role("row", name="Charge Done")).to_be_visible()
    await keeper.page.get_by_label("Refund amount").fill("2.50")
    await keeper.press("Refund")
    await keeper.press("Refund 2.50 EUR")
    await expect(keeper.main).to_contain_text("2,50 € refunded")
    await expect(keeper.page.get_by_label("Refund amount")).not_to_have_value("2.50")


async def test_the_shopkeeper_makes_a_promotion(keeper: Person) -> None:
    code = f"KEEPER-{uuid.uuid4().hex[:6].upper()}"
    await keeper.go("/admin/promotions/new")
    await keeper.page.get_by_label("Code").fill(code)
    await keeper.page.get_by_label("Value").fill("15")
    await keeper.press("Save promotion")
    await expect(keeper.page.get_by_text(f"Promotion {code} saved.")).to_be_visible()
    await keeper.page.get_by_role("link", name=code).click()
    await expect(keeper.page.get_by_label("Value")).to_have_value("15")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_can_be_read_and_filled_in(
    browser: Browser, shop: RunningShop, api: Api, admin: str, scheme: str
) -> None:
    book = await new_product(api, admin, stock=3)
    async with person(browser, shop.url, color_scheme=scheme, reduced_motion="reduce") as reader:
        await reader.add_to_cart(book)
        for path in (*PUBLIC_PATHS, f"/products/{book['id']}"):
            await check_readable(reader, path)
        await reader.sign_up()
        for path in CUSTOMER_PATHS:
            await check_readable(reader, path)
    async with person(browser, shop.url, color_scheme=scheme) as keeper:
        await keeper.sign_in(shop.admin_email, shop.admin_password)
        for path in ADMIN_PATHS:
            await check_readable(keeper, path)


async def check_readable(somebody: Person, path: str) -> None:
    await somebody.go(path)
    assert not await unlabelled(somebody.page), path
    assert not await faint_texts(somebody.page, LEAST_CONTRAST), path


async def test_a_phone_never_scrolls_sideways(browser: Browser, shop: RunningShop, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=3)
    async with person(browser, shop.url, viewport=PHONE) as reader:
        await reader.add_to_cart(book)
        for path in (*PUBLIC_PATHS, f"/products/{book['id']}"):
            await reader.go(path)
            assert await overflow_px(reader.page) == 0, path
        await reader.sign_up()
        for path in CUSTOMER_PATHS:
            await reader.go(path)
            assert await overflow_px(reader.page) == 0, path
        await reader.buy()
        await expect(reader.heading).to_have_text("Thank you for your order")
        assert await overflow_px(reader.page) == 0
        order_path = reader.page.url.removeprefix(shop.url)
    async with person(browser, shop.url, viewport=PHONE) as keeper:
        await keeper.sign_in(shop.admin_email, shop.admin_password)
        for path in (*ADMIN_PATHS, f"/admin{order_path}"):
            await keeper.go(path)
            assert await overflow_px(keeper.page) == 0, path


async def test_the_keyboard_leads_through_the_page_in_order(reader: Person) -> None:
    await reader.go("/sign-in")
    await reader.page.keyboard.press("Tab")
    assert await reader.page.evaluate(FOCUSED) == "Skip to content"
    await reader.page.keyboard.press("Enter")
    focused = []
    for _ in range(3):
        await reader.page.keyboard.press("Tab")
        focused.append(await reader.page.evaluate(FOCUSED))
    assert focused == ["email", "password", "Sign in"]
    outline = await reader.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
