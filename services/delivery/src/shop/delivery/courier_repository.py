"""The only SQL of couriers and their positions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from uuid import UUID

from shop.delivery.deletion_repository import DELETED_USERS
from shop.delivery.domain import Courier, Vehicle
from shop.delivery.roster import Roster
from shop.kit.db import Connection, Database, Record
from shop.town import Position

SELECT = """
SELECT user_id, name, vehicle, capacity, load, on_shift, revision, lat, lon, junction, fixed_at
FROM couriers LEFT JOIN courier_positions ON courier_id = user_id"""
BY_IDS = f"{SELECT} WHERE user_id = ANY($1::uuid[])"
# One row of arrays: a thousand rows of their own take several times as long to decode.
READY = """
SELECT array_agg(user_id) AS user_ids, array_agg(vehicle) AS vehicles, array_agg(capacity) AS capacities,
    array_agg(load) AS loads, array_agg(lat) AS lats, array_agg(lon) AS lons, array_agg(junction) AS junctions
FROM (
    SELECT user_id, vehicle, capacity, load, lat, lon, junction
    FROM couriers JOIN courier_positions ON courier_id = user_id WHERE on_shift AND fixed_at >= $1
    ORDER BY user_id
) AS ready"""
# What is picked up stays with its courier, so nothing is taken back from one who has nothing else.
HAS_NOT_PICKED_UP = """EXISTS (
    SELECT FROM deliveries d
    WHERE d.courier_id = couriers.user_id AND d.state IN ('held', 'assigned', 'at_restaurant'))"""
LOST = f"""
{SELECT} WHERE on_shift AND load > 0 AND coalesce(fixed_at < $1, true) AND {HAS_NOT_PICKED_UP}
ORDER BY user_id LIMIT $2"""
PAGE = f"{SELECT} WHERE $1::uuid IS NULL OR user_id > $1 ORDER BY user_id LIMIT $2"
NEWER = f"""
{SELECT} JOIN unnest($1::uuid[], $2::integer[]) AS seen (id, known) ON id = user_id WHERE revision > known"""
PUT = """
INSERT INTO couriers AS c (user_id, name, vehicle, capacity, created_at, updated_at) VALUES ($1, $2, $3, $4, $5, $5)
ON CONFLICT (user_id) DO UPDATE SET name = $2, vehicle = $3, capacity = $4, updated_at = $5, revision = c.revision + 1
WHERE c.load <= $4
RETURNING user_id"""
SET_SHIFT = """
UPDATE couriers SET on_shift = $2, updated_at = $3, revision = revision + 1 WHERE user_id = $1 AND on_shift <> $2"""
COUNT = """
SELECT count(*) FILTER (WHERE fixed_at >= $1) AS fresh, count(*) FILTER (WHERE fixed_at < $1) AS stale,
    count(*) FILTER (WHERE fixed_at IS NULL) AS none
