"""What may go wrong with a player, a board or an achievement, for the audit to find."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import nats

from k8s.operator.tests.audit_arcade import (
    CODE,
    ENTRY,
    ORDER_XP,
    REWARD_XP,
    SCORE,
    SCORED,
    SPENT,
    XP,
    announce,
    cache_of,
)
from k8s.operator.tests.audit_records import AT, Placed
from shop.kit.ids import new_id

if TYPE_CHECKING:
    from k8s.operator.tests.audit_sound import Sound


async def experience_beside_the_ledger(sound: Sound) -> str:
    await sound.records.run("player", "UPDATE players SET xp = xp + 1 WHERE id = $1", sound.gamer.id)
    # The board and the facts follow from events, and only the sum is wrong.
    await _board_has(sound, "xp", XP + 1)
    return str(sound.gamer.id)


async def _board_has(sound: Sound, board: str, score: int) -> None:
    for table in ("entries", "scores"):
        await sound.records.run(
            "leaderboard",
            f"UPDATE {table} SET score = $3"
            + (", sort_key = -$3::bigint" if table == "entries" else "")
            + " WHERE player_id = $2 AND board_id = (SELECT id FROM boards WHERE board = $1)"
            + (" AND cause LIKE '%:3'" if table == "scores" else ""),
            board,
            sound.gamer.id,
            score,
        )


async def level_that_was_not_reached(sound: Sound) -> str:
    await sound.records.run("player", "UPDATE players SET level = 3, level_reached = 3 WHERE id = $1", sound.gamer.id)
    return str(sound.gamer.id)


async def result_that_gave_nothing(sound: Sound) -> str:
    await sound.records.run("player", "UPDATE results SET xp = 0")
    return str(sound.gamer.result)


async def entry_of_the_ledger_without_a_result(sound: Sound) -> str:
    cause = f"result:{new_id()}"
    await sound.records.run("player", "INSERT INTO ledger VALUES ($1, $2, 0, $3)", sound.gamer.id, cause, AT)
    return f"{sound.gamer.id} {cause}"


async def order_that_gave_nothing(sound: Sound) -> str:
    return await _gives(sound, sound.confirmed, f"order:{sound.confirmed.order}", -ORDER_XP, delete=True)


async def cancelled_order_that_still_gives(sound: Sound) -> str:
    cause = f"order_cancelled:{sound.cancelled.order}"
    return await _gives(sound, sound.cancelled, cause, ORDER_XP, delete=True)


async def order_that_gave_to_another_player(sound: Sound) -> str:
    order = sound.meal.placed.order
    await sound.records.run("player", "INSERT INTO ledger VALUES ($1, $2, 0, $3)", sound.gamer.id, f"order:{order}", AT)
    return str(order)


async def _gives(sound: Sound, placed: Placed, cause: str, change: int, *, delete: bool) -> str:
    """The ledger loses an entry and the player's sum follows."""
    if delete:
        await sound.records.run("player", "DELETE FROM ledger WHERE player_id = $1 AND cause = $2", placed.user, cause)
    await sound.records.run("player", "UPDATE players SET xp = xp + $2 WHERE id = $1", placed.user, change)
    newest = "player_id = $1 AND board_id = (SELECT id FROM boards WHERE board = 'xp')"
    entry = f"UPDATE entries SET score = score + $2, sort_key = sort_key - $2 WHERE {newest}"
    await sound.records.run("leaderboard", entry, placed.user, change)
    version = "(SELECT position FROM entries e WHERE e.player_id = scores.player_id AND e.board_id = scores.board_id)"
    score = f"UPDATE scores SET score = score + $2 WHERE {newest} AND split_part(cause, ':', 3)::bigint = {version}"
    await sound.records.run("leaderboard", score, placed.user, change)
    return str(placed.order)


async def reward_that_is_missing(sound: Sound) -> str:
    await sound.records.run("player", "UPDATE players SET level_reached = 5 WHERE id = $1", sound.gamer.id)
    return f"{sound.gamer.id} level 5"


async def streak_of_days_that_were_not(sound: Sound) -> str:
    sql = "UPDATE players SET streak_days = 2, best_streak = 2 WHERE id = $1"
    await sound.records.run("player", sql, sound.gamer.id)
    return str(sound.gamer.id)


async def level_that_was_announced_twice(sound: Sound) -> str:
    return await _announced_twice(sound, "player.level_reached.v1", "level", 2)


