"""Live pages in a real Chromium when something fails: a service away, a session that ended, a burst of changes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from playwright.async_api import Browser, Page, Route, expect

from services.storefront.tests.conftest import CUSTOMER
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_food import food_id
from services.storefront.tests.scripted_staff import courier, ticket
from services.storefront.tests.test_storefront_food_in_browser import ORDER, STREAMS
from services.storefront.tests.test_storefront_food_in_browser import ordered as food_ordered
from services.storefront.tests.test_storefront_in_browser import sign_in, url, window
from services.storefront.tests.test_storefront_live import HIDE, ordered
from services.storefront.tests.test_storefront_restaurants import NAPOLI
from shop.devkit.testing import wait_until

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

RETRIED_TIMEOUT_MS = 20_000
"""Longer than the pause before what failed is fetched again."""
BURST = 20
KITCHEN = f"/kitchen/{food_id('Napoli')}"
PARTS = {"/courier": "#courier", "/admin/town": "#town", KITCHEN: "#kitchen"}


@pytest.fixture
async def page(chromium: Browser, url: str, scripted: ScriptedShop) -> AsyncIterator[Page]:
    """A tab of an administrator who is a courier and works in a kitchen, too."""
    async with window(chromium, url) as page:
        await sign_in(page, scripted, CUSTOMER, "admin")
        own = scripted.people[CUSTOMER].id
        scripted.food.couriers[own] = courier("Anna", "bike", on_shift=True)
        scripted.food.staff[own] = [food_id("Napoli")]
        yield page


class Held:
    """Requests of a page for a path, counted and kept waiting until the gate is opened."""

    def __init__(self) -> None:
        self.count = 0
        self.gate = asyncio.Event()

    async def of(self, page: Page, path: str) -> None:
        await page.route(f"**{path}", self._wait)

    async def _wait(self, route: Route) -> None:
        self.count += 1
        await self.gate.wait()
        await route.continue_()


async def visit(page: Page, path: str) -> None:
    """Opens the page, again if the busy machine answered that a service is not available."""

    async def opened() -> bool:
        answer = await page.goto(path)
        return answer is not None and answer.status == 200

    await wait_until(opened)


async def idle(page: Page, busy: str) -> None:
    """Until a script's flag is off. The pages' security policy forbids Playwright's own way of waiting for that."""

    async def is_idle() -> bool:
        return not await page.evaluate(busy)

    await wait_until(is_idle)


def errors_of(page: Page) -> list[str]:
    """What the browser's console says, as it comes."""
    found: list[str] = []
    page.on("console", lambda message: found.append(message.text) if message.type in {"error", "warning"} else None)
    page.on("pageerror", lambda error: found.append(str(error)))
    return found


@pytest.mark.parametrize("path", list(PARTS))
async def test_a_page_keeps_what_it_shows_while_a_service_is_away(
    page: Page, scripted: ScriptedShop, path: str
) -> None:
    await visit(page, path)
    await page.evaluate("document.body.dataset.kept = 'yes'")
    scripted.down = {"restaurant", "delivery"}
    async with page.expect_response(lambda answer: answer.status == 503) as failed:
        await page.evaluate("pollIfDue(true)" if path != KITCHEN else "refresh()")
    await (await failed.value).finished()
    await expect(page.locator(PARTS[path])).to_be_visible()
    scripted.down = set()
    scripted.food.tickets[ORDER] = ticket(ORDER, "waiting", until="2126-03-05T18:45:00+00:00")
    async with page.expect_response(lambda answer: answer.status == 200, timeout=RETRIED_TIMEOUT_MS):
        pass
    if path == KITCHEN:
        await expect(page.get_by_role("button", name="Accept: order")).to_be_visible()
    await expect(page.locator(PARTS[path])).to_be_visible()
    assert await page.evaluate("document.body.dataset.kept") == "yes"


