"""Leaderboards, profiles, friends and the player's own page."""

from __future__ import annotations

import json
from urllib.parse import quote

import pytest

from services.storefront.tests.conftest import Browser
from services.storefront.tests.html import Form, Page
from services.storefront.tests.scripted_arcade import achievement, rival
from services.storefront.tests.scripted_data import product_id
from services.storefront.tests.test_storefront_arcade import me, ranks
from services.storefront.tests.test_storefront_safety import NASTY, check_no_foreign_markup
from shop.storefront.arcade import board_pages
from shop.storefront.arcade.settings_pages import zones

RIVALS = 55
PAGES_OF_A_NAME = ("/arcade", "/leaderboards", "/leaderboards/stack", "/leaderboards/stack?who=friends")

WRONG_SETTINGS = (
    ("name", "A", "This field is required."),
    ("name", "x" * 31, "This is too long."),
    ("name", "a\u202eb", "cannot be seen"),
    ("name", "Admin", "This name is not allowed."),
    ("time_zone", "Mars/Olympus", "Choose a time zone of the list"),
    ("time_zone", "../../etc/passwd", "Choose a time zone of the list"),
)


def fill(browser: Browser, count: int, board: str = "stack") -> None:
    for number in range(1, count + 1):
        browser.shop.arcade.score(board, rival(number), 1000 - number, f"Rival {number}")


def settings_of(page: Page) -> dict[str, str]:
    return page.form("/account/player").fields


async def test_boards_are_listed_with_their_first_places(browser: Browser) -> None:
    fill(browser, 5)
    page = await browser.get("/leaderboards")
    assert {"/leaderboards/stack", "/leaderboards/buyers"} <= set(page.links())
    assert "Rival 3" in page.text
    assert "Rival 4" not in page.text
    assert "New every month" in page.text


async def test_a_board_goes_on_by_its_cursor(browser: Browser) -> None:
    fill(browser, RIVALS)
    page = await browser.get("/leaderboards/stack")
    assert len(ranks(page)) == 50
    assert "55 players" in page.text
    page = await browser.get(next(link for link in page.links() if "cursor=" in link))
    assert [name for name, _ in ranks(page)] == [f"Rival {number}" for number in range(51, 56)]
    assert not [link for link in page.links() if "cursor=" in link]


async def test_the_own_place_is_marked_where_it_is_or_added_with_its_neighbours(browser: Browser) -> None:
    await browser.sign_in()
    fill(browser, RIVALS)
    browser.shop.arcade.score("stack", me(browser), 999, "Ada")
    page = await browser.get("/leaderboards/stack")
    assert len(page.all("tr", **{"aria-current": "true"})) == 1
    assert len(ranks(page)) == 50
    browser.shop.arcade.score("stack", me(browser), 1)
    page = await browser.get("/leaderboards/stack")
    assert "Your place: 56 with 1 points" in page.text
    assert [name for name, _ in ranks(page)][50:] == ["Rival 54", "Rival 55", "Ada"]


async def test_a_board_of_buyers_says_what_points_are(browser: Browser) -> None:
    browser.shop.arcade.score("buyers", rival(1), 120, "Rival 1")
    assert "Points are the whole EUR of your confirmed orders." in (await browser.get("/leaderboards/buyers")).text
    assert "whole EUR" not in (await browser.get("/leaderboards/stack")).text


async def test_seasons_that_ended_can_be_read(browser: Browser) -> None:
    fill(browser, 3, "stack-daily")
    page = await browser.get("/leaderboards/stack-daily")
    assert len(ranks(page)) == 3
    assert "/leaderboards/stack-daily?season=2026-03-04" in page.links()
    page = await browser.get("/leaderboards/stack-daily?season=2026-03-04")
    assert len(ranks(page)) == 1
    assert page.all("a", **{"aria-current": "page"})[-1].text == "2026-03-04"
    await browser.get("/leaderboards/stack-daily?season=1999", 404)
    assert "season" not in (await browser.get("/leaderboards/stack")).html


async def test_friends_are_shown_by_their_ranks_on_the_whole_board(browser: Browser) -> None:
    assert (await browser.get("/leaderboards/stack?who=friends")).one("h1").text == "Sign in"
    await browser.sign_in()
    fill(browser, 9)
    assert "You have no friends here yet." in (await browser.get("/leaderboards/stack?who=friends")).text
    browser.shop.arcade.score("stack", me(browser), 1, "Ada")
    browser.shop.arcade.friends[me(browser)] = [rival(4), rival(8)]
    page = await browser.get("/leaderboards/stack?who=friends")
    assert [name for name, _ in ranks(page)] == ["Rival 4", "Rival 8", "Ada"]