FROM couriers LEFT JOIN courier_positions ON courier_id = user_id WHERE on_shift"""
# One fix per courier and second: the first of each second is kept.
# Nothing is stored of a deleted courier, who has no position before; see shop.kit.deleted_users.
STORE_POSITIONS = f"""
WITH new AS (
    SELECT * FROM unnest($1::uuid[], $2::float8[], $3::float8[], $4::smallint[], $5::timestamptz[])
        AS n (courier_id, lat, lon, junction, fixed_at)
), before AS (
    SELECT courier_id, fixed_at FROM courier_positions WHERE courier_id = ANY($1::uuid[])
), stored AS (
    INSERT INTO courier_positions AS p (courier_id, lat, lon, junction, fixed_at)
    SELECT n.courier_id, n.lat, n.lon, n.junction, n.fixed_at FROM new n JOIN couriers ON user_id = n.courier_id
    LEFT JOIN before b ON b.courier_id = n.courier_id
    WHERE b.courier_id IS NOT NULL OR NOT {DELETED_USERS.holds("n.courier_id")}
    ORDER BY n.courier_id
    ON CONFLICT (courier_id) DO UPDATE SET lat = excluded.lat, lon = excluded.lon, junction = excluded.junction,
        fixed_at = excluded.fixed_at
    WHERE date_trunc('second', excluded.fixed_at) > date_trunc('second', p.fixed_at)
    RETURNING courier_id
)
SELECT s.courier_id, b.fixed_at AS before FROM stored s LEFT JOIN before b USING (courier_id)"""  # noqa: S608 - constants

Fix = tuple[Position, int, datetime]
"""A position, its nearest junction, and its time."""


async def by_ids(connection: Connection, user_ids: Sequence[UUID]) -> dict[UUID, Courier]:
    rows = await connection.fetch(BY_IDS, list(user_ids)) if user_ids else []
    return {row["user_id"]: courier_of(row) for row in rows}


async def ready(connection: Connection, fixed_since: datetime) -> Roster:
    """On shift with a fix since then, without what no plan needs: names, and times, which take long to decode."""
    row = await connection.fetchrow(READY, fixed_since)
    return Roster.of([]) if row is None or row["user_ids"] is None else _roster(row)


def _roster(row: Record) -> Roster:
    columns = dict(row.items())

    def courier(index: int) -> Courier:
        return Courier(
            user_id=columns["user_ids"][index],
            name="",
            vehicle=Vehicle(columns["vehicles"][index]),
            capacity=columns["capacities"][index],
            load=columns["loads"][index],
            on_shift=True,
            position=Position(columns["lats"][index], columns["lons"][index]),
            junction=columns["junctions"][index],
        )

    return Roster(columns["user_ids"], columns["junctions"], columns["loads"], columns["capacities"], courier)


async def count_on_shift(connection: Connection, fixed_since: datetime) -> dict[str, int]:
    """Couriers on shift by their last fix: fresh (since then), stale, or none."""
    row = await connection.fetchrow(COUNT, fixed_since)
    return dict(row.items()) if row else {}


async def lost(connection: Connection, before: datetime, limit: int) -> list[Courier]:
    """On shift, with deliveries that are not picked up, and without a fix since ``before``."""
    return [courier_of(row) for row in await connection.fetch(LOST, before, limit)]


async def put(connection: Connection, user_id: UUID, name: str, vehicle: Vehicle, now: datetime) -> bool:
    """Add or change a courier; False when they carry more than fits into the vehicle."""
    return await connection.fetchval(PUT, user_id, name, vehicle, vehicle.capacity, now) is not None


async def set_shift(connection: Connection, user_id: UUID, on_shift: bool, now: datetime) -> None:
    await connection.execute(SET_SHIFT, user_id, on_shift, now)


class CourierRepository:
    """Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def get(self, user_id: UUID) -> Courier | None:
        return (await by_ids(self._database, [user_id])).get(user_id)

    async def page(self, after: UUID | None, limit: int) -> list[Courier]:
        """All couriers, by id."""
        return [courier_of(row) for row in await self._database.fetch(PAGE, after, limit)]

    async def newer(self, seen: Mapping[UUID, int]) -> list[Courier]:
        """Couriers with a revision greater than the one that is known of each."""
        return [courier_of(row) for row in await self._database.fetch(NEWER, list(seen), list(seen.values()))]

    async def store_positions(self, fixes: Mapping[UUID, Fix]) -> dict[UUID, datetime | None]:
        """Store fixes; return the couriers whose fix was new, each with the time of the fix before."""
        rows = [(user_id, *fix[0], fix[1], fix[2]) for user_id, fix in fixes.items()]
        stored = await self._database.fetch(STORE_POSITIONS, *(list(column) for column in zip(*rows, strict=True)))
        return {row["courier_id"]: row["before"] for row in stored}


def courier_of(row: Record) -> Courier:
    position = None if row["lat"] is None else Position(row["lat"], row["lon"])
    return Courier(
        user_id=row["user_id"],
        name=row["name"],
        vehicle=Vehicle(row["vehicle"]),
        capacity=row["capacity"],
        load=row["load"],
        on_shift=row["on_shift"],
        revision=row["revision"],
        position=position,
        junction=row["junction"] or 0,
        fixed_at=row["fixed_at"],
    )
