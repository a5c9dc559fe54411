from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from services.storefront.tests.conftest import CUSTOMER, Browser
from services.storefront.tests.scripted_data import NOW, Person, money, product_id
from services.storefront.tests.shared import shared_app
from shop.devkit.testing import Running
from shop.kit.errors import Problem
from shop.kit.formatting import formats
from shop.storefront.forms import PromotionForm, decimal_text, minor_units, parse_day, parse_form
from shop.storefront.schemas import Promotion
from shop.storefront.settings import Settings

PATHS = ["/admin", "/admin/stock", "/admin/promotions", "/admin/promotions/new", "/admin/messages"]


@pytest.fixture
async def order_id(browser: Browser) -> str:
    """An order of a customer, paid with one payment; an administrator is signed in."""
    person = browser.shop.people.setdefault(CUSTOMER, Person("Ada Lovelace", CUSTOMER, "secret"))
    address = {"name": "Ada", "street": "Linden 5", "city": "Berlin", "postal_code": "10117", "country": "DE"}
    body = {"items": [{"product_id": product_id("pride"), "quantity": 2}], "address": address}
    order = browser.shop.make_order(person, body, product_id("order"))
    payment = {"id": product_id("payment"), "order_id": order["id"], "state": "captured", "refunded": money(0)}
    browser.shop.payments.append({**payment, "amount": order["total"]})
    await browser.sign_in_as_admin()
    return str(order["id"])


@pytest.mark.parametrize("path", PATHS)
async def test_admin_pages_are_for_administrators_only(browser: Browser, path: str) -> None:
    await browser.get(path)
    assert browser.path == "/sign-in"
    await browser.sign_in()
    page = await browser.get(path, 403)
    assert "This page is for administrators only." in page.text
    assert "/admin" not in page.links()


async def test_administrators_get_to_the_control_room_where_there_is_one(
    browser: Browser, settings: Settings, running: Running
) -> None:
    page = await browser.sign_in_as_admin()
    assert "/ops" in page.links()
    async with running(shared_app(settings.model_copy(update={"ops": False}))) as client:
        page = await Browser(client, browser.shop).sign_in_as_admin()
        assert "/admin/stock" in page.links()
        assert "/ops" not in page.links()


async def test_orders_are_listed_and_filtered(browser: Browser, order_id: str) -> None:
    page = await browser.get("/admin")
    assert f"/admin/orders/{order_id}" in page.links()
    page = await browser.get("/admin?state=cancelled")
    assert "No orders" in page.text
    await browser.get("/admin?state=nonsense", 400)


async def test_order_shows_its_saga(browser: Browser, order_id: str) -> None:
    step = {"saga": "place", "phase": "action", "at": NOW, "times": 3, "seconds": 3.0}
    browser.shop.history = {
        "attempts": 2,
        "trace_id": "4bf92f3577b34da6a3ce929d0e0e4736",
        "steps": [
            {**step, "step": "quote", "outcome": "unavailable", "detail": "<pricing> is unavailable"},
            {**step, "step": "reserve", "outcome": "done", "phase": "compensation"},
        ],
        "transitions": [{"from_state": "pending", "to_state": "confirmed", "at": NOW}],
    }
    page = await browser.get(f"/admin/orders/{order_id}")
    cells = [" ".join(cell.text.split()) for cell in page.all("td") if cell.inside("table", id="history")]
    when = "5 March 2026, 14:07 UTC"
    assert cells[:5] == ["Quote", "Unavailable <pricing> is unavailable", "3", "3.000", when]
    assert cells[5:10] == ["Reserve (compensation)", "Done", "3", "3.000", when]
    assert cells[10:] == ["Pending → Confirmed", "Confirmed", "", "", when]
    assert "4bf92f3577b34da6a3ce929d0e0e4736" in page.text


