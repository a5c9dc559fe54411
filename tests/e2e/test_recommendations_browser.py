"""Recommendations and the end of an account in a real browser, against all running services."""

from __future__ import annotations

import contextlib
import os
import signal
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.e2e.browsing import (
    PASSWORD,
    BrowserUser,
    browser_user,
    low_contrast_texts,
    overflow_px,
    unlabelled,
)
from tests.integration.buyers import new_product
from tests.load.shoppers import ADDRESS, CARD
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

ORDERS = 5
LEARNED_WITHIN_S = 90.0
"""A new order counts within a minute."""
SEEN_WITHIN_S = 30.0
RELOAD_EVERY_S = 0.5
"""Each look loads a page, in the browser and in the shop."""
MIN_CONTRAST = 4.5
PHONE = {"width": 360, "height": 740}


@dataclass(frozen=True)
class Pair:
    """Two new products that ORDERS customers bought together."""

    one: dict[str, Any]
    other: dict[str, Any]


@pytest.fixture(scope="module")
async def pair(shop: RunningShop) -> AsyncIterator[Pair]:
    api = Api.at(shop.url)
    admin = await api.token(shop.admin_email, shop.admin_password)
    bought = Pair(await new_product(api, admin, stock=100), await new_product(api, admin, stock=100, price=2_500))
    for token in await api.sign_up_many(ORDERS):
        await order(api, token, bought.one, bought.other)
    yield bought
    await api.close()


async def order(api: Api, token: str, *products: dict[str, Any]) -> None:
    items = [{"product_id": product["id"], "quantity": 1} for product in products]
    body = {"items": items, "address": ADDRESS, "payment": {"token": CARD}}
    await api.call("POST", "/orders", token, json=body, **{"Idempotency-Key": str(uuid.uuid4())})


@contextlib.contextmanager
def hanging(shop: RunningShop) -> Iterator[None]:
    """The recommendation service accepts connections and answers nothing."""
    pid = shop.local.pid("recommendation")
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


@pytest.fixture
async def customer(chromium: Browser, shop: RunningShop) -> AsyncIterator[BrowserUser]:
    async with browser_user(chromium, shop.url) as user:
        yield user


async def names_in(user: BrowserUser, path: str, section: str) -> list[str]:
    """The names of the products in the section with this heading, after loading the page."""
    await user.go(path)
    region = user.main.get_by_role("region", name=section, exact=True)
    return await region.get_by_role("heading", level=3).all_inner_texts() if await region.count() else []


async def until_shown(user: BrowserUser, path: str, section: str, name: str, timeout_s: float) -> None:
    async def shown() -> bool:
        return name in await names_in(user, path, section)

    await wait_until(shown, timeout_s, f"“{name}” under “{section}” on {path}", RELOAD_EVERY_S)


async def test_products_bought_together_are_offered_on_each_others_page(customer: BrowserUser, pair: Pair) -> None:
    for here, there in ((pair.one, pair.other), (pair.other, pair.one)):
        path = f"/products/{here['id']}"
        await until_shown(customer, path, "Bought together", there["name"], LEARNED_WITHIN_S)
    section = customer.main.get_by_role("region", name="Bought together")
    await expect(section).to_contain_text("Total for 2: 35,00")
    await expect(section.get_by_role("listitem").nth(1)).to_contain_text(pair.other["name"])
    await customer.press("Add all 2 to cart")
    await expect(customer.heading).to_have_text("Your cart")
    for product in (pair.one, pair.other):
        await expect(customer.page.get_by_label(f"Quantity of {product['name']}")).to_have_value("1")
    await expect(customer.page.locator("#cart-count")).to_contain_text("2")


async def test_the_cart_shows_what_goes_well_with_it(customer: BrowserUser, pair: Pair) -> None:
    await until_shown(customer, f"/products/{pair.one['id']}", "Bought together", pair.other["name"], LEARNED_WITHIN_S)
    await customer.add_to_cart(pair.one)
    # A page on a busy machine may come without what the service would recommend.
    await until_shown(customer, "/cart", "Goes well with your cart", pair.other["name"], SEEN_WITHIN_S)
    await customer.add_to_cart(pair.other)
    assert pair.other["name"] not in await customer.main.get_by_role("heading", level=3).all_inner_texts()


async def test_a_customer_is_recommended_what_others_bought(customer: BrowserUser, pair: Pair) -> None:
    await customer.sign_up()
    await customer.add_to_cart(pair.one)
    await customer.buy()
    await expect(customer.heading).to_have_text("Thank you for your order")
    await until_shown(customer, "/", "Recommended for you", pair.other["name"], LEARNED_WITHIN_S)
    card = customer.main.get_by_role("article").filter(has_text=pair.other["name"]).first
    await expect(card).to_contain_text("Because you bought")
    await expect(card).to_contain_text(pair.one["name"])


