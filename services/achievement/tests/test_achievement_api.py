"""What is shown of achievements, and live streams of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import httpx
import orjson
import pytest

from services.achievement.tests.achievement_service import (
    INTERNAL,
    NOON,
    PATH,
    RunningService,
    codes,
    confirmed,
    gained,
    scored,
)
from services.achievement.tests.conftest import Start
from shop.achievement import metrics
from shop.contracts.achievement import EVALUATE, OF_PLAYER, UNLOCK
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

EVENTS = f"{PATH}/events"
WATCHED = metrics.STREAMS._value


def signed_in(service: RunningService) -> tuple[UUID, dict[str, str]]:
    person, token = service.tokens.customer()
    return person.user_id, {"Authorization": f"Bearer {token}"}


async def own(service: RunningService, headers: dict[str, str]) -> list[dict[str, Any]]:
    answer = await service.client.get(f"{PATH}/me", headers=headers)
    assert answer.status_code == 200, answer.text
    found: list[dict[str, Any]] = answer.json()["items"]
    return found


async def test_the_rules_are_public_except_for_hidden_ones(service: RunningService) -> None:
    answer = await service.client.get(PATH)
    assert answer.status_code == 200
    items = {one["code"]: one for one in answer.json()["items"]}
    assert "either" not in items
    assert items["score-10"] == {
        "code": "score-10",
        "name": "Ten",
        "description": "Score 10",
        "xp": 5,
        "hidden": False,
        "unlocked_at": None,
        "progress": {"have": 0, "need": 10},
    }
    assert items["tournament"]["progress"] == {"have": 0, "need": 1}
    assert items["both"]["progress"] == {"have": 0, "need": 2}


async def test_own_achievements_come_first_the_newest_first_then_the_nearest(service: RunningService) -> None:
    ada, headers = signed_in(service)
    await service.take(scored(ada, 7), confirmed(ada, "tea"), scored(ada, 10))
    items = await own(service, headers)
    assert codes(items)[:3] == ["score-10", "both", "order"]
    assert {one["unlocked_at"] for one in items[:3]} == {"2026-11-02T12:00:00Z"}
    assert items[0]["progress"] == {"have": 10, "need": 10}
    near = [one["progress"]["have"] / one["progress"]["need"] for one in items[3:]]
    assert near == sorted(near, reverse=True)
    progress = {one["code"]: one["progress"] for one in items}
    assert progress["sum-25"] == {"have": 17, "need": 25}
    assert progress["rounds-3"] == {"have": 2, "need": 3}
    assert progress["spent-30"] == {"have": 10, "need": 30}


async def test_a_hidden_one_is_listed_once_it_is_unlocked(service: RunningService) -> None:
    ada, headers = signed_in(service)
    await service.take(scored(ada, 19))
    assert "either" not in codes(await own(service, headers))
    assert "either" not in await service.listing(ada)
    await service.take(scored(ada, 20))
    [hidden] = [one for one in await own(service, headers) if one["code"] == "either"]
    assert (hidden["hidden"], hidden["name"]) == (True, "Either")
    assert "either" in await service.listing(ada)


async def test_what_a_player_has_is_kept_when_its_rule_is_gone(start: Start) -> None:
    async with start() as service:
        ada, headers = signed_in(service)
        await service.take(scored(ada, 10), gained(ada, streak=2))
        only = "rules:\n  - {code: other, name: O, description: D, when: {orders: {at_least: 1}}}\n"
        async with start(url=service.context.settings.database_url, achievement_rules=only) as later:
            items = await own(later, headers)
            assert codes(items) == ["streak-2", "score-10", "other"]
            assert (items[1]["name"], items[1]["xp"], items[1]["progress"]) == ("Ten", 5, {"have": 1, "need": 1})


async def test_of_a_player_nothing_is_invented(service: RunningService) -> None:
    nobody = new_id()
    listing = await service.listing(nobody)
    assert all(one["unlocked_at"] is None and one["progress"]["have"] == 0 for one in listing.values())
    assert await service.database.fetchval("SELECT count(*) FROM players") == 0


@pytest.mark.parametrize("path", [f"{PATH}/me", EVENTS])
async def test_own_pages_need_a_good_token(service: RunningService, path: str) -> None:
    tokens = service.tokens
    answers = [await service.client.get(path)] + [
        await service.client.get(path, headers={"Authorization": f"Bearer {token}"})
        for token in (tokens.expired(), tokens.forged())
    ]
    assert [answer.json()["code"] for answer in answers] == ["token_missing", "token_expired", "invalid_token"]


async def test_internal_calls_are_for_services(service: RunningService) -> None:
    for headers, status in (({}, 401), (service.tokens.headers(), 403), (service.tokens.headers("admin"), 403)):
        for method, path in (("POST", EVALUATE.path), ("POST", UNLOCK.path), ("GET", OF_PLAYER.path)):
            answer = await service.client.request(method, path, headers=headers)
            assert answer.status_code == status, path


@pytest.mark.parametrize(
    "changed",
    [
        {"score": -1},
        {"score": 2**63},
        {"score": 1.5},
        {"score": "NaN"},
        {"player_id": "1"},
        {"statistics": []},
        {"occurred_at": "yesterday"},
    ],
)
async def test_a_wrong_round_is_refused(service: RunningService, changed: dict[str, Any]) -> None:
    body = {"event_id": str(new_id()), "event": scored(new_id(), 1).model_dump(mode="json") | changed}
    answer = await service.client.post(EVALUATE.path, json=body, headers=INTERNAL)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")
    assert await service.database.fetchval("SELECT count(*) FROM inbox") == 0


async def test_extreme_rounds_are_taken(service: RunningService) -> None:
    ada = new_id()
    huge = scored(ada, 2**63 - 1, placed=2**63 - 1, row=-(2**63))
    for event in (huge, huge, huge.model_copy(update={"duration_ms": -5, "occurred_at": NOON.replace(year=1)})):
        await service.evaluate(event, new_id())
    assert (await service.facts(ada))["score_sum:stack"] == 3 * (2**63 - 1)
    assert (await service.facts(ada))["statistic_sum:stack:placed"] == 3 * (2**63 - 1)
    assert "statistic_sum:stack:row" not in await service.facts(ada)


async def events_of(answer: httpx.Response) -> AsyncIterator[tuple[int, dict[str, Any]]]:
    """(id, achievement) of each event of a stream."""
    number = -1
    async for line in answer.aiter_lines():
        if line.startswith("id: "):
            number = int(line[4:])
        elif line.startswith("data: "):
            yield number, orjson.loads(line[6:])


async def test_a_stream_has_the_players_own_achievements_and_resumes(start: Start) -> None:
    async with start(on_port=True) as service:
        ada, headers = signed_in(service)
        bob, _ = signed_in(service)
        await service.take(scored(ada, 10))
        async with service.client.stream("GET", EVENTS, headers=headers) as answer:
            assert answer.headers["content-type"].startswith("text/event-stream")
            assert answer.headers["cache-control"] == "no-store"
            await wait_until(lambda: WATCHED.get() >= 1, what="the stream to be open")
            await service.take(scored(bob, 25), gained(ada, streak=2), gained(ada, level=3))
            events = events_of(answer)
            assert [(number, one["code"]) for number, one in [await anext(events), await anext(events)]] == [
                (2, "streak-2"),
                (3, "level-3"),
            ], "none from before, and none of others"
        await service.take(confirmed(ada, "tea"))
        async with service.client.stream("GET", EVENTS, headers=headers | {"Last-Event-ID": "2"}) as answer:
            events = events_of(answer)
            missed = [await anext(events) for _ in range(3)]
            assert [(number, one["code"]) for number, one in missed] == [(3, "level-3"), (4, "order"), (5, "both")]
            assert missed[0][1]["name"] == "Third"


async def test_a_stream_that_saw_numbers_of_another_database_gets_what_is_new(start: Start) -> None:
    async with start(on_port=True) as service:
        ada, headers = signed_in(service)
        async with service.client.stream("GET", EVENTS, headers=headers | {"Last-Event-ID": "900"}) as answer:
            await wait_until(lambda: WATCHED.get() >= 1, what="the stream to be open")
            await service.take(scored(ada, 10))
            number, first = await anext(events_of(answer))
            assert (number, first["code"]) == (1, "score-10")


@pytest.mark.parametrize("number", ["-1", "x", str(2**31), "1.5"])
async def test_a_wrong_last_event_id_is_refused(service: RunningService, number: str) -> None:
    _, headers = signed_in(service)
    answer = await service.client.get(EVENTS, headers=headers | {"Last-Event-ID": number})
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_a_player_has_so_many_streams_and_others_have_theirs(start: Start) -> None:
    async with start(on_port=True, streams_per_player=2) as service:
        _, headers = signed_in(service)
        _, others = signed_in(service)
        async with (
            service.client.stream("GET", EVENTS, headers=headers) as first,
            service.client.stream("GET", EVENTS, headers=headers) as second,
        ):
            assert (first.status_code, second.status_code) == (200, 200)
            await wait_until(lambda: WATCHED.get() == 2, what="both streams")
            refused = await service.client.get(EVENTS, headers=headers)
            assert (refused.status_code, refused.json()["code"]) == (429, "too_many_own_streams")
            assert refused.headers["retry-after"] == "30"
            async with service.client.stream("GET", EVENTS, headers=others) as other:
                assert other.status_code == 200
                await wait_until(lambda: WATCHED.get() == 3, what="the other one's stream")
        await wait_until(lambda: WATCHED.get() == 0, what="the streams to end")
        async with service.client.stream("GET", EVENTS, headers=headers) as again:
            assert again.status_code == 200


async def test_streams_of_one_player_opened_at_once_keep_the_limit(service: RunningService) -> None:
    ada = new_id()
    streams = [service.service.streams.events(ada, None) for _ in range(30)]
    started = await asyncio.gather(*(anext(one, b"") for one in streams))
    assert sum(chunk != b"" for chunk in started) == service.context.settings.streams_per_player
    for one in streams:
        await one.aclose()  # type: ignore[attr-defined]
    await service.take(scored(ada, 1))
    assert await anext(service.service.streams.events(ada, None)) != b""


async def test_a_process_has_so_many_streams(start: Start) -> None:
    async with start(on_port=True, max_streams=1) as service:
        _, headers = signed_in(service)
        async with service.client.stream("GET", EVENTS, headers=headers):
            await wait_until(lambda: WATCHED.get() == 1, what="the stream")
            refused = await service.client.get(EVENTS, headers=service.tokens.headers())
        assert (refused.status_code, refused.json()["code"]) == (503, "too_many_streams")


async def test_service_is_ready(service: RunningService) -> None:
    await wait_until(lambda: service.context.bus.connected)
    answer = await service.client.get("/health/ready")
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")
