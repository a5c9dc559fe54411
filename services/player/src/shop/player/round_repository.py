"""Results of rounds, and scores that game servers posted, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple
from uuid import UUID

import orjson

from shop.kit.db import Connection, Database

RESULT_COLUMNS = "id, player_id, game, moves, score, ticks, statistics, xp, level, day, event_id, created_at"
RESULT = f"SELECT {RESULT_COLUMNS} FROM results WHERE id = $1"  # noqa: S608 - constants
# Moves and statistics as text: arrays of different lengths, and objects, are no columns of unnest.
ADD_RESULTS = f"""
WITH added AS (
    INSERT INTO results ({RESULT_COLUMNS})
    SELECT id, player_id, game, moves::int[], score, ticks, statistics::jsonb, xp, level, day, event_id, created_at
    FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::bigint[], $6::int[], $7::text[], $8::int[],
        $9::int[], $10::date[], $11::uuid[], $12::timestamptz[]) AS new ({RESULT_COLUMNS})
    RETURNING player_id, game, score
)
INSERT INTO game_totals (player_id, game, rounds, best_score) SELECT player_id, game, 1, score FROM added
ON CONFLICT (player_id, game) DO UPDATE SET rounds = game_totals.rounds + 1,
    best_score = greatest(game_totals.best_score, excluded.best_score)"""  # noqa: S608
BEFORE = """
SELECT asked.id, EXISTS (SELECT FROM results r WHERE r.id = asked.id) AS known,
    (SELECT count(*) FROM results r WHERE r.player_id = asked.player_id AND r.created_at > $4) AS recent,
    (SELECT coalesce(sum(xp), 0)::int FROM results r WHERE r.player_id = asked.player_id AND r.day = asked.day) AS xp
FROM unnest($1::uuid[], $2::uuid[], $3::date[]) AS asked (id, player_id, day)"""
POSTED_COLUMNS = "poster_id, key, request_digest, id, player_id, board, source, score, event_id, created_at"
ADD_POSTED = f"""
INSERT INTO posted_scores ({POSTED_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)
ON CONFLICT (poster_id, key) DO NOTHING RETURNING true"""  # noqa: S608
POSTED = f"SELECT {POSTED_COLUMNS} FROM posted_scores WHERE poster_id = $1 AND key = $2"  # noqa: S608
FORGET_POSTED = """
DELETE FROM posted_scores WHERE id IN (SELECT id FROM posted_scores WHERE created_at < $1 LIMIT $2) RETURNING id"""

FORGET_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class Result:
    """A finished round; ``id`` is its session's. ``level`` is the player's after it, ``day`` the player's local one."""

    id: UUID
    player_id: UUID
    game: str
    moves: list[int]
    score: int
    ticks: int
    statistics: Mapping[str, int]
    xp: int
    level: int
    day: date
    event_id: UUID
    created_at: datetime


class Before(NamedTuple):
    """What is stored before a result: whether its session has one, and of the player's others how many there were
    lately and the experience points that those of the day gave."""

    known: bool
    recent: int
    xp_of_day: int


@dataclass(frozen=True, slots=True)
class PostedScore:
    """A score by a game server or an administrator; ``request_digest`` is the SHA-256 of player, board and score."""

    poster_id: UUID
    key: str
    request_digest: bytes
    id: UUID
    player_id: UUID
    board: str
    source: str
    score: int
    event_id: UUID
    created_at: datetime


class RoundRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def result(self, session_id: UUID) -> Result | None:
        row = await self._database.fetchrow(RESULT, session_id)
        return Result(**row) if row else None

    async def before(
        self, connection: Connection, asked: Sequence[tuple[UUID, UUID, date]], since: datetime
    ) -> dict[UUID, Before]:
        """By session, of these sessions with their players, who are locked, and local days; ``since`` is recent."""
        columns = [list(column) for column in zip(*asked, strict=True)]
        rows = await connection.fetch(BEFORE, *columns, since)
        return {row["id"]: Before(row["known"], row["recent"], row["xp"]) for row in rows}

    async def add_results(self, connection: Connection, results: Sequence[Result]) -> None:
        """Store results of locked players, one of each, whose sessions have none."""
        if results:
            rows = [_row(one) for one in results]
            await connection.execute(ADD_RESULTS, *(list(column) for column in zip(*rows, strict=True)))

    async def add_posted(self, connection: Connection, posted: PostedScore) -> bool:
        """False when the poster used the key before."""
        values = [getattr(posted, name.strip()) for name in POSTED_COLUMNS.split(",")]
        return bool(await connection.fetchval(ADD_POSTED, *values))

    async def posted(self, poster_id: UUID, key: str) -> PostedScore | None:
        row = await self._database.fetchrow(POSTED, poster_id, key)
        return PostedScore(**row) if row else None

    async def forget_posted(self, now: datetime, kept: timedelta) -> int:
        """Remove at most FORGET_ROWS scores older than ``kept``, and return their number."""
        return len(await self._database.fetch(FORGET_POSTED, now - kept, FORGET_ROWS))


def _row(result: Result) -> tuple[object, ...]:
    values = {name.strip(): getattr(result, name.strip()) for name in RESULT_COLUMNS.split(",")}
    values["moves"] = "{" + ",".join(map(str, result.moves)) + "}"
    values["statistics"] = orjson.dumps(dict(result.statistics)).decode()
    return tuple(values.values())
