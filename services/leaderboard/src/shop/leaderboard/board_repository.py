"""The SQL of boards and seasons."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from typing import NamedTuple

from shop.kit.db import Connection, Database
from shop.leaderboard.boards import BoardsError
from shop.leaderboard.domain import Board, Season

LOCK = "SELECT pg_advisory_xact_lock(hashtext('leaderboard boards'))"
PRESENT = "SELECT id, board, source, operator, direction, reset FROM boards WHERE removed_at IS NULL"
REMOVE = "UPDATE boards SET removed_at = $2 WHERE removed_at IS NULL AND NOT board = ANY($1::text[])"
ADD = """
INSERT INTO boards (board, source, operator, direction, reset, created_at) VALUES ($1, $2, $3, $4, $5, $6)
RETURNING id"""
EPOCH = "SELECT epoch FROM boards WHERE id = $1"
EPOCHS = "SELECT id, epoch FROM boards WHERE id = ANY($1::int[])"
RAISE_EPOCHS = """
UPDATE boards SET epoch = epoch + 1
WHERE id IN (SELECT id FROM boards WHERE id = ANY($1::int[]) ORDER BY id FOR NO KEY UPDATE)"""
SEASONS = """
SELECT season, starts_at, ends_at FROM seasons WHERE board_id = $1 AND ($2::text IS NULL OR season < $2)
ORDER BY season DESC LIMIT $3"""
SEASON = "SELECT season, starts_at, ends_at FROM seasons WHERE board_id = $1 AND season = $2"
ALL_SEASONS = "SELECT board_id, season FROM seasons WHERE archived_at IS NULL ORDER BY board_id, season DESC LIMIT $1"
ENDED = """
SELECT board_id, season FROM seasons WHERE archived_at IS NULL AND ends_at < $1 AND board_id = ANY($2::int[])
ORDER BY ends_at LIMIT 1"""
PRUNE_SCORES = """
DELETE FROM scores WHERE (board_id, cause) IN (
    SELECT board_id, cause FROM scores WHERE board_id = $1 AND season = $2 LIMIT $3)"""
PRUNE_ENTRIES = """
DELETE FROM entries e USING (
    SELECT board_id, season, player_id FROM entries WHERE board_id = $1 AND season = $2
    ORDER BY NOT listed, sort_key, at, seq OFFSET $3 LIMIT $4) AS surplus
WHERE (e.board_id, e.season, e.player_id) = (surplus.board_id, surplus.season, surplus.player_id)"""
ARCHIVED = "UPDATE seasons SET archived_at = $3 WHERE board_id = $1 AND season = $2"
REMOVED = "SELECT id FROM boards WHERE removed_at < $1 ORDER BY id LIMIT 1"
PRUNE_REMOVED = [
    "DELETE FROM scores WHERE (board_id, cause) IN (SELECT board_id, cause FROM scores WHERE board_id = $1 LIMIT $2)",
    """
DELETE FROM entries WHERE (board_id, season, player_id) IN (
    SELECT board_id, season, player_id FROM entries WHERE board_id = $1 LIMIT $2)""",
    """
DELETE FROM seasons WHERE (board_id, season) IN (
    SELECT board_id, season FROM seasons WHERE board_id = $1 LIMIT $2)""",
    "DELETE FROM boards WHERE id = $1 AND $2 > 0",
]


class SeasonKey(NamedTuple):
    board_id: int
    season: str


class BoardRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def synchronize(self, boards: Sequence[Board], now: datetime) -> list[Board]:
        """The boards with their ids. Those that the database has and the file has not are marked as removed.

        Raises BoardsError for a board whose scores would mean something else than before.
        """
        async with self._database.transaction() as connection:
            await connection.execute(LOCK)
            await connection.execute(REMOVE, [one.board for one in boards], now)
            known = {row["board"]: row for row in await connection.fetch(PRESENT)}
            ids = []
            for one in boards:
                if (row := known.get(one.board)) is None:
                    ids.append(await self._add(connection, one, now))
                else:
                    _check_unchanged(one, dict(row))
                    ids.append(row["id"])
        return [replace(one, id=found) for one, found in zip(boards, ids, strict=True)]

    async def _add(self, connection: Connection, one: Board, now: datetime) -> int:
        row = (one.board, one.source, one.operator, one.direction, one.reset, now)
        return int(await connection.fetchval(ADD, *row))

    async def epoch(self, board_id: int) -> int:
        return int(await self._database.fetchval(EPOCH, board_id) or 0)

    async def epochs(self, board_ids: Sequence[int]) -> dict[int, int]:
        return {row["id"]: row["epoch"] for row in await self._database.fetch(EPOCHS, list(board_ids))}

    async def raise_epochs(self, board_ids: Sequence[int], connection: Connection | None = None) -> None:
        """Whatever is cached of these boards does not count any more, once this is committed."""
        await (connection or self._database).execute(RAISE_EPOCHS, list(board_ids))

    async def seasons(self, board_id: int, before: str | None, limit: int) -> list[Season]:
        """The newest first."""
        rows = await self._database.fetch(SEASONS, board_id, before, limit)
        return [Season(row["season"], row["starts_at"], row["ends_at"]) for row in rows]

    async def season(self, board_id: int, name: str) -> Season | None:
        row = await self._database.fetchrow(SEASON, board_id, name)
        return Season(row["season"], row["starts_at"], row["ends_at"]) if row else None

    async def all_seasons(self, limit: int) -> list[SeasonKey]:
        return [SeasonKey(*row) for row in await self._database.fetch(ALL_SEASONS, limit)]

    async def ended(self, before: datetime, board_ids: Sequence[int]) -> SeasonKey | None:
        """The oldest season that ended before this moment and is not archived."""
        row = await self._database.fetchrow(ENDED, before, list(board_ids))
        return SeasonKey(*row) if row else None

    async def archive(self, key: SeasonKey, size: int, batch: int, now: datetime) -> bool:
        """Prune up to ``batch`` rows of a season, entries beyond the first ``size``; whether any were left to prune."""
        scores = await self._database.execute(PRUNE_SCORES, *key, batch)
        entries = await self._database.execute(PRUNE_ENTRIES, *key, size, batch)
        if _count(scores) + _count(entries) > 0:
            return True
        await self._database.execute(ARCHIVED, *key, now)
        return False

    async def prune_removed(self, before: datetime, batch: int) -> bool:
        """Prune up to ``batch`` rows of each kind of a board that was removed before this moment; whether one was."""
        board_id = await self._database.fetchval(REMOVED, before)
        if board_id is None:
            return False
        for statement in PRUNE_REMOVED:
            if _count(await self._database.execute(statement, board_id, batch)) > 0:
                return True
        return False


def _count(status: str) -> int:
    """The number of rows in a command's status, such as DELETE 12."""
    return int(status.rsplit(" ", 1)[1])


def _check_unchanged(board: Board, row: dict[str, object]) -> None:
    for field, name in (("source", "source"), ("operator", "operator"), ("direction", "order"), ("reset", "reset")):
        new = str(getattr(board, field))
        if row[field] != new:
            raise BoardsError(
                f"boards: {name} of the board {board.board} was {row[field]} and cannot become {new}, because its "
                "scores would mean something else; give the new board another name"
            )
