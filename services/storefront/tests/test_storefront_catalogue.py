from __future__ import annotations

import json
import re

import pytest

from services.storefront.tests.conftest import Browser, Served
from services.storefront.tests.scripted import ScriptedShop, scripted_app
from services.storefront.tests.scripted_data import product, product_id
from shop.contracts.store import StoreSettings
from shop.devkit.processes import free_port
from shop.devkit.testing import Running
from shop.storefront.app import make_app
from shop.storefront.settings import Settings


async def test_front_page_shows_title_categories_and_products(browser: Browser) -> None:
    page = await browser.get("/")
    assert page.one("title").text == "Marginalia <Books>"
    assert "Pride and Prejudice" in page.text
    assert "12,99\N{NO-BREAK SPACE}€" in page.html
    assert "/category/science%20%26%20nature" in page.links()
    assert f"/products/{product_id('pride')}" in page.links()


BOOKISH = re.compile(r"\b(books?|read(er)?s?|titles?|authors?|shel(f|ves)|print|bound|copy|copies)\b", re.IGNORECASE)


async def test_texts_fit_a_shop_that_sells_no_books(
    settings: Settings, running: Running, scripted: ScriptedShop
) -> None:
    tools = [product(name, f"Garden {name}", 1900, 4, category="tools", attributes={}) for name in ("rake", "hoe")]
    scripted.products = {tool["id"]: tool for tool in tools}
    store = StoreSettings(title="Spade & Son", tagline="Tools for small gardens")
    async with running(make_app(settings.model_copy(update={"store": store}))) as client:
        browser = Browser(client, scripted)
        pages = [await browser.get(path) for path in ("/", "/search", "/search?query=zzz", "/category/tools")]
        assert pages[0].one("h1").text == "Tools for small gardens"
        assert "2 products in 1 category" in pages[0].text
        pages += [await browser.get(f"/products/{tools[0]['id']}"), await browser.get("/nowhere", 404)]
        pages += [await browser.add("rake"), await browser.sign_in()]
        pages += [await browser.get(path) for path in ("/account", "/account/messages", "/checkout")]
        pages.append(await browser.checkout())
        scripted.down.add("pricing")
        pages.append(await browser.add("hoe"))
        await browser.send(browser.page.form("/sign-out"))
        pages += [
            await browser.sign_in_as_admin(),
            await browser.get("/admin/stock"),
            await browser.get("/admin/messages"),
        ]
    for page in pages:
        assert not BOOKISH.findall(page.text), BOOKISH.findall(page.text)
        assert not [e for e in page.elements if "book" in e.attributes.get("class", "").split()]
        assert not BOOKISH.findall(" ".join(e.attributes.get("placeholder", "") for e in page.all("input")))


async def test_without_a_tagline_the_headline_is_the_title(browser: Browser) -> None:
    assert (await browser.get("/")).one("h1").text == "Marginalia <Books>"


async def test_front_page_without_products(browser: Browser) -> None:
    browser.shop.products.clear()
    page = await browser.get("/")
    assert page.all("h1")
    assert not page.all("article")


async def test_the_front_page_is_complete_as_soon_as_the_catalogue_is_available(
    settings: Settings, running: Running, served: Served, scripted: ScriptedShop
) -> None:
    port = free_port()
    cold = settings.model_copy(update={"product_url": f"http://127.0.0.1:{port}"})
    async with running(make_app(cold)) as client:
        browser = Browser(client, scripted)
        assert "Temporarily unavailable" in (await browser.get("/", 503)).text
        async with served(scripted_app(scripted), port=port, lifespan="off"):
            assert "Pride and Prejudice" in (await browser.get("/")).text


async def test_pages_without_the_categories_are_served(browser: Browser) -> None:
    browser.shop.down.add("categories")
    for path in ("/category/fiction", f"/products/{product_id('pride')}", "/cart"):
        assert not (await browser.get(path)).all("nav", **{"class": "categories"})


async def test_category_lists_only_its_own(browser: Browser) -> None:
    page = await browser.get("/category/science%20%26%20nature")
    assert page.one("h1").text == "Science & nature"
    assert "On Rocks" in page.text
    assert "Pride and Prejudice" not in page.text
    assert page.one("a", href="/category/science%20%26%20nature", **{"aria-current": "page"})


async def test_unknown_category_is_not_found(browser: Browser) -> None:
    page = await browser.get("/category/nonsense", 404)
    assert page.one("h1").text == "Page not found"


async def test_search_finds_products_and_keeps_the_query(browser: Browser) -> None:
    page = await browser.get("/search?query=pride")
    assert [card.text for card in page.all("h3")] == ["Pride and Prejudice"]
    assert page.one("input", id="query").attributes["value"] == "pride"


async def test_search_without_results(browser: Browser) -> None:
    page = await browser.get("/search?query=zzz")
    assert "No products found" in page.text