async def test_order_is_shipped_and_delivered(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    page = await browser.send(page.form(f"/admin/orders/{order_id}/fulfil"))
    assert "The order was marked as shipped." in page.text
    page = await browser.send(page.form(f"/admin/orders/{order_id}/deliver"))
    assert browser.shop.orders[order_id]["state"] == "delivered"
    moves = (f"/admin/orders/{order_id}/{how}" for how in ("fulfil", "deliver", "cancel"))
    assert not {form.attributes["action"] for form in page.all("form")} & set(moves)


async def test_order_is_cancelled(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    page = await browser.send(page.form(f"/admin/orders/{order_id}/cancel"))
    assert page.one("h1").text == "Cancel this order?"
    assert browser.shop.orders[order_id]["state"] == "confirmed"
    await browser.confirm()
    assert browser.shop.orders[order_id]["state"] == "cancelled"


async def test_an_action_that_is_too_late_is_an_error_on_the_order_page(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    form = page.form(f"/admin/orders/{order_id}/fulfil")
    browser.shop.set_state(order_id, "cancelled")
    page = await browser.send(form, 409)
    assert "cannot become fulfilled" in page.one("div", id="problem").text
    assert "Order" in page.one("h1").text


async def test_a_refund_is_made_once_per_form(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    form = page.form(f"/admin/orders/{order_id}/refund")
    assert form.fields["amount"] == "32.69"
    page = await browser.send(form, amount="5,50", reason="A torn page")
    assert page.one("h1").text == "Refund 5,50\N{NO-BREAK SPACE}€?"
    assert browser.shop.refunds == {}
    await browser.confirm()
    await browser.send(form, amount="5,50", reason="A torn page")
    await browser.confirm()
    assert browser.shop.refunds == {form.fields["key"]: {"amount": 550, "reason": "A torn page"}}


async def test_the_rest_of_a_payment_can_be_refunded(browser: Browser, order_id: str) -> None:
    browser.shop.payments[0] |= {"state": "partially_refunded", "refunded": money(1000)}
    page = await browser.get(f"/admin/orders/{order_id}")
    assert page.form(f"/admin/orders/{order_id}/refund").fields["amount"] == "22.69"
    browser.shop.payments[0] |= {"state": "refunded", "refunded": money(3269)}
    page = await browser.get(f"/admin/orders/{order_id}")
    assert not [form for form in page.all("form") if form.attributes["action"].endswith("/refund")]


@pytest.mark.parametrize("amount", ["0", "-1", "much", "", "1.234", "NaN", "1e400"])
async def test_an_invalid_amount_refunds_nothing(browser: Browser, order_id: str, amount: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    form = page.form(f"/admin/orders/{order_id}/refund")
    page = await browser.send(form, 422, amount=amount, reason="Torn")
    field = page.one("input", id="amount-1")
    assert (field.attributes["aria-invalid"], field.attributes["aria-describedby"]) == ("true", "amount-1-error")
    assert "autofocus" in field.attributes
    assert "amount greater than zero" in page.one("span", id="amount-1-error").text
    assert page.form(form.action).fields["reason"] == "Torn"
    assert browser.shop.refunds == {}


async def test_a_refund_above_the_payment_is_an_error_at_the_field(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    form = page.form(f"/admin/orders/{order_id}/refund")
    page = await browser.send(form, 422, amount="100", reason="Torn")
    assert page.one("span", id="amount-1-error").text == "You can refund at most 32.69 EUR."
    assert page.form(form.action).fields["amount"] == "100"
    browser.shop.refund_refusal = Problem(409, "refund_exceeds_payment", "Only 12.69 EUR is left of this payment.")
    await browser.send(page.form(form.action), amount="20", reason="Torn")
    page = await browser.confirm(409)
    assert page.one("span", id="amount-1-error").text == "Only 12.69 EUR is left of this payment."
    again = page.form(form.action).fields
    assert (again["amount"], again["reason"], again["key"] != form.fields["key"]) == ("20", "Torn", True)
    assert browser.shop.refunds == {}


async def test_refund_of_another_orders_payment_is_not_found(browser: Browser, order_id: str) -> None:
    page = await browser.get(f"/admin/orders/{order_id}")
    form = page.form(f"/admin/orders/{order_id}/refund")
    await browser.send(form, 404, payment_id=product_id("somebody's"))
    assert browser.shop.refunds == {}


async def test_stock_is_increased_and_decreased(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    page = await browser.get("/admin/stock?query=pride")
    form = page.form(f"/admin/stock/{product_id('pride')}")
    page = await browser.send(form, delta="5")
    assert "Stock updated: 17 of “Pride and Prejudice” in stock." in page.text
    assert str(browser.answer.url).endswith("/admin/stock?query=pride")
    await browser.send(form, delta="5")
    assert browser.shop.products[product_id("pride")]["stock"] == 17
    form = browser.page.form(form.action)
    await browser.send(form, delta="-7")
    assert browser.shop.products[product_id("pride")]["stock"] == 10
    form = (await browser.get("/admin/stock?query=pride")).form(form.action)
    page = await browser.send(form, 409, delta="-11")
    assert page.one("span", id="delta-error").text == "There is not so much."
    assert page.one("input", **{"aria-describedby": "delta-error"}).attributes["value"] == "-11"
    for typed in ("nonsense", "0", "100001"):
        page = await browser.send(form, 422, delta=typed)
        assert "whole number other than zero" in page.one("span", id="delta-error").text
    assert browser.shop.products[product_id("pride")]["stock"] == 10


async def test_promotion_is_created_shown_and_changed(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    page = await browser.get("/admin/promotions/new")
    values = {"code": "five-off", "kind": "fixed", "value": "5.00", "minimum": "20", "expires": "2027-05-31"}
    page = await browser.send(page.form("/admin/promotions"), 200, None, **values, usage_limit="100")
    made = browser.shop.promotions["FIVE-OFF"]
    assert (made["kind"], made["value"], made["minimum_subtotal"], made["usage_limit"]) == ("fixed", 500, 2000, 100)
    assert made["expires_at"].startswith("2027-05-31T23:59:59")
    assert made["active"] is True
    assert "5,00\N{NO-BREAK SPACE}€" in page.html
    page = await browser.get("/admin/promotions/FIVE-OFF")
    form = page.form("/admin/promotions")
    assert (form.fields["value"], form.fields["minimum"], form.fields["expires"]) == ("5.00", "20.00", "2027-05-31")
    form.fields.pop("active")
    await browser.send(form, kind="percentage", value="15")
    assert browser.shop.promotions["FIVE-OFF"]["value"] == 15
    assert browser.shop.promotions["FIVE-OFF"]["active"] is False


async def test_a_new_promotion_never_overwrites_another(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    form = (await browser.get("/admin/promotions/new")).form("/admin/promotions")
    await browser.send(form, code="SPRING", value="10")
    page = await browser.send(form, 409, code="spring", value="90")
    assert "A promotion with this code already exists." in page.one("span", id="code-error").text
    assert (page.form("/admin/promotions").fields["code"], page.form("/admin/promotions").fields["value"]) == (
        "spring", "90",
    )  # fmt: skip
    assert browser.shop.promotions["SPRING"]["value"] == 10


async def test_a_promotion_keeps_its_dates_when_it_is_changed(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    form = (await browser.get("/admin/promotions/new")).form("/admin/promotions")
    days = {"starts": "2026-12-01", "expires": "2026-12-24"}
    await browser.send(form, 200, None, code="ADVENT", value="10", **days)
    form = (await browser.get("/admin/promotions/ADVENT")).form("/admin/promotions")
    assert {name: form.fields[name] for name in days} == days
    await browser.send(form, value="20")
    assert browser.shop.promotions["ADVENT"]["starts_at"].startswith("2026-12-01T00:00:00")
    page = await browser.send(form, 422, starts="2026-12-25")
    assert page.one("span", id="expires-error").text == "The end date is before the start date."


@pytest.mark.parametrize(
    ("rule", "word"),
    [
        ({}, "Active"),
        ({"active": False, "expires_at": "2020-01-01T00:00:00Z"}, "Inactive"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "Expired"),
        ({"starts_at": "2199-01-01T00:00:00Z"}, "Scheduled"),
        ({"usage_limit": 5, "used": 5}, "Used up"),
    ],
)
async def test_status_of_a_promotion(browser: Browser, rule: dict[str, Any], word: str) -> None:
    await browser.sign_in_as_admin()
    browser.shop.promotions["CODE"] = {"code": "CODE", "kind": "percentage", "value": 10, **rule}
    page = await browser.get("/admin/promotions")
    states = [element.text for element in page.all("span") if "state" in element.attributes.get("class", "").split()]
    assert states == [word]


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("percentage", "5.5", "Enter a whole percentage from 1 to 100."),
        ("percentage", "5,5", "Enter a whole percentage from 1 to 100."),
        ("percentage", "101", "Enter a whole percentage from 1 to 100."),
        ("percentage", "0", "Enter a whole percentage from 1 to 100."),
        ("fixed", "5.555", "Enter an amount greater than zero, for example 5.00."),
        ("fixed", "-1", "Enter an amount greater than zero, for example 5.00."),
    ],
)
async def test_invalid_values_of_a_promotion(browser: Browser, kind: str, value: str, said: str) -> None:
    await browser.sign_in_as_admin()
    form = (await browser.get("/admin/promotions/new")).form("/admin/promotions")
    page = await browser.send(form, 422, code="CODE", kind=kind, value=value)
    assert page.one("span", id="value-error").text == said
    assert page.form("/admin/promotions").fields["value"] == value
    assert "autofocus" in page.one("div", id="problem").attributes


async def test_an_invalid_promotion_shows_errors_at_the_fields(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    page = await browser.get("/admin/promotions/new")
    form = page.form("/admin/promotions")
    page = await browser.send(form, 422, code="x", value="ten", minimum="-1", expires="tomorrow")
    assert page.one("span", id="code-error")
    page = await browser.send(form, 422, code="TEN", value="ten", minimum="-1", expires="tomorrow")
    assert {field.attributes["id"] for field in page.all("input", **{"aria-invalid": "true"})} == {
        "value", "minimum", "expires",
    }  # fmt: skip
    assert browser.shop.promotions == {}


async def test_unknown_promotion_is_not_found(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    await browser.get("/admin/promotions/NOTHING", 404)
    await browser.get("/admin/promotions/no%20code", 404)


async def test_sent_messages_and_the_mailbox(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    message = {"id": product_id("m"), "template": "welcome", "created_at": NOW, "state": "failed", "subject": ""}
    browser.shop.messages = [{**message, "recipient": CUSTOMER, "error": "550 no such box"}]
    page = await browser.get("/admin/messages")
    assert "/mailbox" in page.links()
    assert CUSTOMER in page.text
    assert "550 no such box" in page.text


@pytest.mark.parametrize(
    ("text", "currency", "amount"),
    [
        ("12.50", "EUR", 1250),
        ("12,5", "EUR", 1250),
        ("7", "JPY", 7),
        ("1.234", "KWD", 1234),
        ("7.5", "JPY", None),
        ("7.5", "ISK", None),
        ("1.234", "IQD", 1234),
        ("24", "XOF", 24),
    ],
)
def test_typed_amounts(text: str, currency: str, amount: int | None) -> None:
    assert minor_units(text, currency) == amount
    if amount is not None:
        assert minor_units(decimal_text(amount, currency), currency) == amount


def test_percentages_are_whole() -> None:
    form, _ = parse_form(PromotionForm, {"code": "TEN", "kind": "percentage", "value": "10"})
    assert form is not None
    rule, wrong = form.rule("EUR", formats("DE"))
    assert (rule["value"], rule["usage_limit"], rule["expires_at"], wrong) == (10, None, None, {})
    assert parse_day("no date") is None


def test_a_promotion_lasts_from_its_first_to_its_last_day_in_the_store() -> None:
    """The two days are those of the store's zone, on either side of the change to summer time."""
    berlin = formats("DE", time_zone="Europe/Berlin")
    typed = {"code": "MARCH", "kind": "fixed", "value": "5", "starts": "2026-03-28", "expires": "2026-03-29"}
    form, _ = parse_form(PromotionForm, typed)
    assert form is not None
    rule, wrong = form.rule("EUR", berlin)
    assert not wrong
    assert rule["starts_at"] == datetime(2026, 3, 27, 23, tzinfo=UTC)
    assert rule["expires_at"] == datetime(2026, 3, 29, 21, 59, 59, tzinfo=UTC)
    stored = {name: rule[name] for name in ("kind", "value", "minimum_subtotal", "starts_at", "expires_at", "active")}
    shown = PromotionForm.values(
        Promotion.model_validate({"code": "MARCH", "currency": "EUR", **stored}), "EUR", berlin
    )
    assert (shown["starts"], shown["expires"]) == ("2026-03-28", "2026-03-29")
