"""The checkout of food: an address in the town, tip, coupon, total, and refusals that keep the cart."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_data import money
from services.storefront.tests.scripted_food import food_id
from services.storefront.tests.test_storefront_restaurants import CALZONE, NAPOLI, put
from shop.kit.errors import Problem

HOME = "12 Abbot Gate"
NOT_CHARGED = "Your order was not placed and you were not charged."


async def ready_to_order(browser: Browser) -> Page:
    """The checkout page with two pizzas, and an address in the town."""
    await put(browser, NAPOLI, CALZONE, {"quantity": "2"})
    page = await browser.get("/eat")
    await browser.send(page.form("/eat/street"), street=HOME)
    return await browser.sign_in(back="/eat/checkout")


async def order(browser: Browser, status: int = 200, **changes: str) -> Page:
    return await browser.send(browser.page.form("/eat/checkout"), status, ("action", "buy"), **changes)


def bodies(browser: Browser) -> list[dict[str, Any]]:
    calls = browser.shop.calls
    return [json.loads(body) for method, path, body in calls if (method, path) == ("POST", "/api/v1/orders")]


async def test_the_checkout_is_filled_in_and_shows_the_total(browser: Browser) -> None:
    page = await ready_to_order(browser)
    fields = page.form("/eat/checkout").fields
    assert (fields["street"], fields["postal_code"], fields["tip"]) == (HOME, "10117", "0")
    assert fields["shown_total"] == "2679"
    assert "2 × Calzone" in page.text
    assert "Delivery 2,59 €" in page.text


async def test_a_coupon_of_the_customers_own_is_applied(browser: Browser) -> None:
    browser.shop.own_coupons |= {"LEVEL5-ADA": "ada@example.com", "LEVEL5-BOB": "bob@example.com"}
    await ready_to_order(browser)
    for coupon, note in (("level5-ada", "Coupon LEVEL5-ADA applied."), ("level5-bob", "There is no such coupon.")):
        page = await browser.send(browser.page.form("/eat/checkout"), button=("action", "quote"), coupon=coupon)
        assert note in page.text


async def test_food_is_ordered(browser: Browser) -> None:
    await ready_to_order(browser)
    page = await browser.send(browser.page.form("/eat/checkout"), button=("action", "quote"), tip="10")
    assert "Tip for the courier 2,20 €" in page.text
    await order(browser, phone="+44 7700 900123", note="No onions,\r\nplease")
    (placed,) = browser.shop.orders.values()
    assert browser.path == f"/orders/{placed['id']}"
    (body,) = bodies(browser)
    assert body["kind"] == "food"
    assert body["restaurant_id"] == food_id("Napoli")
    assert body["items"] == [{"item_id": CALZONE, "quantity": 2, "choices": []}]
    assert (body["address"]["street"], body["address"]["city"]) == (HOME, "Millbridge")
    assert (body["tip"], body["expected_total"]) == (money(220), money(2899))
    assert (body["phone"], body["note"]) == ("+447700900123", "No onions,\nplease")
    assert body["payment"] == {"token": "tok_visa"}
    assert "Nothing here yet" in (await browser.get("/eat/cart")).text


async def test_an_order_placed_twice_is_one(browser: Browser) -> None:
    page = await ready_to_order(browser)
    data = {**page.form("/eat/checkout").fields, "action": "buy"}
    answers = await asyncio.gather(*(browser.client.post("/eat/checkout", data=data) for _ in range(4)))
    (placed,) = browser.shop.orders.values()
    assert {answer.headers["location"] for answer in answers} == {f"/orders/{placed['id']}"}


async def test_what_was_added_after_the_order_stays_in_the_cart(browser: Browser) -> None:
    page = await ready_to_order(browser)
    form = page.form("/eat/checkout")
    await browser.send(form, button=("action", "buy"))
    await put(browser, NAPOLI, CALZONE, {"quantity": "3"})
    await browser.send(form, button=("action", "buy"))
    assert len(browser.shop.orders) == 1
    page = await browser.get("/eat/cart")
    assert [field.attributes["value"] for field in page.all("input", name="quantity")] == ["3"]


@pytest.mark.parametrize(
    ("changes", "field", "message"),
    [
        ({"street": "5 Nowhere Boulevard"}, "street", "There is no such street or number in the town."),
        ({"street": ""}, "street", "This field is required."),
        ({"phone": "07700 900123"}, "phone", "Enter the number with its country code"),
        ({"tip": "other", "tip_amount": "-1"}, "tip_amount", "Enter an amount"),
        ({"tip": "other", "tip_amount": "10001"}, "tip_amount", "This tip is too high."),
        ({"tip": "other", "tip_amount": "a lot"}, "tip_amount", "Enter an amount"),
    ],
)
async def test_a_form_that_is_not_valid_is_shown_again(
    browser: Browser, changes: dict[str, str], field: str, message: str
) -> None:
    await ready_to_order(browser)
    page = await order(browser, 422, **changes)
    assert message in page.text
    assert page.one("input", id=field).attributes["aria-invalid"] == "true"
    assert page.form("/eat/checkout").fields[field] == changes[field]
    assert not bodies(browser)


async def test_another_tip_is_an_amount(browser: Browser) -> None:
    await ready_to_order(browser)
    form = browser.page.form("/eat/checkout")
    await browser.send(form, button=("action", "quote"), tip="other", tip_amount="3,50")
    await order(browser)
    assert bodies(browser)[0]["tip"] == money(350)


async def test_without_an_address_there_is_no_total(browser: Browser) -> None:
    await put(browser, NAPOLI, CALZONE)
    page = await browser.sign_in(back="/eat/checkout")
    assert "Enter your street and number" in page.text
    page = await order(browser, 409, street=HOME)
    assert "Please review the total before you order." in page.text
    assert page.form("/eat/checkout").fields["shown_total"]


REFUSALS = [
    (Problem(503, "no_courier", "None.", headers={"Retry-After": "180"}), "Please try again in 3 min."),
    (Problem(409, "kitchen_full", "Full."), "The kitchen is full at the moment."),
    (Problem(409, "not_accepted_in_time", "Too late."), "The restaurant did not accept your order in time."),
    (Problem(409, "restaurant_closed", "Closed.", extra={"opens_at": "2126-03-05T18:00:00+00:00"}), "It opens 5 March"),
    (Problem(409, "item_sold_out", "Sold out.", extra={"item_id": CALZONE}), "“Calzone” is sold out."),
    (Problem(422, "address_out_of_reach", "Far."), "The restaurant does not deliver to this address"),
    (Problem(422, "minimum_order_not_met", "Low.", extra={"minimum_order": money(5000)}), "minimum order is 50,00 €"),
    (
        Problem(409, "price_changed", "Other.", extra={"expected_total": money(2679), "total": money(2800)}),
        "The total has changed from 26,79 € to 28,00 €.",
    ),
    (Problem(402, "payment_declined", "No."), "Your card was declined."),
]


@pytest.mark.parametrize(("refusal", "words"), REFUSALS, ids=[refusal.code for refusal, _ in REFUSALS])
async def test_a_refusal_is_in_plain_words_and_keeps_the_cart(browser: Browser, refusal: Problem, words: str) -> None:
    page = await ready_to_order(browser)
    key = page.form("/eat/checkout").fields["idempotency_key"]
    browser.shop.refuse = refusal
    page = await order(browser, refusal.status)
    note = page.one("div", id="problem").text.replace("\N{NO-BREAK SPACE}", " ")
    assert words in note
    assert "Your cart is kept." in note
    assert refusal.code == "payment_declined" or NOT_CHARGED in note
    assert page.form("/eat/checkout").fields["idempotency_key"] != key
    browser.shop.refuse = None
    await order(browser)
    assert len(browser.shop.orders) == 1


async def test_orders_that_are_away_or_answer_too_late(browser: Browser) -> None:
    await ready_to_order(browser)
    browser.shop.down = {"order"}
    page = await order(browser, 503)
    assert "we do not know yet whether your order was placed" in page.one("div", id="problem").text
    browser.shop.down = set()
    await order(browser)
    assert len(browser.shop.orders) == 1


async def test_a_quote_that_is_refused_says_why(browser: Browser) -> None:
    browser.shop.food.refuse = Problem(422, "address_out_of_reach", "Too far.")
    page = await ready_to_order(browser)
    assert "The restaurant does not deliver to this address" in page.text
    assert "shown_total" not in page.form("/eat/checkout").fields


async def test_a_cart_that_cannot_be_ordered_has_no_checkout(browser: Browser) -> None:
    await ready_to_order(browser)
    browser.shop.food.restaurants[food_id("Napoli")] |= {"open": False, "opens_at": None}
    await browser.get("/eat/checkout")
    assert browser.path == "/eat/cart"
