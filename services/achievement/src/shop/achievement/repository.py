"""The only SQL of achievement."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple
from uuid import UUID

import orjson

from shop.achievement.domain import Player, Unlock
from shop.achievement.facts import Facts, Order
from shop.contracts.achievement import MAX_ACHIEVEMENTS
from shop.kit.db import Connection, Database, Record
from shop.kit.deleted_users import DeletedUsers

DELETED_USERS = DeletedUsers()
NOT_DELETED = f"NOT {DELETED_USERS.holds('input.player_id')}"

# In the order of ids, as LOCK takes them: two transactions with the same players cannot wait for each other.
ADD_PLAYERS = f"""
INSERT INTO players (player_id) SELECT player_id FROM unnest($1::uuid[]) AS input (player_id) WHERE {NOT_DELETED}
ON CONFLICT DO NOTHING"""  # noqa: S608 - constants
LOCK = """
SELECT player_id, mail_to, unlocks FROM players WHERE player_id = ANY ($1::uuid[]) ORDER BY player_id FOR UPDATE"""
FACTS = "SELECT player_id, fact, value, peak FROM facts WHERE player_id = ANY ($1::uuid[])"
CODES = "SELECT player_id, code FROM unlocked WHERE player_id = ANY ($1::uuid[])"
ORDERS = """
SELECT order_id, player_id, confirmed, cancelled, total, currency, categories FROM orders
WHERE order_id = ANY ($1::uuid[])"""
SAVE_FACTS = """
INSERT INTO facts (player_id, fact, value, peak)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::numeric[], $4::numeric[])
ON CONFLICT (player_id, fact) DO UPDATE SET value = excluded.value, peak = excluded.peak"""
SAVE_ORDERS = """
INSERT INTO orders (order_id, player_id, confirmed, cancelled, total, currency, categories)
SELECT order_id, player_id, confirmed, cancelled, total, currency,
    ARRAY(SELECT jsonb_array_elements_text(categories::jsonb))
FROM unnest($1::uuid[], $2::uuid[], $3::bool[], $4::bool[], $5::bigint[], $6::text[], $7::text[])
    AS saved (order_id, player_id, confirmed, cancelled, total, currency, categories)
ON CONFLICT (order_id) DO UPDATE SET confirmed = excluded.confirmed, cancelled = excluded.cancelled,
    total = excluded.total, currency = excluded.currency, categories = excluded.categories"""
UNLOCK = """
WITH added AS (
    INSERT INTO unlocked (player_id, code, number, name, description, xp, hidden, external, evidence, event_id,
        unlocked_at)
    SELECT player_id, code, number, name, description, xp, hidden, external, evidence::jsonb, event_id, unlocked_at
    FROM unnest($1::uuid[], $2::text[], $3::int[], $4::text[], $5::text[], $6::int[], $7::bool[], $8::bool[],
        $9::text[], $10::uuid[], $11::timestamptz[])
        AS new (player_id, code, number, name, description, xp, hidden, external, evidence, event_id, unlocked_at)
    ON CONFLICT (player_id, code) DO NOTHING RETURNING player_id, code, number
), counted AS (
    UPDATE players SET unlocks = newest.number
    FROM (SELECT player_id, max(number) AS number FROM added GROUP BY player_id) AS newest
    WHERE players.player_id = newest.player_id
)
SELECT player_id, code FROM added"""
COLUMNS = "player_id, code, number, name, description, xp, hidden, external, evidence, event_id, unlocked_at"
UNLOCKED = f"SELECT {COLUMNS} FROM unlocked WHERE player_id = $1 ORDER BY number DESC LIMIT $2"  # noqa: S608
UNLOCKED_BY = f"""
SELECT found.* FROM unnest($1::uuid[], $2::uuid[]) AS asked (player_id, event_id)
CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM unlocked
    WHERE unlocked.player_id = asked.player_id AND unlocked.event_id = asked.event_id ORDER BY number LIMIT $3
) AS found ORDER BY found.number"""  # noqa: S608 - constants
FACTS_OF = "SELECT fact, value, peak FROM facts WHERE player_id = $1"
NEWEST = "SELECT unlocks FROM players WHERE player_id = $1"
NEWER = f"""
SELECT newer.* FROM unnest($1::uuid[], $2::int[]) AS watched (player_id, seen)
CROSS JOIN LATERAL (
    SELECT {COLUMNS} FROM unlocked WHERE unlocked.player_id = watched.player_id AND number > seen
    ORDER BY number LIMIT $3
) AS newer ORDER BY newer.player_id, newer.number"""  # noqa: S608 - constants
SAVE_PROFILES = f"""
INSERT INTO players (player_id, profile_version, private, mail_to)
SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bool[], $4::text[]) AS input (player_id, version, private, mail_to)
WHERE {NOT_DELETED}
ON CONFLICT (player_id) DO UPDATE SET profile_version = excluded.profile_version, private = excluded.private,
    mail_to = excluded.mail_to
