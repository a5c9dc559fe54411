"""A page reads the cart once, so no request may change it after that. The fixture `outdated` checks that in every test
of the storefront; these tests show that it finds such a request, and which requests change a cart at all."""

from __future__ import annotations

import inspect
from typing import Any
from uuid import UUID

import pytest
from fastapi import Request
from starlette.responses import Response

from services.storefront.tests.cart_reads import CHANGES
from services.storefront.tests.conftest import Browser
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product_id
from shop.devkit.testing import Running
from shop.storefront.app import make_app
from shop.storefront.carts import Carts
from shop.storefront.settings import Settings
from shop.storefront.web import CurrentVisitor, Shop, page

PRIDE = UUID(product_id("pride"))


async def test_a_page_that_changes_the_cart_after_reading_it_is_found(
    settings: Settings, running: Running, scripted: ScriptedShop, outdated: list[str]
) -> None:
    app = make_app(settings)

    @app.get("/read-then-add")
    async def read_then_add(request: Request, shop: Shop, visitor: CurrentVisitor) -> Response:
        await shop.carts.shown(visitor)
        await shop.carts.add(visitor.cart_owner, PRIDE, 1)
        return await page(request, "cart.html", **EMPTY_CART)

    @app.get("/add-then-read")
    async def add_then_read(request: Request, shop: Shop, visitor: CurrentVisitor) -> Response:
        await shop.carts.add(visitor.cart_owner, PRIDE, 1)
        return await page(request, "cart.html", **EMPTY_CART)

    async with running(app) as client:
        browser = Browser(client, scripted)
        await browser.add("pride")
        shown = await browser.get("/add-then-read")
        assert shown.one("span", id="cart-count").text.split()[0] == "2"
        assert outdated == []
        shown = await browser.get("/read-then-add")
        assert shown.one("span", id="cart-count").text.split()[0] == "2"
    assert outdated == ["/read-then-add"]
    outdated.clear()


EMPTY_CART: Any = {
    "lines": [], "quote": None, "country": "DE", "subtotal": None, "problem": "", "suggested": [],
    "suggested_heading": "",
}  # fmt: skip


@pytest.mark.parametrize("signed_in", [False, True])
async def test_a_cart_with_a_product_that_is_gone_is_read_after_it_was_removed(
    browser: Browser, signed_in: bool, outdated: list[str]
) -> None:
    if signed_in:
        await browser.sign_in()
    await browser.add("pride")
    await browser.add("last")
    browser.shop.products.pop(product_id("last"))
    shown = await browser.get("/cart")
    assert shown.one("span", id="cart-count").text.split()[0] == "1"
    assert outdated == []


def test_every_method_that_changes_a_cart_is_watched() -> None:
    """Methods that use a script which writes, or a command that does, and are not about purchases."""
    writes = ("CHANGE", "ADD_EACH", "MERGE", "REMOVE_PURCHASED", ".delete(", ".hset(", ".hdel(")
    found = {
        name
        for name, method in inspect.getmembers(Carts, inspect.iscoroutinefunction)
        if "_cart_key" in (text := inspect.getsource(inspect.unwrap(method))) and any(word in text for word in writes)
    }
    assert found == set(CHANGES)
