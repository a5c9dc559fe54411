"""The pages of kitchens, couriers and of the whole town."""

from __future__ import annotations

import re
from uuid import uuid4

import pytest
from fastapi.routing import APIRoute

from services.storefront.tests.conftest import ADMIN, PASSWORD, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_data import Person
from services.storefront.tests.scripted_food import food_id
from services.storefront.tests.scripted_staff import courier, job, ticket
from services.storefront.tests.test_storefront_safety import FIXED_VALUES
from shop.storefront.app import PAGES

COOK, RIDER = "cook@example.com", "anna@example.com"
NAPOLI = food_id("Napoli")
KITCHEN = f"/kitchen/{NAPOLI}"
CALZONE = food_id("Calzone")


@pytest.fixture
async def cook(browser: Browser) -> Browser:
    """A browser of somebody who works at Napoli, which has a new order."""
    person = browser.shop.people.setdefault(COOK, Person("Carlo", COOK, PASSWORD))
    browser.shop.food.staff[person.id] = [NAPOLI]
    await browser.sign_in(COOK)
    return browser


@pytest.fixture
async def rider(browser: Browser) -> Browser:
    """A browser of a courier on shift."""
    person = browser.shop.people.setdefault(RIDER, Person("Anna", RIDER, PASSWORD))
    browser.shop.food.couriers[person.id] = courier("Anna", "bike", on_shift=True)
    await browser.sign_in(RIDER)
    return browser


def new_ticket(browser: Browser, state: str = "accepted", **more: object) -> str:
    order_id = str(uuid4())
    browser.shop.food.tickets[order_id] = ticket(order_id, state, **more)
    return order_id


def actions(page: Page, start: str) -> list[str]:
    found = [form.attributes.get("action", "") for form in page.all("form")]
    return [action.removeprefix(start) for action in found if action.startswith(start)]


async def test_the_kitchen_moves_an_order_through_its_states(cook: Browser) -> None:
    order_id = new_ticket(cook, "waiting", until="2126-03-05T18:00:00+00:00", note="No onions")
    await cook.get("/kitchen")
    assert cook.path == KITCHEN
    assert "No onions" in cook.page.text
    start = f"{KITCHEN}/tickets/{order_id}/"
    for action, state in (("accept", "accepted"), ("begin", "preparing"), ("ready", "ready")):
        assert action in actions(cook.page, start)
        await cook.send(cook.page.form(start + action))
        assert cook.shop.food.tickets[order_id]["state"] == state
    assert actions(cook.page, start) == ["cancel"]


async def test_an_unpaid_order_is_not_begun(cook: Browser) -> None:
    order_id = new_ticket(cook, paid=False)
    page = await cook.get(KITCHEN)
    assert "Being paid" in page.text
    assert not actions(page, f"{KITCHEN}/tickets/{order_id}/")


async def test_an_order_that_has_changed_meanwhile_says_so(cook: Browser) -> None:
    order_id = new_ticket(cook)
    form = (await cook.get(KITCHEN)).form(f"{KITCHEN}/tickets/{order_id}/begin")
    cook.shop.food.change_ticket(order_id, "preparing")
    page = await cook.send(form)
    assert "The order has changed meanwhile." in page.one("p", id="flash").text


async def test_the_kitchen_pauses_closes_and_sells_out(cook: Browser) -> None:
    page = await cook.get(KITCHEN)
    page = await cook.send(page.form(f"{KITCHEN}/settings/pause"))
    assert cook.shop.food.restaurants[NAPOLI]["paused"] is True
    page = await cook.send(page.form(f"{KITCHEN}/settings/resume"))
    page = await cook.send(page.form(f"{KITCHEN}/settings/close-today"))
    assert cook.shop.food.restaurants[NAPOLI]["closures"]
    page = await cook.send(page.form(f"{KITCHEN}/settings/reopen"))
    assert not cook.shop.food.restaurants[NAPOLI]["closures"]
    page = await cook.send(page.form(f"{KITCHEN}/settings/manual"))
    assert "accepted by hand" in page.text
    page = await cook.send(page.form(f"{KITCHEN}/items/{CALZONE}"))
    found = cook.shop.food.find(NAPOLI, CALZONE)
    assert found
    assert found["available"] is False
    await cook.send(page.form(f"{KITCHEN}/items/{CALZONE}"))
    assert found["available"] is True


