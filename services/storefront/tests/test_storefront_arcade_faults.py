"""Pages while a service of the arcade is away, slow or hanging: complete but for its part, and delayed at most once."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_arcade import rival
from services.storefront.tests.test_storefront_arcade import me
from shop.devkit.testing import Running, wait_until
from shop.kit.balancing.breaker import State
from shop.kit.errors import Problem, Unavailable
from shop.storefront.app import make_app
from shop.storefront.arcade import service as arcade_service
from shop.storefront.arcade.asking import Asking
from shop.storefront.settings import Settings

SHORT_S = 0.1
SERVICES = ("player", "leaderboard", "achievement")
BESIDE = {
    "player": ("Your level is not available", "Level 1"),
    "leaderboard": ("The leaderboard is not available", "Rival 1"),
    "achievement": ("Achievements are not available", "First round"),
}
"""By service: what the page says without its answer, and what it shows with it."""


@pytest.fixture
async def hurried(settings: Settings, running: Running, scripted: ScriptedShop) -> AsyncIterator[Browser]:
    """A customer of a storefront that waits SHORT_S for a part of a page."""
    async with running(make_app(settings.model_copy(update={"arcade_timeout_s": SHORT_S}))) as client:
        yield Browser(client, scripted)


async def parts(browser: Browser) -> set[str]:
    """The services whose parts the arcade's page shows; of the others it says that they are away."""
    page = await browser.get("/arcade")
    assert page.one("h1").text == "Stack"
    assert page.all("div", id="stack-game")
    shown = {name for name, (_, content) in BESIDE.items() if content in page.text}
    assert {name for name, (sentence, _) in BESIDE.items() if sentence in page.text} == set(SERVICES) - shown
    return shown


@pytest.mark.parametrize("service", SERVICES)
async def test_the_page_is_complete_but_for_the_service_that_is_away(browser: Browser, service: str) -> None:
    await browser.sign_in()
    browser.shop.arcade.score("stack", rival(1), 5, "Rival 1")
    assert await parts(browser) == set(SERVICES)
    browser.shop.down = {service}
    assert await parts(browser) == set(SERVICES) - {service}


@pytest.mark.parametrize("service", SERVICES)
async def test_a_service_that_hangs_delays_no_second_page(hurried: Browser, service: str) -> None:
    await hurried.sign_in()
    hurried.shop.arcade.score("stack", rival(1), 5, "Rival 1")
    await wait_for_parts(hurried, set(SERVICES))
    gate = hurried.shop.gates[service] = asyncio.Event()
    assert service not in await parts(hurried)
    arcade = hurried.client._transport.app.state.service.arcade  # type: ignore[attr-defined]
    assert getattr(arcade, f"ask_{service}").breaker.state is not State.CLOSED, "no page waits for it"
    gate.set()
    await wait_for_parts(hurried, set(SERVICES))


async def wait_for_parts(browser: Browser, wanted: set[str]) -> None:
    deadline = time.monotonic() + 20
    while await parts(browser) != wanted:
        assert time.monotonic() < deadline
        await asyncio.sleep(0)


async def test_every_service_away_leaves_the_game_and_the_rest_of_the_shop(browser: Browser) -> None:
    await browser.sign_in()
    browser.shop.down = set(SERVICES)
    assert await parts(browser) == set()
    await browser.add("pride")
    await browser.checkout()
    assert browser.page.one("h1").text == "Thank you for your order"
    assert browser.page.one("p", id="gained").text == ""
    assert (await browser.get("/")).one("h1")


async def test_a_page_without_its_subject_is_an_error_page(browser: Browser) -> None:
    await browser.sign_in()
    browser.shop.arcade.player(rival(1))
    browser.shop.down = {"leaderboard", "player"}
    for path in ("/leaderboards", "/leaderboards/stack"):
        assert "Leaderboards are temporarily unavailable." in (await browser.get(path, 503)).text
    for path in (f"/players/{rival(1)}", "/account/player"):
        assert "Players are temporarily unavailable." in (await browser.get(path, 503)).text


@pytest.mark.parametrize(
    ("path", "down", "shown", "said"),
    [
        (f"/players/{rival(1)}", "achievements", "Level 1", "Achievements are not available"),
        (f"/players/{rival(1)}", "friends", "Level 1", ""),
        ("/account/player", "ledger", "Settings", "The list is not available at the moment."),
        ("/account/player", "friends", "Settings", "Your friends are not available at the moment."),
        ("/leaderboards/stack-daily", "seasons", "Rival 1", ""),
        ("/leaderboards/stack-daily?who=friends", "friends", "Nobody yet", "Your friends are not available"),
    ],
)
async def test_parts_that_are_away_leave_the_subject(
    browser: Browser, path: str, down: str, shown: str, said: str
) -> None:
    await browser.sign_in()
    browser.shop.arcade.score("stack-daily", rival(1), 5, "Rival 1")
    browser.shop.down = {down}
    page = await browser.get(path)
    assert shown in page.text
    assert said in page.text


async def test_an_order_page_does_not_wait_for_what_the_order_brought(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arcade_service, "GAIN_TIMEOUT_S", SHORT_S)
    await browser.sign_in()
    await browser.add("pride")
    await browser.checkout()
    order_id = browser.path.rpartition("/")[2]
    browser.shop.orders[order_id]["updated_at"] = datetime.now(UTC).isoformat()
    browser.shop.arcade.gain(me(browser), f"order:{order_id}", 38)
    gate = browser.shop.gates["player"] = asyncio.Event()
    page = await browser.get(browser.path)
    assert page.one("p", id="gained").text == ""
    assert "/gained" in page.one("p", id="gained").attributes["hx-get"]
    gate.set()


async def test_no_round_is_begun_while_the_player_service_is_away(browser: Browser) -> None:
    await browser.sign_in()
    token = (await browser.get("/arcade")).all("input", name="csrf_token")[0].attributes["value"]
    browser.shop.down = {"player"}
    answer = await browser.client.post("/arcade/stack/sessions", data={"csrf_token": token})
    assert (answer.status_code, answer.json()["retryable"]) == (503, True)
    assert "No round can be started at the moment." in answer.json()["message"]


async def test_a_problem_is_an_answer_and_a_failure_is_asked_again_in_the_background() -> None:
    asking, state = Asking("player", 5.0), {"away": True, "asked": 0}

    async def refused() -> str:
        raise Problem(404, "unknown_player", "There is no such player.")

    async def answer() -> str:
        state["asked"] += 1
        if state["away"]:
            raise Unavailable("player")
        return "found"

    for _ in range(2):
        with pytest.raises(Problem):
            await asking.ask(refused)
    with pytest.raises(Unavailable):
        await asking.ask(answer)
    assert await asking.maybe(answer) is None
    assert state["asked"] == 1
    state["away"] = False
    asking.breaker.try_again()
    assert await asking.maybe(answer) is None
    await wait_until(lambda: state["asked"] == 2)
    assert await asking.maybe(answer) == "found"
    await asking.close()