async def test_a_food_order_is_fetched_again_after_a_failure(page: Page, scripted: ScriptedShop) -> None:
    path = food_ordered(scripted)
    await visit(page, path)
    await wait_until(lambda: scripted.food.listening == 1)
    scripted.down = {"order"}
    async with page.expect_response(lambda answer: answer.status == 503):
        scripted.food.deliver(path.rpartition("/")[2], "assigned", kitchen="preparing")
    scripted.down = set()
    heading = page.get_by_role("heading", level=1)
    await expect(heading).to_have_text("Your food is being prepared", timeout=RETRIED_TIMEOUT_MS)


async def test_an_order_is_fetched_again_after_a_failure(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted, 1)
    await visit(page, path)
    await wait_until(lambda: scripted.listening == 1)
    scripted.down = {path.rpartition("/")[2]}
    async with page.expect_response(lambda answer: answer.status == 503):
        scripted.set_state(path.rpartition("/")[2], "fulfilled")
    await expect(page.locator("#order")).to_have_attribute("data-state", "confirmed")
    scripted.down = set()
    order = page.locator("#order")
    await expect(order).to_have_attribute("data-state", "fulfilled", timeout=RETRIED_TIMEOUT_MS)


async def test_a_page_whose_session_ended_goes_to_the_sign_in_page(page: Page, scripted: ScriptedShop) -> None:
    await visit(page, KITCHEN)
    await page.context.clear_cookies(name="shop_session")
    await page.evaluate("refresh()")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Sign in")


async def test_a_form_that_fails_shows_why(page: Page, scripted: ScriptedShop) -> None:
    await visit(page, NAPOLI)
    scripted.down = {"restaurant"}
    await page.get_by_role("button", name="Add Calzone").click()
    await expect(page.get_by_role("heading", level=1)).to_have_text("Temporarily unavailable")
    await expect(page.get_by_role("main")).to_contain_text("Restaurants are temporarily unavailable.")


async def test_a_burst_of_states_of_an_order_is_fetched_twice_at_most(page: Page, scripted: ScriptedShop) -> None:
    path, held = ordered(scripted, 1), Held()
    await visit(page, path)
    await wait_until(lambda: scripted.listening == 1)
    await held.of(page, path)
    await page.evaluate(
        f"for (let n = 0; n < {BURST}; n++) onState({{ data: JSON.stringify({{ state: `s${{n}}` }}) }})"
    )
    await wait_until(lambda: held.count == 1)
    scripted.orders[path.rpartition("/")[2]]["state"] = "fulfilled"
    held.gate.set()
    await expect(page.locator("#order")).to_have_attribute("data-state", "fulfilled")
    await wait_until(lambda: held.count >= 2)
    assert held.count == 2


async def test_a_burst_of_tickets_is_fetched_twice_at_most(page: Page, scripted: ScriptedShop) -> None:
    held = Held()
    await visit(page, KITCHEN)
    await wait_until(lambda: scripted.food.listening == 1)
    await held.of(page, KITCHEN)
    await page.evaluate(f"for (let n = 0; n < {BURST}; n++) apply({{ kind: 'ticket', data: {{}} }})")
    await wait_until(lambda: held.count == 1)
    scripted.food.tickets[ORDER] = ticket(ORDER, "preparing")
    held.gate.set()
    await expect(page.get_by_role("button", name="Ready: order")).to_be_visible()
    await idle(page, "track.refreshing")
    assert held.count == 2


async def test_the_town_is_fetched_while_its_tab_is_visible_alone(page: Page, scripted: ScriptedShop) -> None:
    await visit(page, "/admin/town")
    await expect(page.get_by_text("Updated every 5 seconds while this page is visible.")).to_be_visible()
    await page.evaluate(HIDE, "hidden")
    await page.evaluate("poll.at = -Infinity")
    await page.evaluate("pollIfDue()")
    assert await page.evaluate("poll.running") is False
    async with page.expect_response("**/admin/town"):
        await page.evaluate(HIDE, "visible")
    await idle(page, "poll.running")
    async with page.expect_response("**/admin/town", timeout=RETRIED_TIMEOUT_MS):
        pass


