"""A page with the game Stack in it, under the pages' security policy, with scripted answers and a clock that stands."""

from __future__ import annotations

import contextlib
import json
import random
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, Locator, Page, Route, expect

from services.games.tests.playing import play
from services.storefront.tests.test_storefront_in_browser import DESKTOP
from shop.games import rules
from shop.kit.sessions import PAGE_HEADERS
from shop.storefront.assets import asset_url

SEED = 7
SESSION = {"id": "s1", "seed": SEED, "token": "signed", "expires_at": "2126-01-01T00:00:00Z"}
ANSWER = {"score": 1, "rank": 12, "xp": 47, "level": 3, "unlocked": [{"code": "steady", "name": "Steady hand"}]}
NETWORK = {"error": {"message": "The shop did not answer.", "retryable": True}}
EXPIRED = {"error": {"message": "The session has expired.", "code": "session_expired", "retryable": False}}
TICK_MS = 1000 / 60
ENDING_MS = 1500
SETTLE_MS = round((rules("stack")["settle_ticks"] + 1) * TICK_MS)
BOOT = """
import { mountStack } from "STACK";
const given = JSON.parse(document.getElementById("given").textContent);
const next = (answers) => {
  const { error, ...answer } = answers.length > 1 ? answers.shift() : answers[0];
  if (error) throw Object.assign(new Error(error.message), error);
  return answer;
};
Object.assign(window, { posted: [], events: [], opened: 0 });
window.game = mountStack(document.getElementById("game"), {
  ...given.options,
  openSession: async () => { window.opened += 1; return next(given.sessions); },
  postResult: async (session, moves) => { window.posted.push({ session, moves }); return next(given.answers); },
  onEvent: (name, detail) => window.events.push([name, detail]),
});
"""


def document(options: dict[str, Any], sessions: Sequence[Any], answers: Sequence[Any]) -> str:
    given = json.dumps({"options": options, "sessions": sessions, "answers": answers})
    styles = "".join(f'<link rel="stylesheet" href="{asset_url(name)}">' for name in ("shop.css", "stack.css"))
    return (
        '<!doctype html><html lang="en"><head><meta name="viewport" content="width=device-width, initial-scale=1">'
        f'<title>Stack</title>{styles}<script src="/boot.js" type="module"></script></head><body><main class="wrap">'
        f'<div id="game"></div></main><script id="given" type="application/json">{given}</script></body></html>'
    )


@dataclass
class StackPage:
    """The time of the page moves by `wait` alone; ``now_ms`` counts from the start of the round."""

    page: Page
    errors: list[str] = field(default_factory=list)
    now_ms: int = 0

    async def wait(self, milliseconds: int) -> None:
        await self.page.clock.run_for(milliseconds)
        self.now_ms += milliseconds

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    @property
    def card(self) -> Locator:
        return self.page.locator(".stack-game-card")

    async def expect_state(self, state: str) -> None:
        await expect(self.page.locator(".stack-game")).to_have_attribute("data-state", state)

    async def start(self, button: str = "Play") -> None:
        await self.button(button).click()
        await self.expect_state("playing")
        self.now_ms = 0

    async def until(self, tick: int) -> None:
        await self.wait(round(tick * TICK_MS) - self.now_ms)

    async def press(self, ticks: Sequence[int]) -> None:
        for tick in ticks:
            await self.until(tick)
            await self.page.keyboard.press("Space")

    async def miss(self) -> None:
        """Presses as soon as a piece has appeared at the edge, again and again, until the round is over."""
        for _ in range(20):
            await self.wait(SETTLE_MS)
            await self.page.keyboard.press("Space")
            if await self.page.locator(".stack-game[data-state=ending]").count():
                break
        await self.wait(ENDING_MS)
        await self.expect_state("over")

    async def posted(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = await self.page.evaluate("window.posted")
        return found

    async def events(self) -> list[tuple[str, Any]]:
        return [(name, detail) for name, detail in await self.page.evaluate("window.events")]

    async def picture(self) -> str:
        found: str = await self.page.evaluate("document.querySelector('canvas').toDataURL()")
        return found


@contextlib.asynccontextmanager
async def stack_page(
    chromium: Browser,
    url: str,
    *,
    sessions: Sequence[dict[str, Any]] = (SESSION,),
    answers: Sequence[dict[str, Any]] = (ANSWER,),
    options: dict[str, Any] | None = None,
    **context: Any,
) -> AsyncIterator[StackPage]:
    """Fails on any message in the browser's console."""
    given = {"rules": rules("stack"), "title": "Stack", "theme": "books", "signInUrl": "/sign-in", **(options or {})}
    opened = await chromium.new_context(base_url=url, **{"viewport": DESKTOP, **context})
    opened.set_default_timeout(10_000)
    page = await opened.new_page()
    stack = StackPage(page)
    page.on("console", lambda message: stack.errors.append(message.text))
    page.on("pageerror", lambda error: stack.errors.append(str(error)))
    body = document(given, sessions, answers)

    async def answer(route: Route) -> None:
        if route.request.url.endswith(".js"):
            script = BOOT.replace("STACK", asset_url("stack.js"))
            await route.fulfill(body=script, content_type="text/javascript")
        else:
            await route.fulfill(body=body, content_type="text/html", headers=PAGE_HEADERS)

    await page.route("**/boot.js", answer)
    await page.route("**/stack-page", answer)
    await page.clock.install(time=0)
    await page.goto("/stack-page")
    await page.clock.pause_at(3_600_000)
    await expect(stack.card).to_be_visible()
    yield stack
    await opened.close()
    assert stack.errors == []


def good_moves(count: int, seed: int = SEED) -> list[int]:
    return play(seed, random.Random(4), 0.9, count)
