"""Restaurants and menus: what is open, what is on the menu, and what goes into the cart of one restaurant."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from uuid import uuid4

import httpx
import pytest

from services.storefront.tests.conftest import ADDRESS, CUSTOMER, Browser
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import product_id
from services.storefront.tests.scripted_food import food_id
from shop.devkit.testing import Running
from shop.storefront.app import make_app
from shop.storefront.settings import Settings

NAPOLI, SAKURA, OWL = (f"/eat/{food_id(name)}" for name in ("Napoli", "Sakura", "Night Owl"))
MARGHERITA, CALZONE, WATER = (food_id(name) for name in ("Margherita", "Calzone", "Water"))
LARGE, OLIVES, HAM, EGG = (food_id(name) for name in ("Large", "Olives", "Ham", "Egg"))


async def put(
    browser: Browser, restaurant: str, item_id: str, fields: Mapping[str, str] | None = None, status: int = 200
) -> None:
    """Sends the form of a menu item."""
    form = (await browser.get(restaurant)).form(f"{restaurant}/items/{item_id}")
    form.fields |= fields or {}
    await browser.send(form, status)


async def test_restaurants_are_listed_with_their_state(browser: Browser) -> None:
    page = await browser.get("/eat")
    assert page.one("h1").text == "Restaurants that deliver"
    assert {NAPOLI, SAKURA, OWL} <= set(page.links())
    assert "15 min to prepare" in page.text
    assert "Opens" in page.text
    assert "away" not in page.text
    assert "/eat" in (await browser.get("/")).links()


@pytest.mark.parametrize(
    ("query", "shown"),
    [("open_now=1", {NAPOLI, SAKURA}), ("cuisine=sushi", {SAKURA}), ("query=owl", {OWL}), ("query=nothing", set())],
)
async def test_restaurants_are_filtered(browser: Browser, query: str, shown: set[str]) -> None:
    page = await browser.get(f"/eat?{query}")
    assert {NAPOLI, SAKURA, OWL} & set(page.links()) == shown
    assert ("No restaurants found" in page.text) == (not shown)


async def test_a_known_street_adds_distance_and_fee(browser: Browser) -> None:
    page = await browser.get("/eat")
    page = await browser.send(page.form("/eat/street"), street="12 Abbot Gate")
    assert page.form("/eat/street").fields["street"] == "12 Abbot Gate"
    assert page.text.count("away") == len(browser.shop.food.restaurants)
    assert "delivery" in page.text
    calls = [path for method, path, _ in browser.shop.calls if path == "/api/v1/restaurants"]
    assert calls


async def test_a_street_that_is_not_in_the_town_is_refused_in_the_form(browser: Browser) -> None:
    page = await browser.get("/eat")
    page = await browser.send(page.form("/eat/street"), 422, street="5 Nowhere Boulevard")
    assert page.one("input", id="street").attributes["value"] == "5 Nowhere Boulevard"
    assert "There is no such address in Millbridge." in page.one("span", id="street-error").text


async def test_a_saved_address_in_the_town_is_used(browser: Browser) -> None:
    await browser.sign_in()
    saved = browser.shop.people[CUSTOMER].addresses
    saved.append({**ADDRESS, "street": "7 Ash Drive", "id": product_id("home")})
    saved.append({**ADDRESS, "street": "5 Nowhere Boulevard", "id": product_id("office")})
    page = await browser.get("/eat")
    assert page.form("/eat/street").fields["street"] == "7 Ash Drive"


async def test_a_menu_has_sections_options_and_allergens(browser: Browser) -> None:
    page = await browser.get(NAPOLI)
    assert [heading.text for heading in page.all("h2")] == ["Pizza", "Drinks"]
    assert "Contains gluten, milk" in page.text
    assert "Choose 1" in page.text
    assert "Choose up to 2" in page.text
    assert "Sold out" in page.text
    forms = [form.attributes["action"] for form in page.all("form")]
    assert f"{NAPOLI}/items/{WATER}" in forms
    assert f"{NAPOLI}/items/{food_id('Lemonade')}" not in forms


async def test_a_closed_restaurant_says_when_it_opens(browser: Browser) -> None:
    page = await browser.get(OWL)
    assert "Closed at the moment" in page.text
    assert "Opens" in page.text
    assert "Our Burger." not in page.text


async def test_a_paused_restaurant_takes_no_orders(browser: Browser) -> None:
    browser.shop.food.restaurants[food_id("Napoli")] |= {"open": False, "paused": True}
    assert "Takes no orders at the moment" in (await browser.get("/eat")).text
    page = await browser.get(NAPOLI)
    assert "No orders at the moment" in page.text
    assert "Our Calzone." not in page.text


async def test_a_full_kitchen_is_busy(browser: Browser) -> None:
    browser.shop.food.restaurants[food_id("Napoli")]["full"] = True
    for path in ("/eat", NAPOLI):
        assert "Busy: please try again in a few minutes" in (await browser.get(path)).text


async def test_an_unknown_restaurant_is_not_found(browser: Browser) -> None:
    await browser.get(f"/eat/{uuid4()}", 404)
    await browser.get("/eat/nothing", 404)


async def test_an_item_with_its_choices_is_put_into_the_cart(browser: Browser) -> None:
    await put(browser, NAPOLI, MARGHERITA, {"quantity": "2", "option-0": LARGE, f"choice-{OLIVES}": "1"})
    assert browser.path == NAPOLI
    assert "2 items · 25,00 €" in browser.page.text
    page = await browser.get("/eat/cart")
    assert "Large, Olives" in page.text
    assert "25,00 €" in page.text
    assert "/eat/checkout" in page.links()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({}, "Please choose one."),
        ({"option-0": "no id"}, "Please choose one."),
        ({"option-0": food_id("Olives")}, "Please choose one."),
        ({"option-0": LARGE, **{f"choice-{one}": "1" for one in (OLIVES, HAM, EGG)}}, "Please choose at most 2."),
    ],
)
async def test_choices_are_checked(browser: Browser, fields: dict[str, str], message: str) -> None:
    await put(browser, NAPOLI, MARGHERITA, {"quantity": "3", **fields}, 422)
    assert message in browser.page.text
    assert browser.page.one("input", id=f"quantity-{MARGHERITA}").attributes["value"] == "3"
    assert "open" in browser.page.one("details").attributes
    assert "Nothing here yet" in (await browser.get("/eat/cart")).text


async def test_equal_items_are_one_line(browser: Browser) -> None:
    for olives in ({}, {f"choice-{OLIVES}": "1"}, {f"choice-{OLIVES}": "1"}):
        await put(browser, NAPOLI, MARGHERITA, {"option-0": LARGE, **olives})
    page = await browser.get("/eat/cart")
    quantities = [field.attributes["value"] for field in page.all("input", name="quantity")]
    assert sorted(quantities) == ["1", "2"]


async def test_a_cart_has_items_of_one_restaurant(browser: Browser) -> None:
    await put(browser, NAPOLI, CALZONE)
    await put(browser, SAKURA, food_id("Maki"))
    assert "Start a new cart?" in browser.page.text
    assert "“Napoli”" in browser.page.text
    assert "Calzone" in (await browser.get("/eat/cart")).text
    await put(browser, SAKURA, food_id("Maki"), {"quantity": "2"})
    await browser.confirm()
    page = await browser.get("/eat/cart")
    assert "Calzone" not in page.text
    assert [field.attributes["value"] for field in page.all("input", name="quantity")] == ["2"]


async def test_concurrent_additions_are_both_kept(browser: Browser) -> None:
    page = await browser.get(NAPOLI)
    form = page.form(f"{NAPOLI}/items/{WATER}")
    await asyncio.gather(*(browser.client.post(form.action, data=form.fields) for _ in range(5)))
    page = await browser.get("/eat/cart")
    assert [field.attributes["value"] for field in page.all("input", name="quantity")] == ["5"]


async def test_quantities_change_and_lines_are_removed(browser: Browser) -> None:
    await put(browser, NAPOLI, CALZONE)
    page = await browser.get("/eat/cart")
    (action,) = {
        form.attributes["action"] for form in page.all("form") if "/eat/cart/lines/" in form.attributes["action"]
    }
    page = await browser.send(page.form(action), quantity="4")
    assert "44,00 €" in page.text
    page = await browser.send(page.form(action), quantity="many")
    assert "44,00 €" in page.text
    page = await browser.send(page.form(action), button=("action", "remove"))
    assert "Nothing here yet" in page.text
    form = (await browser.get("/eat")).form("/eat/street")
    answer = await browser.client.post("/eat/cart/lines/no-line", data=form.fields)
    assert answer.status_code == 404


async def test_a_cart_says_what_cannot_be_ordered(browser: Browser) -> None:
    await put(browser, NAPOLI, WATER)
    page = await browser.get("/eat/cart")
    assert "The minimum order is 10,00 € : add 7,50 € more." in page.text
    assert "/eat/checkout" not in page.links()
    found = browser.shop.food.find(food_id("Napoli"), WATER)
    assert found
    found["available"] = False
    assert "Sold out" in (await browser.get("/eat/cart")).text
    browser.shop.food.menus[food_id("Napoli")] = []
    assert "No longer on the menu" in (await browser.get("/eat/cart")).text
    browser.shop.food.restaurants[food_id("Napoli")] |= {"open": False, "opens_at": "2126-03-05T18:00:00+00:00"}
    page = await browser.get("/eat/cart")
    assert "Napoli is closed at the moment." in page.text
    assert "/eat/checkout" not in page.links()


async def test_the_visitors_cart_moves_to_the_user_and_replaces_another_restaurants(browser: Browser) -> None:
    await browser.sign_in()
    await put(browser, NAPOLI, CALZONE)
    await browser.send((await browser.get("/")).form("/sign-out"))
    assert "Nothing here yet" in (await browser.get("/eat/cart")).text
    await put(browser, SAKURA, food_id("Maki"))
    await browser.sign_in(back="/eat/cart")
    assert "Maki" in browser.page.text
    assert "Calzone" not in browser.page.text


async def test_the_carts_of_food_and_of_the_shop_are_apart(browser: Browser) -> None:
    await put(browser, NAPOLI, CALZONE)
    await browser.add("pride")
    assert "Calzone" not in (await browser.get("/cart")).text
    assert "Pride" not in (await browser.get("/eat/cart")).text


async def test_pictures_are_kept_by_browsers_and_set_no_cookie(client: httpx.AsyncClient) -> None:
    answer = await client.get(f"/eat-pictures/pizza/{food_id('Napoli')}.svg")
    assert answer.headers["content-type"].startswith("image/svg+xml")
    assert answer.headers["cache-control"] == "public, max-age=86400"
    assert "set-cookie" not in answer.headers


async def test_a_shop_without_food_has_no_page_and_no_link_of_it(
    settings: Settings, running: Running, scripted: ScriptedShop
) -> None:
    without = settings.model_copy(update={"restaurant_url": "", "delivery_url": ""})
    async with running(make_app(without)) as client:
        browser = Browser(client, scripted)
        assert "/eat" not in (await browser.get("/")).links()
        for path in ("/eat", "/eat/cart", "/eat/checkout", NAPOLI):
            await browser.get(path, 404)


async def test_restaurants_that_are_away_leave_an_error_page(browser: Browser) -> None:
    browser.shop.down = {"restaurant"}
    page = await browser.get("/eat", 503)
    assert "Restaurants are temporarily unavailable." in page.text
    browser.shop.down = set()
