"""Players, their ledgers, days and rewards in PostgreSQL.

A transaction that changes a player first locks the row (`lock`); what else it stores refers to that row, so a deletion
waits for it or it finds no player. Rows are locked in the order of their ids. The only statement that looks for deleted
users is `create`, and it comes before any lock of a player.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shop.kit.db import Connection, Database, Record
from shop.kit.deleted_users import DeletedUsers
from shop.player.domain import Gain, Player, Reward, Streak

DELETED_USERS = DeletedUsers()

COLUMNS = """id, name, private, mails, time_zone, zone_before, zone_since, email, xp, level, level_reached, streak_days,
    streak_on, best_streak, orders, version, ledger_version"""
CREATE = f"""
INSERT INTO players (id, name, email, created_at)
SELECT made.id, made.name, made.email, $4 FROM unnest($1::uuid[], $2::text[], $3::text[]) AS made (id, name, email)
WHERE NOT {DELETED_USERS.holds("made.id")} ORDER BY made.id
ON CONFLICT (id) DO UPDATE SET email = excluded.email WHERE players.email IS NULL AND excluded.email IS NOT NULL
RETURNING {COLUMNS}, xmax = 0 AS created"""  # noqa: S608 - constants
LOCK = f"SELECT {COLUMNS} FROM players WHERE id = ANY($1::uuid[]) ORDER BY id FOR NO KEY UPDATE"  # noqa: S608
ONE = f"SELECT {COLUMNS} FROM players WHERE id = $1"  # noqa: S608
TOTALS = """
(SELECT coalesce(json_object_agg(g.game, json_build_object('rounds', g.rounds, 'best_score', g.best_score)), '{}')
 FROM game_totals g WHERE g.player_id = players.id)"""
PROFILES = f"""
SELECT id, name, private, time_zone, zone_before, zone_since, xp, level, streak_days, streak_on, best_streak, orders,
    {TOTALS} AS games
FROM players"""  # noqa: S608
PROFILE = f"{PROFILES} WHERE id = $1"
FRIENDS = f"{PROFILES} JOIN friends f ON f.friend_id = players.id WHERE f.player_id = $1 ORDER BY f.added_at, id"
CHANGE = f"""
UPDATE players SET name = $2, private = $3, mails = $4, time_zone = $5, zone_before = $6, zone_since = $7,
    version = version + 1
WHERE id = $1
RETURNING {COLUMNS}"""  # noqa: S608
ENTRIES = """
SELECT player_id, cause, xp FROM ledger
WHERE (player_id, cause) IN (SELECT * FROM unnest($1::uuid[], $2::text[]))"""
ADD_ENTRIES = """
INSERT INTO ledger (player_id, cause, xp, at)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::timestamptz[])
ON CONFLICT (player_id, cause) DO NOTHING RETURNING player_id, cause"""
PAGE = """
SELECT id, cause, xp, at FROM ledger
WHERE player_id = $1 AND ($2::text IS NULL OR cause = $2) AND ($3::bigint IS NULL OR id < $3)
ORDER BY id DESC LIMIT $4"""
ADD_DAYS = """
INSERT INTO days (player_id, day) SELECT * FROM unnest($1::uuid[], $2::date[])
ON CONFLICT DO NOTHING RETURNING player_id"""
STREAKS = """
WITH runs AS (
    SELECT player_id, max(day) AS last, count(*)::int AS days
    FROM (SELECT player_id, day, day - (row_number() OVER (PARTITION BY player_id ORDER BY day))::int AS run
          FROM days WHERE player_id = ANY($1::uuid[])) AS numbered
    GROUP BY player_id, run)
SELECT DISTINCT ON (player_id) player_id, last, days, max(days) OVER (PARTITION BY player_id) AS best
FROM runs ORDER BY player_id, last DESC"""
SAVE = """
UPDATE players SET xp = new.xp, level = new.level, level_reached = new.level_reached, streak_days = new.streak_days,
    streak_on = new.streak_on, best_streak = new.best_streak, orders = new.orders, ledger_version = new.ledger_version
FROM unnest($1::uuid[], $2::bigint[], $3::int[], $4::int[], $5::int[], $6::date[], $7::int[], $8::int[], $9::int[])
    AS new (id, xp, level, level_reached, streak_days, streak_on, best_streak, orders, ledger_version)
