"""The arcade's page and its rounds: what is shown to whom, what is posted, and what is refused."""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import httpx

from services.storefront.tests.conftest import CUSTOMER, Browser
from services.storefront.tests.html import Page
from services.storefront.tests.scripted import ScriptedShop
from services.storefront.tests.scripted_arcade import SEED, achievement, rival
from services.storefront.tests.scripted_data import product_id
from shop.devkit.testing import Running
from shop.games import rules
from shop.kit.errors import Problem
from shop.storefront.app import make_app
from shop.storefront.settings import Settings

MOVES = [52]
REFUSALS = (
    (410, "session_expired", "arrived after its time was over"),
    (422, "session_invalid", "It was not started here."),
    (403, "session_foreign", "started by another account"),
    (409, "session_used", "Another result of the same round"),
    (422, "moves_impossible", "do not fit the rules"),
    (429, "too_frequent", "many rounds within a minute"),
    (418, "new_code", "A new reason."),
)
PATHS = ("/arcade", "/leaderboards", "/leaderboards/stack", f"/players/{rival(1)}", "/account/player")


def me(browser: Browser) -> str:
    """The id of the signed-in customer."""
    return browser.shop.people[CUSTOMER].id


async def post(browser: Browser, path: str, **fields: str) -> httpx.Response:
    """Posts as the page's script does, with the token that is in the page."""
    token = (await browser.get("/arcade")).all("input", name="csrf_token")[0].attributes["value"]
    return await browser.client.post(path, data={"csrf_token": token, **fields})


async def begin(browser: Browser) -> dict[str, Any]:
    answer = await post(browser, "/arcade/stack/sessions")
    assert answer.status_code == 201, answer.text
    opened: dict[str, Any] = answer.json()
    return opened


def moves_text(moves: list[int]) -> str:
    return ",".join(map(str, moves))


async def finish(browser: Browser, opened: dict[str, Any], moves: list[int]) -> httpx.Response:
    path = f"/arcade/stack/sessions/{opened['id']}/result"
    return await post(browser, path, token=opened["token"], moves=moves_text(moves))


def ranks(page: Page) -> list[tuple[str, str]]:
    """Names and scores of the board, and of the lines around the player's own place."""
    rows = [row.text.split("\n") for row in page.all("tr") if row.inside("tbody")]
    cells = [[line.strip() for line in row if line.strip()] for row in rows]
    return [(row[1].removesuffix(" You"), row[-1]) for row in cells if len(row) > 1]


async def test_a_visitor_may_play_but_the_score_is_not_kept(browser: Browser) -> None:
    page = await browser.get("/arcade")
    game = page.one("div", id="stack-game")
    assert "data-signed-in" not in game.attributes
    assert json.loads(game.attributes["data-rules"]) == rules("stack")
    assert "Your score is not kept." in page.text
    assert "/sign-in?next=/arcade" in page.links()
    assert "First round" in page.text
    assert (await post(browser, "/arcade/stack/sessions")).json()["code"] == "signed_out"
    assert not [call for call in browser.shop.calls if call[1].startswith("/api/v1/games")]


async def test_a_customer_sees_level_streak_and_coupons(browser: Browser) -> None:
    await browser.sign_in()
    coupon = {"level": 5, "code": "LEVEL5-ABCD", "percent": 10, "expires_at": "2126-06-01T12:00:00+00:00"}
    browser.shop.arcade.player(me(browser), "Brave Badger 7", xp=350, streak=3, coupons=[coupon])
    page = await browser.get("/arcade")
    assert "Level 3" in page.text
    assert "250 XP to level 4" in page.text
    assert "3 days in a row" in page.text
    assert "LEVEL5-ABCD" in page.text
    bar = page.all("progress")[0]
    assert (bar.attributes["value"], bar.attributes["max"]) == ("50", "300")
    assert page.one("div", id="progress").attributes["data-track"] == "/arcade/events"


async def test_the_pieces_are_the_books_of_the_shop(browser: Browser) -> None:
    game = (await browser.get("/arcade")).one("div", id="stack-game")
    assert game.attributes["data-theme"] == "books"
    assert "Pride and Prejudice" in json.loads(game.attributes["data-titles"])


async def test_a_shop_without_books_has_parcels(browser: Browser) -> None:
    for book in browser.shop.products.values():
        book["attributes"] = {}
    game = (await browser.get("/arcade")).one("div", id="stack-game")
    assert (game.attributes["data-theme"], game.attributes["data-titles"]) == ("parcels", "[]")


