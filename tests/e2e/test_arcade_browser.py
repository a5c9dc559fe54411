"""The arcade in a real browser, against all running services: play, rise on the board, unlock, buy, and leave."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, expect

from shop.devkit.testing import wait_until
from shop.games import rules
from tests.conftest import RunningShop
from tests.e2e.browsing import EXPECTED_STATUSES, BrowserUser, browser_user, overflow_px
from tests.e2e.playing import begin, end, open_arcade, press
from tests.e2e.stack_rounds import good_round, score_of
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

LIVE_TIMEOUT_MS = 30_000
RELOAD_EVERY_S = 0.5
"""Each look loads a page, in the browser and in the shop."""
PLACED = 3
DESKTOP, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}
STATUSES = (*EXPECTED_STATUSES, "503")
"""A service on a busy machine may be unavailable for a moment; the page keeps what it shows and asks again."""


@pytest.fixture(params=[DESKTOP, PHONE], ids=["desktop", "phone"])
async def player(chromium: Browser, shop: RunningShop, request: pytest.FixtureRequest) -> AsyncIterator[BrowserUser]:
    """A new customer."""
    async with browser_user(chromium, shop.url, expected_statuses=STATUSES, viewport=request.param) as user:
        await user.sign_up()
        yield user


async def play(user: BrowserUser) -> tuple[int, dict[str, Any]]:
    """Plays a round by key presses; its score by the rules, and what the page was answered."""
    page = user.page
    await open_arcade(page, f"{user.url}/arcade")
    async with page.expect_response("**/arcade/stack/sessions") as opening:
        await begin(page)
    begun, seed = time.monotonic(), (await (await opening.value).json())["seed"]
    moves = good_round(seed, PLACED)
    await press(page, moves[:-1])
    took_s = moves[-1] / rules("stack")["ticks_per_second"]
    await wait_until(lambda: time.monotonic() - begun >= took_s)
    async with page.expect_response("**/result") as posting:
        await press(page, [moves[-1] - moves[-2]])
        await end(page)
    answer: dict[str, Any] = await (await posting.value).json()
    return score_of(seed, moves), answer


def shown_score(page: Page) -> Locator:
    return page.locator("#standings .mine td").last


async def reloaded_until(page: Page, shown: Locator, text: str) -> None:
    """What events bring is there when the page is loaded again."""

    async def there() -> bool:
        if text in await shown.inner_text():
            return True
        await page.reload()
        return False

    await wait_until(there, LIVE_TIMEOUT_MS / 1000, f"{text!r} on {page.url}", RELOAD_EVERY_S)


async def test_a_round_counts_once_on_the_board_and_in_the_profile(player: BrowserUser, shop: RunningShop) -> None:
    page = player.page
    _, answer = await play(player)
    assert answer["score"] > 0
    await expect(shown_score(page)).to_have_text(f"{answer['score']:,}", timeout=LIVE_TIMEOUT_MS)
    unlocked = page.locator("#progress .achievement.unlocked")
    await expect(unlocked).not_to_have_count(0, timeout=LIVE_TIMEOUT_MS)
    told = await page.locator("#news p").all_inner_texts()
    assert len(told) == len(set(told)) > 0
    count = await unlocked.count()
    await page.reload()
    await expect(unlocked).to_have_count(count)
    assert await overflow_px(page) == 0
    await page.locator("#progress .own h2 a").click()
    await expect(page.get_by_role("heading", level=2, name="Statistics")).to_be_visible()
    assert await overflow_px(page) == 0
    await player.go("/leaderboards/stack-daily")
    await expect(page.locator(".mine")).to_have_count(1)


async def test_a_result_that_is_posted_twice_counts_once(player: BrowserUser) -> None:
    page, posted = player.page, []
    page.on("request", lambda request: posted.append(request) if request.url.endswith("/result") else None)
    _, answer = await play(player)
    again = await page.request.post(
        posted[0].url, headers={"content-type": "application/x-www-form-urlencoded"}, data=posted[0].post_data or ""
    )
    assert again.status == 200
    assert (await again.json())["result_id"] == answer["result_id"]
    assert (await again.json())["score"] == answer["score"]
    await player.go("/account/player")
    await expect(page.get_by_text("A round of Stack")).to_have_count(1)


async def test_a_private_player_leaves_the_board_and_returns(player: BrowserUser, chromium: Browser) -> None:
    page = player.page
    await play(player)
    await player.go("/account/player")
    name = f"Hidden {player.email[9:17]}"
    await page.get_by_label("Name in the arcade").fill(name)
    await page.get_by_label("Private").check()
    await player.press("Save")
    await expect(page.get_by_text("Your player was saved.")).to_be_visible()
    profile = await page.locator(".own h2 a").get_attribute("href")
    assert profile
    async with browser_user(chromium, player.url, expected_statuses=STATUSES) as other:
        await other.go(profile)
        await expect(other.heading).to_have_text("Private player")
        await other.go("/leaderboards/stack")
        await reloaded_while(other.page, name)
    await page.get_by_label("Private").uncheck()
    await player.press("Save")
    async with browser_user(chromium, player.url, expected_statuses=STATUSES) as other:
        await other.go(profile)
        await reloaded_until(other.page, other.heading, name)


async def reloaded_while(page: Page, name: str) -> None:
    """Until nobody of that name is on the page."""

    async def gone() -> bool:
        if not await page.get_by_text(name).count():
            return True
        await page.reload()
        return False

    await wait_until(gone, LIVE_TIMEOUT_MS / 1000, f"{name!r} gone from {page.url}", RELOAD_EVERY_S)


@pytest.mark.parametrize("player", [PHONE], indirect=True, ids=["phone"])
async def test_an_order_brings_xp_and_a_place_among_buyers(player: BrowserUser, api: Api, admin: str) -> None:
    page = player.page
    (product,) = await api.products(1)
    await api.restock(admin, [product], 5)
    await player.add_to_cart(product)
    await player.buy()
    await expect(player.heading).to_have_text("Thank you for your order")
    await reloaded_until(page, page.locator("#gained"), "This order brought you")
    await player.go("/leaderboards/buyers")
    await reloaded_until(page, page.get_by_role("main"), "You")
    await player.go("/account/player")
    await expect(page.get_by_role("link", name="An order")).to_have_count(1)
