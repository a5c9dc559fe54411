"""What pages recommend, and what they show in a shop without recommendations."""

from __future__ import annotations

import pytest
import redis.asyncio as redis

from services.storefront.tests.conftest import ADMIN, CUSTOMER, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_data import product, product_id
from services.storefront.tests.scripted_recommendations import (
    ALSO,
    BECAUSE,
    IN_CATALOGUE,
    POPULAR,
    TOGETHER,
    ScriptedRecommendations,
    recommended,
)
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.devkit.testing import wait_until
from shop.storefront.carts import MAX_LINES
from shop.storefront.catalogue_pages import FEATURED_PRODUCTS, PAGE_PRODUCTS, PRODUCTS_PER_CATEGORY

PRIDE = f"/products/{product_id('pride')}"
WHY = "Because you bought The Odyssey"


def titles(page: Page, section: str) -> list[str]:
    """The names of the products in the section that a heading with this id labels."""
    return [card.text for card in page.all("h3") if card.inside("section", **{"aria-labelledby": section})]


def headings(page: Page) -> list[str]:
    return [heading.text for heading in page.all("h2")]


def reasons(page: Page) -> list[str]:
    return [reason.text for reason in page.all("p", **{"class": "why"})]


async def test_a_customer_sees_recommendations_with_their_reasons(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["Recommend"] = [recommended("rocks", BECAUSE, WHY), recommended("last", POPULAR, "Popular")]
    await market.sign_in()
    page = await market.get("/")
    assert page.one("h2", id="suggested").text == "Recommended for you"
    assert titles(page, "suggested") == ["On Rocks", "The Last Copy"]
    assert reasons(page) == [WHY, "Popular"]
    person = market.shop.people[CUSTOMER]
    assert recommending.asked(messages.RecommendRequest)[-1].user_id == person.id
    assert market.answer.headers["cache-control"] == "no-store"


async def test_a_visitor_sees_what_is_popular(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers["Recommend"] = [recommended("pride", POPULAR, "Popular in the last days")]
    page = await market.get("/")
    assert page.one("h2", id="suggested").text == "Popular right now"
    assert titles(page, "suggested") == ["Pride and Prejudice"]
    assert reasons(page) == ["Popular in the last days"]
    (request,) = recommending.asked(messages.RecommendRequest)
    assert (request.user_id, list(request.excluded_product_ids)) == ("", [])


async def test_what_fills_up_a_section_is_not_called_popular(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    more = "More from our shop"
    recommending.answers["Recommend"] = [recommended("pride", POPULAR, "Popular now")]
    recommending.answers["Recommend"].append(recommended("rocks", IN_CATALOGUE, more))
    page = await market.get("/")
    assert page.one("h2", id="suggested").text == "Popular and more"
    assert reasons(page) == ["Popular now", more]


async def test_what_is_chosen_for_a_customer_or_a_cart_is_not_filled_up(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    for method, kind in (("Recommend", BECAUSE), ("BoughtTogether", TOGETHER)):
        recommending.answers[method] = [recommended("rocks", kind), recommended("last", IN_CATALOGUE)]
    assert titles(await market.add("pride"), "suggested") == ["On Rocks"]
    await market.sign_in()
    assert titles(await market.get("/"), "suggested") == ["On Rocks"]


async def test_the_front_page_shows_each_product_once(market: Browser, recommending: ScriptedRecommendations) -> None:
    books = [
        product(f"{kind}{number}", f"{kind} {number:02}", 100, 5, category=kind)
        for kind in ("novels", "poems", "plays")
        for number in range(PAGE_PRODUCTS)
    ]
    market.shop.products = {book["id"]: book for book in books}
    recommended_ids = [f"{kind}{number}" for kind in ("novels", "poems", "plays") for number in range(2)]
    recommending.answers["Recommend"] = [recommended(sku) for sku in recommended_ids]
    page = await market.get("/")
    shown = [link for link in page.links() if link.startswith("/products/")]
    assert len(titles(page, "suggested")) == len(recommended_ids)
    assert len(titles(page, "featured")) == FEATURED_PRODUCTS
    assert len(titles(page, "category-3")) == PRODUCTS_PER_CATEGORY
    # The pick of the day, and three categories.
    assert len(shown) == len(recommended_ids) + FEATURED_PRODUCTS + 1 + 3 * PRODUCTS_PER_CATEGORY
    assert len(set(shown)) == len(shown)


async def test_a_page_reads_the_cart_once(
    market: Browser, recommending: ScriptedRecommendations, valkey_url: str
) -> None:
    recommending.answers = {key: [recommended("rocks")] for key in ("Recommend", "SimilarTo", "BoughtTogether")}
    valkey = redis.from_url(valkey_url)
    await market.add("pride")
    for sign_in in (False, True):
        if sign_in:
            await market.sign_in()
        for path in ("/", PRIDE, "/cart"):
            await valkey.config_resetstat()
            page = await market.get(path)
            assert page.one("span", id="cart-count").text.startswith("1 ")
            assert (await valkey.info("commandstats"))["cmdstat_hgetall"]["calls"] == 1, path
    await valkey.aclose()


async def test_a_customer_without_purchases_sees_what_is_popular(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["Recommend"] = [recommended("pride", POPULAR)]
    await market.sign_in()
    assert (await market.get("/")).one("h2", id="suggested").text == "Popular right now"


async def test_a_shop_that_sold_nothing_recommends_nothing(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["Recommend"] = [recommended("pride", IN_CATALOGUE)]
    page = await market.get("/")
    assert not page.all("h2", id="suggested")
    assert "Featured" in headings(page)


async def test_what_is_sold_out_or_unknown_is_not_shown(market: Browser, recommending: ScriptedRecommendations) -> None:
    everything = [recommended(sku, ALSO) for sku in ("gone", "nowhere", "rocks", "last")]
    recommending.answers = {"Recommend": everything, "SimilarTo": everything}
    recommending.answers["BoughtTogether"] = [recommended(sku, TOGETHER) for sku in ("gone", "nowhere", "last")]
    await market.sign_in()
    assert titles(await market.get("/"), "suggested") == ["On Rocks", "The Last Copy"]
    page = await market.get(PRIDE)
    assert titles(page, "together") == ["The Last Copy"]
    assert titles(page, "similar") == ["On Rocks"]
    market.shop.products[product_id("rocks")]["stock"] = 0
    assert titles(await market.get("/"), "suggested") == ["The Last Copy"]


async def test_a_popular_product_that_sells_out_disappears(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["Recommend"] = [recommended("rocks"), recommended("last")]
    assert titles(await market.get("/"), "suggested") == ["On Rocks", "The Last Copy"]
    market.shop.products[product_id("rocks")]["stock"] = 0

    async def gone() -> bool:
        return titles(await market.get("/"), "suggested") == ["The Last Copy"]

    await wait_until(gone)


async def test_what_is_in_the_cart_is_not_recommended(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers["Recommend"] = [recommended("rocks", BECAUSE), recommended("last", BECAUSE)]
    await market.add("rocks")
    assert titles(await market.get("/"), "suggested") == ["The Last Copy"]
    await market.sign_in()
    assert titles(await market.get("/"), "suggested") == ["The Last Copy"]
    assert list(recommending.requests[-1].excluded_product_ids) == [product_id("rocks")]


async def test_products_bought_together_are_added_with_one_button(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [
        recommended("last", TOGETHER, "Often bought with Pride and Prejudice"),
        recommended("rocks", TOGETHER),
    ]
    page = await market.get(PRIDE)
    assert page.one("h2", id="together").text == "Bought together"
    assert "Often bought with Pride and Prejudice" in page.text
    assert "Total for 3: 46,99" in page.text
    page = await market.send(page.form("/cart/bundle"))
    assert "3 products were added to your cart." in page.text
    names = {"Pride and Prejudice", "The Last Copy", "On Rocks"}
    assert {heading.text for heading in page.all("h2")} >= names
    assert page.one("span", id="cart-count").text.startswith("3")


async def test_only_what_was_bought_together_is_in_the_bundle(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("last", POPULAR), recommended("rocks", IN_CATALOGUE)]
    assert not (await market.get(PRIDE)).all("h2", id="together")


async def test_a_product_that_is_sold_out_has_no_bundle(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", TOGETHER)]
    market.shop.products[product_id("pride")]["stock"] = 0
    assert not (await market.get(PRIDE)).all("h2", id="together")


async def test_similar_products_replace_those_of_the_category(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    assert "You may also like" in headings(await market.get(PRIDE))
    recommending.answers["SimilarTo"] = [recommended("rocks", ALSO, "Others also bought it")]
    page = await market.get(PRIDE)
    assert "You may also like" not in headings(page)
    assert titles(page, "similar") == ["On Rocks"]
    assert reasons(page) == ["Others also bought it"]


async def test_popular_products_alone_are_not_similar(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers["SimilarTo"] = [recommended("rocks", POPULAR), recommended("last", IN_CATALOGUE)]
    page = await market.get(PRIDE)
    assert not page.all("h2", id="similar")
    assert "You may also like" in headings(page)
    recommending.answers["SimilarTo"].insert(0, recommended("last", ALSO))
    assert titles(await market.get(PRIDE), "similar") == ["The Last Copy", "On Rocks"]


async def test_requests_name_the_signed_in_customer(market: Browser, recommending: ScriptedRecommendations) -> None:
    await market.sign_in()
    await market.get(PRIDE)
    await market.add("pride")
    person = market.shop.people[CUSTOMER]
    assert {request.user_id for request in recommending.requests} == {person.id}


async def test_a_product_is_shown_once_and_never_on_its_own_page(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("pride", TOGETHER), recommended("last", TOGETHER)]
    recommending.answers["SimilarTo"] = [recommended(sku, ALSO) for sku in ("last", "pride", "rocks")]
    page = await market.get(PRIDE)
    assert titles(page, "together") == ["The Last Copy"]
    assert titles(page, "similar") == ["On Rocks"]


@pytest.mark.parametrize(
    "ids",
    [
        "",
        "nonsense",
        f"{product_id('pride')},",
        f"{product_id('pride')},{product_id('nowhere')}",
        ",".join(product_id(sku) for sku in ("pride", "last", "rocks", "gone")),
    ],
)
async def test_a_bundle_that_no_page_offered_is_refused(
    market: Browser, recommending: ScriptedRecommendations, ids: str
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", TOGETHER)]
    page = await market.get(PRIDE)
    await market.send(page.form("/cart/bundle"), 404, product_ids=ids)
    assert "Your cart is empty" in (await market.get("/cart")).text


async def test_a_bundle_is_added_to_a_full_cart_in_whole_or_not_at_all(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", TOGETHER)]
    more = [product(f"p{number}", f"Book {number:02}", 100, 5) for number in range(MAX_LINES)]
    market.shop.products |= {book["id"]: book for book in more}
    for number in range(MAX_LINES - 1):
        await market.add(f"p{number}")
    page = await market.get(PRIDE)
    page = await market.send(page.form("/cart/bundle"), 409)
    assert "Your cart is full" in page.text
    assert page.one("span", id="cart-count").text.startswith(f"{MAX_LINES - 1} ")


async def test_the_cart_shows_what_goes_well_with_it(market: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", TOGETHER, "Often bought with it")]
    page = await market.add("pride")
    assert page.one("h2", id="suggested").text == "Goes well with your cart"
    assert titles(page, "suggested") == ["On Rocks"]
    assert reasons(page) == ["Often bought with it"]
    request = recommending.asked(messages.BoughtTogetherRequest)[-1]
    assert list(request.product_ids) == [product_id("pride")]


async def test_a_cart_of_rare_products_shows_what_is_popular(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    recommending.answers["BoughtTogether"] = [recommended("rocks", POPULAR)]
    assert (await market.add("pride")).one("h2", id="suggested").text == "Popular right now"


async def test_a_category_of_several_pages_shows_its_own(
    market: Browser, recommending: ScriptedRecommendations
) -> None:
    more = [product(f"p{number}", f"Book {number:02}", 100, 5, category="long") for number in range(PAGE_PRODUCTS + 1)]
    market.shop.products |= {book["id"]: book for book in more}
    recommending.answers["Recommend"] = [recommended("p9", POPULAR)]
    page = await market.get("/category/long")
    assert titles(page, "suggested") == ["Book 09"]
    assert recommending.asked(messages.RecommendRequest)[-1].category == "long"
    following = page.one("a", rel="next").attributes["href"]
    assert not (await market.get(following)).all("h2", id="suggested")
    assert not (await market.get("/category/fiction")).all("h2", id="suggested")


async def test_without_the_service_pages_are_as_before(browser: Browser, recommending: ScriptedRecommendations) -> None:
    recommending.answers = {name: [recommended("rocks", TOGETHER)] for name in ("Recommend", "SimilarTo")}
    await browser.sign_in()
    pages = [await browser.get("/"), await browser.get(PRIDE), await browser.get("/category/fiction")]
    pages.append(await browser.add("pride"))
    assert not [page for page in pages if page.all("h2", id="suggested") or page.all("h2", id="similar")]
    assert "Featured" in headings(pages[0])
    assert "You may also like" in headings(pages[1])
    assert recommending.requests == []


MODEL = {
    "version": 7,
    "trained_at": "2026-03-05T14:07:00Z",
    "age_s": 90.5,
    "orders": 1_234,
    "products": 4,
    "pairs": 2,
    "coverage": 0.75,
    "strongest_pairs": [
        {
            "product_id": product_id("pride"),
            "title": "Pride <and> Prejudice",
            "other_product_id": product_id("rocks"),
            "other_title": "",
            "orders": 5,
        }
    ],
    "customers": [product_id("somebody")],
}


async def test_an_administrator_sees_the_model(market: Browser) -> None:
    market.shop.model = MODEL
    await market.sign_in_as_admin()
    page = await market.get("/admin/recommendations")
    assert {"1,234", "75%", "1 min", "7"} <= {value.text for value in page.all("dd")}
    assert [cell.text for cell in page.all("td")] == ["Pride <and> Prejudice", "Unknown product", "5"]
    assert page.all("option", value=product_id("somebody"))


async def test_an_administrator_looks_as_an_anonymous_customer(market: Browser) -> None:
    market.shop.model = MODEL
    pride, rocks = market.shop.products[product_id("pride")], market.shop.products[product_id("rocks")]
    market.shop.previews["c1"] = {
        "customer": "c1",
        "purchases": [{"product_id": pride["id"], "title": pride["name"]}],
        "items": [{**rocks, "reason": WHY, "score": 0.5}],
    }
    await market.sign_in_as_admin()
    page = await market.get("/admin/recommendations?customer=c1")
    assert titles(page, "preview")[:3] == ["Bought", "Would be shown", "On Rocks"]
    assert reasons(page) == [WHY]
    page = await market.get("/admin/recommendations?customer=c2", 404)
    assert "There is no customer with this id" in page.text


async def test_before_the_first_order_there_is_no_model(market: Browser) -> None:
    assert "/admin/recommendations" in (await market.sign_in_as_admin()).links()
    page = await market.get("/admin/recommendations")
    assert "No model has been trained yet." in page.text


async def test_the_model_is_for_administrators(market: Browser) -> None:
    await market.sign_in()
    await market.get("/admin/recommendations", 403)


async def test_an_unavailable_service_is_an_error_page_for_administrators(market: Browser) -> None:
    await market.sign_in_as_admin()
    market.shop.down.add("recommendation")
    assert "Recommendations are temporarily unavailable." in (await market.get("/admin/recommendations", 503)).text


async def test_a_shop_without_recommendations_has_no_page_and_no_link_of_them(browser: Browser) -> None:
    await browser.sign_in(ADMIN, "admin", "/admin")
    assert "/admin/recommendations" not in (await browser.get("/admin")).links()
    await browser.get("/admin/recommendations", 404)


async def test_texts_of_recommendations_fit_any_shop(market: Browser, recommending: ScriptedRecommendations) -> None:
    everything = [recommended(sku, TOGETHER, "Often bought with it") for sku in ("rake", "hoe")]
    recommending.answers = dict.fromkeys(("Recommend", "SimilarTo", "BoughtTogether"), everything)
    tools = [product(name, f"Garden {name}", 1900, 4, category="tools", attributes={}) for name in ("rake", "hoe")]
    market.shop.products = {tool["id"]: tool for tool in tools}
    pages = [await market.get("/"), await market.get(f"/products/{product_id('rake')}"), await market.add("hoe")]
    for page in pages:
        words = {word.strip(".,:").lower() for word in page.text.split()}
        assert not words & {"book", "books", "read", "readers", "title", "titles"}
