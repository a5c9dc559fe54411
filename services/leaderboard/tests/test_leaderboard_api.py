"""Boards over HTTP: what is listed, in which order, and what is refused."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.leaderboard.tests.boards_by_hand import (
    INTERNAL,
    PATH,
    Boards,
    cancelled,
    changed,
    confirmed,
    gained,
    scored,
)
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

BIG = 2**63 - 1


async def test_boards_are_listed_with_their_present_season(boards: Boards) -> None:
    items = (await boards.client.get(PATH)).json()["items"]
    seasons = [(one["board"], one["reset"], one["season"], one["ends_at"]) for one in items]
    assert seasons == [
        ("stack", "never", "all", None),
        ("stack-daily", "daily", "2026-11-29", "2026-11-30T00:00:00Z"),
        ("stack-weekly", "weekly", "2026-W48", "2026-11-30T00:00:00Z"),
        ("buyers", "monthly", "2026-11", "2026-12-01T00:00:00Z"),
        ("buyers-all", "never", "all", None),
        ("xp", "never", "all", None),
    ]


async def test_top_rank_and_neighbours(boards: Boards) -> None:
    players = [await boards.player(f"Player {number}") for number in range(7)]
    for number, player in enumerate(players):
        await boards.take(scored(player, number * 10))
    await boards.wait_cached("stack")
    assert await boards.rows("stack", top=3) == [(1, players[6], 60), (2, players[5], 50), (3, players[4], 40)]
    document = await boards.rank("stack", players[3], neighbours=1)
    assert (document["rank"], document["score"]) == (4, 30)
    assert [(one["rank"], one["player"]["name"]) for one in document["neighbours"]] == [
        (3, "Player 4"),
        (4, "Player 3"),
        (5, "Player 2"),
    ]
    assert (await boards.board("stack"))["total"] == 7
    friends = ",".join(str(player) for player in (players[0], players[5], new_id()))
    assert await boards.rows("stack", players=friends) == [(2, players[5], 50), (7, players[0], 0)]


@pytest.mark.parametrize("cached", [True, False])
async def test_pages_list_everybody_once(boards: Boards, cached: bool) -> None:
    players = [await boards.player() for _ in range(9)]
    await boards.take(*(scored(player, number // 3) for number, player in enumerate(players)))
    await boards.wait_cached("stack")
    if not cached:
        await boards.service._epochs.raise_all([boards.key("stack").board_id])
        boards.service.keeper.want = lambda keys: None  # type: ignore[method-assign]
    seen: list[tuple[int, str]] = []
    parameters: dict[str, Any] = {"top": 2}
    for _ in range(10):
        page = await boards.board("stack", **parameters)
        seen += [(one["rank"], one["player"]["id"]) for one in page["items"]]
        parameters["cursor"] = page["next_cursor"]
        if not page["next_cursor"]:
            break
    expected = [players[index] for index in (6, 7, 8, 3, 4, 5, 0, 1, 2)]
    assert seen == [(rank, str(player)) for rank, player in enumerate(expected, 1)]
    assert await boards.cached("stack") is cached


async def test_scores_next_to_the_limit_are_two_ranks(boards: Boards) -> None:
    first, second, third = [await boards.player() for _ in range(3)]
    await boards.take(scored(second, BIG - 1), scored(first, BIG), scored(third, BIG - 2))
    expected = [(1, first, BIG), (2, second, BIG - 1), (3, third, BIG - 2)]
    assert await boards.rows("stack") == expected
    await boards.wait_cached("stack")
    assert await boards.rows("stack") == expected


async def test_a_score_of_zero_has_a_rank(boards: Boards) -> None:
    player = await boards.player()
    standings = await boards.record(scored(player, 0))
    assert [(one["board"], one["score"], one["rank"]) for one in standings] == [
        ("stack", 0, 1),
        ("stack-daily", 0, 1),
        ("stack-weekly", 0, 1),
    ]


async def test_a_worse_or_equal_score_changes_nothing(boards: Boards) -> None:
    player = await boards.player()
    first = (await boards.record(scored(player, 50)), await boards.board("stack"))
    for score in (50, 49, 0):
        assert (await boards.record(scored(player, score)), await boards.board("stack")) == first
    assert await boards.context.database.fetchval("SELECT count(*) FROM entries WHERE season = 'all'") == 1


async def test_xp_shows_the_newest_total_whatever_arrives_first(boards: Boards) -> None:
    player = await boards.player()
    await boards.take(gained(player, 30, 3), gained(player, 10, 1), gained(player, 20, 2))
    assert await boards.rows("xp") == [(1, player, 30)]
    await boards.take(gained(player, 5, 4))
    assert await boards.rows("xp") == [(1, player, 5)]


@pytest.mark.parametrize("cancelled_first", [True, False])
async def test_a_cancelled_order_takes_its_points_back(boards: Boards, cancelled_first: bool) -> None:
    player, order = await boards.player(), new_id()
    await boards.take(confirmed(player, 12_99))
    events = [confirmed(player, 5_00, order), cancelled(player, order)]
    await boards.take(*(reversed(events) if cancelled_first else events), cancelled(player, order))
    assert await boards.rows("buyers") == await boards.rows("buyers-all") == [(1, player, 12)]


async def test_who_has_only_cancelled_orders_is_not_listed(boards: Boards) -> None:
    player, order = await boards.player(), new_id()
    await boards.take(confirmed(player, 50_00, order), cancelled(player, order))
    assert await boards.rows("buyers") == []
    await boards.take(confirmed(player, 7_00))
    assert await boards.rows("buyers") == [(1, player, 7)]


async def test_a_sum_stops_at_the_limit_and_comes_back_from_it(boards: Boards) -> None:
    player, order = await boards.player(), new_id()
    await boards.take(confirmed(player, (BIG - 5) * 100), confirmed(player, 10_00, order))
    assert await boards.rows("buyers") == [(1, player, BIG)]
    await boards.take(cancelled(player, order))
    assert await boards.rows("buyers") == [(1, player, BIG - 5)]


async def test_an_order_takes_effect_once_whatever_is_repeated(boards: Boards) -> None:
    player, order = await boards.player(), new_id()
    await boards.take(*[confirmed(player, 50_00, order)] * 2)
    await boards.take_batch([confirmed(player, 50_00, order)] * 3)
    assert await boards.rows("buyers") == [(1, player, 50)]
    await boards.take_batch([cancelled(player, order), confirmed(player, 50_00, order), cancelled(player, order)])
    assert await boards.rows("buyers") == []


async def test_the_call_and_the_event_are_one_effect(boards: Boards) -> None:
    """Either may be first, and both are repeated."""
    player = await boards.player()
    for score, by_call_first in ((70, True), (80, False)):
        event, event_id = scored(player, score), new_id()
        if by_call_first:
            await boards.record(event, event_id)
        await boards.publish(event, event_id)
        await boards.publish(event, event_id, "again")
        standings = await boards.record(event, event_id)
        assert [(one["score"], one["rank"]) for one in standings] == [(score, 1)] * 3
    last = scored(player, 1)
    await boards.publish(last)
    counted = "SELECT count(*) = 3 FROM inbox WHERE consumer = 'scores'"
    await wait_until(lambda: boards.context.database.fetchval(counted))
    assert await boards.context.database.fetchval("SELECT count(*) FROM scores") == 9


async def test_calls_at_once_each_answer_with_their_own_places(boards: Boards) -> None:
    players = [await boards.player(f"Player {number}") for number in range(5)]
    events = [scored(player, 10 * number) for number, player in enumerate([*players, *players[:2]])]
    answers = await asyncio.gather(*(boards.record(event) for event in events))
    best = {player: max(event.score for event in events if event.player_id == player) for player in players}
    for event, standings in zip(events, answers, strict=True):
        assert [one["board"] for one in standings] == ["stack", "stack-daily", "stack-weekly"]
        assert all(event.score <= one["score"] <= best[event.player_id] for one in standings)


async def test_events_arrive_through_the_broker(boards: Boards) -> None:
    player, order = new_id(), new_id()
    for event in (scored(player, 5), gained(player, 9, 1), confirmed(player, 3_00), confirmed(player, 4_00, order)):
        await boards.publish(event)
    await boards.publish(cancelled(player, order))
    await boards.publish(changed(player))

    async def arrived() -> bool:
        return [await boards.rows(board) for board in ("stack", "xp", "buyers")] == [
            [(1, player, 5)],
            [(1, player, 9)],
            [(1, player, 3)],
        ]

    await wait_until(arrived)


async def test_unchanged_boards_are_answered_with_304(boards: Boards) -> None:
    player = await boards.player()
    await boards.take(scored(player, 5))
    for path in (PATH, f"{PATH}/stack", f"{PATH}/stack/players/{player}"):
        first = await boards.client.get(path)
        again = await boards.client.get(path, headers={"If-None-Match": first.headers["etag"]})
        assert (again.status_code, again.content) == (304, b"")
    tag = (await boards.client.get(f"{PATH}/stack")).headers["etag"]
    await boards.take(scored(player, 6))
    assert (await boards.client.get(f"{PATH}/stack", headers={"If-None-Match": tag})).status_code == 200


BAD_REQUESTS = [
    ("/none", 404, "unknown_board"),
    ("/none/seasons", 404, "unknown_board"),
    (f"/none/players/{UUID(int=1)}", 404, "unknown_board"),
    (f"/stack/players/{UUID(int=1)}", 404, "not_on_board"),
    ("/stack/players/1", 422, "invalid_request"),
    ("/stack?season=2026", 404, "unknown_season"),
    (f"/stack?season={'x' * 65}", 422, "invalid_request"),
    ("/stack?top=0", 422, "invalid_request"),
    ("/stack?top=101", 422, "invalid_request"),
    ("/stack?top=NaN", 422, "invalid_request"),
    ("/stack?players=1", 422, "invalid_request"),
    (f"/stack?players={','.join([str(UUID(int=1))] * 101)}", 422, "invalid_request"),
    ("/stack?cursor=x", 400, "invalid_cursor"),
    ("/stack?cursor=WzEsMiwzLDRd", 400, "invalid_cursor"),
    ("/stack?season=%00", 400, "nul_character"),
    (f"/stack/players/{UUID(int=1)}?neighbours=21", 422, "invalid_request"),
    ("/stack/seasons?cursor=WzFd", 200, None),
    ("/stack?top=", 422, "invalid_request"),
    ("/stack?top=1.5", 422, "invalid_request"),
    (f"/stack?top={2**63}", 422, "invalid_request"),
    (f"/stack?top={'9' * 5_000}", 422, "invalid_request"),
    ("/stack?top=5&top=0", 422, "invalid_request"),
    ("/stack?top=0&top=5", 200, None),
    ("/stack?top=%2B5&limit=%205&unknown=1", 200, None),
    ("/stack?limit=0", 422, "invalid_request"),
    ("/stack?season=", 404, "unknown_season"),
    ("/stack?season=%FF", 404, "unknown_season"),
    (f"/stack?cursor={'x' * 513}", 422, "invalid_request"),
    (f"/{'x' * 65}", 422, "invalid_request"),
    ("/stack%00", 400, "nul_character"),
    (f"/{'x' * 65}/players/{UUID(int=1)}", 422, "invalid_request"),
    (f"/stack/players/{UUID(int=1)}?neighbours=-1", 422, "invalid_request"),
    (f"/stack/players/{UUID(int=1)}?neighbours=x", 422, "invalid_request"),
    (f"/stack/players/{UUID(int=1)}?season=%00", 400, "nul_character"),
    (f"/stack/players/{UUID(int=1).hex}", 404, "not_on_board"),
    (f"/stack/players/{2**63}", 422, "invalid_request"),
]


async def test_bad_requests_are_refused(boards: Boards) -> None:
    for path, status, code in BAD_REQUESTS:
        answer = await boards.client.get(PATH + path)
        assert (path, answer.status_code, answer.json().get("code")) == (path, status, code)


async def test_only_whole_scores_in_range_are_taken(boards: Boards) -> None:
    scores: list[Any] = [-1, 2**63, 1.5, "1e3", None, []]
    for score in scores:
        event = scored(new_id(), 0).model_dump(mode="json") | {"score": score}
        body = {"event_id": str(new_id()), "event": event}
        answer = await boards.client.post("/internal/scores", json=body, headers=INTERNAL)
        assert (score, answer.status_code, answer.json()["code"]) == (score, 422, "invalid_request")


async def test_not_a_number_is_refused(boards: Boards) -> None:
    content = '{"event_id": "x", "event": {"score": NaN}}'
    headers = INTERNAL | {"Content-Type": "application/json"}
    answer = await boards.client.post("/internal/scores", content=content, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "malformed_body")


async def test_scores_of_impossible_times_are_ignored(boards: Boards) -> None:
    for at in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "1999-12-31T23:59:59Z"):
        body = {"event_id": str(new_id()), "event": scored(new_id(), 1).model_dump(mode="json") | {"occurred_at": at}}
        answer = await boards.client.post("/internal/scores", json=body, headers=INTERNAL)
        assert (answer.status_code, answer.json()["standings"]) == (200, [])
    assert await boards.context.database.fetchval("SELECT count(*) FROM scores") == 0


async def test_internal_routes_need_the_services_token(boards: Boards) -> None:
    answers = [await boards.client.get("/internal/boards"), await boards.client.post("/internal/scores", json={})]
    assert [answer.status_code for answer in answers] == [401, 401]
    found = (await boards.client.get("/internal/boards", headers=INTERNAL)).json()["boards"]
    assert found[0] == {"board": "stack", "source": "stack", "external": False}
