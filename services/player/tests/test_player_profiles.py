"""Profiles: who sees what, and what a player may change."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID, uuid4

from services.player.tests.conftest import Start
from services.player.tests.player_service import NOON, PLAYERS, RunningService, confirmed, unlocked
from shop.contracts.events import PlayerChanged
from shop.contracts.store import StoreSettings
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.kit.pages import encode_cursor
from shop.player.repository import PlayerRepository
from shop.player.service import MAX_FRIENDS

WAITS_FOR_A_LOCK = """
SELECT count(*) > 0 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"""
FRIENDS_OF = """
WITH made AS (
    INSERT INTO players (id, name, created_at) SELECT gen_random_uuid(), 'Somebody', now() FROM generate_series(1, $2)
    RETURNING id)
INSERT INTO friends (player_id, friend_id, added_at) SELECT $1, id, now() FROM made"""
BAD_CHANGES: list[Any] = [
    {"name": "x"},
    {"name": "x" * 31},
    {"name": None},
    {"name": "a\u202eb"},
    {"name": "a\x07b"},
    {"name": "\u3164\u3164\u3164"},
    {"name": 12},
    {"private": "yes"},
    {"private": 1},
    {"mails": None},
    {"time_zone": "Europe/Atlantis"},
    {"time_zone": "../etc/passwd"},
    {"time_zone": ""},
    {"time_zone": "x" * 65},
    {"level": 20},
    {"id": str(uuid4())},
    [],
    "x",
]


async def test_an_unknown_player_is_not_invented(service: RunningService) -> None:
    for path in (f"{PLAYERS}/{new_id()}", f"{PLAYERS}/{new_id()}/achievements"):
        answer = await service.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "unknown_player")
    assert await service.database.fetchval("SELECT count(*) FROM players") == 0
    assert (await service.client.get(f"{PLAYERS}/{2**63}")).status_code == 422


async def test_the_first_request_creates_the_player_once(service: RunningService) -> None:
    who = service.someone()
    answers = await asyncio.gather(*(service.me(who) for _ in range(4)))
    assert all(answer == answers[0] for answer in answers)
    [event] = await service.published(PlayerChanged)
    assert (event.player_id, event.version, event.name, event.mail_to) == (who.id, 1, answers[0]["name"], None)
    seen = await service.client.get(who.path)
    assert seen.json() == {
        "id": str(who.id),
        "name": answers[0]["name"],
        "private": False,
        "avatar_url": f"{who.path}/avatar.svg",
        "level": 1,
        "level_xp": 0,
        "next_level_xp": 100,
        "xp": 0,
        "streak": 0,
        "statistics": {"rounds": 0, "orders": 0, "best_streak": 0},
    }


async def test_a_change_is_a_new_version_and_only_then(service: RunningService) -> None:
    who = await service.player()
    first = await service.change(who, name="  Queen\u00a0Bee ", mails=True, time_zone="Asia/Tokyo")
    assert (first.status_code, first.json()["name"], first.json()["time_zone"]) == (200, "Queen Bee", "Asia/Tokyo")
    await service.change(who, name="Queen Bee")
    await service.change(who)
    back = await service.change(who, mails=False, time_zone=None, private=True)
    assert (back.json()["time_zone"], back.json()["private"], back.json()["name"]) == (None, True, "Queen Bee")
    events = await service.published(PlayerChanged)
    assert [(one.version, one.mail_to, one.private) for one in events] == [
        (1, None, False),
        (2, who.principal.email, False),
        (3, None, True),
    ]


async def test_changes_at_once_have_one_version_each(service: RunningService) -> None:
    who = await service.player()
    await asyncio.gather(*(service.change(who, name=f"Name {number}") for number in range(8)))
    events = await service.published(PlayerChanged)
    assert sorted(one.version for one in events) == list(range(1, 10))
    newest = max(events, key=lambda one: one.version)
    assert (await service.me(who))["name"] == newest.name


async def test_bad_changes_are_refused(service: RunningService) -> None:
    who = await service.player()
    before = await service.me(who)
    for body in BAD_CHANGES:
        answer = await service.client.patch(f"{PLAYERS}/me", json=body, headers=who.headers)
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request"), body
    nul = await service.client.patch(f"{PLAYERS}/me", json={"name": "a\x00b"}, headers=who.headers)
    assert (nul.status_code, nul.json()["code"]) == (400, "nul_character")
    assert await service.me(who) == before
    assert (await service.client.get(f"{PLAYERS}/me")).json()["code"] == "token_missing"


async def test_of_a_private_player_others_see_nothing(service: RunningService) -> None:
    who, other = await service.player(), await service.player()
    await service.take(confirmed(who))
    await service.change(who, private=True)
    for headers in ({}, other.headers, service.tokens.headers("admin")):
        seen = (await service.client.get(who.path, headers=headers)).json()
        assert (seen["name"], seen["private"]) == ("Private player", True)
        assert {seen[key] for key in ("level", "xp", "streak", "level_xp", "next_level_xp")} == {None}
        assert seen["statistics"] == {}
        hidden = await service.client.get(f"{who.path}/achievements", headers=headers)
        assert (hidden.status_code, hidden.json()["code"]) == (404, "private_player")
    own = await service.client.get(who.path, headers=who.headers)
    assert (own.json()["xp"], own.json()["private"]) == (62, True)
    assert (await service.client.get(f"{who.path}/achievements", headers=who.headers)).status_code == 200
    await service.change(who, private=False)
    assert (await service.client.get(who.path)).json()["xp"] == 62


async def test_achievements_are_those_of_achievement(service: RunningService) -> None:
    who = await service.player()
    answer = await service.client.get(f"{who.path}/achievements")
    assert [one["code"] for one in answer.json()["items"]] == ["first_round"]
    forged = {"Authorization": f"Bearer {service.tokens.forged()}"}
    assert (await service.client.get(who.path, headers=forged)).status_code == 401


async def test_pages_of_the_ledger_hold_each_entry_once(service: RunningService) -> None:
    who, other = await service.player(), await service.player()
    for number in range(5):
        await service.take(unlocked(who, f"a{number}", number), unlocked(other, "other", 9))
    causes, cursor = [], None
    for _ in range(3):
        parameters = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await service.client.get(f"{PLAYERS}/me/ledger", params=parameters, headers=who.headers)).json()
        causes += [one["cause"] for one in page["items"]]
        cursor = page["next_cursor"]
    assert (causes, cursor) == ([f"achievement:a{number}" for number in (4, 3, 2, 1, 0)], None)
    one = await service.client.get(f"{PLAYERS}/me/ledger?cause=achievement:a3", headers=who.headers)
    assert [(entry["xp"], entry["at"]) for entry in one.json()["items"]] == [
        (3, NOON.isoformat().replace("+00:00", "Z"))
    ]
    wrong = {"x": 400, encode_cursor(None): 400, encode_cursor("x"): 400, encode_cursor(2**63): 422}
    for cursor, status in wrong.items():
        bad = await service.client.get(f"{PLAYERS}/me/ledger", params={"cursor": cursor}, headers=who.headers)
        assert bad.status_code == status, cursor


async def test_friends_are_one_sided_and_limited(service: RunningService) -> None:
    who, friend, private = [await service.player() for _ in range(3)]
    await service.change(private, private=True)
    friends = f"{PLAYERS}/me/friends"
    for one in (friend, private, friend):
        assert (await service.client.put(f"{friends}/{one.id}", headers=who.headers)).status_code == 204
    listed = (await service.client.get(friends, headers=who.headers)).json()["items"]
    assert [one["id"] for one in listed] == [str(friend.id), str(private.id)]
    assert listed[1]["name"] == "Private player"
    assert (await service.client.get(friends, headers=friend.headers)).json() == {"items": []}
    wrong = {who.id: (422, "own_friend"), new_id(): (404, "unknown_player")}
    for player_id, refused in wrong.items():
        answer = await service.client.put(f"{friends}/{player_id}", headers=who.headers)
        assert (answer.status_code, answer.json()["code"]) == refused
    for _ in range(2):
        assert (await service.client.delete(f"{friends}/{private.id}", headers=who.headers)).status_code == 204
    assert len((await service.client.get(friends, headers=who.headers)).json()["items"]) == 1


async def test_friends_added_at_once_stay_within_the_limit(service: RunningService) -> None:
    """Who adds one waits for another transaction that adds one, and counts its friend."""
    who, first, second = [await service.player() for _ in range(3)]
    await service.database.execute(FRIENDS_OF, who.id, MAX_FRIENDS - 1)
    path, repository = f"{PLAYERS}/me/friends", PlayerRepository(service.database)

    async def waits_or_is_done() -> bool:
        return adding.done() or await service.database.fetchval(WAITS_FOR_A_LOCK)

    async with service.database.transaction() as connection:
        await repository.lock(connection, [who.id])
        assert await repository.add_friend(connection, who.id, first.id, NOON, MAX_FRIENDS)
        adding = asyncio.create_task(service.client.put(f"{path}/{second.id}", headers=who.headers))
        await wait_until(waits_or_is_done)
    answer = await adding
    assert (answer.status_code, answer.json()["code"]) == (409, "friends_full")
    assert len((await service.client.get(path, headers=who.headers)).json()["items"]) == MAX_FRIENDS


async def test_two_who_add_each_other_do_not_wait_for_each_other(service: RunningService) -> None:
    for _ in range(4):
        one, other = await service.player(), await service.player()
        adding = [(one, other.id), (other, one.id)]
        answers = await asyncio.gather(
            *(service.client.put(f"{PLAYERS}/me/friends/{player}", headers=who.headers) for who, player in adding)
        )
        assert [answer.status_code for answer in answers] == [204, 204]


async def test_an_avatar_follows_from_the_id(service: RunningService) -> None:
    ids = [UUID(int=number) for number in range(50)]
    answers = [await service.client.get(f"{PLAYERS}/{player}/avatar.svg") for player in ids]
    assert {answer.headers["content-type"] for answer in answers} == {"image/svg+xml"}
    assert len({answer.text for answer in answers}) == len(ids)
    again = await service.client.get(f"{PLAYERS}/{ids[0]}/avatar.svg")
    assert again.content == answers[0].content
    assert "immutable" in again.headers["cache-control"]


async def test_days_are_those_of_the_store_until_a_player_chooses(start: Start) -> None:
    async with start(store=StoreSettings(time_zone="Asia/Tokyo")) as service:
        who = await service.player()
        orders = [confirmed(who, at=NOON.replace(hour=hour, minute=minute)) for hour, minute in ((14, 59), (15, 1))]
        await service.take(*orders)
        assert (await service.me(who))["statistics"]["best_streak"] == 2