async def test_what_sells_out_is_no_longer_recommended(customer: BrowserUser, pair: Pair, api: Api, admin: str) -> None:
    path = f"/products/{pair.one['id']}"
    await until_shown(customer, path, "Bought together", pair.other["name"], LEARNED_WITHIN_S)
    left = (await api.call("GET", f"/products/{pair.other['id']}"))["stock"]
    stock = f"/products/{pair.other['id']}/stock"
    await api.call("POST", stock, admin, json={"delta": -left})
    assert pair.other["name"] not in await names_in(customer, path, "Bought together")
    assert pair.other["name"] not in await names_in(customer, path, "Similar products")
    await api.call("POST", stock, admin, json={"delta": left})
    await until_shown(customer, path, "Bought together", pair.other["name"], SEEN_WITHIN_S)


async def test_pages_are_complete_while_the_service_hangs(
    chromium: Browser, customer: BrowserUser, shop: RunningShop, pair: Pair
) -> None:
    path = f"/products/{pair.one['id']}"
    await until_shown(customer, path, "Bought together", pair.other["name"], LEARNED_WITHIN_S)
    with hanging(shop):
        await customer.go("/")
        await expect(customer.main.get_by_role("region", name="Featured")).to_be_visible()
        assert await names_in(customer, path, "You may also like")
        await customer.add_to_cart(pair.one)
        await expect(customer.main.get_by_role("region", name="Order summary")).to_be_visible()
    async with browser_user(chromium, shop.url) as visitor:
        await until_shown(visitor, path, "Bought together", pair.other["name"], SEEN_WITHIN_S)


async def test_pages_are_complete_without_the_service(customer: BrowserUser, shop: RunningShop, pair: Pair) -> None:
    path = f"/products/{pair.one['id']}"
    async with shop.stopped("recommendation"):
        assert await names_in(customer, path, "You may also like")
        await customer.go("/")
        await expect(customer.main.get_by_role("region", name="Featured")).to_be_visible()
    await until_shown(customer, path, "Bought together", pair.other["name"], SEEN_WITHIN_S)


async def test_an_administrator_sees_pairs_and_looks_as_a_customer(
    chromium: Browser, shop: RunningShop, pair: Pair
) -> None:
    async with browser_user(chromium, shop.url) as admin:
        await admin.sign_in(shop.admin_email, shop.admin_password, "/admin/recommendations")
        row = admin.main.get_by_role("row").filter(has_text=pair.one["name"]).filter(has_text=pair.other["name"])

        async def learned() -> bool:
            await admin.go("/admin/recommendations")
            return bool(await row.count())

        await wait_until(learned, LEARNED_WITHIN_S, "the pair among the strongest ones", RELOAD_EVERY_S)
        customer = await admin.page.locator("#customers option").first.get_attribute("value")
        await admin.page.get_by_role("combobox", name="Customer").fill(customer or "")
        await admin.press("Show")
        await expect(admin.main.get_by_role("heading", name="Would be shown")).to_be_visible()
        assert not await unlabelled(admin.page)
        assert not await low_contrast_texts(admin.page, MIN_CONTRAST)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_recommendations_fit_a_phone_and_can_be_read(
    chromium: Browser, shop: RunningShop, pair: Pair, scheme: str
) -> None:
    path = f"/products/{pair.one['id']}"
    options: dict[str, Any] = {"viewport": PHONE, "color_scheme": scheme, "reduced_motion": "reduce"}
    async with browser_user(chromium, shop.url, **options) as customer:
        await until_shown(customer, path, "Bought together", pair.other["name"], LEARNED_WITHIN_S)
        await customer.add_to_cart(pair.one)
        for shown in ("/", path, "/cart", "/category/poetry"):
            await customer.go(shown)
            assert await overflow_px(customer.page) == 0, shown
            assert not await low_contrast_texts(customer.page, MIN_CONTRAST), shown


async def test_a_customer_deletes_the_account(chromium: Browser, shop: RunningShop, pair: Pair) -> None:
    async with browser_user(chromium, shop.url) as customer:
        await customer.sign_up()
        await customer.add_to_cart(pair.one)
        await customer.buy()
        order_path = customer.page.url.removeprefix(shop.url)
        await customer.add_to_cart(pair.other)
        await customer.go("/account")
        await customer.main.get_by_role("link", name="Delete account").click()
        await customer.page.get_by_label("Password").fill("wrong password")
        await customer.press("Delete account")
        await expect(customer.main).to_contain_text("The password is incorrect.")
        await customer.page.get_by_label("Password").fill(PASSWORD)
        await customer.press("Delete account")
        await expect(customer.page.get_by_text("Your account was deleted.")).to_be_visible()
        await expect(customer.page.locator("#cart-count")).to_contain_text("0")
        await customer.go(order_path)
        await expect(customer.heading).to_have_text("Sign in")
        await customer.sign_up()
        await customer.go("/account")
        await expect(customer.main.get_by_text("No orders yet")).to_be_visible()
        await customer.go(order_path)
        await expect(customer.heading).to_have_text("Page not found")