async def _announced_twice(sound: Sound, kind: str, key: str, value: object) -> str:
    """Too new for the oracles that look for events in streams and at consumers."""
    for _ in range(2):
        await sound.records.run(
            kind.partition(".")[0],
            "INSERT INTO outbox (event_id, type, subject_id, payload, created_at, published_at)"
            " VALUES ($1, $2, $3, $4, now() + interval '1 hour', now() + interval '1 hour')",
            new_id(),
            kind,
            str(sound.gamer.id),
            json.dumps({"data": {key: value}}),
        )
    return f"{sound.gamer.id} {value}"


async def player_who_is_a_deleted_user(sound: Sound) -> str:
    return await _deleted(sound, "player")


async def _deleted(sound: Sound, noun: str) -> str:
    """The deletion was consumed and has had no effect; of a user of whom nobody else knows."""
    user = sound.meal.placed.user
    client = await nats.connect(sound.records.target.nats_url)
    await client.jetstream().add_stream(name="user", subjects=["user.>"])
    await client.close()
    await announce(sound.records, "user.deleted.v1", user, {"user_id": str(user)}, noun)
    return str(user)


async def achievement_without_evidence(sound: Sound) -> str:
    evidence = json.dumps([{"fact": "score:stack", "need": SCORE + 1}])
    await sound.records.run("achievement", "UPDATE unlocked SET evidence = $1", evidence)
    return f"{sound.gamer.id} {CODE}"


async def achievement_that_is_not_counted(sound: Sound) -> str:
    await sound.records.run("achievement", "UPDATE players SET unlocks = 2 WHERE player_id = $1", sound.gamer.id)
    return str(sound.gamer.id)


async def achievement_that_was_announced_twice(sound: Sound) -> str:
    return await _announced_twice(sound, "achievement.unlocked.v1", "code", "first-order")


async def achievement_that_gave_nothing(sound: Sound) -> str:
    await _gives(sound, sound.confirmed, f"achievement:{CODE}", -REWARD_XP, delete=True)
    return f"{sound.gamer.id} {CODE}"


async def experience_for_an_achievement_that_is_not_there(sound: Sound) -> str:
    await sound.records.run("player", "INSERT INTO ledger VALUES ($1, 'achievement:x', 0, $2)", sound.gamer.id, AT)
    return f"{sound.gamer.id} x"


async def round_that_counts_twice(sound: Sound) -> str:
    await sound.records.run("achievement", "UPDATE facts SET value = 2, peak = 2 WHERE fact = 'rounds:stack'")
    return f"{sound.gamer.id} rounds:stack"


async def order_that_counts_twice(sound: Sound) -> str:
    sql = "UPDATE facts SET value = 2, peak = 2 WHERE fact = 'orders' AND player_id = $1"
    await sound.records.run("achievement", sql, sound.gamer.id)
    return f"{sound.gamer.id} orders"


async def achievements_of_a_deleted_user(sound: Sound) -> str:
    return await _deleted(sound, "achievement")


async def entry_without_a_score(sound: Sound) -> str:
    sql = ENTRY.replace("'all', $2", "'all', $2::uuid")
    other = new_id()
    await sound.records.run("leaderboard", sql, "stack", other, 5, AT, 0)
    return f"stack all {other}"


async def score_without_an_entry(sound: Sound) -> str:
    await sound.records.run("leaderboard", f"DELETE FROM entries WHERE {STACK}")
    return f"stack all {sound.gamer.id}"


STACK = "board_id = (SELECT id FROM boards WHERE board = 'stack')"


async def entry_with_a_worse_score(sound: Sound) -> str:
    await sound.records.run("leaderboard", f"UPDATE entries SET score = 1, sort_key = -1 WHERE {STACK}")
    return f"stack all {sound.gamer.id}"


async def entry_of_another_time(sound: Sound) -> str:
    await sound.records.run("leaderboard", f"UPDATE entries SET at = at + interval '1 microsecond' WHERE {STACK}")
    return f"stack all {sound.gamer.id}"


async def private_player_who_is_listed(sound: Sound) -> str:
    user = sound.cancelled.user
    await sound.records.run("leaderboard", "UPDATE players SET private = true WHERE player_id = $1", user)
    return f"xp all {user}"


async def sum_that_is_not_the_orders(sound: Sound) -> str:
    sql = "UPDATE entries SET total = total + 1 WHERE player_id = $1 AND board_id = (SELECT id FROM boards WHERE"
    await sound.records.run("leaderboard", f"{sql} board = 'buyers-all')", sound.gamer.id)
    return f"buyers-all all {sound.gamer.id}"


