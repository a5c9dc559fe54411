"""The page of a food order: steps, times, map, code, cancelling, ordering again."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted_food import CODE, food_id
from services.storefront.tests.test_storefront_food_checkout import order, ready_to_order
from services.storefront.tests.test_storefront_restaurants import CALZONE
from shop.kit.errors import Problem
from shop.storefront.food.order_pages import minutes_left
from shop.storefront.food.progress import Progress
from shop.storefront.schemas import Order

ANNA = {"name": "Anna", "vehicle": "bicycle"}
LATER = "2126-03-05T18:45:00+00:00"


@pytest.fixture
async def ordered(browser: Browser) -> str:
    """The path of a food order that was just placed."""
    await ready_to_order(browser)
    await order(browser)
    browser.shop.food.deliver(order_id(browser.path), "waiting", kitchen="accepted")
    return browser.path


def order_id(path: str) -> str:
    return path.rpartition("/")[2]


def looks(page: Page) -> list[str]:
    steps = [element for element in page.all("li") if element.inside("ol", **{"aria-label": "Order status"})]
    return [step.attributes["class"] for step in steps]


def forms(page: Page) -> list[str]:
    return [form.attributes["action"] for form in page.all("form")]


async def test_the_page_follows_kitchen_and_courier(browser: Browser, ordered: str) -> None:
    stages: list[tuple[str, dict[str, Any], str, int]] = [
        ("waiting", {"kitchen": "accepted"}, "Your order is accepted", 1),
        ("assigned", {"courier": ANNA}, "Your order is accepted", 1),
        ("assigned", {"kitchen": "preparing"}, "Your food is being prepared", 2),
        ("at_restaurant", {"kitchen": "ready"}, "Your food is ready", 3),
        ("picked_up", {"kitchen": "picked_up"}, "Your food is on the way", 4),
        ("on_the_way", {}, "Your food is on the way", 4),
    ]
    for state, fields, headline, here in stages:
        browser.shop.food.deliver(order_id(ordered), state, eta=LATER, **fields)
        page = await browser.get(ordered)
        assert page.one("h1").text == headline
        assert looks(page) == ["done"] * here + ["now"] + ["ahead"] * (5 - here)
        assert (f"{ordered}/cancel" in forms(page)) == (here == 1)
        assert CODE in page.text
        assert page.one("div", id="order").attributes["data-track"] == f"{ordered}/tracking"
    assert "Anna is on the way to you." in page.text
    browser.shop.set_state(order_id(ordered), "delivered")
    browser.shop.food.deliver(order_id(ordered), "delivered", kitchen="picked_up")
    page = await browser.get(ordered)
    assert page.one("h1").text == "Delivered"
    assert looks(page) == ["done"] * 6
    assert CODE not in page.text
    assert "data-track" not in page.one("div", id="order").attributes


async def test_steps_and_changes_have_the_times_of_kitchen_and_courier(browser: Browser, ordered: str) -> None:
    times = {"waiting": 1, "accepted": 2, "preparing": 5, "ready": 9, "picked_up": 11}
    kitchen = [{"state": state, "at": f"2026-03-05T10:{minute:02}:00+00:00"} for state, minute in times.items()]
    own = {"assigned": 3, "at_restaurant": 8, "picked_up": 10, "on_the_way": 12}
    history = [{"state": state, "at": f"2026-03-05T10:{minute:02}:00+00:00"} for state, minute in own.items()]
    browser.shop.food.deliver(order_id(ordered), "on_the_way", kitchen="picked_up", kitchen_history=kitchen)
    browser.shop.food.deliveries[order_id(ordered)]["history"] = history
    page = await browser.get(ordered)
    steps = [time for time in page.all("time") if time.inside("ol", **{"aria-label": "Order status"})]
    minutes = [time.attributes["datetime"][14:16] for time in steps[1:]]
    assert minutes == ["03", "05", "09", "10"], "accepted and paid, prepared, ready, picked up"
    changes = [entry.text.split(maxsplit=1)[1] for entry in page.all("li") if entry.inside("details")]
    assert changes == [
        "The restaurant was asked",
        "Accepted by the restaurant",
        "A courier was found",
        "The kitchen began",
        "The courier is at the restaurant",
        "Ready in the kitchen",
        "The courier has the food",
        "On the way to you",
    ]


async def test_a_pending_order_waits_for_the_restaurant(browser: Browser) -> None:
    browser.shop.order_state = "pending"
    await ready_to_order(browser)
    await order(browser)
    placed = browser.shop.orders[order_id(browser.path)]
    placed["restaurant"]["state"] = "waiting"
    page = await browser.get(browser.path)
    assert page.one("h1").text == "Waiting for the restaurant"
    assert page.one("div", id="order").attributes["data-track"].endswith("/events")
    assert f"{browser.path}/cancel" in forms(page)
    assert not page.all("figure")


@pytest.mark.parametrize(
    ("state", "reason", "words"),
    [
        ("rejected", "not_accepted_in_time", "The restaurant did not accept your order in time. You were not charged."),
        ("rejected", "restaurant_closed", "The restaurant closed before your order was accepted."),
        ("rejected", "cancelled", "You were not charged."),
        ("cancelled", "no_courier", "your payment is refunded"),
        ("cancelled", "cancelled_by_restaurant", "The restaurant cancelled your order."),
        ("cancelled", None, "Your payment is refunded in full."),
    ],
)
async def test_an_order_that_ended_early_says_why(
    browser: Browser, ordered: str, state: str, reason: str | None, words: str
) -> None:
    browser.shop.orders[order_id(ordered)] |= {"state": state, "reason": reason}
    page = await browser.get(ordered)
    assert words in page.text
    assert looks(page)[-1] == "stopped"
    assert not page.all("figure")
    assert "data-track" not in page.one("div", id="order").attributes
    assert f"{ordered}/cancel" not in forms(page)


async def test_the_map_has_restaurant_home_way_and_courier(browser: Browser, ordered: str) -> None:
    browser.shop.food.deliver(order_id(ordered), "on_the_way", courier=ANNA, eta=LATER)
    browser.shop.food.move(order_id(ordered), 51.9010, -0.2020)
    page = await browser.get(ordered)
    kinds = [mark.attributes["class"] for mark in page.all("g") if "transform" in mark.attributes]
    assert kinds == ["marker restaurant", "marker home", "marker courier"]
    picture = page.one("svg", role="img")
    assert "Napoli and your address" in picture.attributes["aria-label"]
    assert "m from your address by the streets" in picture.attributes["aria-label"]
    courier = next(mark for mark in page.all("g") if mark.attributes.get("data-marker") == "courier")
    a, b, c, d = (float(number) for number in picture.attributes["data-projection"].split())
    x, y = courier.attributes["transform"].split(")")[0].removeprefix("translate(").split()
    assert (a + b * -0.2020, c + d * 51.9010) == pytest.approx((float(x), float(y)), abs=0.5)
    assert not [e for e in page.elements if "style" in e.attributes]


async def test_the_page_works_without_script_and_without_deliveries(browser: Browser, ordered: str) -> None:
    page = await browser.get(ordered)
    assert [meta for meta in page.all("meta") if meta.attributes.get("http-equiv") == "refresh"]
    assert ordered in page.links()
    browser.shop.down = {"delivery"}
    page = await browser.get(ordered)
    assert page.one("h1").text == "Your order is accepted"
    assert page.one("div", id="order").attributes["data-track"] == f"{ordered}/events"


@pytest.mark.parametrize(
    ("code", "words"), [("kitchen_has_begun", "has begun"), ("already_picked_up", "has your order")]
)
async def test_cancelling_too_late_says_so(browser: Browser, ordered: str, code: str, words: str) -> None:
    page = await browser.get(ordered)
    await browser.send(page.form(f"{ordered}/cancel"))
    browser.shop.cancel_refusal = Problem(409, code, "Too late.")
    await browser.confirm()
    assert browser.path == ordered
    assert words in browser.page.one("p", id="flash").text


async def test_an_order_is_cancelled_before_the_kitchen_begins(browser: Browser, ordered: str) -> None:
    page = await browser.get(ordered)
    await browser.send(page.form(f"{ordered}/cancel"))
    await browser.confirm()
    assert browser.shop.orders[order_id(ordered)]["state"] == "cancelled"
    assert browser.page.one("h1").text == "Order cancelled"


async def test_ordering_again_fills_the_cart(browser: Browser, ordered: str) -> None:
    page = await browser.get(ordered)
    page = await browser.send(page.form(f"{ordered}/again"))
    assert browser.path == "/eat/cart"
    assert [field.attributes["value"] for field in page.all("input", name="quantity")] == ["2"]
    assert "Calzone" in page.text
    assert browser.shop.food.find(food_id("Napoli"), CALZONE)


async def test_the_stream_is_resumed_and_private(browser: Browser, ordered: str) -> None:
    food = browser.shop.food
    food.deliver(order_id(ordered), "delivered")
    for query, header, seen in (
        ("", "3", "3"),
        ("?after=2", "", "2"),
        ("?after=x", "", ""),
        ("", "x", ""),
        ("?after=%D9%A3", "", ""),
        (f"?after={'1' * 21}", "", ""),
    ):
        headers = {"Last-Event-ID": header} if header else {}
        answer = await browser.client.get(f"{ordered}/tracking{query}", headers=headers)
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert "event: state" in answer.text
        assert food.resumed_after.pop() == seen
    browser.client.cookies.clear()
    await browser.sign_in("eve@example.com")
    assert (await browser.client.get(f"{ordered}/tracking")).status_code == 204


def test_minutes_are_never_negative() -> None:
    parsed = Order.model_validate({"id": str(uuid4()), "state": "confirmed", "created_at": LATER, "updated_at": LATER})
    now = parsed.created_at
    assert minutes_left(None, now) is None
    assert minutes_left(now, now) == 1
    assert minutes_left(now.replace(minute=50), now) == 5
    assert Progress(parsed, None).here == 1


async def test_a_food_order_that_was_picked_up_is_on_the_way_in_the_account(browser: Browser, ordered: str) -> None:
    browser.shop.set_state(order_id(ordered), "fulfilled")
    page = await browser.get("/account")
    assert page.one("span", **{"class": "state on_the_way"}).text == "On the way"
    assert {"/kitchen", "/courier"} <= set(page.links())


async def test_an_administrator_sees_a_food_order_and_can_only_cancel_it(browser: Browser, ordered: str) -> None:
    browser.client.cookies.clear()
    await browser.sign_in_as_admin()
    page = await browser.get(f"/admin{ordered}")
    assert [path for path in forms(page) if path.startswith("/admin")] == [f"/admin{ordered}/cancel"]
    assert not [link for link in page.links() if link.startswith("/products/")]
    assert "Delivery" in page.text
