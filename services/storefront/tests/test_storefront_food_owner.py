"""What a restaurant's staff changes on pages: the menu, opening hours, dates, and settings of the kitchen."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import pytest

from services.storefront.tests.conftest import PASSWORD, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_data import Person
from services.storefront.tests.scripted_food import food_id
from services.storefront.tests.test_storefront_food_staff import CALZONE, KITCHEN, NAPOLI, RIDER, cook
from shop.storefront.food.opening_hours import parse_spans, spans_text, today_in

__all__ = ["cook"]

MENU, HOURS = f"{KITCHEN}/menu", f"{KITCHEN}/hours"
MARGHERITA, WATER = food_id("Margherita"), food_id("Water")
TO_COME = today_in("Europe/London") + timedelta(days=7)
"""A day that is still to come when these tests run over midnight."""


def invalid(page: Page) -> set[str]:
    """The names of fields with an error."""
    fields = [field for field in page.elements if field.attributes.get("aria-invalid") == "true"]
    described = {field.attributes["aria-describedby"] for field in fields}
    assert described <= {element.attributes.get("id") for element in page.elements}
    return {field.attributes["name"] for field in fields}


def sections(browser: Browser) -> dict[str, list[str]]:
    menu = browser.shop.food.menus[NAPOLI]
    return {section["name"]: [item["name"] for item in section["items"]] for section in menu}


def found(browser: Browser, item_id: str) -> dict[str, Any]:
    item = browser.shop.food.find(NAPOLI, item_id)
    assert item
    return item


async def test_a_price_a_name_and_allergens_are_changed_and_options_stay(cook: Browser) -> None:
    before = dict(found(cook, MARGHERITA))
    page = await cook.get(MENU)
    assert f"{MENU}/{MARGHERITA}" in page.links()
    page = await cook.get(f"{MENU}/{MARGHERITA}")
    fields = page.form(f"{MENU}/{MARGHERITA}").fields
    assert (fields["name"], fields["price"], fields["section"]) == ("Margherita", "9.00", "Pizza")
    assert "allergen-gluten" in fields
    changes = {"name": "Regina", "price": "10,50", "allergen-soya": "1", "description": "New."}
    page = await cook.send(page.form(f"{MENU}/{MARGHERITA}"), 200, None, **changes)
    assert cook.path == MENU
    assert "“Regina” is saved." in page.text
    after = found(cook, MARGHERITA)
    assert (after["name"], after["price"]["amount"], after["description"]) == ("Regina", 1050, "New.")
    assert after["allergens"] == ["gluten", "milk", "soya"]
    assert (after["options"], after["id"]) == (before["options"], before["id"])
    assert sections(cook) == {"Pizza": ["Regina", "Calzone"], "Drinks": ["Water", "Lemonade"]}
    assert found(cook, food_id("Lemonade"))["available"] is False


async def test_an_item_is_added_moved_and_removed(cook: Browser) -> None:
    page = await cook.get(f"{MENU}/new?section=Drinks")
    form = page.form(f"{MENU}/new")
    assert form.fields["section"] == "Drinks"
    await cook.send(form, name="Beer", price="4.20", category="alcohol")
    assert sections(cook)["Drinks"] == ["Water", "Lemonade", "Beer"]
    page = await cook.get(f"{MENU}/{CALZONE}")
    await cook.send(page.form(f"{MENU}/{CALZONE}"), section="Folded")
    assert sections(cook) == {"Pizza": ["Margherita"], "Drinks": ["Water", "Lemonade", "Beer"], "Folded": ["Calzone"]}
    page = await cook.get(f"{MENU}/{CALZONE}")
    await cook.send(page.form(f"{MENU}/{CALZONE}/remove"))
    assert "Folded" in sections(cook), "not before the confirmation"
    page = await cook.confirm()
    assert list(sections(cook)) == ["Pizza", "Drinks"]
    assert "“Calzone” is removed." in page.text


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"name": " ", "price": "abc", "section": ""}, {"name", "price", "section"}),
        ({"price": "-1"}, {"price"}),
        ({"price": "9.999"}, {"price"}),
        ({"price": "20000"}, {"price"}),
        ({"category": "tobacco"}, {"category"}),
        ({"description": "x" * 1_001}, {"description"}),
    ],
)
async def test_a_wrong_item_is_not_saved_and_what_was_typed_is_kept(
    cook: Browser, changes: dict[str, str], wrong: set[str]
) -> None:
    page = await cook.get(f"{MENU}/{CALZONE}")
    page = await cook.send(page.form(f"{MENU}/{CALZONE}"), 422, None, **changes)
    assert invalid(page) == wrong
    assert page.form(f"{MENU}/{CALZONE}").fields["price"] == changes.get("price", "11.00")
    assert found(cook, CALZONE)["price"]["amount"] == 1100


async def test_a_menu_that_somebody_else_changed_is_not_overwritten(cook: Browser) -> None:
    page = await cook.get(f"{MENU}/{CALZONE}")
    form = page.form(f"{MENU}/{CALZONE}")
    await cook.send((await cook.get(f"{MENU}/{WATER}")).form(f"{MENU}/{WATER}"), price="3.00")
    page = await cook.send(form, 409, None, price="12.00")
    assert "The menu was changed meanwhile." in page.text
    assert found(cook, CALZONE)["price"]["amount"] == 1100
    await cook.send(page.form(f"{MENU}/{CALZONE}"))
    assert (found(cook, CALZONE)["price"]["amount"], found(cook, WATER)["price"]["amount"]) == (1200, 300)


async def test_an_item_is_sold_out_on_the_menu_page(cook: Browser) -> None:
    page = await cook.get(MENU)
    page = await cook.send(page.form(f"{MENU}/{CALZONE}/sold-out"))
    assert (found(cook, CALZONE)["available"], cook.path) == (False, MENU)
    await cook.send(page.form(f"{MENU}/{CALZONE}/sold-out"))
    assert found(cook, CALZONE)["available"] is True


async def test_an_item_that_is_gone_is_not_found(cook: Browser) -> None:
    await cook.get(f"{MENU}/{food_id('Nothing')}", 404)


async def test_the_weeks_hours_are_changed(cook: Browser) -> None:
    page = await cook.get(HOURS)
    fields = page.form(HOURS).fields
    assert (fields["friday"], fields["saturday"], fields["sunday"]) == ("11:30-14:30, 18:00-01:00", "00:00-24:00", "")
    await cook.send(page.form(HOURS), friday="18–1", sunday="9.30-12:00; 13-15", saturday="closed")
    weekly = cook.shop.food.restaurants[NAPOLI]["hours"]["weekly"]
    assert [(one["day"], one["opens"], one["closes"]) for one in weekly] == [
        ("friday", "18:00", "01:00"), ("sunday", "09:30", "12:00"), ("sunday", "13:00", "15:00"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    "times", ["25-26", "noon", "10:00", "10:00-10:00", "10-24:30", "1-2,3-4,5-6,7-8,9-10,11-12,13-14"]
)
async def test_wrong_times_are_an_error_of_their_day(cook: Browser, times: str) -> None:
    page = await cook.get(HOURS)
    page = await cook.send(page.form(HOURS), 422, None, monday=times)
    assert invalid(page) == {"monday"}
    assert page.form(HOURS).fields["monday"] == times
    assert len(cook.shop.food.restaurants[NAPOLI]["hours"]["weekly"]) == 3


async def test_hours_that_somebody_else_changed_are_not_overwritten(cook: Browser) -> None:
    form = (await cook.get(HOURS)).form(HOURS)
    await cook.send(form, monday="10-12")
    page = await cook.send(form, 409, None, tuesday="10-12")
    assert "The opening hours were changed meanwhile." in page.text
    await cook.send(page.form(HOURS))
    days = [one["day"] for one in cook.shop.food.restaurants[NAPOLI]["hours"]["weekly"]]
    assert "tuesday" in days


async def test_a_date_has_other_hours_or_is_closed_and_is_removed(cook: Browser) -> None:
    restaurant = cook.shop.food.restaurants[NAPOLI]
    restaurant["hours"] = {**restaurant["hours"], "special": [{"date": "2020-12-25", "spans": []}]}
    page = await cook.get(HOURS)
    assert "2020" not in page.text
    page = await cook.send(page.form(f"{HOURS}/dates"), special_date=TO_COME.isoformat(), times="12-15")
    special = [{"date": TO_COME.isoformat(), "spans": [{"opens": "12:00", "closes": "15:00"}]}]
    assert restaurant["hours"]["special"] == special, "a date that is over is left out"
    assert len(restaurant["hours"]["weekly"]) == 3
    page = await cook.send(page.form(f"{HOURS}/dates"), special_date=TO_COME.isoformat(), times="")
    assert restaurant["closures"] == [TO_COME.isoformat()]
    page = await cook.send(page.form(f"{HOURS}/dates/{TO_COME}/remove"))
    assert (restaurant["closures"], restaurant["hours"]["special"]) == ([], [])
    assert "None. Every week is the same." in page.text


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"special_date": ""}, {"special_date"}),
        ({"special_date": "2020-01-01"}, {"special_date"}),
        ({"special_date": TO_COME.isoformat(), "times": "late"}, {"times"}),
    ],
)
async def test_a_wrong_date_is_not_saved(cook: Browser, changes: dict[str, str], wrong: set[str]) -> None:
    page = await cook.get(HOURS)
    page = await cook.send(page.form(f"{HOURS}/dates"), 422, None, **changes)
    assert invalid(page) == wrong
    assert not cook.shop.food.restaurants[NAPOLI].get("closures")


async def test_a_closure_to_come_is_not_one_of_today(cook: Browser) -> None:
    cook.shop.food.restaurants[NAPOLI]["closures"] = [TO_COME.isoformat()]
    page = await cook.get(KITCHEN)
    page = await cook.send(page.form(f"{KITCHEN}/settings/close-today"))
    await cook.send(page.form(f"{KITCHEN}/settings/reopen"))
    assert cook.shop.food.restaurants[NAPOLI]["closures"] == [TO_COME.isoformat()]


async def test_the_kitchens_settings_are_changed(cook: Browser) -> None:
    page = await cook.get(HOURS)
    form = page.form(f"{HOURS}/kitchen")
    page = await cook.send(form, 422, None, capacity="0", preparation_min="x", deadline_min="9")
    assert invalid(page) == {"capacity", "preparation_min", "deadline_min"}
    await cook.send(form, capacity="5", preparation_min="12", deadline_min="3")
    restaurant = cook.shop.food.restaurants[NAPOLI]
    assert (restaurant["kitchen_capacity"], restaurant["preparation_s"]) == (5, 720)
    assert restaurant["acceptance_deadline_s"] == 180


@pytest.mark.parametrize("path", [MENU, f"{MENU}/new", f"{MENU}/{CALZONE}", HOURS])
async def test_these_pages_are_for_the_staff_alone(browser: Browser, path: str) -> None:
    await browser.sign_in()
    page = await browser.get(path, 403)
    assert "This page is for the restaurant's staff only." in page.text


async def test_an_administrator_removes_staff(browser: Browser) -> None:
    person = browser.shop.people[RIDER] = Person("Anna", RIDER, PASSWORD)
    browser.shop.food.staff[person.id] = [NAPOLI]
    await browser.sign_in_as_admin()
    form = (await browser.get("/admin/town")).form("/admin/town/staff")
    fields = {"staff_email": RIDER, "restaurant_id": NAPOLI}
    page = await browser.send(form, 200, ("action", "remove"), **fields)
    assert "Anna no longer works at the restaurant." in page.text
    assert browser.shop.food.staff[person.id] == []
    page = await browser.send(form, 422, ("action", "remove"), **fields)
    assert "Anna does not work at this restaurant." in page.text
    assert invalid(page) == {"staff_email"}


def test_hours_are_written_as_they_are_read() -> None:
    for text in ("11:30-14:30, 18:00-01:00", "00:00-24:00", ""):
        assert spans_text(parse_spans(text)) == text
    assert today_in("no zone") == today_in("")
    assert isinstance(today_in("Europe/London"), date)