async def test_a_long_query_is_shortened(browser: Browser) -> None:
    page = await browser.get(f"/search?query={'x' * 5000}")
    assert "Your search was shortened to the first 100 characters." in page.text
    assert page.one("input", id="query").attributes["value"] == "x" * 100
    page = await browser.get("/search?query=%20pri%E2%80%8Bde%00%1B%20")
    assert page.one("input", id="query").attributes["value"] == "pri de"
    await browser.sign_in_as_admin()
    await browser.get(f"/admin/stock?query={'x' * 5000}")


async def test_paging_follows_the_cursor_to_the_end(browser: Browser) -> None:
    more = [product(f"p{number}", f"Book {number:02}", 100, 5) for number in range(50)]
    browser.shop.products = {book["id"]: book for book in more}
    page, seen = await browser.get("/category/fiction"), []
    for _ in range(3):
        seen += [card.text for card in page.all("h3")]
        following = [link.attributes["href"] for link in page.all("a", rel="next")]
        if not following:
            break
        page = await browser.get(following[0])
    assert seen == [f"Book {number:02}" for number in range(50)]


async def test_product_page_shows_attributes(browser: Browser) -> None:
    page = await browser.get(f"/products/{product_id('pride')}")
    assert page.one("h1").text == "Pride and Prejudice"
    assert "Jane Austen" in page.text
    assert [row.text for row in page.all("dt")] == ["Year", "Pages"]
    assert page.one("span", **{"class": "stock"}).text == "In stock"


async def test_years_before_the_common_era(browser: Browser) -> None:
    book = product("analects", "The Analects", 899, 5, attributes={"author": "Confucius", "year": -475, "odd": None})
    browser.shop.products[book["id"]] = book
    page = await browser.get(f"/products/{book['id']}")
    assert [row.text for row in page.all("dd")] == ["", "475 BCE"]


@pytest.mark.parametrize(
    ("sku", "look", "words"), [("last", "stock low", "Only 1 left"), ("gone", "stock none", "Sold out")]
)
async def test_product_page_shows_low_stock(browser: Browser, sku: str, look: str, words: str) -> None:
    page = await browser.get(f"/products/{product_id(sku)}")
    assert page.one("span", **{"class": look}).text == words


async def test_sold_out_product_cannot_be_added(browser: Browser) -> None:
    page = await browser.get(f"/products/{product_id('gone')}")
    assert "disabled" in page.one("button", **{"class": "button"}).attributes


async def test_json_ld_is_correct_and_escaped(browser: Browser) -> None:
    nasty = "Nasty</script><script>alert(1)</script>"
    book = product("nasty", nasty, 1250, 0)
    browser.shop.products[book["id"]] = book
    public = {"X-Forwarded-Host": "shop.example.com", "X-Forwarded-Proto": "https"}
    page = await browser.get(f"/products/{book['id']}", 200, **public)
    document = json.loads(page.one("script", type="application/ld+json").text)
    assert document["name"] == nasty
    assert document["offers"]["url"] == f"https://shop.example.com/products/{book['id']}"
    assert document["offers"]["price"] == "12.50"
    assert document["offers"]["availability"] == "https://schema.org/OutOfStock"


@pytest.mark.parametrize("path", ["/products/not-an-id", f"/products/{product_id('nothing')}", "/nowhere"])
async def test_a_missing_page_is_a_404_page(browser: Browser, path: str) -> None:
    page = await browser.get(path, 404)
    assert page.one("h1").text == "Page not found"
    assert "/search" in page.links()


async def test_an_unavailable_product_service_is_a_503_page(browser: Browser) -> None:
    browser.shop.down.add("product")
    page = await browser.get("/search?query=pride", 503)
    assert "Temporarily unavailable" in page.text
    assert browser.answer.headers["retry-after"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/search?cursor=nonsense", 400), (f"/search?cursor={'x' * 600}", 400), ("/search?sort=colour", 200)],
)
async def test_invalid_query_parameters(browser: Browser, path: str, status: int) -> None:
    page = await browser.get(path, status)
    assert "/search" in page.links()


async def test_the_sort_order_is_applied_and_kept(browser: Browser) -> None:
    page = await browser.get("/search?query=a")
    assert page.one("a", **{"aria-current": "true"}).text == "Name"
    cheapest = next(link.attributes["href"] for link in page.all("a") if link.text == "Price: low to high")
    page = await browser.get(cheapest)
    assert browser.answer.url.params["query"] == "a"
    assert page.one("a", **{"aria-current": "true"}).text == "Price: low to high"
    assert browser.shop.sort_parameters[-1] == "price"


async def test_a_wrong_method_is_an_error_page(browser: Browser) -> None:
    answer = await browser.client.delete("/cart")
    assert answer.status_code == 405
    assert "text/html" in answer.headers["content-type"]
