"""Unlocked once: by event or call, by several replicas, by game servers, and by rules applied to the past."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections import Counter
from uuid import UUID

import pytest

from services.achievement.tests.achievement_service import (
    NOON,
    RULES,
    RunningService,
    cancelled,
    changed,
    confirmed,
    gained,
    received,
    scored,
    send,
)
from services.achievement.tests.conftest import Start
from shop.achievement import apply as applying
from shop.achievement import repository
from shop.achievement.domain import Player
from shop.achievement.rules import load
from shop.achievement.settings import Settings
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id

NEW_RULE = "  - {code: score-3, name: Three, description: Score 3, when: {score: {source: stack, at_least: 3}}}\n"
BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


async def test_a_round_unlocks_at_once_and_its_event_changes_nothing(service: RunningService) -> None:
    ada, event_id = new_id(), new_id()
    event = scored(ada, 12, seconds=20)
    assert await service.evaluate(event, event_id) == ["score-10", "fast"]
    assert await service.evaluate(event, event_id) == ["score-10", "fast"], "the same answer again"
    assert await service.receive(received(event, event_id)) == 0
    assert (await service.facts(ada))["rounds:stack"] == 1
    assert await service.codes_announced() == ["score-10", "fast"]
    assert await service.evaluate(scored(ada, 12, seconds=20), new_id()) == [], "the next round unlocks nothing new"


async def test_calls_at_once_each_answer_with_what_their_round_unlocked(service: RunningService) -> None:
    players, again = [new_id() for _ in range(5)], new_id()
    calls = [(scored(player, 12, seconds=20), new_id()) for player in players]
    calls += [(scored(again, 1), new_id()), calls[0], calls[3]]
    answers = await asyncio.gather(*(service.evaluate(*call) for call in calls))
    assert answers == [["score-10", "fast"]] * 5 + [[]] + [["score-10", "fast"]] * 2
    assert Counter(await service.codes_announced()) == {"score-10": 5, "fast": 5}
    assert [(await service.facts(player))["rounds:stack"] for player in (*players, again)] == [1] * 6


async def test_the_call_after_the_event_has_the_same_answer(service: RunningService) -> None:
    ada, event_id = new_id(), new_id()
    event = scored(ada, 12, seconds=20)
    await service.receive(received(event, event_id))
    assert await service.evaluate(event, event_id) == ["score-10", "fast"]
    assert (await service.facts(ada))["rounds:stack"] == 1


async def test_call_and_event_race_in_two_replicas(start: Start, service: RunningService) -> None:
    async with start(url=service.context.settings.database_url) as other:
        for _ in range(8):
            ada, event_id = new_id(), new_id()
            event = scored(ada, 12, seconds=20)
            both = (service, other)
            calls = [both[number % 2].evaluate(event, event_id) for number in range(4)]
            deliveries = [both[number % 2].receive(received(event, event_id)) for number in range(4)]
            answers = await asyncio.gather(*calls, *deliveries)
            assert answers[:4] == [["score-10", "fast"]] * 4
            assert sum(int(str(taken)) for taken in answers[4:]) <= 1
            assert (await service.facts(ada))["score_sum:stack"] == 12
            assert await service.unlocked(ada) == ["score-10", "fast"]
    assert Counter(await service.codes_announced()) == {"score-10": 8, "fast": 8}


async def test_different_rounds_at_once_in_two_replicas_lose_no_fact(start: Start, service: RunningService) -> None:
    """The row lock: without it each would read the facts that the others are about to change."""
    ada = new_id()
    await service.take(scored(ada, 1))
    async with start(url=service.context.settings.database_url) as other:
        plays = [(service, other)[number % 2].evaluate(scored(ada, 10), new_id()) for number in range(20)]
        answers = await asyncio.gather(*plays)
    assert (await service.facts(ada))["score_sum:stack"] == 201
    assert (await service.facts(ada))["rounds:stack"] == 21
    assert sorted(code for answer in answers for code in answer) == sorted(["score-10", "sum-25", "rounds-3"])
    assert await service.codes_announced() == await service.unlocked(ada)


async def test_a_transaction_waits_for_the_players_row_and_sees_what_was_unlocked(service: RunningService) -> None:
    ada = new_id()
    await service.take(scored(ada, 1))
    async with service.database.transaction() as before:
        await before.execute("SELECT FROM players WHERE player_id = $1 FOR UPDATE", ada)
        asked = asyncio.create_task(service.evaluate(scored(ada, 11), new_id()))
        await wait_until(lambda: service.database.fetchval(BLOCKED), what="the round to wait")
        await before.execute("UPDATE facts SET value = 100, peak = 100 WHERE fact = 'score_sum:stack'")
    assert await asked == ["score-10", "sum-25"]
    assert (await service.facts(ada))["score_sum:stack"] == 111


async def test_an_achievement_that_is_stored_already_is_not_stored_or_announced_again(service: RunningService) -> None:
    """The unique key, for a program that did not look what the player has."""
    ada = new_id()
    await service.take(scored(ada, 10))
    again = Player(ada, unlocks=1)
    rules = load(RULES)
    for code in ("score-10", "streak-2"):
        again.unlock(rules[code], (("score:stack", 10),), None, NOON)
    async with service.database.transaction() as connection:
        stored = await repository.unlock(connection, [again])
    assert [one.code for _, one in stored] == ["streak-2"]
    assert await service.unlocked(ada) == ["score-10", "streak-2"]


async def test_events_in_the_broker_unlock_once(service: RunningService) -> None:
    ada = new_id()
    await wait_until(lambda: service.context.bus.connected)
    round_ = received(scored(ada, 12))
    await send(service, "player", received(changed(ada, 1, "ada@example.com")))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 1 FROM players WHERE mail_to IS NOT NULL"))
    await send(service, "player", round_, round_, received(gained(ada, level=3)))
    await send(service, "order", received(confirmed(ada, "tea", "books")))
    await wait_until(lambda: service.database.fetchval("SELECT count(*) = 6 FROM unlocked"))
    announced = await service.announced()
    codes = sorted(one["code"] for one in announced)
    assert codes == ["both", "level-3", "order", "score-10", "tea-and-books", "wide"]
    assert (await service.facts(ada))["rounds:stack"] == 1
    assert {one["mail_to"] for one in announced} == {"ada@example.com"}


async def test_the_event_says_what_was_unlocked_and_keeps_its_trace(service: RunningService) -> None:
    ada = new_id()
    traceparent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    first = received(scored(ada, 12))
    await service.receive(first.__class__(first.event_id, first.type, NOON, "", traceparent, first.event))
    row = await service.database.fetchrow("SELECT subject_id, payload FROM outbox")
    assert row is not None
    envelope = json.loads(row["payload"])
    assert envelope["traceparent"].split("-")[1] == "0af7651916cd43dd8448eb211c80319c"
    assert row["subject_id"] == str(ada)
    assert envelope["data"] == {
        "player_id": str(ada),
        "occurred_at": NOON.isoformat().replace("+00:00", "Z"),
        "code": "score-10",
        "name": "Ten",
        "description": "Score 10",
        "xp": 5,
        "mail_to": None,
    }


@pytest.mark.parametrize("versions", [(1, 2, 3), (3, 2, 1), (2, 3, 1)])
async def test_mails_go_where_the_newest_profile_says(service: RunningService, versions: tuple[int, ...]) -> None:
    ada, wishes = new_id(), {1: "old@example.com", 2: None, 3: "new@example.com"}
    await service.take(*(changed(ada, version, wishes[version]) for version in versions))
    await service.take(scored(ada, 10))
    assert [one["mail_to"] for one in await service.announced()] == ["new@example.com"]


async def test_no_mail_where_none_is_wanted_or_nothing_is_known(service: RunningService) -> None:
    ada, bob = new_id(), new_id()
    await service.take(changed(ada, 1, "ada@example.com"), changed(ada, 2, None), scored(ada, 10), scored(bob, 10))
    assert [one["mail_to"] for one in await service.announced()] == [None, None]


async def test_a_cancelled_order_takes_its_counts_back_but_no_achievement(service: RunningService) -> None:
    ada = new_id()
    first, second = confirmed(ada, "tea", total=2_000), confirmed(ada, "books", total=2_000)
    await service.take(first, second)
    before = await service.unlocked(ada)
    assert before == ["order", "orders-2", "spent-30", "wide", "tea-and-books"]
    await service.take(cancelled(first), cancelled(second))
    assert await service.facts(ada) == {}
    assert await service.unlocked(ada) == before
    peaks = await service.database.fetch("SELECT fact, peak FROM facts WHERE player_id = $1", ada)
    assert {row["fact"]: int(row["peak"]) for row in peaks} == {
        "orders": 2,
        "spent:EUR": 4_000,
        "categories": 2,
        "category:tea": 1,
        "category:books": 1,
    }, "the audit sees that they were earned"


async def test_an_order_that_was_cancelled_first_never_counts(service: RunningService) -> None:
    ada = new_id()
    order = confirmed(ada, "tea")
    await service.take(cancelled(order), order, order)
    assert (await service.facts(ada), await service.unlocked(ada)) == ({}, [])


async def test_one_order_in_two_events_counts_once(service: RunningService) -> None:
    ada = new_id()
    order = confirmed(ada, "tea")
    await service.take(order, order, cancelled(order), cancelled(order), order)
    assert await service.facts(ada) == {}
    assert await service.unlocked(ada) == ["order"]


async def test_order_and_cancellation_in_one_batch(service: RunningService) -> None:
    ada = new_id()
    order = confirmed(ada, "tea")
    await service.receive(received(cancelled(order)), received(order), received(scored(ada, 1)))
    assert await service.facts(ada) == {
        "rounds:stack": 1,
        "score:stack": 1,
        "score_sum:stack": 1,
        "score_within:stack:60": 1,
    }


async def test_game_servers_unlock_external_ones_alone(service: RunningService) -> None:
    ada = new_id()
    first = await service.unlock(ada, "tournament")
    assert first["problem"] is None
    assert (first["achievement"]["code"], first["achievement"]["unlocked_at"]) == ("tournament", "2026-11-02T12:00:00Z")
    assert first["achievement"]["progress"] == {"have": 1, "need": 1}
    assert await service.unlock(ada, "tournament") == first
    answers = await asyncio.gather(*(service.unlock(ada, "tournament") for _ in range(8)))
    assert all(answer == first for answer in answers)
    assert (await service.unlock(ada, "score-10"))["problem"] == "not_external"
    assert (await service.unlock(ada, "absent"))["problem"] == "unknown_achievement"
    assert await service.unlocked(ada) == ["tournament"]
    assert await service.codes_announced() == ["tournament"]


async def apply(service: RunningService, rules: str, page_players: int) -> applying.Applied:
    settings = service.context.settings.model_copy(update={"achievement_rules": rules})
    assert isinstance(settings, Settings)
    return await applying.run(settings, page_players)


async def test_a_new_rule_is_applied_to_the_past_once_while_events_come_in(service: RunningService) -> None:
    players = [new_id() for _ in range(30)]
    await service.take(*(scored(player, 2 + number % 3) for number, player in enumerate(players)))
    assert await service.announced() == []
    deserving = {player for number, player in enumerate(players) if number % 3}
    more = [scored(player, 1) for player in players]
    first, second = (asyncio.create_task(apply(service, RULES + NEW_RULE, size)) for size in (7, 4))
    await asyncio.gather(*(service.evaluate(event, new_id()) for event in more))
    done, again = await first, await second
    assert (done.players, again.players) == (30, 30)
    assert done.unlocked + again.unlocked == len(deserving), "each by one of both"
    announced = Counter((UUID(one["player_id"]), one["code"]) for one in await service.announced())
    assert announced == Counter((player, "score-3") for player in deserving)
    assert await apply(service, RULES + NEW_RULE, 200) == (30, 0)


async def test_rules_are_applied_by_a_command(service: RunningService) -> None:
    ada = new_id()
    await service.take(scored(ada, 3))
    environment = {
        "SHOP_DATABASE_URL": service.context.settings.database_url,
        "SHOP_ACHIEVEMENT_RULES": RULES + NEW_RULE,
    }
    assert await _command(environment) == (0, "1 players checked, 1 achievements unlocked\n", "")
    assert await service.unlocked(ada) == ["score-3"]


async def _command(environment: dict[str, str]) -> tuple[int, str, str]:
    command = (sys.executable, "-m", "shop.achievement.apply")
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe, env=os.environ | environment)
    out, error = await asyncio.wait_for(process.communicate(), 60)
    return process.returncode or 0, out.decode(), error.decode()


async def test_a_player_who_is_deleted_meanwhile_is_left_out(service: RunningService) -> None:
    ada = new_id()
    await service.take(scored(ada, 3))
    async with service.database.transaction() as before:
        await before.execute("DELETE FROM players")
        asked = asyncio.create_task(apply(service, RULES + NEW_RULE, 10))
        await wait_until(lambda: service.database.fetchval(BLOCKED), what="the command to wait")
    assert await asked == (0, 0)
    assert await service.announced() == []
