"""Game servers in PostgreSQL."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal
from uuid import UUID

from shop.kit.db import Database, Record

LOCK = "SELECT pg_advisory_xact_lock(hashtext('player game servers'))"
ADD = """
INSERT INTO game_servers (id, name, sources, token_digest, created_at)
SELECT $1, $2, $3, $4, $5 WHERE (SELECT count(*) FROM game_servers) < $6
ON CONFLICT (name) DO NOTHING RETURNING true"""
BY_NAME = "SELECT true FROM game_servers WHERE name = $1"
BY_DIGEST = "SELECT id, name, sources, created_at FROM game_servers WHERE token_digest = $1"
ALL = "SELECT id, name, sources, created_at FROM game_servers ORDER BY name LIMIT $1"
REMOVE = "DELETE FROM game_servers WHERE id = $1 RETURNING true"


@dataclass(frozen=True, slots=True)
class GameServer:
    """A program that may post scores of its ``sources``, and unlock achievements."""

    id: UUID
    name: str
    sources: Sequence[str]
    created_at: datetime


class ServerRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, server: GameServer, token_digest: bytes, limit: int) -> Literal["added", "taken", "full"]:
        """One after the other: two that count at the same moment would both find room for one more."""
        values = (server.id, server.name, list(server.sources), token_digest, server.created_at)
        async with self._database.transaction() as connection:
            await connection.execute(LOCK)
            if await connection.fetchval(ADD, *values, limit):
                return "added"
            return "taken" if await connection.fetchval(BY_NAME, server.name) else "full"

    async def of_token(self, token_digest: bytes) -> GameServer | None:
        row = await self._database.fetchrow(BY_DIGEST, token_digest)
        return _server(row) if row else None

    async def all(self, limit: int) -> list[GameServer]:
        return [_server(row) for row in await self._database.fetch(ALL, limit)]

    async def remove(self, server_id: UUID) -> bool:
        """Whether there was one."""
        return bool(await self._database.fetchval(REMOVE, server_id))


def _server(row: Record) -> GameServer:
    return GameServer(**row)