async def test_boards_of_the_game_are_tabs_and_the_own_place_is_marked(browser: Browser) -> None:
    await browser.sign_in()
    arcade = browser.shop.arcade
    for number in range(1, 13):
        arcade.score("stack", rival(number), 1000 - number, f"Rival {number}")
    arcade.score("stack", me(browser), 100, "Me")
    page = await browser.get("/arcade")
    assert [tab.text for tab in page.all("a") if "data-board" in tab.attributes] == ["All time", "Today", "This week"]
    names = [name for name, _ in ranks(page)]
    assert names == [*(f"Rival {number}" for number in range(1, 13)), "Me"]
    (mine,) = page.all("tr", **{"aria-current": "true"})
    assert mine.text.split()[0] == "13"
    assert page.one("div", id="stack-game").attributes["data-best"] == "100"


async def test_the_board_alone_is_a_part_that_a_page_fetches(browser: Browser) -> None:
    browser.shop.arcade.score("stack-daily", rival(1), 5, "Rival 1")
    page = await browser.get("/arcade/standings?board=stack-daily")
    assert not page.all("html")
    assert page.one("section", id="standings").attributes["data-refresh"] == "/arcade/standings?board=stack-daily"
    assert ranks(page) == [("Rival 1", "5")]
    await browser.get("/arcade/standings?board=nothing", 404)
    await browser.get("/arcade?board=no%20board", 400)


async def test_a_round_is_posted_once_and_answers_the_same_again(browser: Browser) -> None:
    await browser.sign_in()
    opened = await begin(browser)
    assert opened["seed"] == SEED
    first = await finish(browser, opened, MOVES)
    assert first.status_code == 200, first.text
    assert first.json()["rank"] == 1
    assert [one["code"] for one in first.json()["unlocked"]] == ["first_round"]
    assert (await finish(browser, opened, MOVES)).json() == first.json()
    assert browser.shop.arcade.players[me(browser)]["xp"] == 7
    sent = [json.loads(body) for _, path, body in browser.shop.calls if path.endswith("/result")]
    assert sent == [{"token": opened["token"], "moves": MOVES}] * 2


async def test_a_lost_answer_may_be_sent_again(browser: Browser) -> None:
    await browser.sign_in()
    opened = await begin(browser)
    browser.shop.arcade.lost_answers = 1
    lost = await finish(browser, opened, MOVES)
    assert (lost.status_code, lost.json()["retryable"]) == (503, True)
    assert "It is kept on this page" in lost.json()["message"]
    assert (await finish(browser, opened, MOVES)).status_code == 200
    assert len(browser.shop.arcade.ledger[me(browser)]) == 1


async def test_each_refusal_has_a_sentence(browser: Browser) -> None:
    await browser.sign_in()
    opened = await begin(browser)
    for status, code, message in REFUSALS:
        browser.shop.arcade.refuse = Problem(status, code, "A new reason.", headers={"Retry-After": "9"})
        answer = await finish(browser, opened, MOVES)
        assert answer.status_code == status
        assert (answer.json()["code"], answer.json()["retryable"]) == (code, status == 429)
        assert message in answer.json()["message"]
        assert answer.headers["retry-after"] == "9"


async def test_moves_that_are_no_list_of_ticks_are_refused_here(browser: Browser) -> None:
    await browser.sign_in()
    opened = await begin(browser)
    for moves in ("a", "1,", "-1", "1.5", "1e3", "9" * 30, "\N{ARABIC-INDIC DIGIT THREE}", ",".join(["1"] * 2000)):
        path = f"/arcade/stack/sessions/{opened['id']}/result"
        answer = await post(browser, path, token=opened["token"], moves=moves)
        assert (answer.status_code, answer.json()["code"]) == (422, "moves_impossible"), moves
    assert not [path for _, path, _ in browser.shop.calls if path.startswith("/api/v1") and path.endswith("/result")]


async def test_a_token_that_is_no_longer_accepted_signs_out(browser: Browser) -> None:
    await browser.sign_in()
    opened = await begin(browser)
    path = f"/arcade/stack/sessions/{opened['id']}/result"
    token = (await browser.get("/arcade")).all("input", name="csrf_token")[0].attributes["value"]
    browser.shop.tokens_revoked = True
    sent = {"csrf_token": token, "token": opened["token"], "moves": "1"}
    answer = await browser.client.post(path, data=sent)
    assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (401, "signed_out", True)
    browser.shop.tokens_revoked = False
    assert "Your score is not kept." in (await browser.get("/arcade")).text


