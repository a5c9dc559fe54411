"""Food in a real browser, against all running services: a customer, a kitchen and a courier at once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.async_api import Browser, expect

from shop.town import town
from tests.conftest import RunningShop
from tests.e2e.browsing import EXPECTED_STATUSES, BrowserUser, browser_user, overflow_px
from tests.integration.food import HOUSES, Kitchen, kitchen
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

LIVE_TIMEOUT_MS = 20_000
PHONE = {"width": 360, "height": 740}
HOME, BESIDE_THE_RESTAURANT, HALF_WAY = HOUSES[3], HOUSES[7], HOUSES[5]
LIVE_STATUSES = (*EXPECTED_STATUSES, "503")
"""A live page on a busy machine may find a service unavailable; it keeps what it shows and is fetched again."""
KEPT = "document.body.dataset.kept"
"""Gone when the page is loaded again."""


@dataclass
class Town:
    """Who takes part in an order, each in a browser context of their own."""

    place: Kitchen
    customer: BrowserUser
    cook: BrowserUser
    courier: BrowserUser


@pytest.fixture
async def place(api: Api, admin: str) -> Kitchen:
    """A restaurant that is always open, accepts by hand, and whose staff does each step."""
    return await kitchen(api, admin, acceptance="manual", auto_progress=False, preparation_s=60)


def live_user(chromium: Browser, shop: RunningShop, **options: Any) -> AbstractAsyncContextManager[BrowserUser]:
    return browser_user(chromium, shop.url, expected_statuses=LIVE_STATUSES, **options)


@pytest.fixture
async def people(chromium: Browser, shop: RunningShop, place: Kitchen) -> AsyncIterator[Town]:
    """A customer, and a cook and a courier whom the administrator has added by their email addresses."""
    async with AsyncExitStack() as stack:
        names = ("customer", "cook", "courier")
        users = [await stack.enter_async_context(live_user(chromium, shop, viewport=PHONE)) for _ in names]
        for user in users:
            await user.sign_up()
        async with live_user(chromium, shop) as admin:
            await admin.sign_in(shop.admin_email, shop.admin_password, "/admin/town")
            await add_people(admin, place, cook=users[1], courier=users[2])
        found = Town(place, *users)
        yield found
        await end_shift(found.courier)


async def add_people(admin: BrowserUser, place: Kitchen, cook: BrowserUser, courier: BrowserUser) -> None:
    forms = admin.main.locator("form")
    to_courier, to_staff = forms.filter(has_text="Make a user a courier"), forms.filter(has_text="Restaurant staff")
    await to_courier.get_by_label("Email").fill(courier.email)
    await to_courier.get_by_label("Vehicle").select_option("car")
    await to_courier.get_by_role("button", name="Save courier").click()
    await expect(admin.page.get_by_text("is a courier.")).to_be_visible()
    await to_staff.get_by_label("Email").fill(cook.email)
    await to_staff.get_by_label("Restaurant").select_option(place.id)
    await to_staff.get_by_role("button", name="Add to staff").click()
    await expect(admin.page.get_by_text("works at the restaurant.")).to_be_visible()


async def begin_shift(courier: BrowserUser) -> None:
    await courier.go("/courier")
    await courier.press("Begin shift")
    await stand_at(courier, BESIDE_THE_RESTAURANT)
    await expect(courier.page.get_by_text("you get no delivery")).to_have_count(0, timeout=LIVE_TIMEOUT_MS)


async def end_shift(courier: BrowserUser) -> None:
    await courier.go("/courier")
    if await courier.main.get_by_role("button", name="End shift").count():
        await courier.press("End shift")


async def stand_at(courier: BrowserUser, street: str) -> None:
    await courier.page.get_by_label("Street and number").fill(street)
    await courier.press("I am here")


async def order(customer: BrowserUser, place: Kitchen) -> None:
    """Fills the cart and the checkout, and orders."""
    await customer.go(f"/eat/{place.id}")
    await customer.page.get_by_label("Quantity of Pizza").fill("2")
    await customer.page.get_by_role("button", name="Add Pizza").click()
    await customer.page.get_by_role("link", name="View cart").click()
    await customer.page.get_by_role("link", name="Go to checkout").click()
    await customer.page.get_by_label("Street and number").fill(HOME)
    await customer.page.get_by_text("10%").click()
    await expect(customer.page.locator("#sums")).to_contain_text("Tip for the courier", timeout=LIVE_TIMEOUT_MS)
    await customer.press("Order now")


async def shows(user: BrowserUser, headline: str) -> None:
    """The page shows it, and was not loaded again for it."""
    await expect(user.heading).to_have_text(headline, timeout=LIVE_TIMEOUT_MS)
    assert await user.page.evaluate(KEPT) == "yes"


async def keep(user: BrowserUser) -> None:
    await user.page.evaluate(f"{KEPT} = 'yes'")


async def live_press(user: BrowserUser, name: str) -> None:
    """Presses a button that appears by itself."""
    button = user.main.get_by_role("button", name=name).first
    await expect(button).to_be_visible(timeout=LIVE_TIMEOUT_MS)
    await button.click()


async def test_an_order_is_followed_until_it_is_delivered(people: Town) -> None:
    customer, cook, courier = people.customer, people.cook, people.courier
    await begin_shift(courier)
    await cook.go("/kitchen")
    await order(customer, people.place)
    await expect(customer.heading).to_have_text("Waiting for the restaurant", timeout=LIVE_TIMEOUT_MS)
    await keep(customer)
    await live_press(cook, "Accept: order")
    await shows(customer, "Your order is accepted")
    await live_press(cook, "Begin: order")
    await shows(customer, "Your food is being prepared")
    await live_press(courier, "I am at the restaurant")
    await expect(customer.main).to_contain_text("is at the restaurant", timeout=LIVE_TIMEOUT_MS)
    await live_press(cook, "Ready: order")
    await shows(customer, "Your food is ready")
    await live_press(courier, "I have the food")
    await shows(customer, "Your food is on the way")
    await live_press(courier, "I am on the way")
    marker = customer.page.locator("[data-marker=courier]")
    await expect(marker).to_be_visible(timeout=LIVE_TIMEOUT_MS)
    before = str(await marker.get_attribute("transform"))
    await stand_at(courier, HALF_WAY)
    await expect(marker).not_to_have_attribute("transform", before, timeout=LIVE_TIMEOUT_MS)
    assert await overflow_px(customer.page) == 0
    code = await customer.page.locator(".delivery-code strong").inner_text()
    await courier.page.get_by_label("Code of the customer").fill(code)
    await courier.press("Hand over")
    await expect(courier.page.get_by_text("Delivered. Thank you!")).to_be_visible()
    await shows(customer, "Delivered")


async def test_an_order_is_cancelled_before_the_kitchen_begins(people: Town) -> None:
    await begin_shift(people.courier)
    await people.cook.go("/kitchen")
    await order(people.customer, people.place)
    await live_press(people.cook, "Accept: order")
    await expect(people.customer.heading).to_have_text("Your order is accepted", timeout=LIVE_TIMEOUT_MS)
    await expect(people.cook.main.get_by_role("button", name="Begin: order")).to_be_visible(timeout=LIVE_TIMEOUT_MS)
    await people.customer.press("Cancel order")
    await people.customer.press("Cancel order")
    await expect(people.customer.heading).to_have_text("Order cancelled", timeout=LIVE_TIMEOUT_MS)
    await expect(people.customer.main).to_contain_text("Your payment is refunded in full.")
    begin = people.cook.main.get_by_role("button", name="Begin: order")
    await expect(begin).to_have_count(0, timeout=LIVE_TIMEOUT_MS)
    await people.courier.go("/courier")
    await expect(people.courier.main).to_contain_text("No delivery at the moment")


async def test_the_staff_changes_menu_and_hours_and_customers_see_it(people: Town) -> None:
    cook, customer, kitchen_path = people.cook, people.customer, f"/kitchen/{people.place.id}"
    await cook.go(f"{kitchen_path}/menu")
    await cook.page.get_by_role("link", name="Pizza", exact=True).click()
    await cook.page.get_by_label("Price").fill("12.34")
    await cook.press("Save item")
    await expect(cook.page.get_by_text("“Pizza” is saved.")).to_be_visible()
    await cook.page.get_by_role("link", name="Add an item", exact=True).click()
    for label, value in {"Name": "Lemonade", "Section": "Drinks", "Price": "3"}.items():
        await cook.page.get_by_label(label, exact=label == "Name").fill(value)
    await cook.press("Save item")
    await customer.go(f"/eat/{people.place.id}")
    await expect(customer.main).to_contain_text("12,34 €")
    await expect(customer.page.get_by_role("heading", name="Drinks")).to_be_visible()
    await cook.go(f"{kitchen_path}/hours")
    for day in ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"):
        await cook.page.get_by_label(day).fill("")
    await cook.press("Save hours")
    await expect(cook.page.get_by_text("The opening hours are saved.")).to_be_visible()
    await customer.go(f"/eat/{people.place.id}")
    await expect(customer.main).to_contain_text("Closed")


async def test_without_a_courier_nothing_is_ordered_and_the_cart_is_kept(
    chromium: Browser, shop: RunningShop, api: Api, admin: str
) -> None:
    place = await kitchen(api, admin)
    async with live_user(chromium, shop) as customer:
        await customer.sign_up()
        await order(customer, place)
        note = customer.page.get_by_role("alert")
        await expect(note).to_contain_text("No courier is free at the moment.")
        await expect(note).to_contain_text("you were not charged")
        await expect(note).to_contain_text("Your cart is kept.")
        await customer.go("/eat/cart")
        await expect(customer.page.get_by_label("Quantity of Pizza")).to_have_value("2")


def test_the_addresses_of_the_tests_are_in_the_town() -> None:
    assert all(town().locate(street) for street in (HOME, BESIDE_THE_RESTAURANT, HALF_WAY))
