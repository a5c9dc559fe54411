"""The shop in a real browser, against all running services."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from tests.conftest import RunningShop
from tests.e2e.browsing import BrowserUser, browser_user, low_contrast_texts, overflow_px, unlabelled
from tests.integration.buyers import new_product
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

PHONE = {"width": 360, "height": 740}
MIN_CONTRAST = 4.5
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
CUSTOMER_PATHS = ("/checkout", "/account", "/account/addresses", "/account/messages", "/account/delete")
ADMIN_PATHS = (
    "/admin",
    "/admin/stock",
    "/admin/promotions",
    "/admin/promotions/new",
    "/admin/recommendations",
    "/admin/messages",
)
FOCUSED = "() => document.activeElement.id || document.activeElement.textContent.trim()"


@pytest.fixture
async def customer(chromium: Browser, shop: RunningShop) -> AsyncIterator[BrowserUser]:
    """A new visitor."""
    async with browser_user(chromium, shop.url) as user:
        yield user


@pytest.fixture
async def administrator(chromium: Browser, shop: RunningShop) -> AsyncIterator[BrowserUser]:
    """A signed-in administrator."""
    async with browser_user(chromium, shop.url) as user:
        await user.sign_in(shop.admin_email, shop.admin_password, "/admin")
        yield user


async def stock(api: Api, product: dict[str, Any]) -> int:
    found = await api.call("GET", f"/products/{product['id']}")
    return int(found["stock"])


async def test_a_customer_signs_up_and_buys_a_book(customer: BrowserUser, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book, 2)
    await expect(customer.page.locator("#cart-count")).to_contain_text("2")
    await customer.sign_up()
    await customer.buy()
    await expect(customer.heading).to_have_text("Thank you for your order")
    await expect(customer.main.get_by_role("link", name=book["name"])).to_be_visible()
    await expect(customer.page.locator("#cart-count")).to_contain_text("0")
    await customer.go("/account")
    await expect(customer.main.get_by_role("link", name=book["name"])).to_contain_text("Confirmed")
    assert await stock(api, book) == 3


async def test_a_declined_card_leaves_no_order_and_no_reservation(customer: BrowserUser, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book, 2)
    await customer.sign_up()
    await customer.buy("Test card: declined")
    await expect(customer.page.get_by_role("alert")).to_contain_text("Your card was declined. You were not charged")
    await expect(customer.page.get_by_label("Street and number")).to_have_value("Linden 5")
    await customer.go("/account")
    await expect(customer.main.get_by_text("Confirmed")).to_have_count(0)
    await customer.go("/cart")
    await expect(customer.page.get_by_label(f"Quantity of {book['name']}")).to_have_value("2")
    assert await stock(api, book) == 5
    await customer.buy()
    await expect(customer.heading).to_have_text("Thank you for your order")
    assert await stock(api, book) == 3


async def test_two_browsers_buy_the_last_copy_at_once(
    chromium: Browser, shop: RunningShop, api: Api, admin: str
) -> None:
    book = await new_product(api, admin, stock=1)
    async with browser_user(chromium, shop.url) as one, browser_user(chromium, shop.url) as other:
        for buyer in (one, other):
            await buyer.add_to_cart(book)
            await buyer.sign_up()
            await buyer.fill_checkout()
        await asyncio.gather(one.press("Buy now"), other.press("Buy now"))
        headings = [await buyer.heading.inner_text() for buyer in (one, other)]
        assert sorted(headings) == ["Checkout", "Thank you for your order"]
        refused = one if headings[0] == "Checkout" else other
        await expect(refused.page.get_by_role("alert")).to_contain_text(f"“{book['name']}” is sold out.")
        await refused.go("/cart")
        await expect(refused.main).to_contain_text("Sold out")
    assert await stock(api, book) == 0


async def test_submitting_twice_buys_once(customer: BrowserUser, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book)
    await customer.sign_up()
    await customer.fill_checkout()
    await customer.main.get_by_role("button", name="Buy now").dblclick()
    await expect(customer.heading).to_have_text("Thank you for your order")
    await customer.go("/account")
    await expect(customer.main.get_by_role("link", name=book["name"])).to_have_count(1)
    assert await stock(api, book) == 4


async def test_a_purchase_without_script(chromium: Browser, shop: RunningShop, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    async with browser_user(chromium, shop.url, java_script_enabled=False) as customer:
        await customer.add_to_cart(book)
        await customer.page.get_by_label(f"Quantity of {book['name']}").fill("3")
        await customer.press("Update")
        await expect(customer.page.locator("#cart-count")).to_contain_text("3")
        await customer.sign_up()
        await customer.fill_checkout()
        await customer.page.get_by_label("Coupon").fill("NO-SUCH-COUPON")
        await customer.press("Apply")
        await expect(customer.main).to_contain_text("There is no such coupon.")
        await customer.page.get_by_label("Coupon").fill("")
        await customer.press("Buy now")
        await expect(customer.heading).to_have_text("Thank you for your order")
    assert await stock(api, book) == 2


async def test_an_order_page_updates_live(
    customer: BrowserUser, administrator: BrowserUser, api: Api, admin: str
) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book)
    await customer.sign_up()
    await customer.buy()
    await expect(customer.heading).to_have_text("Thank you for your order")
    await customer.page.evaluate("() => { window.sameDocument = true; }")
    await administrator.page.goto(customer.page.url.replace("/orders/", "/admin/orders/"))
    for button, headline in (("Mark as shipped", "Your order has shipped"), ("Mark as delivered", "Delivered")):
        await administrator.press(button)
        await expect(customer.heading).to_have_text(headline, timeout=LIVE_TIMEOUT_MS)
    assert await customer.page.evaluate("() => window.sameDocument")


async def test_cart_and_totals_update_without_a_reload(customer: BrowserUser, api: Api, admin: str) -> None:
    book, code = await new_product(api, admin, stock=50, price=1_000), f"E2E-{uuid.uuid4().hex[:8].upper()}"
    await api.call("PUT", f"/promotions/{code}", admin, json={"kind": "percentage", "value": 50})
    await customer.add_to_cart(book)
    await customer.page.get_by_label(f"Quantity of {book['name']}").fill("4")
    await customer.page.get_by_label(f"Quantity of {book['name']}").press("Tab")
    await expect(customer.page.locator("#cart-count")).to_contain_text("4")
    await expect(customer.page.locator("#cart .sums")).to_contain_text("40,00")
    await customer.sign_up()
    await customer.fill_checkout()
    await customer.page.get_by_label("Coupon").fill(code.lower())
    await customer.page.get_by_label("Coupon").press("Tab")
    await expect(customer.page.locator("#sums")).to_contain_text(f"Coupon {code} applied.")
    await expect(customer.page.locator("#sums")).to_contain_text("−20,00")
    await customer.press("Buy now")
    await expect(customer.main).to_contain_text("−20,00")


async def test_a_pending_order_is_confirmed_live(customer: BrowserUser, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book)
    await customer.sign_up()
    await customer.buy("Test card: slow bank")
    await expect(customer.heading).to_have_text("Thank you for your order", timeout=SLOW_BANK_TIMEOUT_MS)
    assert await stock(api, book) == 4


async def test_cancelling_restocks(customer: BrowserUser, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=5)
    await customer.add_to_cart(book, 2)
    await customer.sign_up()
    await customer.buy()
    await customer.press("Cancel order")
    await expect(customer.heading).to_have_text("Cancel this order?")
    await customer.press("Cancel order")
    await expect(customer.heading).to_have_text("Order cancelled", timeout=LIVE_TIMEOUT_MS)
    assert await stock(api, book) == 5


async def test_an_administrator_changes_stock_and_refunds(
    customer: BrowserUser, administrator: BrowserUser, api: Api, admin: str
) -> None:
    book = await new_product(api, admin, stock=5)
    await administrator.go(f"/admin/stock?query={book['name'].split()[1]}")
    await administrator.page.get_by_label(f"Change the stock of {book['name']} by").fill("-2")
    await administrator.press("Update")
    await expect(administrator.page.get_by_text(f"Stock updated: 3 of “{book['name']}” in stock.")).to_be_visible()
    assert await stock(api, book) == 3
    await customer.add_to_cart(book)
    await customer.sign_up()
    await customer.buy()
    await expect(customer.heading).to_have_text("Thank you for your order")
    await administrator.page.goto(customer.page.url.replace("/orders/", "/admin/orders/"))
    await expect(administrator.page.get_by_role("row", name="Charge Done")).to_be_visible()
    await administrator.page.get_by_label("Refund amount").fill("2.50")
    await administrator.press("Refund")
    await administrator.press("Refund 2,50 €")
    await expect(administrator.main).to_contain_text("2,50 € refunded")
    await expect(administrator.page.get_by_label("Refund amount")).not_to_have_value("2.50")


async def test_an_administrator_creates_a_promotion(administrator: BrowserUser) -> None:
    code = f"KEEPER-{uuid.uuid4().hex[:6].upper()}"
    await administrator.go("/admin/promotions/new")
    await administrator.page.get_by_label("Code").fill(code)
    await administrator.page.get_by_label("Value").fill("15")
    await administrator.press("Save promotion")
    await expect(administrator.page.get_by_text(f"Promotion {code} saved.")).to_be_visible()
    await administrator.page.get_by_role("link", name=code).click()
    await expect(administrator.page.get_by_label("Value")).to_have_value("15")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_have_contrast_and_labelled_fields(
    chromium: Browser, shop: RunningShop, api: Api, admin: str, scheme: str
) -> None:
    book = await new_product(api, admin, stock=3)
    async with browser_user(chromium, shop.url, color_scheme=scheme, reduced_motion="reduce") as customer:
        await customer.add_to_cart(book)
        for path in (*PUBLIC_PATHS, f"/products/{book['id']}"):
            await check_readable(customer, path)
        await customer.sign_up()
        for path in CUSTOMER_PATHS:
            await check_readable(customer, path)
    async with browser_user(chromium, shop.url, color_scheme=scheme) as administrator:
        await administrator.sign_in(shop.admin_email, shop.admin_password)
        for path in ADMIN_PATHS:
            await check_readable(administrator, path)


async def check_readable(user: BrowserUser, path: str) -> None:
    await user.go(path)
    assert not await unlabelled(user.page), path
    assert not await low_contrast_texts(user.page, MIN_CONTRAST), path


async def test_pages_fit_the_width_of_a_phone(chromium: Browser, shop: RunningShop, api: Api, admin: str) -> None:
    book = await new_product(api, admin, stock=3)
    async with browser_user(chromium, shop.url, viewport=PHONE) as customer:
        await customer.add_to_cart(book)
        for path in (*PUBLIC_PATHS, f"/products/{book['id']}"):
            await customer.go(path)
            assert await overflow_px(customer.page) == 0, path
        await customer.sign_up()
        for path in CUSTOMER_PATHS:
            await customer.go(path)
            assert await overflow_px(customer.page) == 0, path
        await customer.buy()
        await expect(customer.heading).to_have_text("Thank you for your order")
        assert await overflow_px(customer.page) == 0
        order_path = customer.page.url.removeprefix(shop.url)
    async with browser_user(chromium, shop.url, viewport=PHONE) as administrator:
        await administrator.sign_in(shop.admin_email, shop.admin_password)
        for path in (*ADMIN_PATHS, f"/admin{order_path}"):
            await administrator.go(path)
            assert await overflow_px(administrator.page) == 0, path


async def test_keyboard_focus_follows_the_page_order(customer: BrowserUser) -> None:
    await customer.go("/sign-in")
    await customer.page.keyboard.press("Tab")
    assert await customer.page.evaluate(FOCUSED) == "Skip to content"
    await customer.page.keyboard.press("Enter")
    focused = []
    for _ in range(3):
        await customer.page.keyboard.press("Tab")
        focused.append(await customer.page.evaluate(FOCUSED))
    assert focused == ["email", "password", "Sign in"]
    outline = await customer.page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
