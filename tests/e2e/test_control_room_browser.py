"""The control room in a real browser, over a whole running shop: what an order did, and a lever."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
from playwright.async_api import Browser, Page, expect

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.e2e.browsing import BrowserUser, browser_user, low_contrast_texts, overflow_px, unlabelled
from tests.integration.buyers import new_product
from tests.load.shoppers import ADDRESS, CARD
from tests.load.shoppers import Shop as Api

pytestmark = [pytest.mark.shop, pytest.mark.browser]

PHONE = {"width": 360, "height": 740}
MIN_CONTRAST = 4.5
KEPT_WITHIN_S = 60.0
LOOK_EVERY_S = 0.5
LEVER_TIMEOUT_MS = 60_000
WHOLE = {"gateway", "order", "product", "pricing", "payment", "notification"}
"""Services that an order's trace has."""
LEVER = "recommendation-1"
NOUN = "recommendation"
MAX_TABS = 80
OK = 200


@pytest.fixture
async def administrator(chromium: Browser, shop: RunningShop) -> AsyncIterator[BrowserUser]:
    """A signed-in administrator at the overview."""
    async with browser_user(chromium, shop.url) as user:
        await user.sign_in(shop.admin_email, shop.admin_password, "/ops")
        yield user


async def place(api: Api, admin: str) -> tuple[str, str]:
    """A customer's order: its id, and the id of its trace."""
    book = await new_product(api, admin, stock=5)
    token = await api.sign_up(1)
    body = {"items": [{"product_id": book["id"], "quantity": 2}], "address": ADDRESS, "payment": {"token": CARD}}
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    async with api.session.post(f"{api.url}/api/v1/orders", json=body, headers=headers) as answer:
        assert answer.status in (201, 202), await answer.text()
        return (await answer.json())["id"], answer.headers["x-request-id"]


async def kept(api: Api, admin: str, order_id: str) -> dict[str, Any] | None:
    """The trace of the order once spans of all its services are kept."""
    found = await api.call("GET", f"/traces?order_id={order_id}", admin)
    whole = (trace for trace in found["items"] if set(trace["services"]) >= WHOLE)
    return next(whole, None)


async def test_an_order_is_followed_from_the_picture_to_its_log_lines(
    administrator: BrowserUser, api: Api, admin: str
) -> None:
    page = administrator.page
    await expect(page.locator("#live")).to_contain_text("As of")
    await expect(page.locator('[data-node="order"]')).to_have_attribute("data-status", "ok")
    order_id, trace_id = await place(api, admin)
    found = await wait_until(partial(kept, api, admin, order_id), KEPT_WITHIN_S, "the order's trace", LOOK_EVERY_S)
    assert found["trace_id"] == trace_id

    async def told() -> bool:
        """Each service exports its spans once a second."""
        await administrator.go(f"/ops/orders?order={order_id}")
        return "Event published: order.confirmed.v1" in await administrator.main.inner_text()

    await wait_until(told, KEPT_WITHIN_S, "the order's journey", LOOK_EVERY_S)
    await expect(administrator.main).to_contain_text("The order is confirmed")
    await administrator.main.get_by_role("link", name="POST /api/v1/orders").first.click()
    await expect(administrator.heading).to_have_text("POST /api/v1/orders")
    await page.wait_for_load_state()  # the heading is there before the last of the spans
    assert await page.locator(".waterfall rect").count() >= found["spans"]
    for layer in ("http", "sql", "event", "step"):
        assert await page.locator(f".waterfall .layer-{layer}").count(), layer
    await expect(page.locator(".log")).to_contain_text("order_confirmed")


async def test_a_lever_restarts_a_service_and_the_audit_shows_its_promises(
    administrator: BrowserUser, shop: RunningShop
) -> None:
    before = shop.local.pid(NOUN)
    await administrator.go("/ops/levers")
    await administrator.press(f"restart {LEVER}")
    await expect(administrator.heading).to_have_text(f"Restart {LEVER}?")
    await administrator.press(f"Restart {LEVER}")
    said = administrator.page.get_by_role("status")
    await expect(said).to_have_text(f"{LEVER} was restarted.", timeout=LEVER_TIMEOUT_MS)
    assert shop.local.pid(NOUN) != before
    await expect(administrator.page.locator(".log")).to_contain_text("lever_used")
    await administrator.press("Run the audit")

    async def audited() -> bool:
        await administrator.go("/ops/levers")
        return bool(await administrator.page.locator("#audit").count())

    await wait_until(audited, KEPT_WITHIN_S, "the result of the audit", LOOK_EVERY_S)
    assert await administrator.page.locator(".oracles li").count() > 10