async def result_that_does_not_count(sound: Sound) -> str:
    for table in ("entries", "scores"):
        await sound.records.run("leaderboard", f"DELETE FROM {table} WHERE {STACK}")
    return f"result:{sound.gamer.result}"


async def result_that_counts_more(sound: Sound) -> str:
    await sound.records.run("leaderboard", f"UPDATE scores SET score = 121 WHERE {STACK}")
    await sound.records.run("leaderboard", f"UPDATE entries SET score = 121, sort_key = -121 WHERE {STACK}")
    return f"result:{sound.gamer.result}"


async def score_that_nobody_played(sound: Sound) -> str:
    cause = f"result:{new_id()}"
    await sound.records.run("leaderboard", SCORED, "stack", cause, sound.gamer.id, 1, AT, False)
    return cause


async def cancelled_order_that_counts(sound: Sound) -> str:
    await sound.records.run("leaderboard", "UPDATE scores SET cancelled = false WHERE cancelled")
    await sound.records.run("leaderboard", ENTRY, "buyers-all", sound.cancelled.user, SPENT, AT, 0)
    return f"order:{sound.cancelled.order}"


async def order_that_does_not_count(sound: Sound) -> str:
    cause = f"order:{sound.confirmed.order}"
    await sound.records.run("leaderboard", "DELETE FROM scores WHERE cause = $1", cause)
    sql = "DELETE FROM entries WHERE player_id = $1 AND board_id = (SELECT id FROM boards WHERE board = 'buyers-all')"
    await sound.records.run("leaderboard", sql, sound.gamer.id)
    return cause


async def experience_of_another_total(sound: Sound) -> str:
    await _board_has(sound, "xp", XP - 1)
    return f"xp {sound.gamer.id}"


async def ranks_of_a_deleted_user(sound: Sound) -> str:
    return await _deleted(sound, "leaderboard")


async def cached_place_of_an_earlier_score(sound: Sound) -> str:
    async with cache_of(sound.records) as cache:
        [key] = [one async for one in cache.scan_iter(f"leaderboard:*{await _board_id(sound)}:all*:ranks")]
        [member] = await cache.zrange(key, 0, -1)
        await cache.zrem(key, member)
        await cache.zadd(key, {member[:7] + bytes([member[7] ^ 1]) + member[8:]: 0})
    return f"stack all {sound.gamer.id}"


async def cached_player_who_is_not_on_the_board(sound: Sound) -> str:
    other = new_id()
    async with cache_of(sound.records) as cache:
        await cache.zadd(f"leaderboard:{{{await _board_id(sound)}:all}}:1:ranks", {bytes(24) + other.bytes: 0})
    return f"stack all {other}"


async def _board_id(sound: Sound) -> int:
    found: int = await sound.records.connections["leaderboard"].fetchval("SELECT id FROM boards WHERE board = 'stack'")
    return found


ARCADE_BREAKS: dict[int, list[Callable[[Sound], Awaitable[str]]]] = {
    23: [
        experience_beside_the_ledger,
        level_that_was_not_reached,
        result_that_gave_nothing,
        entry_of_the_ledger_without_a_result,
        order_that_gave_nothing,
        cancelled_order_that_still_gives,
        order_that_gave_to_another_player,
        reward_that_is_missing,
        streak_of_days_that_were_not,
        level_that_was_announced_twice,
        player_who_is_a_deleted_user,
    ],
    24: [
        achievement_without_evidence,
        achievement_that_is_not_counted,
        achievement_that_was_announced_twice,
        achievement_that_gave_nothing,
        experience_for_an_achievement_that_is_not_there,
        round_that_counts_twice,
        order_that_counts_twice,
        achievements_of_a_deleted_user,
    ],
    25: [
        entry_without_a_score,
        score_without_an_entry,
        entry_with_a_worse_score,
        entry_of_another_time,
        private_player_who_is_listed,
        sum_that_is_not_the_orders,
        result_that_does_not_count,
        result_that_counts_more,
        score_that_nobody_played,
        cancelled_order_that_counts,
        order_that_does_not_count,
        experience_of_another_total,
        ranks_of_a_deleted_user,
    ],
    26: [cached_place_of_an_earlier_score],
}
"""By the oracle that finds them."""
