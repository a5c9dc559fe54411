"""Users of the shop in a real Chromium: what they click and type, by the labels of the page."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Collection, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from playwright.async_api import Browser, ConsoleMessage, Locator, Page, async_playwright, expect

from tests import chromium

ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
PAGE_TIMEOUT_MS = 20_000
"""Of a navigation, an action and an expectation."""
PASSWORD = "correct horse battery"
ADDRESS = {"Street and number": "Linden 5", "Postal code": "10117", "City": "Berlin"}
EXPECTED_STATUSES = ("402", "403", "404", "409", "422")
"""Chromium logs these as errors although the page shows them on purpose."""


@asynccontextmanager
async def open_browser() -> AsyncIterator[Browser]:
    """The Chromium of this machine, or the one that Playwright fetched."""
    expect.set_options(timeout=PAGE_TIMEOUT_MS)
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium.installed(), args=ARGUMENTS)
        yield browser
        await browser.close()


@dataclass
class BrowserUser:
    """A user with a browser context; ``console_errors`` are errors and warnings in the browser's console, each with the
    page on which it came. Answers with one of ``expected_statuses`` are none: Chromium logs them, too."""

    page: Page
    url: str
    email: str = field(default_factory=lambda: f"customer-{uuid.uuid4().hex[:12]}@example.com")
    console_errors: list[str] = field(default_factory=list)
    expected_statuses: Collection[str] = EXPECTED_STATUSES

    async def go(self, path: str) -> None:
        await self.page.goto(self.url + path)

    @property
    def heading(self) -> Locator:
        return self.page.get_by_role("heading", level=1)

    @property
    def main(self) -> Locator:
        return self.page.get_by_role("main")

    async def press(self, name: str) -> None:
        await self.main.get_by_role("button", name=name, exact=True).click()

    async def add_to_cart(self, product: dict[str, Any], quantity: int = 1) -> None:
        await self.go(f"/products/{product['id']}")
        await self.page.get_by_label("Quantity").fill(str(quantity))
        await self.press("Add to cart")
        await expect(self.heading).to_have_text("Your cart")

    async def sign_up(self) -> None:
        await self.go("/sign-up")
        await self.page.get_by_label("Name").fill("Ada Reader")
        await self.page.get_by_label("Email").fill(self.email)
        await self.page.get_by_label("Password").fill(PASSWORD)
        await self.press("Create account")
        await expect(self.page.get_by_text("Welcome, Ada Reader.")).to_be_visible()

    async def sign_in(self, email: str, password: str, back: str = "/") -> None:
        await self.go(f"/sign-in?next={back}")
        await self.page.get_by_label("Email").fill(email)
        await self.page.get_by_label("Password").fill(password)
        await self.press("Sign in")
        await expect(self.page.get_by_text("Welcome back.")).to_be_visible()

    async def fill_checkout(self, card: str = "Test card: approved") -> None:
        """Opens the checkout and fills it in, without placing the order."""
        await self.go("/checkout")
        for label, value in ADDRESS.items():
            await self.page.get_by_label(label).fill(value)
        await self.page.get_by_role("radio", name=card).check()

    async def buy(self, card: str = "Test card: approved") -> None:
        await self.fill_checkout(card)
        await self.press("Buy now")

    def _on_console(self, message: ConsoleMessage) -> None:
        expected = any(f"status of {status}" in message.text for status in self.expected_statuses)
        if message.type in {"error", "warning"} and not expected:
            self._add_error(f"{message.text} ({message.location.get('url', '')})")

    def _add_error(self, text: str) -> None:
        self.console_errors.append(f"{self.page.url}: {text}")


@asynccontextmanager
async def browser_user(
    browser: Browser, url: str, *, expected_statuses: Collection[str] = EXPECTED_STATUSES, **options: Any
) -> AsyncIterator[BrowserUser]:
    """A new visitor; any error in the browser's console fails the test, such as a violated security policy."""
    context = await browser.new_context(**options)
    context.set_default_timeout(PAGE_TIMEOUT_MS)
    user = BrowserUser(await context.new_page(), url, expected_statuses=expected_statuses)
    user.page.on("console", user._on_console)
    user.page.on("pageerror", lambda error: user._add_error(str(error)))
    yield user
    await context.close()
    if user.console_errors:
        raise AssertionError("\n".join(["errors in the browser's console:", *user.console_errors]))


UNLABELLED = """() => [...document.querySelectorAll("input:not([type=hidden]), select, textarea")]
    .filter(field => !field.labels.length && !field.ariaLabel).map(field => field.outerHTML)"""

LOW_CONTRAST = """least => {
  const paint = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const rgba = text => {
    paint.clearRect(0, 0, 1, 1); paint.fillStyle = text; paint.fillRect(0, 0, 1, 1);
    return paint.getImageData(0, 0, 1, 1).data;
  };
  const light = ([r, g, b]) => [r, g, b].map(c => c / 255)
    .map(c => c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = element => {
    for (let e = element; e; e = e.parentElement) {
      const colour = rgba(getComputedStyle(e).backgroundColor);
      if (colour[3] === 255) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set(), walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    const inert = element.closest("[disabled], [aria-hidden=true], script, noscript, option");
    if (!walker.currentNode.textContent.trim() || inert || !element.checkVisibility()) continue;
    const [a, b] = [light(rgba(getComputedStyle(element).color)), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < least) low.add(`${walker.currentNode.textContent.trim()}: ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""

OVERFLOW = """() => document.documentElement.scrollWidth - document.documentElement.clientWidth"""


async def unlabelled(page: Page) -> Sequence[str]:
    """Fields that no label names."""
    found: list[str] = await page.evaluate(UNLABELLED)
    return found


async def low_contrast_texts(page: Page, least: float) -> Sequence[str]:
    """Visible texts whose contrast with their background is below ``least``."""
    found: list[str] = await page.evaluate(LOW_CONTRAST, least)
    return found


async def overflow_px(page: Page) -> int:
    """How far the page can be scrolled sideways."""
    found: int = await page.evaluate(OVERFLOW)
    return found
