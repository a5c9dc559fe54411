"""The only SQL of player."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from shop.kit.db import Connection, Database, Record
from shop.player.domain import Entry

ADD = """
INSERT INTO entries (id, user_id, origin, note, created_at)
SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM entries WHERE user_id = $2) < $6
RETURNING id"""
ADD_MANY = """
INSERT INTO entries (id, user_id, origin, note, created_at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::text[], $5::timestamptz[])"""
ONE = "SELECT id, user_id, origin, note, created_at FROM entries WHERE user_id = $1 AND id = $2"
PAGE = """
SELECT id, user_id, origin, note, created_at FROM entries
WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"""


class PlayerRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, entry: Entry, limit: int) -> bool:
        """Store ``entry``; False when its user has ``limit`` entries already."""
        row = (entry.id, entry.user_id, entry.origin, entry.note, entry.created_at)
        return await self._database.fetchval(ADD, *row, limit) is not None

    async def add_in(self, connection: Connection, entries: Sequence[Entry]) -> None:
        """Store ``entries`` in the caller's transaction, with one statement."""
        rows = [(entry.id, entry.user_id, entry.origin, entry.note, entry.created_at) for entry in entries]
        if rows:
            await connection.execute(ADD_MANY, *(list(column) for column in zip(*rows, strict=True)))

    async def one(self, user_id: UUID, entry_id: UUID) -> Entry | None:
        row = await self._database.fetchrow(ONE, user_id, entry_id)
        return _entry(row) if row else None

    async def page(self, user_id: UUID, before: UUID | None, limit: int) -> list[Entry]:
        """The user's newest entries older than ``before``."""
        return [_entry(row) for row in await self._database.fetch(PAGE, user_id, before, limit)]


def _entry(row: Record) -> Entry:
    return Entry(**row)
