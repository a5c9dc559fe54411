"""The arcade in a real Chromium: rounds that are played by key presses, the board and achievements beside them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from services.storefront.tests.conftest import CUSTOMER
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_arcade import SEED, achievement, rival
from services.storefront.tests.scripted_data import product_id
from services.storefront.tests.test_storefront_in_browser import (
    DESKTOP,
    PHONE,
    check_widths,
    sign_in,
    url,
    window,
)
from services.storefront.tests.test_storefront_live import ordered
from services.storefront.tests.test_storefront_live_failures import Held
from services.storefront.tests.test_storefront_safety import NASTY
from shop.devkit.testing import wait_until
from tests.e2e.browsing import low_contrast_texts, unlabelled
from tests.e2e.playing import begin, end, open_arcade, press
from tests.e2e.stack_rounds import good_round

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

PLACED = 3
MIN_CONTRAST = 4.5
NARROW = {"width": 360, "height": 740}
ROUND = good_round(SEED, PLACED)
PATHS = ("/arcade", "/leaderboards", "/leaderboards/stack", f"/players/{rival(1)}", "/account/player")


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
async def page(
    chromium: Browser, url: str, scripted: ScriptedShop, request: pytest.FixtureRequest
) -> AsyncIterator[Page]:
    """A tab of a signed-in customer, who has rivals on the board."""
    rivals(scripted)
    async with window(chromium, url, viewport=request.param) as page:
        await sign_in(page, scripted)
        yield page


def rivals(scripted: ScriptedShop, count: int = 3) -> None:
    for number in range(1, count + 1):
        scripted.arcade.score("stack", rival(number), 10 * number, f"Rival {number}")


def sent_moves(scripted: ScriptedShop) -> list[list[int]]:
    posts = [body for _, path, body in scripted.calls if path.startswith("/api/v1/games") and path.endswith("/result")]
    return [json.loads(body)["moves"] for body in posts]


def my_score(scripted: ScriptedShop) -> int:
    return scripted.arcade.places["stack"][scripted.people[CUSTOMER].id]


async def test_a_round_is_played_and_everything_beside_it_follows(page: Page, scripted: ScriptedShop) -> None:
    await open_arcade(page)
    await wait_until(lambda: scripted.arcade.listening == 1)
    await expect(page.locator("#standings .mine")).to_have_count(0)
    await begin(page)
    await press(page, ROUND)
    await end(page)
    await expect(page.locator("#standings .mine")).to_contain_text("You")
    await expect(page.locator("#progress")).to_contain_text("7 XP")
    await expect(page.locator(".achievement.unlocked")).to_contain_text("First round")
    (moves,) = sent_moves(scripted)
    assert len(moves) == len(ROUND)
    assert all(abs(played - planned) <= 1 for played, planned in zip(moves, ROUND, strict=True))
    await expect(page.locator(".stack-game-score")).to_have_text(str(my_score(scripted)))
    await expect(page.locator(".stack-game-card")).to_contain_text("Rank")


async def test_an_achievement_is_announced_once_by_answer_and_stream(page: Page, scripted: ScriptedShop) -> None:
    scripted.arcade.rules.append(achievement("second", NASTY))
    await open_arcade(page)
    await wait_until(lambda: scripted.arcade.listening == 1)
    await begin(page)
    await press(page, ROUND)
    await end(page)
    lines = page.locator("#news p")
    await expect(lines).to_have_text(["Achievement unlocked: First round (+50 XP)"])
    scripted.arcade.unlock(scripted.people[CUSTOMER].id, "second")
    await expect(lines).to_have_text(
        ["Achievement unlocked: First round (+50 XP)", f"Achievement unlocked: {NASTY} (+50 XP)"]
    )
    await expect(page.locator("img[src=x]")).to_have_count(0)
    await expect(page.locator(".achievement.unlocked")).to_have_count(2)


@pytest.mark.parametrize("page", [DESKTOP], indirect=True, ids=["desktop"])
async def test_a_result_that_was_not_answered_is_sent_again_and_counts_once(page: Page, scripted: ScriptedShop) -> None:
    await open_arcade(page)
    scripted.arcade.lost_answers = 1
    await begin(page)
    await press(page, ROUND)
    await end(page)
    await page.get_by_role("button", name="Save it now").click()
    await expect(page.locator(".stack-game-card")).to_contain_text("Rank")
    first, second = sent_moves(scripted)
    assert first == second
    assert len(scripted.arcade.ledger[scripted.people[CUSTOMER].id]) == 1
    await expect(page.locator("#news p")).to_have_count(1)


@pytest.mark.parametrize("page", [DESKTOP], indirect=True, ids=["desktop"])
async def test_another_board_is_shown_without_leaving_the_round(page: Page, scripted: ScriptedShop) -> None:
    scripted.arcade.score("stack-daily", rival(3), 77)
    await open_arcade(page)
    await begin(page)
    await page.get_by_role("navigation", name="Boards").get_by_role("link", name="Today").click()
    await expect(page.locator("#standings tbody tr")).to_have_count(1)
    await expect(page.locator("#tab-stack-daily")).to_have_attribute("aria-current", "page")
    await expect(page.locator(".stack-game")).to_have_attribute("data-state", "playing")
    scripted.arcade.score("stack-daily", rival(2), 78)
    await page.clock.run_for(20_000)
    await expect(page.locator("#standings tbody tr")).to_have_count(2)


@pytest.mark.parametrize("page", [DESKTOP], indirect=True, ids=["desktop"])
async def test_the_tabs_of_a_player_share_one_stream(page: Page, scripted: ScriptedShop) -> None:
    tabs = [page, *[await page.context.new_page() for _ in range(3)]]
    for tab in tabs:
        await tab.goto("/arcade")
    await wait_until(lambda: scripted.arcade.listening == 1)
    scripted.arcade.unlock(scripted.people[CUSTOMER].id, "first_round")
    for tab in tabs:
        await expect(tab.locator("#news p")).to_have_text(["Achievement unlocked: First round (+50 XP)"])
        await expect(tab.locator(".achievement.unlocked")).to_have_count(1)
    assert scripted.arcade.listening == 1


async def test_a_visitor_plays_for_practice(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    async with window(chromium, url, viewport=PHONE) as page:
        await open_arcade(page)
        await begin(page)
        await page.clock.run_for(100_000)
        await expect(page.locator(".stack-game")).to_have_attribute("data-state", "over")
        link = page.locator(".stack-game-card").get_by_role("link", name="Sign in")
        await expect(link).to_have_attribute("href", "/sign-in?next=/arcade")
    assert not [path for _, path, _ in scripted.calls if path.startswith("/api/v1/games")]


@pytest.mark.parametrize("page", [DESKTOP], indirect=True, ids=["desktop"])
async def test_what_an_order_brought_appears_a_moment_after_the_purchase(page: Page, scripted: ScriptedShop) -> None:
    path = ordered(scripted, 1)
    order_id = path.rpartition("/")[2]
    scripted.orders[order_id]["updated_at"] = datetime.now(UTC).isoformat()
    held = Held()
    await held.of(page, f"{path}/gained")
    await page.goto(path)
    await expect(page.locator("#gained")).to_have_text("")
    scripted.arcade.gain(scripted.people[CUSTOMER].id, f"order:{order_id}", 38)
    held.gate.set()
    await expect(page.locator("#gained")).to_have_text("This order brought you 38 XP in the arcade.")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_fit_a_phone_and_can_be_read(
    chromium: Browser, url: str, scripted: ScriptedShop, scheme: Any
) -> None:
    rivals(scripted, 12)
    arcade, long = scripted.arcade, "W" * 60
    arcade.player(rival(1), long, xp=720, streak=400, statistics={"rounds": 10**12})
    arcade.rules = [achievement(f"a{n}", long, need=10**9, description=long * 3) for n in range(8)]
    arcade.unlock(rival(1), "a1")
    arcade.boards[1]["title"] = long
    async with window(chromium, url, viewport=NARROW, color_scheme=scheme) as page:
        await sign_in(page, scripted)
        mine = scripted.people[CUSTOMER].id
        coupon = {"level": 5, "code": "LEVEL5-ABCDEFGH", "percent": 10, "expires_at": "2126-06-01T12:00:00+00:00"}
        arcade.player(mine, long, xp=350, coupons=[coupon])
        arcade.score("stack", mine, 2**63 - 1)
        arcade.friends[mine] = [rival(1)]
        arcade.gain(mine, f"order:{product_id('o')}", 30)
        await check_widths(page, [*PATHS, "/leaderboards/stack?who=friends"])
        for path in PATHS:
            await page.goto(path)
            assert await low_contrast_texts(page, MIN_CONTRAST) == [], path
            assert await unlabelled(page) == [], path


async def test_boards_and_profiles_work_without_javascript(chromium: Browser, url: str, scripted: ScriptedShop) -> None:
    rivals(scripted)
    scripted.arcade.score("stack-daily", rival(1), 5)
    async with window(chromium, url, java_script_enabled=False) as page:
        await page.goto("/arcade")
        await expect(page.get_by_text("It needs JavaScript")).to_be_visible()
        await page.get_by_role("link", name="Today").click()
        await page.wait_for_url("**/arcade?board=stack-daily")
        await expect(page.locator("#standings tbody tr")).to_have_count(1)
        await page.get_by_role("link", name="The whole board").click()
        await page.wait_for_url("**/leaderboards/stack-daily")
        await page.get_by_role("link", name="Rival 1").click()
        await page.wait_for_url("**/players/*")
        await expect(page.get_by_role("heading", level=1)).to_have_text("Rival 1")