async def tab_to(page: Page, selector: str) -> None:
    """Press the tabulator until the element has the focus, at most MAX_TABS times."""
    for _ in range(MAX_TABS):
        if await page.evaluate("selector => document.activeElement.matches(selector)", selector):
            return
        await page.keyboard.press("Tab")
    raise AssertionError(f"{selector} never had the focus")


async def test_the_keyboard_is_enough(administrator: BrowserUser) -> None:
    page, keys = administrator.page, administrator.page.keyboard
    await keys.press("Tab")
    await expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    await keys.press("Enter")
    await expect(administrator.main).to_be_focused()
    await tab_to(page, '[data-node="order"]')
    await page.locator('[data-node="product"]').hover()
    await page.mouse.move(0, 0)
    await expect(page.locator("#picture.one")).to_be_visible()
    await keys.press("Enter")
    await expect(administrator.heading).to_have_text("order")
    await keys.press("/")
    await expect(page.get_by_label("Level")).to_be_focused()
    await keys.press("Tab")
    await keys.type("a/b")
    await expect(page.get_by_label("Text")).to_have_value("a/b")
    await keys.press("Escape")
    await expect(page.get_by_label("Text")).not_to_be_focused()


async def test_a_fault_is_injected_without_a_mouse_and_ended(administrator: BrowserUser, api: Api) -> None:
    page, said = administrator.page, administrator.page.get_by_role("status")

    async def recommended() -> bool:
        async with api.session.get(f"{api.url}/api/v1/recommendations") as answer:
            return answer.status == OK

    assert await recommended()
    await administrator.go("/ops/services/gateway")
    await tab_to(page, f'[aria-label="Inject fault: gateway to {NOUN}"]')
    await page.keyboard.press("Enter")
    await expect(administrator.heading).to_have_text(f"Inject a fault from gateway to {NOUN}?")
    await tab_to(page, '[name="error_percent"]')
    await page.keyboard.type("100")
    await page.keyboard.press("Enter")
    await expect(said).to_contain_text("lasts 60 s (1 of 1 instances of gateway)")
    assert not await recommended()
    await expect(page.locator(f'[data-call="{NOUN}"]')).to_contain_text("100 % fail")
    await tab_to(page, f'[aria-label="End fault: gateway to {NOUN}"]')
    await page.keyboard.press("Enter")
    await expect(administrator.heading).to_have_text(f"End the fault from gateway to {NOUN}?")
    await tab_to(page, "#confirm button")
    await page.keyboard.press("Enter")
    await expect(said).to_contain_text("has ended")
    await wait_until(recommended, KEPT_WITHIN_S, "an answer")


async def test_a_service_is_scaled_and_its_new_instance_is_shown(administrator: BrowserUser) -> None:
    page, said = administrator.page, administrator.page.get_by_role("status")

    async def scale(count: int) -> None:
        await administrator.go("/ops/levers")
        await page.get_by_label("Service").select_option(NOUN)
        await page.get_by_label("Processes").fill(str(count))
        await administrator.press("Scale")
        await administrator.press(f"Scale {NOUN} to {count}")
        await expect(said).to_contain_text(f"{NOUN} was scaled: {LEVER}", timeout=LEVER_TIMEOUT_MS)

    await scale(2)
    await administrator.go("/ops")
    shown = page.locator(f'[data-node="{NOUN}"] [data-value="instances"]')
    await expect(shown).to_have_text("2/2", timeout=LEVER_TIMEOUT_MS)
    await scale(1)


async def test_a_shop_whose_control_room_has_ended_sells(shop: RunningShop, api: Api, admin: str) -> None:
    async with shop.stopped("ops"):
        order_id, _ = await place(api, admin)
        assert (await api.call("GET", f"/orders/{order_id}", admin))["state"] in {"pending", "confirmed"}
    assert shop.healthy()


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_pages_are_readable_on_a_phone(chromium: Browser, shop: RunningShop, scheme: str) -> None:
    async with browser_user(chromium, shop.url, viewport=PHONE, color_scheme=scheme) as user:
        await user.sign_in(shop.admin_email, shop.admin_password, "/ops")
        for path in ("/ops", "/ops/orders", "/ops/traces", "/ops/services/order", "/ops/levers"):
            await user.go(path)
            assert await overflow_px(user.page) == 0, path
            assert not await low_contrast_texts(user.page, MIN_CONTRAST), path
            assert not await unlabelled(user.page), path
