"""Plays a round of Stack in a browser by normal inputs, on a clock that the test moves."""

from __future__ import annotations

from collections.abc import Sequence

from playwright.async_api import Page, expect

from shop.games import rules

FAR_AHEAD_MS = 3_600_000
"""Of the page's clock: later than the time stamps of key presses, which are those of the machine."""
MS_PER_SECOND = 1000
MOST_LATE_PRESSES = 120
"""One a frame: more than a piece takes to appear."""
FRAME_MS = 16
"""Between two frames of Playwright's clock."""


async def open_arcade(page: Page, path: str = "/arcade") -> None:
    """The page with its clock standing still, so that frames come only while a test lets time pass."""
    await page.clock.install(time=0)
    await page.goto(path)
    await page.clock.pause_at(FAR_AHEAD_MS)


async def begin(page: Page, button: str = "Play") -> None:
    await page.get_by_role("main").get_by_role("button", name=button, exact=True).click()
    await expect(page.locator(".stack-game")).to_have_attribute("data-state", "playing")


async def press(page: Page, moves: Sequence[int], key: str = "Space") -> None:
    """Each press within a tick of its time."""
    tick_ms, passed_ms = MS_PER_SECOND / rules("stack")["ticks_per_second"], 0
    for tick in moves:
        frames = round(tick * tick_ms / FRAME_MS) * FRAME_MS - passed_ms
        await page.clock.run_for(frames)
        passed_ms += frames
        await page.keyboard.press(key)


async def end(page: Page) -> None:
    """Presses until one misses, for the last press may have been a tick early, before its piece appeared. Then lets the
    pile be seen until the panel of the round's end appears, and the page go on by itself."""
    playing = page.locator(".stack-game[data-state=playing]")
    for _ in range(MOST_LATE_PRESSES):
        if not await playing.count():
            break
        await page.clock.run_for(FRAME_MS)
        await page.keyboard.press("Space")
    await page.clock.run_for(2 * MS_PER_SECOND)
    await expect(page.locator(".stack-game")).to_have_attribute("data-state", "over")
    await page.clock.resume()
