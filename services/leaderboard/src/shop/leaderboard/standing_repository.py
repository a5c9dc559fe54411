"""The SQL that reads boards: what the cache is written from, and the answers while there is none."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.kit.db import Connection, Database, Record
from shop.leaderboard.board_repository import SeasonKey
from shop.leaderboard.domain import Place, Ranked, microseconds

COLUMNS = "e.player_id, e.sort_key, e.at, e.seq"
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY"
NAMES = "SELECT player_id, name FROM players WHERE player_id = ANY($1::uuid[]) AND NOT private AND version > 0"
AFTER = "e.board_id = $1 AND e.season = $2 AND e.listed"
COUNT = f"SELECT count(*) FROM entries e WHERE {AFTER}"  # noqa: S608 - constants
COUNT_TO = f"{COUNT} AND (e.sort_key, e.at, e.seq) <= ($3, $4, $5)"
TOP = f"""
SELECT {COLUMNS} FROM entries e WHERE {AFTER} AND (e.sort_key, e.at, e.seq) > ($3, $4, $5)
ORDER BY e.sort_key, e.at, e.seq LIMIT $6"""  # noqa: S608
OF = f"SELECT {COLUMNS} FROM entries e WHERE {AFTER} AND e.player_id = ANY($3::uuid[])"  # noqa: S608
BEFORE = f"""
SELECT {COLUMNS} FROM entries e WHERE {AFTER} AND (e.sort_key, e.at, e.seq) < ($3, $4, $5)
ORDER BY e.sort_key DESC, e.at DESC, e.seq DESC LIMIT $6"""  # noqa: S608
ENTRY = "SELECT e.board_id, e.season, e.player_id, e.sort_key, e.at, e.seq, e.listed, e.revision, p.name"
NAMED = "JOIN players p ON p.player_id = e.player_id"
# The entries come first: a merge of both tables would read all players before $3 again for every page.
PAGE = f"""
WITH e AS MATERIALIZED (
    SELECT * FROM entries WHERE board_id = $1 AND season = $2 AND player_id > $3 ORDER BY player_id LIMIT $4
)
{ENTRY} FROM e {NAMED} ORDER BY e.player_id"""  # noqa: S608
EXACT = f"""
{ENTRY} FROM entries e {NAMED}
JOIN unnest($1::int[], $2::text[], $3::uuid[]) AS wanted (board_id, season, player_id)
    ON (e.board_id, e.season, e.player_id) = (wanted.board_id, wanted.season, wanted.player_id)"""
RECENT_OF = f"""
{ENTRY} FROM entries e {NAMED} LEFT JOIN seasons s ON (s.board_id, s.season) = (e.board_id, e.season)
WHERE e.player_id = ANY($1::uuid[]) AND (s.ends_at IS NULL OR s.ends_at > $2)"""


class Entry(NamedTuple):
    """An entry as the cache stores it; a player who is not listed has no place. A newer name is a newer revision."""

    key: SeasonKey
    player_id: UUID
    place: Place
    listed: bool
    revision: int
    name: str


class Found(NamedTuple):
    """Places of a season, the names of their players, and how many places it has."""

    items: list[Ranked]
    names: dict[UUID, str]
    total: int


class StandingRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def count(self, key: SeasonKey) -> int:
        return int(await self._database.fetchval(COUNT, *key))

    async def top(self, key: SeasonKey, after: Place | None, limit: int) -> Found:
        """The next ``limit`` entries after a place, with their ranks."""
        async with self._snapshot() as connection:
            start = 0 if after is None else await _rank(connection, key, after)
            rows = await connection.fetch(TOP, *key, *_parts(after or FIRST), limit)
            return await _found(connection, key, _ranked(rows, start + 1))

    async def around(self, key: SeasonKey, player_id: UUID, neighbours: int) -> Found:
        """The player and up to so many on each side; empty when the board does not list the player."""
        async with self._snapshot() as connection:
            row = await connection.fetchrow(OF, *key, [player_id])
            if row is None:
                return await _found(connection, key, [])
            place = _place(row)
            before = await connection.fetch(BEFORE, *key, *_parts(place), neighbours)
            after = await connection.fetch(TOP, *key, *_parts(place), neighbours)
            first = await _rank(connection, key, place) - len(before)
            return await _found(connection, key, _ranked([*reversed(before), row, *after], first))

    async def among(self, key: SeasonKey, player_ids: Sequence[UUID]) -> Found:
        """Those of the players whom the board lists, with their ranks on the whole board."""
        async with self._snapshot() as connection:
            rows = await connection.fetch(OF, *key, list(player_ids))
            places = [(_place(row), row["player_id"]) for row in rows]
            ranked = [Ranked(await _rank(connection, key, place), one, place) for place, one in places]
            return await _found(connection, key, sorted(ranked))

    @contextlib.asynccontextmanager
    async def _snapshot(self) -> AsyncIterator[Connection]:
        """What its statements read belongs together."""
        async with self._database.transaction() as connection:
            await connection.execute(SNAPSHOT)
            yield connection

    async def page(self, key: SeasonKey, after: UUID, limit: int) -> list[Entry]:
        """Entries in the order of the players' ids, also those that are not listed."""
        return [_entry(row) for row in await self._database.fetch(PAGE, *key, after, limit)]

    async def exact(self, wanted: Sequence[tuple[SeasonKey, UUID]]) -> list[Entry]:
        columns = ([key.board_id for key, _ in wanted], [key.season for key, _ in wanted], [one for _, one in wanted])
        return [_entry(row) for row in await self._database.fetch(EXACT, *columns)]

    async def recent_of(self, player_ids: Iterable[UUID], ended_after: datetime) -> list[Entry]:
        """The entries of these players in seasons that go on or ended after a moment."""
        return [_entry(row) for row in await self._database.fetch(RECENT_OF, list(player_ids), ended_after)]


FIRST = Place(-(2**63), 0, 0)


async def _found(connection: Connection, key: SeasonKey, items: list[Ranked]) -> Found:
    rows = await connection.fetch(NAMES, [one.player_id for one in items])
    names = {row["player_id"]: row["name"] for row in rows}
    return Found(items, names, int(await connection.fetchval(COUNT, *key)))


async def _rank(connection: Connection, key: SeasonKey, place: Place) -> int:
    """How many places are as good or better."""
    return int(await connection.fetchval(COUNT_TO, *key, *_parts(place)))


def _parts(place: Place) -> tuple[object, ...]:
    return (place.sort_key, place.at, place.seq)


def _place(row: Record) -> Place:
    return Place(row["sort_key"], microseconds(row["at"]), row["seq"])


def _ranked(rows: Iterable[Record], first: int) -> list[Ranked]:
    return [Ranked(first + index, row["player_id"], _place(row)) for index, row in enumerate(rows)]


def _entry(row: Record) -> Entry:
    key = SeasonKey(row["board_id"], row["season"])
    return Entry(key, row["player_id"], _place(row), row["listed"], row["revision"], row["name"])
