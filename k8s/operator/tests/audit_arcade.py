"""A player with a round, orders and an achievement in the records of a shop."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from redis.asyncio import Redis

from k8s.operator.tests.audit_records import AT, TOTAL, Placed, ShopRecords
from shop.kit.ids import new_id

SCORE, REWARD_XP, SPENT = 120, 20, TOTAL // 100
RESULT_XP, ORDER_XP = SCORE // 10, SPENT + 20
XP = RESULT_XP + ORDER_XP + REWARD_XP
CODE = "stack-100"
BOARDS = {"stack": ("stack", "best"), "buyers-all": ("orders", "sum"), "xp": ("xp", "last")}
"""By board: its source and operator."""
PLAYER = """
INSERT INTO players (id, name, xp, level, level_reached, streak_days, streak_on, best_streak, orders, ledger_version,
    created_at) VALUES ($1, 'Brave Otter 12', $2, 1, 1, $3, CASE WHEN $3 > 0 THEN $4::timestamptz::date END, $3, $5, $6,
    $4)"""
RESULT = """
INSERT INTO results (id, player_id, game, moves, score, ticks, statistics, xp, level, day, event_id, created_at)
VALUES ($1, $2, 'stack', '{1}', $3, 60, '{}', $4, 1, $6::timestamptz::date, $5, $6)"""
ENTRY = """
INSERT INTO entries (board_id, season, player_id, score, sort_key, at, position, total, scores, listed)
SELECT id, 'all', $2, $3::bigint, -$3::bigint, $4, $5, $3::bigint, 1, true FROM boards WHERE board = $1"""
SCORED = """
INSERT INTO scores (board_id, cause, season, player_id, score, at, cancelled)
SELECT id, $2, 'all', $3, $4, $5, $6 FROM boards WHERE board = $1"""
UNLOCKED = """
INSERT INTO unlocked (player_id, code, number, name, description, xp, hidden, external, evidence, unlocked_at)
VALUES ($1, $2, 1, 'Steady hands', '', $3, false, false, '[{"fact": "score:stack", "need": 100}]', $4)"""

# int8send gives 8 bytes in network order; the first bit is flipped so that negative keys come first.
MEMBERS = """
SELECT int8send(sort_key # (-9223372036854775808)) || int8send((extract(epoch FROM at) * 1000000)::bigint)
    || int8send(seq) || uuid_send(player_id) AS member
FROM entries WHERE board_id = $1 AND listed"""


@dataclass(frozen=True)
class Gamer:
    """The customer of the confirmed order, with one round and what it unlocked."""

    id: UUID
    result: UUID


async def gamer(records: ShopRecords, confirmed: Placed, cancelled: Placed, meal: Placed) -> Gamer:
    """The customers of the orders are players, and one of them played a round."""
    await _boards(records)
    found = Gamer(confirmed.user, new_id())
    ledgers = {
        confirmed.user: {
            f"order:{confirmed.order}": ORDER_XP,
            f"result:{found.result}": RESULT_XP,
            f"achievement:{CODE}": REWARD_XP,
        },
        cancelled.user: {f"order:{cancelled.order}": ORDER_XP, f"order_cancelled:{cancelled.order}": -ORDER_XP},
        meal.user: {f"order:{meal.order}": ORDER_XP},
    }
    for user, ledger in ledgers.items():
        await _player(records, user, ledger)
    for placed in (confirmed, cancelled, meal):
        await _ordered(records, placed, cancelled=placed is cancelled)
    await _played(records, found)
    await _unlocked(records, found)
    return found


async def _boards(records: ShopRecords) -> None:
    for board, (source, operator) in BOARDS.items():
        row = "INSERT INTO boards (board, source, operator, direction, reset, created_at)"
        values = " VALUES ($1, $2, $3, 'desc', 'never', $4)"
        await records.run("leaderboard", row + values, board, source, operator, AT - timedelta(days=1))
    await records.run("leaderboard", "INSERT INTO seasons (board_id, season) SELECT id, 'all' FROM boards")


async def _player(records: ShopRecords, user: UUID, ledger: Mapping[str, int]) -> None:
    xp, days = sum(ledger.values()), int(any(value < 0 for value in ledger.values()) is False)
    await records.run("player", PLAYER, user, xp, days, AT, days, len(ledger))
    if days:
        await records.run("player", "INSERT INTO days VALUES ($1, $2::timestamptz::date)", user, AT)
    total = 0
    for version, (cause, gain) in enumerate(ledger.items(), 1):
        total += gain
        await records.run("player", "INSERT INTO ledger VALUES ($1, $2, $3, $4)", user, cause, gain, AT)
        data = {"player_id": str(user), "cause": cause, "xp": gain, "total_xp": total, "version": version}
        await announce(records, "player.gained.v1", user, data, "achievement", "leaderboard")
        await records.run("leaderboard", SCORED, "xp", f"xp:{user}:{version}", user, total, AT, False)
    await records.run("leaderboard", "INSERT INTO players VALUES ($1, 'Brave Otter 12', false, 1)", user)
    await records.run("leaderboard", ENTRY, "xp", user, total, AT, len(ledger))
    await records.run("achievement", "INSERT INTO players (player_id, profile_version) VALUES ($1, 1)", user)


async def announce(records: ShopRecords, kind: str, user: UUID, data: Mapping[str, Any], *consumers: str) -> UUID:
    """The event is published and consumed."""
    event = new_id()
    await records.outbox(event, kind, user, await records.publish(event, kind, data), data)
    await records.consume(event, *consumers)
    return event


async def _ordered(records: ShopRecords, placed: Placed, *, cancelled: bool) -> None:
    row = "INSERT INTO orders VALUES ($1, $2, true, $3, $4, 'EUR', '{novel}')"
    await records.run("achievement", row, placed.order, placed.user, cancelled, TOTAL)
    await records.run("leaderboard", SCORED, "buyers-all", f"order:{placed.order}", placed.user, SPENT, AT, cancelled)
    if not cancelled:
        await records.run("leaderboard", ENTRY, "buyers-all", placed.user, SPENT, AT, 0)
        await _fact(records, placed.user, "orders", 1)
        await _fact(records, placed.user, "spent:EUR", TOTAL)


async def _fact(records: ShopRecords, user: UUID, fact: str, value: int) -> None:
    await records.run("achievement", "INSERT INTO facts VALUES ($1, $2, $3, $3)", user, fact, value)


async def _played(records: ShopRecords, gamer: Gamer) -> None:
    data = {"player_id": str(gamer.id), "result_id": str(gamer.result), "source": "stack", "score": SCORE}
    event = await announce(records, "player.scored.v1", gamer.id, data, "achievement", "leaderboard")
    await records.run("player", RESULT, gamer.result, gamer.id, SCORE, RESULT_XP, event, AT)
    await records.run("leaderboard", SCORED, "stack", f"result:{gamer.result}", gamer.id, SCORE, AT, False)
    await records.run("leaderboard", ENTRY, "stack", gamer.id, SCORE, AT, 0)
    for fact, value in (("rounds:stack", 1), ("score:stack", SCORE), ("score_sum:stack", SCORE)):
        await _fact(records, gamer.id, fact, value)


async def _unlocked(records: ShopRecords, gamer: Gamer) -> None:
    await records.run("achievement", UNLOCKED, gamer.id, CODE, REWARD_XP, AT)
    await records.run("achievement", "UPDATE players SET unlocks = 1 WHERE player_id = $1", gamer.id)
    await announce(records, "achievement.unlocked.v1", gamer.id, {"code": CODE, "xp": REWARD_XP}, "player")


def cache_of(records: ShopRecords) -> Any:
    """A client of the cache, as a context; its types know only answers that are text."""
    return Redis.from_url(records.target.cache_url)


async def cache_boards(records: ShopRecords) -> None:
    """The cache has every board as its service writes it, and nothing else."""
    async with cache_of(records) as cache:
        await cache.flushall()
        server = (await cache.info("server"))["run_id"]
        for board in await records.connections["leaderboard"].fetch("SELECT id, epoch FROM boards"):
            key = f"leaderboard:{{{board['id']}:all}}"
            await cache.hset(key, mapping={"live": "1", "epoch": board["epoch"], "server": server})
            for member in await records.connections["leaderboard"].fetch(MEMBERS, board["id"]):
                await cache.zadd(f"{key}:1:ranks", {member["member"]: 0})
