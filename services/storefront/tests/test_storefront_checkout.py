from __future__ import annotations

import asyncio

import pytest

from services.storefront.tests.conftest import ADDRESS, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_data import product_id
from shop.kit.errors import Problem
from shop.kit.formatting import formats


def order_bodies(browser: Browser) -> list[str]:
    return [body for method, path, body in browser.shop.calls if (method, path) == ("POST", "/api/v1/orders")]


async def ready_to_pay(browser: Browser) -> Page:
    await browser.add("pride", 2)
    await browser.sign_in(back="/checkout")
    return browser.page


async def test_an_order_is_placed(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    assert page.form("/checkout").fields["card"] == "tok_visa"
    await browser.checkout()
    (order,) = browser.shop.orders.values()
    assert browser.path == f"/orders/{order['id']}"
    assert browser.page.one("h1").text == "Thank you for your order"
    assert order["address"] == ADDRESS
    assert [(line["product_id"], line["quantity"]) for line in order["lines"]] == [(product_id("pride"), 2)]
    assert "Your cart is empty" in (await browser.get("/cart")).text


async def test_checkout_redirects_to_sign_in_and_back(browser: Browser) -> None:
    await browser.add("pride")
    page = await browser.get("/checkout")
    assert browser.path == "/sign-in"
    assert page.form("/sign-in").fields["next"] == "/checkout"
    await browser.sign_in(back="/checkout")
    assert browser.path == "/checkout"


async def test_an_empty_cart_has_no_checkout(browser: Browser) -> None:
    await browser.sign_in(back="/checkout")
    assert browser.path == "/cart"


async def test_a_form_submitted_concurrently_places_one_order(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    form = page.form("/checkout")
    data = {**form.fields, **ADDRESS, "action": "buy"}
    answers = await asyncio.gather(*(browser.client.post("/checkout", data=data) for _ in range(6)))
    (order,) = browser.shop.orders.values()
    assert {answer.headers["location"] for answer in answers} == {f"/orders/{order['id']}"}
    assert len(set(order_bodies(browser))) == 1


async def test_a_form_submitted_again_leads_to_the_same_order(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    form = page.form("/checkout")
    await browser.send(form, 200, ("action", "buy"), **ADDRESS)
    first = browser.path
    await browser.add("rocks")
    await browser.send(form, 200, ("action", "buy"), **{**ADDRESS, "city": "Hamburg"})
    assert browser.path == first
    assert len(browser.shop.orders) == 1
    assert "On Rocks" in (await browser.get("/cart")).text


async def test_an_order_in_flight_is_waited_for(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.in_flight_answers = 2
    await browser.checkout()
    assert browser.path.startswith("/orders/")


@pytest.mark.parametrize(
    ("code", "words"), [("payment_declined", "was declined"), ("insufficient_funds", "insufficient funds")]
)
async def test_a_refused_card_keeps_cart_and_form(browser: Browser, code: str, words: str) -> None:
    page = await ready_to_pay(browser)
    key = page.form("/checkout").fields["idempotency_key"]
    browser.shop.refuse = Problem(402, "payment_declined", "No.", extra={"decline_code": code})
    page = await browser.checkout(402, card="tok_declined", coupon="SPRING10")
    assert words in page.one("div", id="problem").text
    form = page.form("/checkout")
    assert {name: form.fields[name] for name in ADDRESS} == ADDRESS
    assert form.fields["card"] == "tok_declined"
    assert form.fields["idempotency_key"] != key
    assert browser.shop.orders == {}
    browser.shop.refuse = None
    await browser.send(form, button=("action", "buy"), card="tok_visa")
    assert browser.path.startswith("/orders/")


async def test_back_and_another_card_after_a_refusal_is_a_new_attempt(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    first = page.form("/checkout")
    browser.shop.refuse = Problem(402, "payment_declined", "No.")
    await browser.send(first, 402, ("action", "buy"), **ADDRESS, card="tok_declined")
    browser.shop.refuse = None
    data = {**first.fields, **ADDRESS, "card": "tok_visa", "action": "buy"}
    answers = await asyncio.gather(*(browser.client.post("/checkout", data=data) for _ in range(3)))
    (order,) = browser.shop.orders.values()
    assert {answer.headers["location"] for answer in answers} == {f"/orders/{order['id']}"}
    (declined_key, declined), *bought = browser.shop.order_requests
    assert "tok_declined" in declined
    assert {key for key, _ in bought}.isdisjoint({declined_key})
    assert all("tok_visa" in body for _, body in bought)


@pytest.mark.parametrize("action", ["", "quote", "Apply"])
async def test_only_the_buy_button_places_an_order(browser: Browser, action: str) -> None:
    page = await ready_to_pay(browser)
    form = page.form("/checkout")
    assert form.buttons[0] == ("action", "quote"), "Enter in a field presses the first button"
    page = await browser.send(form, 200, ("action", action), **ADDRESS, coupon=" spring10 ")
    assert "Coupon SPRING10 applied." in page.text
    assert order_bodies(browser) == []


async def test_the_form_of_another_user_places_no_order(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    form = page.form("/checkout")
    browser.shop.refuse = Problem(402, "payment_declined", "No.")
    await browser.send(form, 402, ("action", "buy"), **ADDRESS, card="tok_declined")
    browser.shop.refuse = None
    await browser.send(browser.page.form("/sign-out"))
    await browser.sign_in("eve@example.com")
    await browser.add("rocks")
    browser.shop.calls.clear()
    page = await browser.send(form, 403, ("action", "buy"), **ADDRESS)
    assert "This form has expired" in page.text
    own = (await browser.get("/checkout")).form("/checkout")
    theirs = {name: own.fields[name] for name in ("csrf_token", "shown_total")}
    await browser.send(form, 200, ("action", "buy"), **ADDRESS, **theirs)
    (order,) = browser.shop.orders.values()
    assert [line["product_id"] for line in order["lines"]] == [product_id("rocks")]


async def test_a_shortage_names_the_product_and_the_remaining_stock(browser: Browser) -> None:
    await ready_to_pay(browser)
    extra = {"product_id": product_id("pride"), "available": 1}
    browser.shop.refuse = Problem(409, "insufficient_stock", "Short.", extra=extra)
    page = await browser.checkout(409)
    assert "Only 1 of “Pride and Prejudice” left in stock." in page.one("div", id="problem").text
    browser.shop.refuse = Problem(409, "insufficient_stock", "Short.", extra={**extra, "available": 0})
    assert "is sold out" in (await browser.checkout(409)).text
    assert (await browser.get("/cart")).one("input", id=f"quantity-{product_id('pride')}").attributes["value"] == "2"


async def test_a_shortage_of_an_unknown_product_shows_the_detail(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.refuse = Problem(409, "insufficient_stock", "Something is short.")
    assert "Something is short." in (await browser.checkout(409)).text


async def test_a_timeout_keeps_key_and_request(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    key = page.form("/checkout").fields["idempotency_key"]
    browser.shop.down.add("order")
    page = await browser.send(page.form("/checkout"), 503, ("action", "buy"), **ADDRESS)
    assert "we do not know yet" in page.text
    assert page.form("/checkout").fields["idempotency_key"] == key
    browser.shop.down.clear()
    await browser.send(page.form("/checkout"), button=("action", "buy"), city="Elsewhere")
    (order,) = browser.shop.orders.values()
    assert order["address"]["city"] == "Berlin"
    assert order_bodies(browser)[0] == order_bodies(browser)[-1]


async def test_a_reused_key_places_no_second_order(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.refuse = Problem(422, "idempotency_key_reused", "Used.")
    page = await browser.checkout()
    assert browser.path == "/account"
    assert "check your orders" in page.text


async def test_invalid_fields_are_marked_and_kept(browser: Browser) -> None:
    await ready_to_pay(browser)
    page = await browser.checkout(422, street="", country="ZZZ", city="Bern")
    assert marked(page) == {"street", "country"}
    assert page.one("span", id="street-error").text == "This field is required."
    assert page.form("/checkout").fields["city"] == "Bern"
    assert order_bodies(browser) == []


def marked(page: Page) -> set[str]:
    return {field.attributes["id"] for field in page.elements if field.attributes.get("aria-invalid") == "true"}


@pytest.mark.parametrize("postal_code", ["ABC!!", "1", ""])
async def test_a_postal_code_must_match_its_country(browser: Browser, postal_code: str) -> None:
    await ready_to_pay(browser)
    page = await browser.checkout(422, postal_code=postal_code)
    assert marked(page) == {"postal_code"}
    assert order_bodies(browser) == []


async def test_a_card_is_required(browser: Browser) -> None:
    await ready_to_pay(browser)
    page = await browser.checkout(422, card="")
    assert "Enter a valid value." in page.text or "This field is required." in page.text


async def test_summary_without_script_follows_coupon_and_saved_address(browser: Browser) -> None:
    await browser.add("pride", 2)
    await browser.sign_in()
    saved = {**ADDRESS, "street": "Another 1", "id": product_id("address")}
    browser.shop.people["ada@example.com"].addresses.append(saved)
    page = await browser.get("/checkout")
    form = page.form("/checkout")
    assert form.fields["street"] == "Another 1"
    page = await browser.send(form, button=("action", "quote"), street="Typed 2", saved=saved["id"], coupon="spring10")
    assert page.form("/checkout").fields["street"] == "Another 1"
    assert "Coupon SPRING10 applied." in page.text
    assert "−2,59" in page.text
    assert page.form("/checkout").fields["idempotency_key"] == form.fields["idempotency_key"]


async def test_a_coupon_of_the_customers_own_is_applied(browser: Browser) -> None:
    browser.shop.own_coupons |= {"LEVEL5-ADA": "ada@example.com", "LEVEL5-BOB": "bob@example.com"}
    await ready_to_pay(browser)
    for coupon, note in (("level5-ada", "Coupon LEVEL5-ADA applied."), ("level5-bob", "There is no such coupon.")):
        page = await browser.send(browser.page.form("/checkout"), button=("action", "quote"), coupon=coupon)
        assert note in page.text


async def test_the_live_summary_has_the_new_totals(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    data = {**page.form("/checkout").fields, **ADDRESS, "coupon": "SPRING10"}
    answer = await browser.client.post("/checkout/quote", data=data)
    sums = Page(answer.text).one("div", id="sums")
    assert "Coupon SPRING10 applied." in sums.text


async def test_an_unknown_coupon_is_an_error_and_not_applied(browser: Browser) -> None:
    await ready_to_pay(browser)
    page = await browser.send(browser.page.form("/checkout"), button=("action", "quote"), coupon="NONSENSE")
    assert "There is no such coupon." in page.text
    assert page.one("div", id="sums").text.count("Total") == 1
    page = await browser.checkout(422, coupon="NONSENSE")
    assert "There is no such coupon." in page.one("div", id="problem").text


async def test_no_order_is_placed_while_the_total_cannot_be_shown(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.down.add("pricing")
    page = await browser.get("/checkout")
    assert "The total cannot be calculated at the moment" in page.text
    page = await browser.send(page.form("/checkout"), 409, ("action", "buy"), **ADDRESS)
    assert order_bodies(browser) == []
    browser.shop.down.clear()
    page = await browser.send(page.form("/checkout"), 409, ("action", "buy"))
    assert order_bodies(browser) == [], "now there is a total to look at"
    await browser.send(page.form("/checkout"), 200, ("action", "buy"))
    assert browser.path.startswith("/orders/")


async def test_a_changed_price_must_be_accepted_first(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    shown = page.one("dl", **{"class": "sums number"}).text
    browser.shop.products[product_id("pride")]["price"]["amount"] *= 3
    page = await browser.send(page.form("/checkout"), 409, ("action", "buy"), **ADDRESS)
    assert browser.shop.orders == {}
    problem, sums = page.one("div", id="problem").text, page.one("dl", **{"class": "sums number"}).text
    before, now = (text.rpartition("Total")[2].strip() for text in (shown, sums))
    assert before != now
    assert f"The total has changed from {before} to {now}." in problem
    assert page.form("/checkout").fields["city"] == ADDRESS["city"]
    await browser.send(page.form("/checkout"), 200, ("action", "buy"))
    (order,) = browser.shop.orders.values()
    assert order["total"]["amount"] == int("".join(filter(str.isdigit, now)))


async def test_a_changed_cart_must_be_accepted_first(browser: Browser) -> None:
    page = await ready_to_pay(browser)
    form = page.form("/checkout")
    await browser.add("pride", 3)
    page = await browser.send(form, 409, ("action", "buy"), **ADDRESS)
    assert browser.shop.orders == {}
    assert "5 ×" in page.text
    await browser.send(page.form("/checkout"), 200, ("action", "buy"))
    assert [line["quantity"] for order in browser.shop.orders.values() for line in order["lines"]] == [5]


@pytest.mark.parametrize("shown", ["", "abc", "-1", "1" * 16, "12,38"])
async def test_a_form_without_a_total_places_no_order(browser: Browser, shown: str) -> None:
    page = await ready_to_pay(browser)
    await browser.send(page.form("/checkout"), 409, ("action", "buy"), **ADDRESS, shown_total=shown)
    assert order_bodies(browser) == []


async def test_a_pending_order_refreshes_without_script(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.order_state = "pending"
    page = await browser.checkout()
    assert page.one("h1").text == "Order received"
    refresh = page.one("meta", **{"http-equiv": "refresh"})
    assert refresh.inside("noscript")
    browser.shop.set_state(browser.path.rsplit("/", 1)[1], "confirmed")
    page = await browser.get(browser.path)
    assert page.one("h1").text == "Thank you for your order"
    assert not page.all("meta", **{"http-equiv": "refresh"})


async def test_a_coupon_that_ends_free_shipping_has_a_note(browser: Browser) -> None:
    await browser.add("pride")
    await browser.sign_in()
    limit = browser.shop.free_shipping_from = browser.shop.products[product_id("pride")]["price"]["amount"]
    form = (await browser.get("/checkout")).form("/checkout")
    assert "the minimum for free shipping" not in browser.page.text
    page = await browser.send(form, 200, ("action", "quote"), **ADDRESS, coupon="SPRING10")
    written = formats("DE").money(limit, "EUR").replace("\N{NO-BREAK SPACE}", " ")
    assert f"With this coupon your order is below {written}, the minimum for free shipping." in page.text


async def test_an_order_to_a_country_that_is_not_served_is_an_error(browser: Browser) -> None:
    await ready_to_pay(browser)
    browser.shop.refuse = Problem(422, "country_not_served", "This shop does not ship to FR.")
    page = await browser.checkout(422, country="FR", city="Paris", postal_code="75001")
    assert "This shop does not ship to that country." in page.one("div", id="problem").text


async def test_saved_addresses_that_the_shop_does_not_ship_to_are_not_offered(browser: Browser) -> None:
    await browser.add("pride")
    await browser.sign_in()
    saved = {**ADDRESS, "country": "CH", "postal_code": "3011", "id": product_id("address")}
    browser.shop.people["ada@example.com"].addresses.append(saved)
    form = (await browser.get("/checkout")).form("/checkout")
    assert (form.fields["country"], "saved" in form.fields) == ("DE", False)
