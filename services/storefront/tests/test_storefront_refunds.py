"""Pages of refunded orders, cancelled pending orders and failed orders."""

from __future__ import annotations

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.scripted_data import money
from shop.storefront.settings import Settings

PAYMENT = "0190b000-0000-7000-8000-0000000000aa"


@pytest.fixture
async def bought(browser: Browser) -> str:
    """The id of an order that was just placed and paid, by a customer who is an administrator as well."""
    await browser.add("pride", 2)
    await browser.sign_in("admin@example.com", role="admin")
    await browser.checkout()
    order_id = browser.path.rsplit("/", 1)[1]
    total = browser.shop.orders[order_id]["total"]
    payment = {"id": PAYMENT, "order_id": order_id, "state": "captured", "refunded": money(0)}
    browser.shop.payments.append({**payment, "amount": total})
    return order_id


def refund(browser: Browser, amount: int) -> None:
    paid = browser.shop.payments[0]
    state = "refunded" if amount == paid["amount"]["amount"] else "partially_refunded"
    browser.shop.payments[0] |= {"state": state, "refunded": money(amount)}


async def test_a_full_refund_is_shown_and_cannot_be_shipped(browser: Browser, bought: str) -> None:
    refund(browser, browser.shop.payments[0]["amount"]["amount"])
    page = await browser.get(f"/orders/{bought}")
    assert page.one("h1").text == "Refunded"
    assert "Your payment was refunded in full. The order will not be shipped." in page.text
    assert "Thank you for your order" not in page.text
    assert [heading.text for heading in page.all("h2")][-2] == "Refunded"
    assert f"/orders/{bought}/cancel" not in {form.attributes["action"] for form in page.all("form")}
    for path in ("/account", "/admin"):
        assert (await browser.get(path)).one("span", **{"class": "state refunded"}).text == "Refunded"
    page = await browser.get(f"/admin/orders/{bought}")
    actions = {form.attributes["action"] for form in page.all("form")}
    assert f"/admin/orders/{bought}/fulfil" not in actions
    assert f"/admin/orders/{bought}/cancel" in actions
    assert "Refunded" in page.text


async def test_a_partial_refund_is_shown(browser: Browser, bought: str) -> None:
    refund(browser, 1_000)
    page = await browser.get(f"/orders/{bought}")
    assert page.one("h1").text == "Thank you for your order"
    assert "Part of your payment was refunded." in page.text
    assert "10,00 € of this was refunded." in page.text
    page = await browser.get(f"/admin/orders/{bought}")
    assert page.form(f"/admin/orders/{bought}/fulfil")
    assert "Partially refunded" in page.text


async def test_an_order_page_works_without_the_payment_service(browser: Browser, bought: str) -> None:
    browser.shop.down.add("payment")
    assert (await browser.get(f"/orders/{bought}")).one("h1").text == "Thank you for your order"


async def test_a_pending_order_can_be_cancelled(browser: Browser, bought: str) -> None:
    browser.shop.orders[bought]["state"] = "pending"
    page = await browser.get(f"/orders/{bought}")
    page = await browser.send(page.form(f"/orders/{bought}/cancel"))
    assert page.one("h1").text == "Cancel this order?"
    await browser.confirm()
    browser.shop.orders[bought] |= {"state": "rejected", "reason": "cancelled"}
    page = await browser.get(f"/orders/{bought}")
    assert page.one("h1").text == "Order cancelled"
    assert "You were not charged." in page.text
    assert f"/orders/{bought}/cancel" not in {form.attributes["action"] for form in page.all("form")}


async def test_failed_orders_are_listed_separately(browser: Browser, bought: str) -> None:
    assert f"/orders/{bought}" in (await browser.get("/account")).links()
    assert f"/orders/{bought}" not in (await browser.get("/account/attempts")).links()
    browser.shop.orders[bought] |= {"state": "rejected", "reason": "payment_declined"}
    assert f"/orders/{bought}" not in (await browser.get("/account")).links()
    assert f"/orders/{bought}" in (await browser.get("/account/attempts")).links()
    assert f"/admin/orders/{bought}" not in (await browser.get("/admin")).links()
    assert f"/admin/orders/{bought}" in (await browser.get("/admin?state=rejected")).links()


def test_the_storefront_does_not_start_with_a_provider_that_needs_card_entry(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SHOP_PAYMENT_PROVIDER", "stripe")
    with pytest.raises(ValueError, match="SHOP_PAYMENT_PROVIDER is stripe, but the storefront takes test cards"):
        Settings()
    monkeypatch.setenv("SHOP_PAYMENT_PROVIDER", "simulator")
    assert Settings().payment_provider == "simulator"