async def test_a_kitchen_is_for_its_staff_alone(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/kitchen")
    assert "You do not work at any restaurant." in page.text
    await browser.get(KITCHEN, 403)
    assert (await browser.client.get(f"{KITCHEN}/events")).status_code == 204


async def test_staff_of_several_restaurants_choose_one(cook: Browser) -> None:
    cook.shop.food.staff[cook.shop.people[COOK].id].append(food_id("Sakura"))
    page = await cook.get("/kitchen")
    assert {KITCHEN, f"/kitchen/{food_id('Sakura')}"} <= set(page.links())


async def test_a_courier_delivers_with_the_code(rider: Browser) -> None:
    order_id = str(uuid4())
    rider.shop.food.jobs[order_id] = job(order_id)
    page = await rider.get("/courier")
    assert "we do not know where you are" in page.text.lower()
    assert "geolocation=(self)" in rider.answer.headers["permissions-policy"]
    page = await rider.send(page.form("/courier/street"), street="12 Abbot Gate")
    assert "We do not know where you are" not in page.text
    for action in ("arrive", "pick-up", "depart"):
        page = await rider.send(page.form(f"/courier/jobs/{order_id}/{action}"))
    assert "To the customer" in page.text
    assert "12 Abbot Gate" in page.text
    page = await rider.send(page.form(f"/courier/jobs/{order_id}/deliver"), code="0000")
    assert "This is not the customer's code. 4 attempts are left." in page.one("p", id="flash").text
    page = await rider.send(page.form(f"/courier/jobs/{order_id}/deliver"), code="47 11")
    assert "No delivery at the moment" in page.text


async def test_the_couriers_page_alone_may_ask_where_the_browser_is(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    person = browser.shop.people[ADMIN]
    browser.shop.food.couriers[person.id] = courier("Anna", "bike", on_shift=True)
    browser.shop.food.staff[person.id] = [NAPOLI]
    asks = []
    for path in page_paths():
        answer = await browser.client.get(path, follow_redirects=True)
        if answer.headers["content-type"].startswith("text/html"):
            policy = dict(part.strip().split("=") for part in answer.headers["permissions-policy"].split(","))
            assert {policy["camera"], policy["microphone"]} == {"()"}, path
            asks += [path] if policy["geolocation"] != "()" else []
    assert asks == ["/courier"]


def page_paths() -> list[str]:
    """The paths of all pages, with values for their parameters; streams are no pages."""
    values = {
        **FIXED_VALUES,
        "restaurant_id": NAPOLI,
        "item_id": CALZONE,
        "name": "science & nature",
        "code": "SPRING10",
    }
    routes = (route for module in PAGES for route in module.router.routes)
    paths = {route.path for route in routes if isinstance(route, APIRoute) and "GET" in (route.methods or ())}
    paths -= {path for path in paths if path.endswith(("/events", "/tracking"))}
    return sorted(re.sub(r"{(\w+)[^}]*}", lambda name: values.get(name[1], "x"), path) for path in paths)


async def test_food_that_is_not_ready_is_not_picked_up(rider: Browser) -> None:
    order_id = str(uuid4())
    rider.shop.food.jobs[order_id] = job(order_id, "at_restaurant", kitchen="preparing")
    page = await rider.get("/courier")
    page = await rider.send(page.form(f"/courier/jobs/{order_id}/pick-up"))
    assert "The kitchen is not ready yet." in page.one("p", id="flash").text


async def test_a_shift_ends_and_begins(rider: Browser) -> None:
    page = await rider.get("/courier")
    page = await rider.send(page.form("/courier/shift"))
    assert "Off shift" in page.text
    page = await rider.send(page.form("/courier/shift"))
    assert "On shift" in page.text


@pytest.mark.parametrize(("lat", "lon", "status"), [("51.9", "-0.2", 204), ("91", "0", 422), ("here", "", 422)])
async def test_a_position_is_sent(rider: Browser, lat: str, lon: str, status: int) -> None:
    fields = (await rider.get("/courier")).form("/courier/street").fields
    answer = await rider.client.post("/courier/position", data={**fields, "lat": lat, "lon": lon})
    assert answer.status_code == status


async def test_a_street_that_is_not_in_the_town_is_no_position(rider: Browser) -> None:
    page = await rider.get("/courier")
    page = await rider.send(page.form("/courier/street"), street="5 Nowhere Boulevard")
    assert "There is no such street or number in Millbridge." in page.one("p", id="flash").text


async def test_other_users_are_no_couriers(browser: Browser) -> None:
    await browser.sign_in()
    assert "You are not a courier of this shop." in (await browser.get("/courier")).text


async def test_the_whole_town_is_for_administrators_alone(browser: Browser) -> None:
    await browser.sign_in()
    await browser.get("/admin/town", 403)


async def test_an_administrator_sees_the_town_and_adds_people(browser: Browser) -> None:
    await browser.sign_in_as_admin()
    browser.shop.people[RIDER] = Person("Anna", RIDER, PASSWORD)
    browser.shop.food.couriers["x"] = courier(
        "Ben", "car", on_shift=True, load=1, position={"lat": 51.9, "lon": -0.2}, fix="fresh"
    )
    order_id = str(uuid4())
    browser.shop.food.deliver(order_id, "assigned", restaurant_name="Napoli", courier={"name": "Ben", "vehicle": "car"})
    page = await browser.get("/admin/town")
    assert "/admin/town" in page.links()
    assert "Ben" in page.text
    assert f"/admin/orders/{order_id}" in page.links()
    kinds = [mark.attributes["class"] for mark in page.all("g") if "transform" in mark.attributes]
    assert sorted(kinds) == ["marker busy", "marker stop", "marker stop"]
    assert len(page.all("circle", r="130")) == 1
    page = await browser.send(page.form("/admin/town/couriers"), email=RIDER, vehicle="scooter")
    assert browser.shop.food.couriers[browser.shop.people[RIDER].id]["vehicle"] == "scooter"
    page = await browser.send(page.form("/admin/town/staff"), staff_email=RIDER, restaurant_id=NAPOLI)
    assert browser.shop.food.staff[browser.shop.people[RIDER].id] == [NAPOLI]


@pytest.mark.parametrize(
    ("state", "step", "after"),
    [
        ("assigned", "drop", "waiting"),
        ("picked_up", "depart", "on_the_way"),
        ("on_the_way", "deliver", "delivered"),
    ],
)
async def test_an_administrator_takes_a_step_in_place_of_a_courier(
    browser: Browser, state: str, step: str, after: str
) -> None:
    await browser.sign_in_as_admin()
    order_id = str(uuid4())
    browser.shop.food.deliver(order_id, state, restaurant_name="Napoli")
    page = await browser.get("/admin/town")
    await browser.send(page.form(f"/admin/town/deliveries/{order_id}/{step}"))
    assert browser.shop.food.deliveries[order_id]["state"] == state, "not before the confirmation"
    page = await browser.confirm()
    assert browser.path == "/admin/town"
    assert browser.shop.food.deliveries[order_id]["state"] == after
    assert actions(page, f"/admin/town/deliveries/{order_id}/") == ["deliver"] * (step == "depart")
    sent = [(path, body) for method, path, body in browser.shop.calls if method == "POST" and "deliveries" in path]
    assert sent == [(f"/api/v1/deliveries/{order_id}/{step}", "{}" if step == "deliver" else "")]


@pytest.mark.parametrize(
    ("form", "fields"),
    [
        ("couriers", {"email": "nobody@example.com", "vehicle": "bike"}),
        ("couriers", {"email": "no address", "vehicle": "bike"}),
        ("staff", {"staff_email": "nobody@example.com", "restaurant_id": NAPOLI}),
    ],
)
async def test_an_unknown_email_address_is_an_error_in_the_form(
    browser: Browser, form: str, fields: dict[str, str]
) -> None:
    await browser.sign_in_as_admin()
    page = await browser.get("/admin/town")
    page = await browser.send(page.form(f"/admin/town/{form}"), 422, None, **fields)
    assert [field for field in page.all("input") if "aria-invalid" in field.attributes]
    assert browser.shop.people[ADMIN]