async def test_a_round_of_another_site_is_refused(browser: Browser) -> None:
    await browser.sign_in()
    token = (await browser.get("/arcade")).all("input", name="csrf_token")[0].attributes["value"]
    headers = {"origin": "https://evil.example"}
    answer = await browser.client.post("/arcade/stack/sessions", data={"csrf_token": token}, headers=headers)
    assert answer.status_code == 403
    assert not [path for _, path, _ in browser.shop.calls if path.startswith("/api/v1/games")]


async def test_nobody_follows_achievements_without_a_session(browser: Browser) -> None:
    answer = await browser.client.get("/arcade/events")
    assert answer.status_code == 303
    assert browser.shop.arcade.listening == 0


async def test_only_some_achievements_are_shown_beside_the_game(browser: Browser) -> None:
    await browser.sign_in()
    browser.shop.arcade.rules = [achievement(f"a{n}", f"Number {n}", need=n) for n in range(1, 10)]
    browser.shop.arcade.rules.append(achievement("secret", "Secret", hidden=True))
    page = await browser.get("/arcade")
    assert len(page.all("li", **{"class": "achievement"})) == 6
    assert "All 9 achievements" in page.text
    assert "Secret" not in page.text


async def test_links_lead_to_the_arcade(browser: Browser) -> None:
    assert {"/arcade", "/leaderboards"} <= set((await browser.get("/")).links())
    await browser.sign_in()
    assert "/account/player" in (await browser.get("/account")).links()


async def test_a_shop_without_the_arcade_has_no_trace_of_it(
    settings: Settings, running: Running, scripted: ScriptedShop
) -> None:
    without = settings.model_copy(update={"player_url": "", "leaderboard_url": "", "achievement_url": ""})
    async with running(make_app(without)) as client:
        browser = Browser(client, scripted)
        await browser.sign_in()
        await browser.add("pride")
        await browser.checkout()
        pages = [browser.page, await browser.get("/"), await browser.get("/account")]
        for page in pages:
            assert "arcade" not in page.html.lower()
            assert not {"/arcade", "/leaderboards", "/account/player"} & set(page.links())
        for path in (*PATHS, "/arcade/standings", "/arcade/events", f"{browser.path}/gained"):
            await browser.get(path, 404)
        form = pages[1].form("/sign-out")
        answer = await client.post("/arcade/stack/sessions", data=form.fields)
        assert answer.status_code == 404
    services = ("/api/v1/players", "/api/v1/games", "/api/v1/leaderboards", "/api/v1/achievements")
    assert not [path for _, path, _ in scripted.calls if path.startswith(services)]


async def test_an_order_says_what_it_brought(browser: Browser) -> None:
    await browser.sign_in()
    await browser.add("pride")
    page = await browser.checkout()
    assert page.one("p", id="gained").text == ""
    order_id = browser.path.rpartition("/")[2]
    browser.shop.arcade.gain(me(browser), f"order:{uuid4()}", 99)
    browser.shop.arcade.gain(me(browser), f"order:{order_id}", 38)
    page = await browser.get(f"/orders/{order_id}")
    assert page.one("p", id="gained").text == "This order brought you 38 XP in the arcade."
    part = await browser.get(f"/orders/{order_id}/gained")
    assert not part.all("html")
    assert "38 XP" in part.text


async def test_an_order_that_was_not_sold_brings_nothing(browser: Browser) -> None:
    await browser.sign_in()
    await browser.add("pride")
    await browser.checkout()
    browser.shop.calls.clear()
    for state in ("pending", "rejected", "cancelled"):
        browser.shop.orders[browser.path.rpartition("/")[2]]["state"] = state
        assert "hidden" in (await browser.get(browser.path)).one("p", id="gained").attributes
    assert not [path for _, path, _ in browser.shop.calls if path.endswith("/ledger")]


async def test_unknown_ids_are_not_found(browser: Browser) -> None:
    for path in (f"/players/{product_id('nobody')}", "/players/nobody", "/leaderboards/nothing"):
        await browser.get(path, 404)
