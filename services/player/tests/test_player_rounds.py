"""Rounds: the server believes moves that the rules and the clock allow, once per session."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest

from services.player.tests.conftest import Start
from services.player.tests.player_service import (
    PLAYERS,
    STACK,
    TICKS_PER_S,
    RunningService,
    Someone,
    moves_of,
)
from shop.contracts.events import PlayerGained, PlayerScored
from shop.devkit import embedded
from shop.devkit.testing import wait_until
from shop.games import GAMES, Outcome, rules
from shop.kit.ids import new_id
from shop.player.domain import MAX_RESULT_XP_PER_DAY
from shop.player.rounds import MAX_RESULTS_PER_PERIOD
from shop.player.sessions import SESSION_LIFETIME

ROUNDS_MEANWHILE = 5
BACK_WITHIN_S = 30.0


async def test_a_round_is_scored_by_the_server(service: RunningService) -> None:
    who = await service.player()
    session = await service.open(who)
    moves = moves_of(session["seed"], 3)
    service.clock.advance(10)
    answer = await service.finish(who, session, moves)
    outcome = GAMES["stack"].replay(session["seed"], moves)
    assert isinstance(outcome, Outcome)
    document = answer.json()
    assert (answer.status_code, document["score"], document["rank"]) == (200, outcome.score, 7)
    assert document["standings"] == [{"board": "stack", "season": "all", "score": outcome.score, "rank": 7}]
    assert [one["code"] for one in document["unlocked"]] == ["first_round"]
    assert (document["xp"], document["level"], document["coupon"]) == (outcome.score // 10, 1, None)
    [event] = await service.published(PlayerScored)
    assert (event.source, event.score, event.statistics) == ("stack", outcome.score, outcome.statistics)
    assert event.duration_ms == outcome.ticks * 1_000 // TICKS_PER_S
    me = await service.me(who)
    assert me["statistics"] == {"rounds": 1, "orders": 0, "best_streak": 1, "best_stack": outcome.score}
    assert (me["xp"], me["streak"]) == (outcome.score // 10, 1)


async def test_calls_name_the_event_that_is_published(service: RunningService) -> None:
    who = await service.player()
    await service.play(who)
    row = await service.database.fetchrow(
        "SELECT event_id, payload::json AS it FROM outbox WHERE type = $1", PlayerScored.TYPE
    )
    assert row is not None
    for [sent] in (service.elsewhere.recorded, service.elsewhere.evaluated):
        assert sent["event_id"] == str(row["event_id"]) == row["it"]["id"]
        assert PlayerScored.model_validate(sent["event"]) == PlayerScored.model_validate(row["it"]["data"])


async def test_one_session_posted_at_once_has_one_result(service: RunningService) -> None:
    at_once = 8
    who = await service.player()
    session = await service.open(who)
    moves = moves_of(session["seed"], 4)
    service.clock.advance(20)
    answers = await asyncio.gather(*(service.finish(who, session, moves) for _ in range(at_once)))
    assert [answer.status_code for answer in answers] == [200] * at_once
    assert all(answer.json() == answers[0].json() for answer in answers)
    assert len(await service.published(PlayerScored)) == 1
    assert len(await service.published(PlayerGained)) == 1
    assert len({sent["event_id"] for sent in service.elsewhere.recorded}) == 1
    assert await service.ledger(who) == {f"result:{session['id']}": answers[0].json()["xp"]}
    assert (await service.me(who))["statistics"]["rounds"] == 1


async def test_rounds_of_several_players_at_once_each_have_their_own_result_and_trace(
    service: RunningService, caplog: pytest.LogCaptureFixture
) -> None:
    people = [await service.player() for _ in range(6)]
    rounds = [(who, await service.open(who)) for who in [*people, *people[:2]]]
    service.clock.advance(20)
    for number, (who, _) in enumerate(rounds):
        who.headers["traceparent"] = f"00-{number + 1:032x}-00000000000000ab-01"
    wanted = [(who, session, moves_of(session["seed"], number)) for number, (who, session) in enumerate(rounds)]
    answers = await asyncio.gather(*(service.finish(*one) for one in wanted))
    assert [answer.status_code for answer in answers] == [200] * len(rounds)
    outcomes = [GAMES["stack"].replay(session["seed"], moves) for _, session, moves in wanted]
    assert [answer.json()["score"] for answer in answers] == [cast(Outcome, one).score for one in outcomes]
    assert [(await service.me(who))["statistics"]["rounds"] for who in people] == [2, 2, 1, 1, 1, 1]
    for (who, session), answer in zip(rounds, answers, strict=True):
        assert (await service.ledger(who))[f"result:{session['id']}"] == answer.json()["xp"]
    for kind in (PlayerScored, PlayerGained):
        rows = await service.database.fetch("SELECT payload::json AS it FROM outbox WHERE type = $1", kind.TYPE)
        traces = sorted((row["it"]["data"]["player_id"], row["it"]["traceparent"][3:35]) for row in rows)
        assert traces == sorted((str(who.id), who.headers["traceparent"][3:35]) for who, _ in rounds)
    assert not [one for one in caplog.records if getattr(one, "event", "") == "batch_failed"]


async def test_of_rounds_at_once_one_that_is_refused_keeps_no_other_from_being_stored(service: RunningService) -> None:
    busy, other = await service.player(), await service.player()
    for _ in range(MAX_RESULTS_PER_PERIOD):
        await service.finish(busy, await service.open(busy), [0])
    rounds = [(who, await service.open(who)) for who in (other, busy, other)]
    answers = await asyncio.gather(*(service.finish(who, session, [0]) for who, session in rounds))
    assert [answer.status_code for answer in answers] == [200, 429, 200]


async def test_the_same_moves_have_the_same_answer_even_after_the_session(service: RunningService) -> None:
    who = await service.player()
    session = await service.open(who)
    moves = moves_of(session["seed"], 4)
    service.clock.advance(20)
    first = await service.finish(who, session, moves)
    service.clock.advance(SESSION_LIFETIME.total_seconds())
    assert (await service.finish(who, session, moves)).json() == first.json()
    other = await service.finish(who, session, moves_of(session["seed"], 2))
    assert (other.status_code, other.json()["code"]) == (409, "session_used")


async def refusal(service: RunningService, case: str) -> Any:
    """The answer to a round that is wrong in one way."""
    who, other = await service.player(), await service.player()
    session, second = await service.open(who), await service.open(who)
    moves = moves_of(session["seed"], 2)
    service.clock.advance(moves[-1] / TICKS_PER_S)
    wrong: dict[str, tuple[Someone, dict[str, Any], list[int]]] = {
        "signature": (who, session | {"token": session["token"][:-8] + "A" * 8}, moves),
        "payload": (who, session | {"token": "A" + session["token"][1:]}, moves),
        "no token": (who, session | {"token": "\u00e9.x"}, moves),
        "path": (who, session | {"id": second["id"]}, moves),
        "foreign": (other, session, moves),
        "expired": (who, session, moves),
        "same tick": (who, session, [5, 5]),
        "late move": (who, session, [rules("stack")["max_ticks"] + 1]),
        "many moves": (who, session, list(range(rules("stack")["max_pieces"] + 1))),
        "too fast": (who, session, moves_of(session["seed"], 30)),
        "unfinished": (who, session, moves[:1]),
    }
    if case == "expired":
        service.clock.advance(SESSION_LIFETIME.total_seconds())
    return await service.finish(*wrong[case])


REFUSALS = {
    "signature": (422, "session_invalid"),
    "payload": (422, "session_invalid"),
    "no token": (422, "session_invalid"),
    "path": (422, "session_invalid"),
    "foreign": (403, "session_foreign"),
    "expired": (410, "session_expired"),
    "same tick": (422, "moves_impossible"),
    "late move": (422, "moves_impossible"),
    "many moves": (422, "moves_impossible"),
    "too fast": (422, "moves_impossible"),
    "unfinished": (422, "moves_impossible"),
}
NO_MOVES = [[1.5], ["1"], [-1], [True], [2**63], [None], list(range(1_001)), "1", {}, None]


async def test_refusals_have_their_codes_and_store_nothing(service: RunningService) -> None:
    answers = {case: await refusal(service, case) for case in REFUSALS}
    assert {case: (answer.status_code, answer.json()["code"]) for case, answer in answers.items()} == REFUSALS
    assert await service.database.fetchval("SELECT count(*) FROM results") == 0
    assert await service.published(PlayerScored) == []
    assert service.elsewhere.recorded == []


async def test_moves_that_are_no_ticks_are_refused(service: RunningService) -> None:
    who = await service.player()
    session = await service.open(who)
    answers = [await service.finish(who, session, cast(Any, moves)) for moves in NO_MOVES]
    assert [(one.status_code, one.json()["code"]) for one in answers] == [(422, "invalid_request")] * len(NO_MOVES)


async def test_a_session_needs_a_game_and_a_user(service: RunningService) -> None:
    who = await service.player()
    unknown = await service.client.post("/api/v1/games/chess/sessions", headers=who.headers)
    assert (unknown.status_code, unknown.json()["code"]) == (404, "unknown_game")
    assert (await service.client.post(STACK)).json()["code"] == "token_missing"
    body = {"token": "x", "moves": []}
    posted = await service.client.post(
        f"/api/v1/games/chess/sessions/{new_id()}/result", json=body, headers=who.headers
    )
    assert (posted.status_code, posted.json()["code"]) == (404, "unknown_game")


async def test_every_replica_reads_a_session_of_another(service: RunningService, start: Start) -> None:
    who = await service.player()
    session = await service.open(who)
    async with start(internal_token="another shop's") as foreign:
        await foreign.me(who)
        refused = await foreign.finish(who, session, [0])
        assert refused.json()["code"] == "session_invalid"
    async with start() as replica:
        await replica.me(who)
        assert (await replica.finish(who, session, [0])).status_code == 200


async def test_results_are_limited_per_minute(service: RunningService) -> None:
    who, other = await service.player(), await service.player()
    for _ in range(MAX_RESULTS_PER_PERIOD):
        await service.finish(who, await service.open(who), [0])
    session = await service.open(who)
    refused = await service.finish(who, session, [0])
    assert (refused.status_code, refused.json()["code"]) == (429, "too_frequent")
    assert refused.headers["Retry-After"] == "60"
    assert (await service.finish(other, await service.open(other), [0])).status_code == 200
    service.clock.advance(60)
    assert (await service.finish(who, session, [0])).status_code == 200
    assert len(await service.published(PlayerScored)) == MAX_RESULTS_PER_PERIOD + 2


async def test_rounds_at_once_are_limited_too(service: RunningService) -> None:
    who = await service.player()
    sessions = [await service.open(who) for _ in range(MAX_RESULTS_PER_PERIOD + 4)]
    answers = await asyncio.gather(*(service.finish(who, session, [0]) for session in sessions))
    assert sorted(answer.status_code for answer in answers) == [200] * MAX_RESULTS_PER_PERIOD + [429] * 4


async def test_rounds_of_a_day_give_a_limited_number_of_points(service: RunningService) -> None:
    who = await service.player()
    gained = [(await service.play(who, 32))["xp"] for _ in range(11)]
    assert gained == [100] * 10 + [0]
    assert sum(gained) == MAX_RESULT_XP_PER_DAY == sum((await service.ledger(who)).values())
    service.clock.at += timedelta(days=1)
    assert (await service.play(who, 32))["xp"] == 100


@pytest.mark.parametrize("how", ["failing", "hanging"])
async def test_an_answer_does_not_wait_for_services_that_are_away(start: Start, how: str) -> None:
    async with start(call_timeout_s=0.3) as service:
        getattr(service.elsewhere, how).update({"leaderboard", "achievement"})
        who = await service.player()
        answer = await asyncio.wait_for(service.play(who), timeout=3)
        assert (answer["rank"], answer["standings"], answer["unlocked"]) == (None, [], [])
        assert len(await service.published(PlayerScored)) == 1
        assert (await service.me(who))["statistics"]["rounds"] == 1


async def test_one_service_away_leaves_what_the_other_says(start: Start) -> None:
    async with start(achievement_url="http://127.0.0.1:9", call_timeout_s=2.0) as service:
        who = await service.player()
        answer = await service.play(who)
        assert (answer["rank"], answer["unlocked"]) == (7, [])
        away = await service.client.get(f"{PLAYERS}/{who.id}/achievements")
        assert (away.status_code, away.json()["code"]) == (503, "achievement_unavailable")


async def test_games_name_their_boards_and_rules(service: RunningService) -> None:
    listed = await service.client.get("/api/v1/games")
    assert listed.json() == {"items": [{"game": "stack", "title": "Stack", "board": "stack"}]}
    detail = await service.client.get("/api/v1/games/stack")
    assert detail.json()["rules"] == rules("stack")
    assert (await service.client.get("/api/v1/games/chess")).status_code == 404


async def test_rounds_while_the_broker_is_away_are_published_once_when_it_is_back(start: Start, tmp_path: Path) -> None:
    """Away until the relay has failed to publish, not just while it restarts; the calls fail, too."""
    broker = embedded.start_nats(tmp_path / "nats")
    try:
        async with start(nats_url=broker.url) as service:
            who, bus = await service.player(), service.context.bus
            await service.play(who)
            await wait_until(lambda: all_published(service), what="events of the first round")
            broker.stop()
            await wait_until(lambda: not bus.connected, what="the connection to be lost")
            service.elsewhere.failing |= {"leaderboard", "achievement"}
            answers = [await service.play(who) for _ in range(ROUNDS_MEANWHILE)]
            assert [(one["rank"], one["unlocked"]) for one in answers] == [(None, [])] * ROUNDS_MEANWHILE
            assert not await all_published(service)
            broker.start()
            await wait_until(lambda: all_published(service), BACK_WITHIN_S, "the events of all rounds")
            scored = [one.result_id for one in await service.published(PlayerScored)]
            assert len(set(scored)) == len(scored) == ROUNDS_MEANWHILE + 1
            assert len(await service.ledger(who)) == ROUNDS_MEANWHILE + 1
            stream = await bus.stream.stream_info("player", subjects_filter=PlayerScored.TYPE)
            assert stream.state.subjects == {PlayerScored.TYPE: ROUNDS_MEANWHILE + 1}
    finally:
        broker.stop()


async def all_published(service: RunningService) -> bool:
    return not await service.database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL")
