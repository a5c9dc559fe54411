"""Results of rounds, and scores that game servers posted, in PostgreSQL."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from shop.kit.db import Connection, Database

RESULT_COLUMNS = "id, player_id, game, moves, score, ticks, statistics, xp, level, day, event_id, created_at"
RESULT = f"SELECT {RESULT_COLUMNS} FROM results WHERE id = $1"  # noqa: S608 - constants
ADD_RESULT = f"""
INSERT INTO results ({RESULT_COLUMNS}) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)
ON CONFLICT (id) DO NOTHING RETURNING true"""  # noqa: S608
RECENT = "SELECT count(*) FROM results WHERE player_id = $1 AND created_at > $2"
XP_OF_DAY = "SELECT coalesce(sum(xp), 0)::int FROM results WHERE player_id = $1 AND day = $2"
ADD_TOTALS = """
INSERT INTO game_totals (player_id, game, rounds, best_score) VALUES ($1, $2, 1, $3)
ON CONFLICT (player_id, game) DO UPDATE SET rounds = game_totals.rounds + 1,
    best_score = greatest(game_totals.best_score, excluded.best_score)"""
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

    async def add_result(self, connection: Connection, result: Result) -> bool:
        """False when the session has a result already."""
        values = [getattr(result, name.strip()) for name in RESULT_COLUMNS.split(",")]
        if not await connection.fetchval(ADD_RESULT, *values):
            return False
        await connection.execute(ADD_TOTALS, result.player_id, result.game, result.score)
        return True

    async def recent(self, connection: Connection, player_id: UUID, since: datetime) -> int:
        """How many results the player has since then."""
        found: int = await connection.fetchval(RECENT, player_id, since)
        return found

    async def xp_of_day(self, connection: Connection, player_id: UUID, day: date) -> int:
        """The experience points that the player's results of the local day gave."""
        found: int = await connection.fetchval(XP_OF_DAY, player_id, day)
        return found

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
