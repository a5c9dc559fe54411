from __future__ import annotations

import asyncio
from uuid import UUID, uuid4

import httpx
import pytest
from redis.asyncio import Redis

from services.storefront.tests.conftest import Browser
from services.storefront.tests.scripted_data import product_id
from shop.devkit.testing import Running
from shop.kit.errors import Problem, Unavailable
from shop.storefront.app import make_app
from shop.storefront.carts import CART_TTL_S, MAX_LINES, MAX_QUANTITY, Carts, Purchase
from shop.storefront.settings import Settings


@pytest.fixture
def carts(valkey_url: str) -> Carts:
    return Carts(Redis.from_url(valkey_url))


async def test_adding_sums_up_and_is_bounded(carts: Carts) -> None:
    book = uuid4()
    assert await carts.add("ada", book, 2) == 2
    assert await carts.add("ada", book, 3) == 5
    assert await carts.add("ada", book, MAX_QUANTITY) == MAX_QUANTITY
    assert await carts.lines("ada") == {book: MAX_QUANTITY}
    assert await carts.lines("somebody else") == {}


async def test_quantity_zero_removes_the_line(carts: Carts) -> None:
    book = uuid4()
    await carts.add("ada", book, 2)
    assert await carts.put("ada", book, 0) == 0
    assert await carts.lines("ada") == {}


async def test_the_number_of_lines_is_limited(carts: Carts) -> None:
    books = [uuid4() for _ in range(MAX_LINES)]
    for book in books:
        await carts.add("ada", book, 1)
    with pytest.raises(Problem, match="cart_full"):
        await carts.add("ada", uuid4(), 1)
    assert await carts.add("ada", books[0], 1) == 2
    assert len(await carts.lines("ada")) == MAX_LINES


async def test_concurrent_additions_are_all_kept(carts: Carts) -> None:
    book = uuid4()
    await asyncio.gather(*(carts.add("ada", book, 1) for _ in range(40)))
    assert await carts.lines("ada") == {book: 40}


async def test_a_cart_is_kept_for_its_time(carts: Carts, valkey_url: str) -> None:
    await carts.add("ada", uuid4(), 1)
    left = await Redis.from_url(valkey_url).ttl("storefront:cart:ada")
    assert CART_TTL_S - 60 < left <= CART_TTL_S


async def test_purchased_products_are_removed_once(carts: Carts) -> None:
    bought, other = uuid4(), uuid4()
    await carts.add("ada", bought, 3)
    await carts.add("ada", other, 1)
    results = await asyncio.gather(*(carts.remove_purchased("ada", "form", {bought: 2}) for _ in range(5)))
    assert sorted(results) == [False] * 4 + [True]
    assert await carts.lines("ada") == {bought: 1, other: 1}
    assert await carts.remove_purchased("ada", "next form", {bought: 1})
    assert await carts.lines("ada") == {other: 1}


async def test_the_first_request_of_a_form_is_kept(carts: Carts) -> None:
    form = str(uuid4())
    assert (await carts.store_purchase("ada", form, {"n": 1})).body == {"n": 1}
    assert (await carts.store_purchase("ada", form, {"n": 2})).body == {"n": 1}
    assert await carts.purchase("eve", form) is None
    await carts.discard_purchase("ada", form)
    assert await carts.store_purchase("ada", form, {"n": 3}) == Purchase(form, 0, {"n": 3})


async def test_a_request_with_an_uncertain_outcome_is_never_discarded(carts: Carts) -> None:
    form = str(uuid4())
    await carts.store_purchase("ada", form, {"n": 1})
    await carts.mark_outcome_uncertain("ada", form)
    await carts.discard_purchase("ada", form)
    assert await carts.purchase("ada", form) == {"n": 1}


async def test_a_refused_attempt_ends_once_and_the_next_has_a_new_key(carts: Carts) -> None:
    form = str(uuid4())
    first = await carts.store_purchase("ada", form, {"card": "declined"})
    await asyncio.gather(*(carts.end_attempt("ada", first) for _ in range(5)))
    second = await carts.store_purchase("ada", form, {"card": "visa"})
    assert second == Purchase(form, 1, {"card": "visa"})
    assert first.order_key == form != second.order_key
    await carts.end_attempt("ada", first)
    assert await carts.store_purchase("ada", form, {"card": "declined"}) == second


async def test_carts_are_merged_within_their_limits(carts: Carts) -> None:
    both, full, new = uuid4(), uuid4(), uuid4()
    await asyncio.gather(carts.add("visitor", both, 2), carts.add("user", both, 3), carts.add("visitor", new, 1))
    await asyncio.gather(carts.add("visitor", full, 600), carts.add("user", full, 600))
    await carts.merge("visitor", "user")
    assert await carts.lines("user") == {both: 5, full: MAX_QUANTITY, new: 1}
    assert await carts.lines("visitor") == {}
    await carts.merge("visitor", "user")
    assert (await carts.lines("user"))[both] == 5


async def test_a_full_cart_keeps_its_own_lines_in_a_merge(carts: Carts) -> None:
    own = [uuid4() for _ in range(MAX_LINES)]
    await asyncio.gather(*(carts.add("user", product, 1) for product in own))
    await asyncio.gather(carts.add("visitor", uuid4(), 1), carts.add("visitor", own[0], 1))
    await carts.merge("visitor", "user")
    lines = await carts.lines("user")
    assert set(lines) == set(own)
    assert lines[own[0]] == 2


async def test_without_valkey_carts_are_unavailable() -> None:
    carts = Carts(Redis.from_url("redis://127.0.0.1:1"))
    for call in (carts.lines("ada"), carts.add("ada", uuid4(), 1), carts.ping(), carts.purchase("ada", "form")):
        with pytest.raises(Unavailable, match="cart"):
            await call


