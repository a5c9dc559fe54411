"""Recommendations in a real Chromium: widths, keyboard, and the cart that changes without a new page."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from services.storefront.tests.conftest import ADMIN, Served, with_recommendations
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product, product_id
from services.storefront.tests.scripted_recommendations import (
    ALSO,
    BECAUSE,
    TOGETHER,
    ScriptedRecommendations,
    recommended,
)
from services.storefront.tests.test_storefront_in_browser import (
    DESKTOP,
    LONG,
    PHONE,
    add,
    check_widths,
    quantity,
    sign_in,
    window,
)
from services.storefront.tests.test_storefront_recommendations import MODEL
from shop.storefront.app import make_app
from shop.storefront.settings import Settings

pytestmark = [pytest.mark.browser]

PRIDE = f"/products/{product_id('pride')}"


@pytest.fixture
async def url(settings: Settings, served: Served, recommending: ScriptedRecommendations) -> AsyncIterator[str]:
    async with served(make_app(with_recommendations(settings, recommending.address))) as client:
        yield str(client.base_url).rstrip("/")


@pytest.mark.parametrize("viewport", [PHONE, DESKTOP], ids=["phone", "desktop"])
async def test_long_names_and_reasons_never_widen_a_page(
    chromium: Browser,
    url: str,
    scripted: ScriptedShop,
    recommending: ScriptedRecommendations,
    viewport: dict[str, int],
) -> None:
    long = product("long", LONG[:300], 129_900, 3, attributes={"author": LONG[:300]})
    scripted.products[long["id"]] = long
    recommending.answers = {
        "Recommend": [recommended(sku, BECAUSE, f"Because you bought {LONG}") for sku in ("long", "rocks", "last")],
        "SimilarTo": [recommended("rocks", ALSO, LONG)],
        "BoughtTogether": [recommended("long", TOGETHER, LONG), recommended("last", TOGETHER, LONG)],
    }
    scripted.model = {**MODEL, "strongest_pairs": [{**MODEL_PAIR, "title": LONG, "other_title": LONG}]}
    scripted.previews["c1"] = {
        "customer": "c1",
        "purchases": [{"product_id": long["id"], "title": LONG}],
        "items": [{**long, "reason": LONG}],
    }
    async with window(chromium, url, viewport=viewport) as page:
        await sign_in(page, scripted)
        await check_widths(page, ["/", PRIDE, "/account/delete"])
        await add(page, "pride")
        await check_widths(page, ["/cart"])
        await page.context.clear_cookies()
        await sign_in(page, scripted, ADMIN, "admin")
        await check_widths(page, ["/admin/recommendations", "/admin/recommendations?customer=c1"])


MODEL_PAIR: dict[str, Any] = {"product_id": product_id("long"), "other_product_id": product_id("rocks"), "orders": 5}


async def test_the_bundle_is_bought_with_the_keyboard(
    chromium: Browser, url: str, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("last", TOGETHER), recommended("rocks", TOGETHER)]
    async with window(chromium, url) as page:
        await page.goto(PRIDE)
        await page.get_by_role("link", name="On Rocks").focus()
        await page.keyboard.press("Tab")
        await expect(page.get_by_role("button", name="Add all 3 to cart")).to_be_focused()
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Your cart")
        await expect(page.locator("#cart-count")).to_contain_text("3")


async def test_a_changed_cart_changes_what_goes_well_with_it(
    chromium: Browser, url: str, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", TOGETHER, "Often bought with it")]
    async with window(chromium, url) as page:
        await add(page, "pride")
        section = page.get_by_role("region", name="Goes well with your cart")
        await expect(section).to_contain_text("On Rocks")
        await quantity(page).fill("0")
        await quantity(page).press("Tab")
        await expect(page.get_by_role("heading", name="Your cart is empty")).to_be_visible()
        await expect(section).to_have_count(0)
