"""Game servers: what their tokens allow, and scores that are posted once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import httpx

from services.player.tests.player_service import GAMES, NOON, PUBLISHED, RunningService, Someone
from shop.contracts.events import PlayerScored
from shop.devkit.testing import wait_until
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.player.game_servers import MAX_GAME_SERVERS, POSTED_SCORES_KEPT

SERVERS = f"{GAMES}/servers"
FILL = """
INSERT INTO game_servers SELECT gen_random_uuid(), n::text, '{}', sha256(n::text::bytea), now()
FROM generate_series(1, $1) AS n"""
GATE = 1_201
WAIT_BEFORE_INSERT = f"""
CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS
    'BEGIN PERFORM pg_advisory_xact_lock_shared({GATE}); RETURN NEW; END';
CREATE TRIGGER wait BEFORE INSERT ON game_servers FOR EACH ROW EXECUTE FUNCTION wait()"""
WAITING = """
SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database
WHERE locktype = 'advisory' AND NOT granted AND d.datname = current_database()"""


async def added(service: RunningService, name: str = "Quiz night", *sources: str) -> dict[str, Any]:
    body = {"name": name, "sources": list(sources) or ["quiz"]}
    answer = await service.client.post(SERVERS, json=body, headers=service.tokens.headers("admin"))
    assert answer.status_code == 201, answer.text
    made: dict[str, Any] = answer.json()
    return made


async def post(
    service: RunningService, who: Someone, headers: dict[str, str], key: str | None = "1", **body: Any
) -> httpx.Response:
    sent = headers | ({"Idempotency-Key": key} if key else {})
    return await service.client.post(f"{who.path}/scores", json={"board": "quiz", "score": 5} | body, headers=sent)


def server_token(token: str) -> dict[str, str]:
    return {"X-Game-Server-Token": token}


async def test_a_token_is_shown_once_and_ends_with_its_server(service: RunningService) -> None:
    made, who = await added(service), await service.player()
    admin = service.tokens.headers("admin")
    listed = (await service.client.get(SERVERS, headers=admin)).json()["items"]
    assert listed == [{key: value for key, value in made.items() if key != "token"}]
    stored = await service.database.fetchrow("SELECT game_servers::text AS it FROM game_servers")
    assert stored is not None
    assert made["token"] not in stored["it"]
    assert (await post(service, who, server_token(made["token"]))).status_code == 201
    assert (await service.client.delete(f"{SERVERS}/{made['id']}", headers=admin)).status_code == 204
    refused = await post(service, who, server_token(made["token"]), "2")
    assert (refused.status_code, refused.json()["code"]) == (401, "game_server_token_invalid")
    again = await service.client.delete(f"{SERVERS}/{made['id']}", headers=admin)
    assert (again.status_code, again.json()["code"]) == (404, "unknown_game_server")


async def test_only_administrators_manage_game_servers(service: RunningService) -> None:
    body = {"name": "x", "sources": ["quiz"]}
    for headers, status in ((service.tokens.headers(), 403), ({}, 401)):
        answers = [
            await service.client.post(SERVERS, json=body, headers=headers),
            await service.client.get(SERVERS, headers=headers),
            await service.client.delete(f"{SERVERS}/{new_id()}", headers=headers),
        ]
        assert {answer.status_code for answer in answers} == {status}
    admin = service.tokens.headers("admin")
    await added(service)
    taken = await service.client.post(SERVERS, json=body | {"name": "Quiz night"}, headers=admin)
    assert (taken.status_code, taken.json()["code"]) == (409, "name_taken")
    bad: list[Any] = [{}, body | {"sources": []}, body | {"sources": ["A b"]}, body | {"name": ""}, body | {"more": 1}]
    refused = [await service.client.post(SERVERS, json=one, headers=admin) for one in bad]
    assert {answer.status_code for answer in refused} == {422}
    await service.database.execute(FILL, MAX_GAME_SERVERS - 1)
    full = await service.client.post(SERVERS, json=body, headers=admin)
    assert (full.status_code, full.json()["code"]) == (409, "too_many_game_servers")


async def test_the_limit_holds_for_servers_that_are_added_at_the_same_moment(service: RunningService) -> None:
    """Both have counted, or one waits for the other, before either is stored."""
    await service.database.execute(FILL, MAX_GAME_SERVERS - 1)
    await service.database.execute(WAIT_BEFORE_INSERT)
    headers = service.tokens.headers("admin")

    async def both_wait() -> bool:
        return bool(await service.database.fetchval(WAITING) == 2)

    async with service.database.transaction() as connection:
        await connection.execute(f"SELECT pg_advisory_xact_lock({GATE})")
        bodies = [{"name": name, "sources": ["quiz"]} for name in ("one", "two")]
        adding = [asyncio.create_task(service.client.post(SERVERS, json=one, headers=headers)) for one in bodies]
        await wait_until(both_wait)
    answers = await asyncio.gather(*adding)
    assert sorted(answer.status_code for answer in answers) == [201, 409]
    assert await service.database.fetchval("SELECT count(*) FROM game_servers") == MAX_GAME_SERVERS


async def test_requests_at_the_same_moment_read_the_boards_once(service: RunningService) -> None:
    """Also when the one that began to read is given up meanwhile."""
    asking = [asyncio.create_task(service.service.arcade.board("quiz")) for _ in range(8)]
    await asyncio.sleep(0)
    asking[0].cancel()
    first, *others = await asyncio.gather(*asking, return_exceptions=True)
    assert isinstance(first, asyncio.CancelledError)
    assert {getattr(board, "source", board) for board in others} == {"quiz"}
    assert service.elsewhere.boards_read == 1


async def test_a_failed_read_of_the_boards_is_repeated(service: RunningService) -> None:
    service.elsewhere.failing.add("leaderboard")
    asking = [service.service.arcade.board("quiz") for _ in range(3)]
    refused = await asyncio.gather(*asking, return_exceptions=True)
    assert [isinstance(one, Unavailable) for one in refused] == [True] * 3
    service.elsewhere.failing.clear()
    assert await service.service.arcade.board("quiz")


async def test_who_may_post_and_to_which_boards(service: RunningService) -> None:
    who, token = await service.player(), server_token((await added(service))["token"])
    admin = service.tokens.headers("admin")
    cases = {
        "no token": (await post(service, who, {}), 401, "token_missing"),
        "wrong token": (await post(service, who, server_token("x")), 401, "game_server_token_invalid"),
        "customer": (await post(service, who, who.headers), 403, "game_servers_only"),
        "other source": (await post(service, who, token, board="darts"), 403, "source_not_allowed"),
        "own game": (await post(service, who, token, board="stack"), 403, "board_not_external"),
        "own game, admin": (await post(service, who, admin, board="stack"), 403, "board_not_external"),
        "unknown board": (await post(service, who, token, board="chess"), 404, "unknown_board"),
        "unknown player": (await post(service, service.someone(), token), 404, "unknown_player"),
        "no key": (await post(service, who, token, None), 400, "idempotency_key_missing"),
        "negative": (await post(service, who, token, score=-1), 422, "invalid_request"),
        "too high": (await post(service, who, token, score=2**63), 422, "invalid_request"),
        "fraction": (await post(service, who, token, score=1.5), 422, "invalid_request"),
        "truth": (await post(service, who, token, score=True), 422, "invalid_request"),
    }
    found = {case: (answer.status_code, answer.json()["code"]) for case, (answer, _, _) in cases.items()}
    assert found == {case: (status, code) for case, (_, status, code) in cases.items()}
    assert await service.published(PlayerScored) == []
    assert (await post(service, who, admin, board="darts", score=2**63 - 1)).status_code == 201


async def test_a_key_names_one_score(service: RunningService) -> None:
    who, other = await service.player(), await service.player()
    token = server_token((await added(service))["token"])
    answers = await asyncio.gather(*(post(service, who, token) for _ in range(6)), post(service, who, token))
    assert {answer.status_code for answer in answers} == {201}
    assert all(answer.json() == answers[0].json() for answer in answers)
    row = await service.database.fetchrow(PUBLISHED, PlayerScored.TYPE)
    assert row is not None
    assert {sent["event_id"] for sent in service.elsewhere.recorded} == {str(row["event_id"])}
    [event] = await service.published(PlayerScored)
    assert (event.source, event.score, str(event.result_id)) == ("quiz", 5, answers[0].json()["result_id"])
    reused = [await post(service, who, token, score=6), await post(service, other, token)]
    assert [(one.status_code, one.json()["code"]) for one in reused] == [(422, "idempotency_key_reused")] * 2
    assert (await post(service, who, service.tokens.headers("admin"))).status_code == 201, "another's keys are others"
    assert (await post(service, who, token, "2")).json()["result_id"] != answers[0].json()["result_id"]


async def test_a_score_is_taken_while_leaderboard_is_away(service: RunningService) -> None:
    who, token = await service.player(), server_token((await added(service))["token"])
    assert (await post(service, who, token)).json()["rank"] == 7
    service.elsewhere.failing.add("leaderboard")
    answer = await post(service, who, token, "2")
    assert (answer.status_code, answer.json()["rank"]) == (201, None)
    assert len(await service.published(PlayerScored)) == 2


async def test_keys_are_forgotten_after_some_days(service: RunningService) -> None:
    who, token = await service.player(), server_token((await added(service))["token"])
    await post(service, who, token)
    rounds = service.service.servers._rounds
    assert await rounds.forget_posted(NOON + POSTED_SCORES_KEPT, POSTED_SCORES_KEPT) == 0
    assert await rounds.forget_posted(NOON + POSTED_SCORES_KEPT + timedelta(seconds=1), POSTED_SCORES_KEPT) == 1


async def test_an_achievement_is_unlocked_by_game_servers_alone(service: RunningService) -> None:
    who, token = await service.player(), server_token((await added(service))["token"])

    async def unlock(code: str, headers: dict[str, str], player: Someone = who) -> tuple[int, str]:
        answer = await service.client.post(f"{player.path}/achievements", json={"code": code}, headers=headers)
        return answer.status_code, answer.json()["code"]

    assert await unlock("champion", token) == (200, "champion")
    assert await unlock("champion", service.tokens.headers("admin")) == (200, "champion")
    assert await unlock("unknown", token) == (404, "unknown_achievement")
    assert await unlock("ruled", token) == (403, "achievement_not_external")
    assert await unlock("champion", who.headers) == (403, "game_servers_only")
    assert await unlock("champion", {}) == (401, "token_missing")
    assert await unlock("champion", server_token("x")) == (401, "game_server_token_invalid")
    assert await unlock("champion", token, service.someone()) == (404, "unknown_player")
    service.elsewhere.failing.add("achievement")
    assert await unlock("champion", token) == (503, "achievement_unavailable")
    assert [sent["player_id"] for sent in service.elsewhere.unlocked] == [str(who.id)] * 4