async def test_cart_page_adds_changes_and_removes(browser: Browser) -> None:
    page = await browser.add("pride", 2)
    assert browser.path == "/cart"
    assert "“Pride and Prejudice” is in your cart (quantity: 2)." in page.text
    assert page.one("span", id="cart-count").text.split()[0] == "2"
    assert "25,98\N{NO-BREAK SPACE}€" in page.html
    change = page.form(f"/cart/lines/{product_id('pride')}")
    page = await browser.send(change, quantity="5")
    assert page.form(change.action).fields["quantity"] == "5"
    assert str(browser.answer.url).endswith(f"/cart#quantity-{product_id('pride')}")
    page = await browser.get(f"{change.action}/remove")
    assert "“Pride and Prejudice” will be removed from your cart." in page.text
    assert f"/cart#remove-{product_id('pride')}" in page.links()
    assert "Pride and Prejudice" in (await browser.get("/cart")).text
    browser.page = page
    page = await browser.confirm()
    assert "Your cart is empty" in page.text
    assert str(browser.answer.url).endswith("/cart#cart-title")
    await browser.get(f"{change.action}/remove")
    assert browser.path == "/cart"


async def test_cart_page_adds_tax_and_shipping(browser: Browser) -> None:
    page = await browser.add("pride")
    sums = [element.text for element in page.all("dd")]
    assert [text.replace("\N{NO-BREAK SPACE}", " ") for text in sums] == ["12,99 €", "4,90 €", "0,90 €", "18,79 €"]


@pytest.mark.parametrize("quantity", ["-1", "much", "", "1.5"])
async def test_an_invalid_quantity_changes_nothing(browser: Browser, quantity: str) -> None:
    page = await browser.add("pride", 2)
    form = page.form(f"/cart/lines/{product_id('pride')}")
    page = await browser.send(form, quantity=quantity)
    kept = 0 if quantity == "-1" else 2
    fields = [element.attributes["value"] for element in page.all("input", id=f"quantity-{product_id('pride')}")]
    assert fields == ([str(kept)] if kept else [])


async def test_more_than_the_stock_is_an_error(browser: Browser) -> None:
    page = await browser.add("last", 3)
    assert "Not enough in stock: The Last Copy." in page.text
    assert "Only 1 left" in page.text


async def test_a_deleted_product_is_removed_from_the_cart(browser: Browser) -> None:
    await browser.add("pride")
    await browser.add("rocks")
    del browser.shop.products[product_id("pride")]
    page = await browser.get("/cart")
    assert "Pride and Prejudice" not in page.text
    assert "On Rocks" in page.text


async def test_the_cart_is_shown_while_pricing_is_unavailable(browser: Browser) -> None:
    browser.shop.down.add("pricing")
    page = await browser.add("pride")
    assert "Tax and shipping are calculated at checkout." in page.text


@pytest.mark.parametrize("wanted", ["nonsense", str(UUID(int=0))])
async def test_unknown_product_is_not_added(browser: Browser, wanted: str) -> None:
    page = await browser.get(f"/products/{product_id('pride')}")
    await browser.send(page.form("/cart/lines"), 404, product_id=wanted)
    assert "Your cart is empty" in (await browser.get("/cart")).text


async def test_the_cart_survives_a_restart(browser: Browser, settings: Settings, running: Running) -> None:
    await browser.add("pride", 3)
    async with running(make_app(settings)) as restarted:
        again = Browser(restarted, browser.shop)
        browser.copy_cookies_to(restarted)
        page = await again.get("/cart")
    assert page.one("input", id=f"quantity-{product_id('pride')}").attributes["value"] == "3"


async def test_catalogue_pages_need_no_valkey(settings: Settings, running: Running, browser: Browser) -> None:
    await browser.add("pride")
    alone = settings.model_copy(update={"valkey_url": "redis://127.0.0.1:1"})
    async with running(make_app(alone)) as client:
        browser.copy_cookies_to(client)
        assert (await client.get("/search")).status_code == 200
        assert (await client.get("/cart")).status_code == 503
        assert (await client.get("/health/ready")).status_code == 503
        assert (await client.get("/health/live")).status_code == 200


async def test_a_cart_belongs_to_its_user(browser: Browser, client: httpx.AsyncClient) -> None:
    await browser.add("pride", 2)
    await browser.sign_in()
    page = await browser.add("rocks")
    assert {"Pride and Prejudice", "On Rocks"} <= {heading.text for heading in page.all("h2")}
    await browser.send(page.form("/sign-out"))
    assert "Your cart is empty" in (await browser.get("/cart")).text
    await browser.sign_in("eve@example.com")
    assert "Your cart is empty" in (await browser.get("/cart")).text
    await browser.send(browser.page.form("/sign-out"))
    client.cookies.clear()
    await browser.add("pride", 1)
    await browser.sign_in(back="/cart")
    assert browser.page.one("span", id="cart-count").text.split()[0] == "4"
    assert browser.page.form(f"/cart/lines/{product_id('pride')}").fields["quantity"] == "3"


async def test_a_cart_that_could_not_be_merged_at_sign_in_is_merged_later(
    settings: Settings, running: Running, browser: Browser
) -> None:
    await browser.add("pride", 2)
    alone = settings.model_copy(update={"valkey_url": "redis://127.0.0.1:1"})
    async with running(make_app(alone)) as client:
        browser.copy_cookies_to(client)
        away = Browser(client, browser.shop)
        await away.sign_in()
        away.copy_cookies_to(browser.client)
    page = await browser.get("/cart")
    assert "Pride and Prejudice" in page.text
    assert "Sign out" in page.text
