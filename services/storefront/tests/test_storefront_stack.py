"""The game Stack in a real Chromium: rounds, pauses, results that fail to be saved, and what users have turned off."""

from __future__ import annotations

import pytest
from playwright.async_api import Browser, expect

from services.storefront.tests.stack_page import (
    ANSWER,
    ENDING_MS,
    EXPIRED,
    NETWORK,
    SEED,
    SESSION,
    good_moves,
    stack_page,
)
from services.storefront.tests.test_storefront_in_browser import url
from shop.games import GAMES, Outcome, rules
from shop.games.stack import replay
from shop.games.stack_rules import parse
from tests.e2e.browsing import low_contrast_texts, overflow_px, unlabelled

__all__ = ["url"]

pytestmark = [pytest.mark.browser]

SMALL = {"width": 360, "height": 640}
MIN_CONTRAST = 4.5
HIDE = """hidden => {
  Object.defineProperty(document, "hidden", { configurable: true, get: () => hidden });
  document.dispatchEvent(new Event("visibilitychange"));
}"""
COUNT_SOUNDS = """() => {
  const Real = AudioContext;
  Object.assign(window, { contexts: 0, tones: 0 });
  window.AudioContext = class extends Real { constructor() { super(); window.contexts += 1; } };
  const Oscillator = OscillatorNode;
  window.OscillatorNode = class extends Oscillator { constructor(...all) { super(...all); window.tones += 1; } };
}"""


def outcome(moves: list[int]) -> Outcome:
    result = GAMES["stack"].replay(SEED, moves)
    assert isinstance(result, Outcome), result
    return result


async def test_the_server_comes_to_the_score_that_the_player_saw(chromium: Browser, url: str) -> None:
    moves = good_moves(12)
    async with stack_page(chromium, url, options={"best": 10}) as stack:
        await expect(stack.card).to_contain_text("Drop each book on the pile. What hangs over is cut off.")
        await stack.start()
        await stack.press(moves)
        await stack.page.keyboard.press("Enter")  # before the next piece has appeared: no move
        assert await stack.page.locator(".stack-game-score").inner_text() == str(outcome(moves).score)
        await expect(stack.page.locator("[aria-live]")).to_contain_text("10 on the pile")
        await stack.miss()
        [posted] = await stack.posted()
        assert posted["session"] == SESSION
        assert posted["moves"][: len(moves)] == moves
        final = outcome(posted["moves"])
        assert final.ticks == posted["moves"][-1]
        await expect(stack.card.get_by_role("heading")).to_have_text(f"{final.score} points")
        for shown in ("Rank12", "XP+47", "Level3", "Unlocked: Steady hand", "Your best round so far"):
            await expect(stack.card).to_contain_text(shown)
        await expect(stack.page.locator("[aria-live]")).to_have_text(f"The round is over. Your score is {final.score}.")
        events = await stack.events()
        assert [name for name, _ in events] == ["started", "ended", "posted"]
        assert events[1][1] == {"score": final.score, "statistics": final.statistics}
        await expect(stack.button("Play again")).to_be_focused()
        await stack.page.keyboard.press("Enter")
        await stack.expect_state("playing")
        await expect(stack.page.locator(".stack-game-score")).to_have_text("0")


async def test_it_is_played_by_touch_on_a_small_screen(chromium: Browser, url: str) -> None:
    options = {"theme": "parcels", "best": 12_345}
    async with stack_page(chromium, url, viewport=SMALL, has_touch=True, is_mobile=True, options=options) as stack:
        await expect(stack.card).to_contain_text("Drop each parcel on the pile.")
        await stack.start()
        stage = stack.page.locator(".stack-game-stage")
        for tick in (moves := good_moves(4)):
            await stack.until(tick)
            await stage.tap(position={"x": 150, "y": 200})
        assert await stack.page.locator(".stack-game-score").inner_text() == str(outcome(moves).score)
        assert await overflow_px(stack.page) == 0
        assert await stage.evaluate("e => getComputedStyle(e).touchAction") == "none"
        await stack.button("Pause").tap()
        await stack.expect_state("paused")
        for name in ("Go on", "Turn sound on"):
            box = await stack.button(name).bounding_box()
            assert box is not None
            assert min(box["width"], box["height"]) >= 44


