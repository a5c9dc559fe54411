from __future__ import annotations

import time
from types import SimpleNamespace

import pytest
from redis.asyncio import Redis

from services.storefront.tests.conftest import ADDRESS, CUSTOMER, PASSWORD, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_data import NOW, Person, product_id
from shop.devkit.processes import free_port
from shop.devkit.testing import INTERNAL_TOKEN, Running
from shop.kit.errors import FieldError, Problem
from shop.kit.sessions import Cookies, Visitor
from shop.storefront import service
from shop.storefront.app import make_app
from shop.storefront.carts import Carts
from shop.storefront.settings import Settings


async def test_signing_up_signs_in_and_keeps_the_cart(browser: Browser) -> None:
    await browser.add("pride")
    page = await browser.get("/sign-up?next=/cart")
    await browser.send(page.form("/sign-up"), name="Ada", email="new@example.com", password=PASSWORD)
    assert browser.path == "/cart"
    assert "Welcome, Ada." in browser.page.text
    assert "Pride and Prejudice" in browser.page.text


async def test_a_visitor_with_a_session_goes_back_except_to_sign_in_again(browser: Browser) -> None:
    """Services with pages of their own send administrators here: for a valid access token, or for the password."""
    await browser.sign_in()
    await browser.get("/sign-in?next=/cart")
    assert browser.path == "/cart"
    page = await browser.get("/sign-in?next=/cart&again=1")
    assert browser.path == "/sign-in"
    await browser.send(page.form("/sign-in"), email=CUSTOMER, password=PASSWORD)
    assert browser.path == "/cart"