WHERE players.profile_version < excluded.profile_version"""  # noqa: S608 - constants
DELETE = "DELETE FROM players WHERE player_id = ANY ($1::uuid[])"
PAGE = "SELECT player_id FROM players WHERE player_id > $1 ORDER BY player_id LIMIT $2"


class Profile(NamedTuple):
    """What a player wants; ``mail_to`` is None where no mails are wanted."""

    player_id: UUID
    version: int
    private: bool
    mail_to: str | None


async def lock(connection: Connection, player_ids: Iterable[UUID], *, add: bool = True) -> dict[UUID, Player]:
    """The players with their facts, locked until the transaction ends. Deleted users are not among them.

    ``add``: those who are not known become known.
    """
    wanted = sorted(set(player_ids))
    if add:
        await connection.execute(ADD_PLAYERS, wanted)
    rows = await connection.fetch(LOCK, wanted)
    locked = [row["player_id"] for row in rows]
    codes: dict[UUID, set[str]] = defaultdict(set)
    for row in await connection.fetch(CODES, locked):
        codes[row["player_id"]].add(row["code"])
    stored: dict[UUID, dict[str, tuple[int, int]]] = defaultdict(dict)
    for row in await connection.fetch(FACTS, locked):
        stored[row["player_id"]][row["fact"]] = int(row["value"]), int(row["peak"])
    return {
        row["player_id"]: Player(**row, codes=codes[row["player_id"]], facts=Facts(stored[row["player_id"]]))
        for row in rows
    }


async def orders(connection: Connection, order_ids: Sequence[UUID]) -> dict[UUID, Order]:
    """What is known of these orders, whose players are locked."""
    rows = await connection.fetch(ORDERS, list(order_ids)) if order_ids else []
    return {row["order_id"]: Order(**dict(row) | {"categories": tuple(row["categories"])}) for row in rows}


async def save_orders(connection: Connection, changed: Iterable[Order]) -> None:
    rows = [
        (one.order_id, one.player_id, one.confirmed, one.cancelled, one.total, one.currency, _json(one.categories))
        for one in changed
    ]
    if rows:
        await connection.execute(SAVE_ORDERS, *_columns(rows))


async def save_facts(connection: Connection, players: Iterable[Player]) -> None:
    rows = [
        (one.player_id, fact, value, peak) for one in players for fact, (value, peak) in one.facts.changed().items()
    ]
    if rows:
        await connection.execute(SAVE_FACTS, *_columns(rows))


async def unlock(connection: Connection, players: Iterable[Player]) -> list[tuple[Player, Unlock]]:
    """Store the players' new achievements; those that were stored, which excludes any that the player had."""
    new = {(one.player_id, one.code): (player, one) for player in players for one in player.new}
    rows = [_row(one) for _, one in new.values()]
    added = await connection.fetch(UNLOCK, *_columns(rows)) if rows else []
    stored = {(row["player_id"], row["code"]) for row in added}
    return [found for key, found in new.items() if key in stored]


async def save_profiles(connection: Connection, profiles: Iterable[Profile]) -> None:
    """The newest version of each player's counts, whatever comes first."""
    newest: dict[UUID, Profile] = {}
    for one in sorted(profiles):
        newest[one.player_id] = one
    if newest:
        await connection.execute(SAVE_PROFILES, *_columns(list(newest.values())))


async def delete_players(connection: Connection, player_ids: Sequence[UUID]) -> None:
    """With facts, orders and achievements."""
    await connection.execute(DELETE, list(player_ids))


class AchievementRepository:
    """Reads; each may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def facts(self, player_id: UUID) -> Facts:
        rows = await self._database.fetch(FACTS_OF, player_id)
        return Facts({row["fact"]: (int(row["value"]), int(row["peak"])) for row in rows})

    async def unlocked(self, player_id: UUID) -> list[Unlock]:
        """The newest first."""
        return [_unlock(row) for row in await self._database.fetch(UNLOCKED, player_id, MAX_ACHIEVEMENTS)]

    async def unlocked_by(self, events: Collection[tuple[UUID, UUID]]) -> dict[UUID, list[Unlock]]:
        """What each of the events (player, event id) unlocked, by event id."""
        found: dict[UUID, list[Unlock]] = defaultdict(list)
        for row in await self._database.fetch(UNLOCKED_BY, *_columns(list(set(events))), MAX_ACHIEVEMENTS):
            found[row["event_id"]].append(_unlock(row))
        return found

    async def newest(self, player_id: UUID) -> int:
        """The number of the player's last achievement; 0 without one."""
        return await self._database.fetchval(NEWEST, player_id) or 0

    async def newer(self, seen: Mapping[UUID, int], limit: int) -> list[Unlock]:
        """Achievements after the numbers that were seen, at most ``limit`` of a player, in their order."""
        rows = await self._database.fetch(NEWER, list(seen), list(seen.values()), limit)
        return [_unlock(row) for row in rows]

    async def page(self, after: UUID, limit: int) -> list[UUID]:
        return [row["player_id"] for row in await self._database.fetch(PAGE, after, limit)]


def _row(one: Unlock) -> tuple[object, ...]:
    evidence = _json([{"fact": fact, "need": need} for fact, need in one.evidence])
    about = (one.player_id, one.code, one.number, one.name, one.description, one.xp, one.hidden, one.external)
    return (*about, evidence, one.event_id, one.unlocked_at)


def _unlock(row: Record) -> Unlock:
    evidence = tuple((needed["fact"], needed["need"]) for needed in row["evidence"])
    return Unlock(**dict(row) | {"evidence": evidence})


def _json(value: object) -> str:
    """As text, because the driver would take a list of lists for an array of two dimensions."""
    return orjson.dumps(value).decode()


def _columns(rows: Sequence[Sequence[object]]) -> list[list[object]]:
    return [list(column) for column in zip(*rows, strict=True)]