@pytest.mark.parametrize("how", ["KeyP", "Escape", "Pause", "hidden tab"])
async def test_while_it_is_paused_the_round_stands_still(chromium: Browser, url: str, how: str) -> None:
    moves = good_moves(6)
    async with stack_page(chromium, url) as stack:
        await stack.start()
        await stack.press(moves[:3])
        if how == "hidden tab":
            await stack.page.evaluate(HIDE, True)
        elif how == "Pause":
            await stack.button("Pause").click()
        else:
            await stack.page.keyboard.press(how)
        await stack.expect_state("paused")
        before = stack.now_ms
        await stack.wait(5_000)
        stack.now_ms = before
        if how == "hidden tab":
            await stack.page.evaluate(HIDE, False)
            await stack.expect_state("paused")
        await stack.page.keyboard.press("Space")
        await stack.expect_state("playing")
        await stack.press(moves[3:])
        await stack.miss()
        assert (await stack.posted())[0]["moves"][:6] == moves


async def test_a_slow_browser_slows_the_round_down_and_skips_nothing(chromium: Browser, url: str) -> None:
    """The clock of the page jumps by 10 s, as of a computer that was suspended."""
    async with stack_page(chromium, url) as stack:
        await stack.start()
        await stack.page.clock.fast_forward(10_000)
        await stack.miss()
        assert (await stack.posted())[0]["moves"][0] < 60


async def test_a_key_that_is_held_down_drops_one_piece(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url) as stack:
        await stack.start()
        await stack.until(good_moves(1)[0])
        for _ in range(4):
            await stack.page.keyboard.down("Space")
            await stack.wait(200)
        await stack.page.keyboard.up("Space")
        assert await stack.page.locator(".stack-game-score").inner_text() == str(outcome(good_moves(1)).score)
        await stack.expect_state("playing")


async def test_the_time_of_a_round_is_limited(chromium: Browser, url: str) -> None:
    short = {**rules("stack"), "max_ticks": 130}
    moves = [tick for tick in good_moves(2) if tick < 130]
    async with stack_page(chromium, url, options={"rules": short}) as stack:
        await stack.start()
        await stack.press(moves)
        await stack.until(140)
        await stack.wait(ENDING_MS)
        await expect(stack.card).to_contain_text("Time is up")
        [posted] = await stack.posted()
        result = replay(SEED, posted["moves"], parse(short))
        assert isinstance(result, Outcome)
        assert (posted["moves"], result.ticks) == (moves, 130)
        await expect(stack.card.get_by_role("heading")).to_have_text(f"{result.score} points")


async def test_a_result_that_could_not_be_sent_is_kept_and_sent_again(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url, answers=[NETWORK, NETWORK, ANSWER]) as stack:
        await stack.start()
        await stack.miss()
        await expect(stack.card).to_contain_text("Your result is not saved yet.")
        await stack.button("Save it now").click()
        await expect(stack.card).to_contain_text("The shop did not answer.")
        await stack.page.evaluate("dispatchEvent(new Event('online'))")
        await expect(stack.card).to_contain_text("Rank12")
        posted = await stack.posted()
        assert posted == [posted[0]] * 3
        assert await stack.page.evaluate("sessionStorage.length") == 0


async def test_a_result_survives_a_reload_of_the_page(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url, answers=[NETWORK]) as stack:
        await stack.start()
        await stack.press(good_moves(3))
        await stack.miss()
        await expect(stack.card).to_contain_text("Your result is not saved yet.")
        [posted] = await stack.posted()
        await stack.page.reload()
        score = outcome(posted["moves"]).score
        await expect(stack.card).to_contain_text(f"The result of an earlier round, {score} points, is not saved yet.")
        await stack.button("Save it now").click()
        await expect(stack.card.get_by_role("heading")).to_have_text(f"{score} points")
        assert await stack.posted() == [posted]