async def test_friends_beyond_one_request_are_left_out_and_counted(
    browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(board_pages, "FRIENDS_RANKED", 2)
    await browser.sign_in()
    fill(browser, 5)
    browser.shop.arcade.friends[me(browser)] = [rival(number) for number in range(1, 6)]
    page = await browser.get("/leaderboards/stack?who=friends")
    assert len(ranks(page)) == 2
    assert "3 of your friends are left out" in page.text


async def test_a_profile_shows_level_statistics_and_progress(browser: Browser) -> None:
    arcade = browser.shop.arcade
    arcade.rules.append(achievement("ten", "Ten rounds", need=10))
    arcade.player(rival(1), "Rival 1", xp=120, streak=1, statistics={"rounds": 4321, "orders": 0, "best_stack": 77})
    arcade.unlock(rival(1), "first_round")
    page = await browser.get(f"/players/{rival(1)}")
    assert page.one("h1").text == "Rival 1"
    assert "Level 2" in page.text
    assert "1 day in a row" in page.text
    assert "Rounds 4,321" in page.text.replace(".", ",")
    assert "Best score in Stack 77" in page.text
    assert "Orders" not in [name.text for name in page.all("dt")]
    assert "Unlocked 5 March 2026" in page.text
    assert "0 / 10" in page.text
    assert not [form for form in page.all("form") if "/players/" in form.attributes.get("action", "")]


async def test_friends_are_added_and_removed(browser: Browser) -> None:
    await browser.sign_in()
    fill(browser, 1)
    profile = f"/players/{rival(1)}"
    page = await browser.get(profile)
    page = await browser.send(page.form(f"{profile}/befriend"))
    assert "Added to your friends." in page.text
    assert "Rival 1" in (await browser.get("/account/player")).text
    page = await browser.get(profile)
    page = await browser.send(page.form(f"{profile}/unfriend"))
    assert "Removed from your friends." in page.text
    assert browser.shop.arcade.friends[me(browser)] == []


async def test_a_friend_who_is_gone_is_explained(browser: Browser) -> None:
    await browser.sign_in()
    fill(browser, 1)
    form = (await browser.get(f"/players/{rival(1)}")).form(f"/players/{rival(1)}/befriend")
    form.action = f"/players/{product_id('nobody')}/befriend"
    await browser.send(form, 404)
    form.action = f"/players/{rival(1)}/marry"
    await browser.send(form, 404)


async def test_a_private_player_is_hidden_from_others_alone(browser: Browser) -> None:
    await browser.sign_in()
    arcade = browser.shop.arcade
    arcade.player(rival(1), "Secret Name", xp=700, streak=9, private=True)
    arcade.score("stack", me(browser), 10, "Ada")
    arcade.player(me(browser), private=True)
    page = await browser.get(f"/players/{rival(1)}")
    assert page.one("h1").text == "Private player"
    assert "This profile is private." in page.text
    for secret in ("Secret Name", "Level", "in a row", "First round"):
        assert secret not in page.text
    page = await browser.get(f"/players/{me(browser)}")
    assert "Only you see this profile." in page.text
    assert "Level 1" in page.text
    page = await browser.get("/arcade")
    assert "Your profile is private, so no leaderboard lists you." in page.text
    assert ranks(page) == []


async def test_settings_are_saved(browser: Browser) -> None:
    await browser.sign_in()
    page = await browser.get("/account/player")
    assert settings_of(page)["name"] == "Quick Otter 42"
    assert settings_of(page)["time_zone"] == "Europe/Berlin"
    assert not {"private", "mails"} & settings_of(page).keys()
    form = page.form("/account/player")
    form.fields |= {"name": " Ada  L ", "private": "1", "mails": "1", "time_zone": "America/New_York"}
    page = await browser.send(form)
    assert "Your player was saved." in page.text
    sent = [json.loads(body) for method, _, body in browser.shop.calls if method == "PATCH"]
    assert sent == [{"name": "Ada L", "private": True, "mails": True, "time_zone": "America/New_York"}]
    page = await browser.get("/account/player")
    assert {"private", "mails"} <= settings_of(page).keys()
    form = page.form("/account/player")
    del form.fields["private"]
    await browser.send(form, time_zone="")
    assert browser.shop.arcade.players[me(browser)]["private"] is False
    assert browser.shop.arcade.players[me(browser)]["time_zone"] == "America/New_York"


async def test_invalid_settings_are_shown_at_their_field(browser: Browser) -> None:
    await browser.sign_in()
    form = (await browser.get("/account/player")).form("/account/player")
    for field, value, message in WRONG_SETTINGS:
        typed = Form(form.action, form.method, {**form.fields, "private": "1", field: value})
        page = await browser.send(typed, 422)
        assert message in page.one("span", id=f"{field}-error").text
        assert page.one("input", id=field).attributes["value"] == value
        assert "checked" in page.one("input", name="private").attributes
    assert browser.shop.arcade.players[me(browser)]["private"] is False


def test_the_zones_that_are_offered_are_known_ones() -> None:
    assert {"Europe/Berlin", "America/New_York", "Asia/Kolkata"} <= set(zones())
    assert not [zone for zone in zones() if zone.startswith("Etc/")]


async def test_the_ledger_says_where_xp_come_from(browser: Browser) -> None:
    await browser.sign_in()
    arcade, order = browser.shop.arcade, product_id("order")
    for cause, xp in (
        (f"order:{order}", 30), (f"order_cancelled:{order}", -30), (f"result:{order}", 5),
        ("achievement:first_round", 50), ("achievement:secret", 50), ("achievement:old_rule", 5), ("future_cause", 1),
    ):  # fmt: skip
        arcade.gain(me(browser), cause, xp)
    arcade.rules = [achievement("first_round", "Welcome aboard"), achievement("secret", "Night owl", hidden=True)]
    arcade.unlock(me(browser), "secret")
    page = await browser.get("/account/player")
    assert page.one("input", id="time_zone").attributes["placeholder"] == "Europe/Berlin"
    for text in (
        *("An order", "An order was cancelled", "A round of Stack", "Future cause"),
        *("Achievement: Welcome aboard", "Achievement: Night owl", "Achievement: Old rule"),
    ):
        assert text in page.text
    assert "+50 XP" in page.text
    assert "-30 XP" in page.text
    assert page.links().count(f"/orders/{order}") == 2


async def test_the_ledger_goes_on_by_its_cursor(browser: Browser) -> None:
    await browser.sign_in()
    for number in range(35):
        browser.shop.arcade.gain(me(browser), f"result:{number}", number)
    page = await browser.get("/account/player")
    page = await browser.get(next(link for link in page.links() if "cursor=" in link))
    assert "+4 XP" in page.text
    assert "+5 XP" not in page.text


async def test_the_own_page_needs_a_session(browser: Browser) -> None:
    page = await browser.get("/account/player")
    assert page.one("h1").text == "Sign in"
    assert browser.answer.url.params["next"] == "/account/player"


async def test_names_are_escaped_everywhere(browser: Browser) -> None:
    await browser.sign_in()
    arcade = browser.shop.arcade
    arcade.score("stack", rival(1), 5, NASTY)
    arcade.player(me(browser), NASTY)
    arcade.friends[me(browser)] = [rival(1)]
    arcade.rules = [achievement("nasty", NASTY, description=NASTY)]
    arcade.gain(me(browser), f"achievement:{NASTY}", 1)
    arcade.boards[0]["title"] = NASTY
    for book in browser.shop.products.values():
        book["name"] = NASTY
    for path in (*PAGES_OF_A_NAME, f"/players/{rival(1)}", f"/players/{me(browser)}", "/account/player"):
        page = await browser.get(path)
        check_no_foreign_markup(page)
        assert "<script>alert" not in page.html


async def test_queries_that_make_no_sense_are_refused(browser: Browser) -> None:
    for path in (
        "/leaderboards/stack?who=enemies", f"/leaderboards/stack?season={'x' * 41}", "/leaderboards/UPPER",
        f"/leaderboards/{'x' * 65}", f"/leaderboards/stack?cursor={'x' * 600}", f"/leaderboards/{quote('a/b', '')}",
    ):  # fmt: skip
        answer = await browser.client.get(path)
        assert answer.status_code in {400, 404}, path
