"""The oracle about leaderboards in the cache: a board that is read from there is the one in the database.

It reads what leaderboard wrote (see ADR 0053 and 0054) with code of its own. A season that is not cached, or whose
cached board does not count, is answered from the database: that is late, and nothing is wrong.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from typing import Any, NamedTuple
from uuid import UUID

import asyncpg
from redis.asyncio import Redis
from redis.exceptions import RedisError

from shop.operator.audit.arcade import LEADERBOARD, has_arcade
from shop.operator.audit.model import Audit, Finding
from shop.operator.errors import reason_of

TIMEOUT_S = 5.0
PAGE_RANKS = 5_000
MAX_RANKS = 100_000
"""Of a season; ranks behind are only counted."""
OFFSET = 2**63
"""Added to a sort key, so that its bytes are ordered as numbers are."""
PART_BYTES, PLAYER_BYTES = 8, 16
ERRORS = (RedisError, OSError, TimeoutError)

PRESENT = """
SELECT b.id, b.board, b.epoch, s.season FROM boards b JOIN seasons s ON s.board_id = b.id
WHERE b.removed_at IS NULL AND (s.ends_at IS NULL OR s.ends_at > now())
  AND EXISTS (SELECT FROM entries e WHERE e.board_id = b.id AND e.season = s.season AND e.listed)"""
LISTED = """
SELECT player_id::text AS player, sort_key, (extract(epoch FROM at) * 1000000)::bigint AS at_us, seq FROM entries
WHERE board_id = $1 AND season = $2 AND listed ORDER BY sort_key, at, seq LIMIT $3"""
COUNT = "SELECT count(*) AS listed FROM entries WHERE board_id = $1 AND season = $2 AND listed"


class Cached(NamedTuple):
    """The generation of a season that is read: the key of its ranks."""

    board: str
    board_id: int
    season: str
    ranks: bytes


async def boards_in_cache_are_right(audit: Audit) -> Finding:
    """Who is on a cached board, in which order and with which score is what the database says.

    Nothing is checked in a shop without an arcade, or where the cache's address is not known.
    """
    finding = Finding()
    if not (has_arcade(audit) and audit.cache_url):
        return finding
    try:
        async with _connected(audit.cache_url) as cache:
            for one in (await _seasons(cache, audit.connections[LEADERBOARD]))[0]:
                await _compare(audit, cache, one, finding)
    except ERRORS as error:
        finding.violations["cache"] = f"could not be read: {reason_of(error)}"
    return finding


async def not_cached(cache_url: str, connections: Mapping[str, asyncpg.Connection]) -> list[str]:
    """Present seasons with entries that leaderboard has not written to the cache yet."""
    if not cache_url or LEADERBOARD not in connections:
        return []
    try:
        async with _connected(cache_url) as cache:
            return (await _seasons(cache, connections[LEADERBOARD]))[1]
    except ERRORS:
        return ["the cache, which does not answer"]


@contextlib.asynccontextmanager
async def _connected(url: str) -> AsyncIterator[Any]:
    client = Redis.from_url(url, socket_timeout=TIMEOUT_S, socket_connect_timeout=TIMEOUT_S)
    try:
        yield client
    finally:
        await client.aclose()


async def _seasons(cache: Any, database: asyncpg.Connection) -> tuple[list[Cached], list[str]]:
    """Those that are read from the cache, and the names of the others."""
    server = str((await cache.info("server"))["run_id"]).encode()
    found, missing = [], []
    for row in await database.fetch(PRESENT):
        key = f"leaderboard:{{{row['id']}:{row['season']}}}".encode()
        live, *state = await cache.hmget(key, "live", "epoch", "server")
        if live is None or state != [str(row["epoch"]).encode(), server]:
            missing.append(f"{row['board']} {row['season']}")
        else:
            found.append(Cached(row["board"], row["id"], row["season"], key + b":" + live + b":ranks"))
    return found, missing


async def _compare(audit: Audit, cache: Any, one: Cached, finding: Finding) -> None:
    name = f"{one.board} {one.season}"
    members = await _members(cache, one)
    rows = await audit.fetch(LEADERBOARD, LISTED, one.board_id, one.season, MAX_RANKS)
    expected = [_member(row["sort_key"], row["at_us"], row["seq"], row["player"]) for row in rows]
    finding.checked += len(expected)
    cached, stored = set(members), set(expected)
    for member in cached ^ stored:
        what = "is cached otherwise than it is stored" if member in cached else "is stored and not cached like that"
        finding.violations[f"{name} {_player(member)}"] = what
    [row] = await audit.fetch(LEADERBOARD, COUNT, one.board_id, one.season)
    if (ranks := await cache.zcard(one.ranks)) != row["listed"]:
        finding.violations[name] = f"lists {ranks} players in the cache, and {row['listed']} in the database"


async def _members(cache: Any, one: Cached) -> list[bytes]:
    """In the order of their ranks, the first `MAX_RANKS`."""
    found: list[bytes] = []
    while len(found) < MAX_RANKS:
        page = await cache.zrange(one.ranks, len(found), min(len(found) + PAGE_RANKS, MAX_RANKS) - 1)
        found += page
        if len(page) < PAGE_RANKS:
            break
    return found


def _member(sort_key: int, at_us: int, seq: int, player: str) -> bytes:
    parts = b"".join(part.to_bytes(PART_BYTES, "big") for part in (sort_key + OFFSET, at_us, seq))
    return parts + UUID(player).bytes


def _player(member: bytes) -> str:
    """As ids are written, or whatever the member ends with."""
    end = member[-PLAYER_BYTES:]
    return str(UUID(bytes=end)) if len(end) == PLAYER_BYTES else repr(member)