async def test_a_result_that_came_too_late_says_so_and_is_forgotten(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url, answers=[EXPIRED]) as stack:
        await stack.start()
        await stack.miss()
        await expect(stack.card).to_contain_text("This round took too long to be saved")
        await expect(stack.button("Save it now")).to_have_count(0)
        assert await stack.page.evaluate("sessionStorage.length") == 0
        await stack.start("Play again")


async def test_a_round_without_an_account_is_for_practice(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url, sessions=[{"seed": 99, "unkept": True}]) as stack:
        await stack.start()
        await stack.miss()
        await expect(stack.card).to_contain_text("This round was for practice.")
        await expect(stack.card.get_by_role("link", name="Sign in")).to_have_attribute("href", "/sign-in")
        assert await stack.posted() == []


async def test_a_round_that_could_not_be_opened_can_be_tried_again(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url, sessions=[NETWORK, SESSION]) as stack:
        await stack.button("Play").click()
        await expect(stack.card).to_contain_text("The shop did not answer.")
        await stack.start("Try again")
        assert await stack.page.evaluate("window.opened") == 2


async def test_sound_is_off_until_it_is_turned_on(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url) as stack:
        await stack.page.evaluate(COUNT_SOUNDS)
        await stack.start()
        await stack.press(good_moves(2))
        assert await stack.page.evaluate("[contexts, tones]") == [0, 0]
        await stack.button("Turn sound on").click()
        await stack.press(good_moves(4)[2:])
        assert await stack.page.evaluate("contexts") == 1
        assert await stack.page.evaluate("tones") >= 2
        await stack.page.reload()
        await expect(stack.button("Turn sound off")).to_be_visible()


async def test_who_wants_less_motion_sees_only_the_piece_move(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url) as moving, stack_page(chromium, url, reduced_motion="reduce") as still:
        for stack, moves in ((moving, True), (still, False)):
            await stack.wait(100)
            before = await stack.picture()
            await stack.wait(300)
            assert (await stack.picture() != before) == moves
        await still.start()
        await still.wait(100)
        before = await still.picture()
        await still.wait(100)
        assert await still.picture() != before
        await still.press(good_moves(3))
        assert (
            await still.page.locator(".stack-game-streak").evaluate("e => getComputedStyle(e).animationName") == "none"
        )


async def test_the_canvas_is_as_sharp_as_the_screen_and_follows_the_size_of_the_page(
    chromium: Browser, url: str
) -> None:
    async with stack_page(chromium, url, device_scale_factor=2) as stack:
        size = (
            "[...document.querySelectorAll('canvas')].map(e => [e.width, e.height, e.clientWidth, e.clientHeight])[0]"
        )
        width, height, page_width, page_height = await stack.page.evaluate(size)
        assert (width, height) == (2 * page_width, 2 * page_height)
        await stack.page.set_viewport_size({"width": 360, "height": 640})
        await expect(stack.page.locator("canvas")).not_to_have_attribute("width", str(width))
        width, height, page_width, page_height = await stack.page.evaluate(size)
        assert (width, height) == (2 * page_width, 2 * page_height)
        assert await overflow_px(stack.page) == 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_texts_are_legible_and_buttons_are_named(chromium: Browser, url: str, scheme: str) -> None:
    async with stack_page(chromium, url, answers=[NETWORK], color_scheme=scheme) as stack:
        assert await low_contrast_texts(stack.page, MIN_CONTRAST) == []
        await stack.start()
        await stack.press(good_moves(3))
        await stack.page.keyboard.press("KeyP")
        assert await low_contrast_texts(stack.page, MIN_CONTRAST) == []
        await stack.page.keyboard.press("KeyP")
        await stack.miss()
        assert await low_contrast_texts(stack.page, MIN_CONTRAST) == []
        assert await unlabelled(stack.page) == []
        assert await stack.page.locator("button:not([aria-label]):empty").count() == 0


async def test_a_removed_game_leaves_nothing_behind(chromium: Browser, url: str) -> None:
    async with stack_page(chromium, url) as stack:
        await stack.start()
        await stack.page.evaluate("window.game.destroy()")
        assert await stack.page.locator("#game").inner_html() == ""
        await stack.page.keyboard.press("Space")
        await stack.wait(5_000)
        assert await stack.posted() == []