async def test_the_session_says_when_the_password_was_typed(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    """Tokens that are renewed later do not change it."""
    began = int(time.time())
    await browser.sign_in()
    typed_by = int(time.time())
    monkeypatch.setattr(service, "REFRESH_MARGIN_S", 10**9)
    monkeypatch.setattr(service, "time", SimpleNamespace(time=lambda: typed_by + 500.0))
    await browser.get("/account")
    assert browser.shop.refreshed == 1
    monkeypatch.undo()
    session = Cookies(INTERNAL_TOKEN, Visitor)._load("shop_session", browser.client.cookies["shop_session"])
    assert began <= session["signed_in_at"] <= typed_by


async def test_passwords_are_passed_on_as_typed(browser: Browser) -> None:
    page = await browser.get("/sign-up")
    await browser.send(page.form("/sign-up"), name=" Ada ", email=" new@example.com ", password="  spaces count  ")
    assert browser.shop.people["new@example.com"].password == "  spaces count  "
    assert browser.shop.people["new@example.com"].name == "Ada"


async def test_an_invalid_sign_up_shows_errors_at_the_fields(browser: Browser) -> None:
    page = await browser.get("/sign-up")
    page = await browser.send(page.form("/sign-up"), 422, name="", email="nonsense", password="short")
    assert page.one("span", id="name-error").text == "This field is required."
    assert "must have an @-sign" in page.one("span", id="email-error").text
    assert "autofocus" in page.one("div", id="problem").attributes
    assert {link.attributes["href"] for link in page.all("a") if link.inside("div", id="problem")} == {
        "#name", "#email", "#password",
    }  # fmt: skip
    assert page.one("span", id="password-error").text == "Use at least 10 characters."
    assert page.one("input", id="password").attributes["value"] == ""
    assert browser.shop.people == {}


@pytest.mark.parametrize(
    ("field", "typed", "said"),
    [
        ("name", "Ada\x1b[2J", "cannot be seen: U+001B"),
        ("name", "\u202eadA", "RIGHT-TO-LEFT OVERRIDE"),
        ("email", "müller@example.com", "only letters without accents"),
        ("password", "x" * 129, "This is too long."),
    ],
)
async def test_invalid_names_addresses_and_passwords_are_refused_at_sign_up(
    browser: Browser, field: str, typed: str, said: str
) -> None:
    page = await browser.get("/sign-up")
    assert "maxlength" not in page.one("input", id="password").attributes, "a browser would cut a password silently"
    fields = {"name": "Ada", "email": "new@example.com", "password": PASSWORD, field: typed}
    page = await browser.send(page.form("/sign-up"), 422, None, **fields)
    assert said in page.one("span", id=f"{field}-error").text
    assert browser.shop.people == {}


async def test_a_taken_address_is_an_error(browser: Browser) -> None:
    browser.shop.people[CUSTOMER] = Person("Ada", CUSTOMER, PASSWORD)
    page = await browser.get("/sign-up")
    page = await browser.send(page.form("/sign-up"), 409, name="Eve", email=CUSTOMER, password=PASSWORD)
    assert "There is an account with this email address already." in page.text


async def test_wrong_password(browser: Browser) -> None:
    browser.shop.people[CUSTOMER] = Person("Ada", CUSTOMER, PASSWORD)
    page = await browser.get("/sign-in")
    page = await browser.send(page.form("/sign-in"), 401, email=CUSTOMER, password="not this one")
    assert "The email address or password is incorrect." in page.text
    assert page.form("/sign-in").fields["email"] == CUSTOMER


@pytest.mark.parametrize(
    "where", ["https://evil.example/", "//evil.example", "/\\evil.example", "javascript:alert(1)", ""]
)
async def test_sign_in_never_redirects_to_another_site(browser: Browser, where: str) -> None:
    browser.shop.people[CUSTOMER] = Person("Ada", CUSTOMER, PASSWORD)
    page = await browser.get("/sign-in")
    form = page.form("/sign-in")
    answer = await browser.client.post(
        "/sign-in", data={**form.fields, "email": CUSTOMER, "password": PASSWORD, "next": where}
    )
    assert answer.headers["location"] == "/"


@pytest.mark.parametrize(("scheme", "secure"), [("http", False), ("https", True)])
async def test_the_session_cookie_is_http_only(browser: Browser, scheme: str, secure: bool) -> None:
    browser.shop.people[CUSTOMER] = Person("Ada", CUSTOMER, PASSWORD)
    form = (await browser.get("/sign-in")).form("/sign-in")
    data = {**form.fields, "email": CUSTOMER, "password": PASSWORD}
    answer = await browser.client.post("/sign-in", data=data, headers={"x-forwarded-proto": scheme})
    (cookie,) = (cookie for cookie in answer.headers.get_list("set-cookie") if cookie.startswith("shop_session="))
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert ("Secure" in cookie) == secure
    assert len(cookie) < 4096


async def test_a_modified_cookie_is_ignored(browser: Browser) -> None:
    await browser.sign_in()
    signed = browser.client.cookies["shop_session"]
    browser.client.cookies.clear()
    browser.client.cookies.set("shop_session", signed[:-3] + "abc")
    await browser.get("/account")
    assert browser.path == "/sign-in"


async def test_signing_out_ends_the_session(browser: Browser) -> None:
    page = await browser.sign_in()
    page = await browser.send(page.form("/sign-out"))
    assert "You have signed out." in page.text
    assert "shop_session" not in browser.client.cookies
    assert ("DELETE", "/api/v1/tokens", "") in browser.shop.calls


async def test_signing_out_works_while_the_user_service_is_unavailable(browser: Browser) -> None:
    page = await browser.sign_in()
    browser.shop.down.add("user")
    await browser.send(page.form("/sign-out"))
    assert "shop_session" not in browser.client.cookies


async def test_an_expiring_access_token_is_refreshed(browser: Browser) -> None:
    browser.shop.token_ttl_s = 5
    await browser.sign_in()
    before = browser.client.cookies["shop_session"]
    page = await browser.get("/account")
    assert page.one("h1").text == "Ada Lovelace"
    assert browser.shop.refreshed == 1
    assert browser.client.cookies["shop_session"] != before
    await browser.get("/account")
    assert browser.shop.refreshed == 1


async def test_an_ended_session_redirects_to_sign_in_and_back(browser: Browser) -> None:
    browser.shop.token_ttl_s = 5
    await browser.sign_in()
    browser.shop.refresh_refused = True
    page = await browser.get("/account/addresses")
    assert browser.path == "/sign-in"
    assert page.form("/sign-in").fields["next"] == "/account/addresses"
    assert "shop_session" not in browser.client.cookies


async def test_a_token_that_services_refuse_ends_the_session(browser: Browser) -> None:
    await browser.sign_in()
    browser.shop.tokens_revoked = True
    await browser.get("/account")
    assert browser.path == "/sign-in"
    assert "shop_session" not in browser.client.cookies


async def test_addresses_are_kept_and_removed(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/account/addresses")
    assert page.form("/account/addresses").fields["name"] == "Ada Lovelace"
    page = await browser.send(page.form("/account/addresses"), 200, None, **ADDRESS)
    (saved,) = browser.shop.people[CUSTOMER].addresses
    assert "Linden 5" in page.text
    page = await browser.send(page.form(f"/account/addresses/{saved['id']}/delete"))
    assert page.one("h1").text == "Remove this address?"
    assert browser.shop.people[CUSTOMER].addresses == [saved]
    page = await browser.confirm()
    assert "Linden 5" not in page.text
    await browser.send(page.form("/account/addresses"), 422, None, **{**ADDRESS, "city": ""})
    assert browser.page.form("/account/addresses").fields["street"] == "Linden 5"


async def test_errors_of_the_user_service_are_shown_in_the_form(browser: Browser) -> None:
    await browser.sign_in()
    form = (await browser.get("/account/addresses")).form("/account/addresses")
    browser.shop.address_refusal = Problem(409, "too_many_addresses", "An account keeps at most 20 addresses.")
    page = await browser.send(form, 409, None, **ADDRESS)
    assert "at most 20 addresses" in page.one("div", id="problem").text
    assert page.form("/account/addresses").fields["street"] == "Linden 5"
    wrong: list[FieldError] = [{"field": "city", "message": "No such place."}]
    browser.shop.address_refusal = Problem(422, "invalid_request", "The request is not valid.", errors=wrong)
    page = await browser.send(form, 422, None, **ADDRESS)
    assert page.one("span", id="city-error").text == "No such place."


async def test_messages_are_listed(browser: Browser) -> None:
    await browser.sign_in()
    assert "No messages" in (await browser.get("/account/messages")).text
    message = {"id": product_id("m"), "template": "order-confirmed", "created_at": NOW, "state": "sent"}
    browser.shop.messages = [{**message, "subject": "Your order is on its way"}, {**message, "subject": ""}]
    page = await browser.get("/account/messages")
    assert [heading.text for heading in page.all("h3")] == ["Your order is on its way", "Order confirmed"]


async def test_account_pages_have_next_pages(browser: Browser) -> None:
    await browser.add("pride")
    await browser.sign_in()
    await browser.checkout()
    (order,) = browser.shop.orders.values()
    browser.shop.orders = {f"{number}": {**order, "id": product_id(f"o{number}")} for number in range(25)}
    page = await browser.get("/account")
    following = page.one("a", rel="next").attributes["href"]
    page = await browser.get(following)
    assert len([link for link in page.links() if link.startswith("/orders/")]) == 5


async def test_an_account_needs_the_order_service(browser: Browser) -> None:
    await browser.sign_in()
    browser.shop.down.add("order")
    page = await browser.get("/account", 503)
    assert "Orders are temporarily unavailable." in page.text
    assert "/account" in page.links()


async def test_too_many_sign_in_attempts_are_an_error(browser: Browser) -> None:
    browser.shop.people[CUSTOMER] = Person("Ada", CUSTOMER, PASSWORD)
    page = await browser.get("/sign-in")
    browser.shop.sign_in_refusal = Problem(429, "too_many_attempts", "Wait.")
    page = await browser.send(page.form("/sign-in"), 429, email=CUSTOMER, password=PASSWORD)
    assert "Too many attempts." in page.text


async def fields_of(browser: Browser, country: str) -> set[str]:
    """The fields of the address form once a country was chosen in it."""
    form = (await browser.get("/account/addresses")).form("/account/addresses")
    csrf = form.fields["csrf_token"]
    answer = await browser.client.post("/account/addresses/fields", data={"csrf_token": csrf, "country": country})
    return set(Page(answer.text).form("/account/addresses").fields)


@pytest.mark.parametrize(
    ("country", "used"),
    [
        ("DE", {"postal_code", "city"}),
        ("HK", {"city", "region"}),
        ("US", {"postal_code", "city", "region"}),
        ("ZZ", {"postal_code", "city"}),
    ],
)
async def test_an_address_form_has_the_fields_of_its_country(browser: Browser, country: str, used: set[str]) -> None:
    await browser.sign_in()
    assert await fields_of(browser, country) & {"postal_code", "city", "region"} == used


async def test_an_address_without_postal_code_is_kept(browser: Browser) -> None:
    await browser.sign_in()
    form = (await browser.get("/account/addresses")).form("/account/addresses")
    place = {"name": "Ada", "street": "1 Nathan Road", "country": "HK", "city": "", "region": "Kowloon"}
    page = await browser.send(form, 200, None, **place, postal_code="")
    assert "Hong Kong" in page.text
    (saved,) = browser.shop.people[CUSTOMER].addresses
    assert {name: saved[name] for name in place} == place


async def test_a_form_offers_the_countries_that_the_shop_ships_to(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/account/addresses")
    codes = {option.attributes["value"] for option in page.elements if option.tag == "option"}
    assert codes == {"DE", "FR", "GB", "HK", "US"}


async def test_an_account_is_deleted_with_its_cart_and_session(browser: Browser, valkey_url: str) -> None:
    await browser.sign_in()
    await browser.add("pride")
    user_id = browser.shop.people[CUSTOMER].id
    valkey = Redis.from_url(valkey_url)
    await Carts(valkey).store_purchase(f"user:{user_id}", "form", {"address": ADDRESS})
    await Carts(valkey).store_purchase("user:another", "form", {"address": ADDRESS})
    assert "/account/delete" in (await browser.get("/account")).links()
    page = await browser.get("/account/delete")
    page = await browser.send(page.form("/account/delete"), password=PASSWORD)
    assert browser.path == "/"
    assert "Your account was deleted." in page.text
    assert "/sign-in" in page.links()
    assert CUSTOMER not in browser.shop.people
    assert not [name async for name in valkey.scan_iter(f"*{user_id}*")]
    assert await Carts(valkey).purchase("user:another", "form")
    assert "Your cart is empty" in (await browser.get("/cart")).text


async def test_an_account_is_not_deleted_without_its_password(browser: Browser) -> None:
    await browser.sign_in()
    form = (await browser.get("/account/delete")).form("/account/delete")
    for wrong in ("", "wrong password", "x" * 5_000):
        page = await browser.send(form, 403, password=wrong)
        assert page.one("span", id="password-error").text == "The password is incorrect."
    assert CUSTOMER in browser.shop.people
    assert "Signed in as" in (await browser.get("/")).text


async def test_the_only_administrator_cannot_delete_the_account(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    form = (await browser.get("/account/delete")).form("/account/delete")
    page = await browser.send(form, 409, password=PASSWORD)
    assert "The only administrator of a shop cannot be deleted." in page.text


async def test_an_account_is_deleted_although_the_cart_is_unavailable(
    settings: Settings, running: Running, scripted: ScriptedShop
) -> None:
    unreachable = settings.model_copy(update={"valkey_url": f"redis://127.0.0.1:{free_port()}/0"})
    async with running(make_app(unreachable)) as client:
        browser = Browser(client, scripted)
        await browser.sign_in()
        form = (await browser.get("/account/delete")).form("/account/delete")
        await browser.send(form, password=PASSWORD)
    assert CUSTOMER not in scripted.people


async def test_a_deletion_needs_the_page_of_this_visitor(browser: Browser) -> None:
    await browser.sign_in()
    answer = await browser.client.post("/account/delete", data={"password": PASSWORD})
    assert answer.status_code == 403
    assert CUSTOMER in browser.shop.people