WHERE players.id = new.id"""
ADD_REWARDS = """
INSERT INTO rewards (player_id, level, cause, code, percent, expires_at)
SELECT * FROM unnest($1::uuid[], $2::int[], $3::text[], $4::text[], $5::int[], $6::timestamptz[])
ON CONFLICT (player_id, level) DO NOTHING RETURNING player_id, level"""
REWARDS = """
SELECT player_id, level, cause, code, percent, expires_at FROM rewards WHERE player_id = $1 ORDER BY level"""
REWARD_OF_CAUSE = """
SELECT player_id, level, cause, code, percent, expires_at FROM rewards
WHERE player_id = $1 AND cause = $2 ORDER BY level DESC LIMIT 1"""
ADD_FRIEND = """
INSERT INTO friends (player_id, friend_id, added_at)
SELECT $1, $2, $3 WHERE (SELECT count(*) FROM friends WHERE player_id = $1 AND friend_id <> $2) < $4
ON CONFLICT (player_id, friend_id) DO UPDATE SET added_at = friends.added_at RETURNING true"""
REMOVE_FRIEND = "DELETE FROM friends WHERE player_id = $1 AND friend_id = $2"
EXISTS = "SELECT id FROM players WHERE id = $1 FOR KEY SHARE"
DELETE = "DELETE FROM players WHERE id = ANY($1::uuid[])"


class PlayerRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def create(
        self, connection: Connection, people: Mapping[UUID, tuple[str, str | None]], now: datetime
    ) -> list[Player]:
        """Create those players who do not exist, by id with name and mail address; return the new ones.

        A deleted user is not created. One without an address, of whom an event came first, gets it.
        """
        rows = await connection.fetch(
            CREATE, list(people), [name for name, _ in people.values()], [mail for _, mail in people.values()], now
        )
        return [_player(row) for row in rows if row["created"]]

    async def lock(self, connection: Connection, player_ids: Iterable[UUID]) -> dict[UUID, Player]:
        """Those of the players who exist; nobody else changes them until the transaction ends."""
        rows = await connection.fetch(LOCK, sorted(set(player_ids)))
        return {row["id"]: _player(row) for row in rows}

    async def one(self, player_id: UUID) -> Player | None:
        row = await self._database.fetchrow(ONE, player_id)
        return _player(row) if row else None

    async def profile(self, player_id: UUID) -> Mapping[str, Any] | None:
        """The columns that a profile shows, and the totals of each game."""
        row = await self._database.fetchrow(PROFILE, player_id)
        return dict(row.items()) if row else None

    async def change(self, connection: Connection, player: Player) -> Player:
        """Store name, privacy, mails and time zone of a locked player, as a new version."""
        values = (player.id, player.name, player.private, player.mails, *player.zones)
        row = await connection.fetchrow(CHANGE, *values)
        if row is None:
            raise LookupError(f"player {player.id} is not locked")
        return _player(row)

    async def entries(self, connection: Connection, keys: Collection[tuple[UUID, str]]) -> dict[tuple[UUID, str], int]:
        """The experience points of those ledger entries, by player and cause, that exist."""
        rows = await connection.fetch(ENTRIES, [one for one, _ in keys], [cause for _, cause in keys])
        return {(row["player_id"], row["cause"]): row["xp"] for row in rows}

    async def add_entries(self, connection: Connection, gains: Sequence[Gain]) -> set[tuple[UUID, str]]:
        """Add the entries whose cause is new for the player; return player and cause of those."""
        columns = _columns(gains, "player_id", "cause", "xp", "at")
        return {(row["player_id"], row["cause"]) for row in await connection.fetch(ADD_ENTRIES, *columns)}

    async def page(self, player_id: UUID, cause: str | None, before: int | None, limit: int) -> list[Record]:
        """The newest entries of the player's ledger older than ``before``, or the one of ``cause``."""
        return await self._database.fetch(PAGE, player_id, cause, before, limit)

    async def add_days(self, connection: Connection, days: Collection[tuple[UUID, date]]) -> set[UUID]:
        """Add active days; return the players who have one more now."""
        rows = await connection.fetch(ADD_DAYS, [one for one, _ in days], [day for _, day in days])
        return {row["player_id"] for row in rows}

    async def streaks(self, connection: Connection, player_ids: Collection[UUID]) -> dict[UUID, Streak]:
        rows = await connection.fetch(STREAKS, list(player_ids))
        return {row["player_id"]: Streak(row["last"], row["days"], row["best"]) for row in rows}

    async def save(self, connection: Connection, players: Sequence[Player]) -> None:
        """Store what ledger and days make of locked players."""
        columns = _columns(
            players,
            "id",
            "xp",
            "level",
            "level_reached",
            "streak_days",
            "streak_on",
            "best_streak",
            "orders",
            "ledger_version",
        )
        await connection.execute(SAVE, *columns)

    async def add_rewards(self, connection: Connection, rewards: Sequence[Reward]) -> set[tuple[UUID, int]]:
        """Add the rewards; return player and level of those that the player did not have."""
        columns = _columns(rewards, "player_id", "level", "cause", "code", "percent", "expires_at")
        return {(row["player_id"], row["level"]) for row in await connection.fetch(ADD_REWARDS, *columns)}

    async def rewards(self, player_id: UUID) -> list[Reward]:
        return [Reward(**row) for row in await self._database.fetch(REWARDS, player_id)]

    async def reward_of(self, player_id: UUID, cause: str) -> Reward | None:
        """The reward of the highest level that the ledger's entry of ``cause`` reached first."""
        row = await self._database.fetchrow(REWARD_OF_CAUSE, player_id, cause)
        return Reward(**row) if row else None

    async def exists(self, connection: Connection, player_id: UUID) -> bool:
        """Whether there is the player; the answer holds until the transaction ends."""
        return await connection.fetchval(EXISTS, player_id) is not None

    async def add_friend(
        self, connection: Connection, player_id: UUID, friend_id: UUID, now: datetime, limit: int
    ) -> bool:
        """Of a locked player; False when there are ``limit`` others."""
        return bool(await connection.fetchval(ADD_FRIEND, player_id, friend_id, now, limit))

    async def remove_friend(self, player_id: UUID, friend_id: UUID) -> None:
        await self._database.execute(REMOVE_FRIEND, player_id, friend_id)

    async def friends(self, player_id: UUID) -> list[Mapping[str, Any]]:
        """The profiles of the player's friends, in the order in which they were added."""
        return [dict(row.items()) for row in await self._database.fetch(FRIENDS, player_id)]

    async def delete(self, connection: Connection, player_ids: Sequence[UUID]) -> None:
        """Remove the players and everything of them."""
        await connection.execute(DELETE, list(player_ids))


def _columns(rows: Iterable[Any], *names: str) -> list[list[Any]]:
    kept = list(rows)
    return [[getattr(row, name) for row in kept] for name in names]


def _player(row: Record) -> Player:
    return Player(**{name: value for name, value in row.items() if name != "created"})