async def test_the_pages_of_one_browser_share_its_streams(page: Page, scripted: ScriptedShop) -> None:
    """Orders, a kitchen and deliveries are more than MAX_STREAMS: the last tab polls, says so, and pages still load."""
    paths = [food_ordered(scripted, 1), food_ordered(scripted, 2), KITCHEN, "/courier"]
    tabs = [page, *[await page.context.new_page() for _ in paths[1:]]]
    for tab, path in zip(tabs, paths, strict=True):
        await visit(tab, path)
    await wait_until(lambda: scripted.food.listening == STREAMS)
    notes = [tab.locator("#stream-note") for tab in tabs]
    await expect(notes[-1]).to_be_visible()
    for note in notes[:-1]:
        await expect(note).to_be_hidden()
    more = [await page.context.new_page() for _ in range(STREAMS)]
    for tab in more:
        await visit(tab, KITCHEN)
        await expect(tab.get_by_role("heading", level=1)).to_have_text("Napoli")
    assert scripted.food.listening == STREAMS


ANNOUNCED = """() => {
  window.announced = [];
  for (const region of document.querySelectorAll("[aria-live], [role=status]")) {
    new MutationObserver(changes => window.announced.push(...changes.map(change => change.type)))
      .observe(region, { subtree: true, childList: true, characterData: true });
  }
}"""


async def test_a_change_of_state_is_announced_and_a_position_is_not(page: Page, scripted: ScriptedShop) -> None:
    path = food_ordered(scripted, state="on_the_way", position={"lat": 51.8991, "lon": -0.1994})
    await visit(page, path)
    await wait_until(lambda: scripted.food.listening == 1)
    await page.evaluate(ANNOUNCED)
    marker = page.locator("[data-marker=courier]")
    for lat in (51.9000, 51.9010, 51.9020):
        before = str(await marker.get_attribute("transform"))
        scripted.food.move(path.rpartition("/")[2], lat, -0.2020)
        await expect(marker).not_to_have_attribute("transform", before)
    assert await page.evaluate("window.announced") == []
    scripted.set_state(path.rpartition("/")[2], "delivered")
    scripted.food.deliver(path.rpartition("/")[2], "delivered")
    await expect(page.get_by_role("heading", level=1)).to_have_text("Delivered")
    assert await page.evaluate("window.announced")


async def test_a_courier_who_leaves_the_drawn_part_of_the_town_is_shown(page: Page, scripted: ScriptedShop) -> None:
    path = food_ordered(scripted, state="on_the_way", position={"lat": 51.8991, "lon": -0.1994})
    await visit(page, path)
    await wait_until(lambda: scripted.food.listening == 1)
    drawn = page.locator("[data-map]")
    before = str(await drawn.get_attribute("viewBox"))
    scripted.food.move(path.rpartition("/")[2], 51.9080, -0.2150)
    await expect(drawn).not_to_have_attribute("viewBox", before, timeout=RETRIED_TIMEOUT_MS)


@pytest.mark.parametrize("path", list(PARTS))
async def test_leaving_a_page_while_it_is_updated_is_no_error(page: Page, scripted: ScriptedShop, path: str) -> None:
    await visit(page, path)
    errors = errors_of(page)
    scripted.gates = {"restaurant": asyncio.Event(), "delivery": asyncio.Event()}
    calls = len(scripted.calls)
    await page.evaluate("void (typeof refresh === 'function' ? refresh() : pollIfDue(true))")
    await wait_until(lambda: len(scripted.calls) > calls)
    await visit(page, "/search?query=pride")
    for gate in scripted.gates.values():
        gate.set()
    await expect(page.get_by_role("heading", level=1)).to_be_visible()
    assert errors == []
