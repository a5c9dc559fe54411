"""What search engines see: robots.txt, the sitemap, canonical addresses and Open Graph tags."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product, product_id
from services.storefront.tests.scripted_food import restaurant
from shop.devkit.testing import INTERNAL_TOKEN, Running, wait_until
from shop.kit.http import Clients
from shop.storefront.app import make_app
from shop.storefront.backends import Backends
from shop.storefront.food.backends import LIST_LIMIT, FoodBackends
from shop.storefront.service import Storefront
from shop.storefront.settings import Settings
from shop.storefront.site_paths import SITEMAP_RETRY_AFTER_S, SitePaths

PROXY = {"X-Forwarded-Host": "shop.example.com", "X-Forwarded-Proto": "https"}
PUBLIC = "https://shop.example.com"
LOCATION = "{http://www.sitemaps.org/schemas/sitemap/0.9}loc"
CATEGORY = "/category/science%20%26%20nature"
PRODUCT = f"/products/{product_id('pride')}"


def canonical(page: Page) -> list[str]:
    return [link.attributes["href"] for link in page.all("link", rel="canonical")]


def graph(page: Page) -> dict[str, str]:
    """The Open Graph tags by their names."""
    tags = [tag.attributes for tag in page.all("meta") if "property" in tag.attributes]
    return {tag["property"]: tag["content"] for tag in tags}


def indexed(page: Page) -> bool:
    return not page.all("meta", name="robots", content="noindex, follow")


async def test_robots_txt_has_the_sitemap_and_excludes_personal_pages(browser: Browser) -> None:
    answer = await browser.client.get("/robots.txt", headers=PROXY)
    lines = answer.text.splitlines()
    assert answer.headers["content-type"].startswith("text/plain")
    assert f"Sitemap: {PUBLIC}/sitemap.xml" in lines
    assert {"User-agent: *", "Disallow: /cart", "Disallow: /admin", "Disallow: /api/"} <= set(lines)
    assert not [line for line in lines if line in ("Disallow: /", "Disallow: /search")]
    assert "set-cookie" not in answer.headers


async def test_the_sitemap_has_every_category_and_product_under_the_public_address(browser: Browser) -> None:
    many = [product(f"book{number}", f"Book {number}", 100, 1) for number in range(230)]
    browser.shop.products |= {book["id"]: book for book in many}
    answer = await browser.client.get("/sitemap.xml", headers=PROXY)
    assert answer.headers["content-type"].startswith("application/xml")
    assert "set-cookie" not in answer.headers
    locations = [location.text for location in ElementTree.fromstring(answer.text).iter(LOCATION)]
    assert len(locations) == len(set(locations))
    assert {f"{PUBLIC}/", PUBLIC + CATEGORY} <= set(locations)
    assert {f"{PUBLIC}/products/{one}" for one in browser.shop.products} <= set(locations)


async def test_the_sitemap_has_every_restaurant_while_their_service_answers(browser: Browser) -> None:
    many = [restaurant(f"Place {number}", "pizza", (51.9, -0.2)) for number in range(LIST_LIMIT + 1)]
    browser.shop.food.restaurants |= {one["id"]: one for one in many}
    text = (await browser.client.get("/sitemap.xml", headers=PROXY)).text
    assert f"<loc>{PUBLIC}/eat</loc>" in text
    assert [one for one in browser.shop.food.restaurants if f"<loc>{PUBLIC}/eat/{one}</loc>" not in text] == []


async def test_without_restaurants_the_sitemap_has_the_other_pages(browser: Browser) -> None:
    browser.shop.down.add("restaurant")
    assert PUBLIC + PRODUCT in (await browser.client.get("/sitemap.xml", headers=PROXY)).text


async def test_a_sitemap_ends_at_its_limit(settings: Settings, browser: Browser) -> None:
    clients = Clients(INTERNAL_TOKEN)
    try:
        catalogue = Backends(clients, settings).catalogue
        restaurants = FoodBackends(*(clients.get("restaurant", settings.restaurant_url) for _ in range(3))).restaurants
        assert len(await SitePaths(catalogue, max_urls=4).paths()) == 4
        assert len(await SitePaths(catalogue, restaurants, max_urls=5).paths()) == 5
        assert len(await SitePaths(catalogue).paths()) > 4
    finally:
        await clients.close()


async def test_the_sitemap_is_served_while_the_catalogue_is_unavailable(browser: Browser) -> None:
    browser.shop.down.add("product")
    assert (await browser.client.get("/sitemap.xml")).status_code == 503
    browser.shop.down.clear()
    first = await browser.client.get("/sitemap.xml")
    browser.shop.down.add("product")
    assert (await browser.client.get("/sitemap.xml")).text == first.text != ""


async def test_a_sitemap_without_categories_is_neither_served_nor_kept(browser: Browser) -> None:
    browser.shop.down.add("categories")
    assert (await browser.client.get("/sitemap.xml")).status_code == 503
    browser.shop.down.clear()
    assert PUBLIC + CATEGORY in (await browser.client.get("/sitemap.xml", headers=PROXY)).text


async def test_a_sitemap_that_takes_too_long_is_unavailable_until_it_is_loaded(
    settings: Settings, scripted: ScriptedShop, running: Running
) -> None:
    scripted.product_lists.clear()
    app = make_app(settings)
    async with running(app) as client:
        storefront: Storefront = app.state.service
        storefront.site_paths = SitePaths(storefront.backends.catalogue, max_wait_s=0.05)
        for _ in range(2):
            late = await client.get("/sitemap.xml")
            assert (late.status_code, late.json()["code"]) == (503, "sitemap_not_ready")
            assert int(late.headers["retry-after"]) == SITEMAP_RETRY_AFTER_S

        def loads() -> int:
            return sum(path == "/api/v1/products" for _, path, _ in scripted.calls)

        await wait_until(loads, what="the products to be asked for")
        assert loads() == 1, "both requests share one load"
        scripted.product_lists.set()

        async def ready() -> bool:
            return (await client.get("/sitemap.xml")).status_code == 200

        await wait_until(ready)


@pytest.mark.parametrize("path", ["/", CATEGORY, PRODUCT])
async def test_indexed_pages_have_a_canonical_url(browser: Browser, path: str) -> None:
    page = await browser.get(f"{path}?sort=price&utm_source=mail", 200, **PROXY)
    assert canonical(page) == [PUBLIC + path]
    assert graph(page)["og:url"] == PUBLIC + path
    assert indexed(page)


@pytest.mark.parametrize("path", ["/search", "/search?query=pride", f"{CATEGORY}?cursor=0", "/cart", "/sign-in"])
async def test_other_pages_are_not_indexed(browser: Browser, path: str) -> None:
    page = await browser.get(path)
    assert (canonical(page), indexed(page)) == ([], False)


async def test_missing_pages_are_not_indexed(browser: Browser) -> None:
    assert not indexed(await browser.get("/nowhere", 404))


@pytest.mark.parametrize(
    ("path", "title"),
    [("/", "Marginalia <Books>"), (CATEGORY, "Science & nature"), ("/search?query=pride", "pride")],
)
async def test_shared_links_have_a_title_and_a_description(browser: Browser, path: str, title: str) -> None:
    tags = graph(await browser.get(path))
    assert title in tags["og:title"]
    assert (tags["og:site_name"], tags["og:type"]) == ("Marginalia <Books>", "website")
    assert tags["og:description"]


async def test_a_shared_product_has_its_picture_and_price(browser: Browser) -> None:
    book = browser.shop.products[str(product_id("pride"))]
    book["image_url"] = f"/api/v1{PRODUCT}/cover.svg"
    tags = graph(await browser.get(PRODUCT, 200, **PROXY))
    assert tags["og:type"] == "product"
    assert tags["og:title"].startswith(book["name"])
    assert tags["og:description"]
    assert (tags["product:price:amount"], tags["product:price:currency"]) == ("12.99", "EUR")
    assert tags["og:image"] == PUBLIC + book["image_url"]
