"""The only SQL of restaurants: their data, menus, staff, and the changes that their owners make."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

from shop.kit.db import Connection, Database, Record
from shop.kit.deleted_users import DeletedUsers
from shop.kit.text import folded
from shop.restaurant.domain import Restaurant

DELETED_USERS = DeletedUsers()

MAX_QUERY_WORDS = 12
MAX_SEARCH_WORDS = 2_000
EARTH_RADIUS_M = 6_371_000.0

COLUMNS = (
    "id, name, sort_name, cuisine, description, address, lat, lon, time_zone, currency, minimum_order, hours,"
    " hours_version, closures, paused, acceptance, acceptance_deadline_s, auto_progress, kitchen_capacity,"
    " preparation_s, menu_version, sold_out, held"
)
BY_ID = f"SELECT {COLUMNS} FROM restaurants WHERE id = $1"  # noqa: S608 - constant
BY_USER = f"""
SELECT {COLUMNS} FROM restaurants WHERE id IN (SELECT restaurant_id FROM staff WHERE user_id = $1)
ORDER BY sort_name, id"""  # noqa: S608 - constant

# The distance by the haversine formula, null without a position to measure from (least() would ignore a null).
PAGE = f"""
WITH found AS (
    SELECT {COLUMNS}, CASE WHEN $3::float8 IS NOT NULL THEN 2 * {EARTH_RADIUS_M} * asin(sqrt(least(1,
        power(sin(radians(lat - $3) / 2), 2)
        + cos(radians($3)) * cos(radians(lat)) * power(sin(radians(lon - $4::float8) / 2), 2)))) END AS distance_m
    FROM restaurants
    WHERE ($1::text IS NULL OR search @@ to_tsquery('simple', $1)) AND ($2::text IS NULL OR cuisine = $2)
)
SELECT * FROM found
WHERE $5::float8 IS NULL OR (coalesce(distance_m, 0), sort_name, id) > ($5, $6::text, $7::uuid)
ORDER BY coalesce(distance_m, 0), sort_name, id LIMIT $8"""  # noqa: S608 - constants

INSERT = """
WITH added AS (
    INSERT INTO restaurants (id, name, sort_name, cuisine, description, address, lat, lon, time_zone, currency,
        minimum_order, hours, acceptance, acceptance_deadline_s, auto_progress, kitchen_capacity, preparation_s,
        menu_version, search, created_at, updated_at)
    SELECT id, name, sort_name, cuisine, description, address, lat, lon, time_zone, currency, minimum_order, hours,
        acceptance, acceptance_deadline_s, auto_progress, kitchen_capacity, preparation_s, 1,
        to_tsvector('simple', $2), $4, $4
    FROM jsonb_to_record($1) AS r(id uuid, name text, sort_name text, cuisine text, description text, address jsonb,
        lat float8, lon float8, time_zone text, currency text, minimum_order bigint, hours jsonb, acceptance text,
        acceptance_deadline_s integer, auto_progress boolean, kitchen_capacity integer, preparation_s integer)
    ON CONFLICT (id) DO NOTHING
    RETURNING id
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $5, 'created', $1 - 'hours', $4 FROM added
)
INSERT INTO menus (restaurant_id, version, document, created_at) SELECT id, 1, $3, $4 FROM added
RETURNING restaurant_id"""

SETTINGS = f"""
WITH changed AS (
    UPDATE restaurants r SET paused = coalesce(c.paused, r.paused), acceptance = coalesce(c.acceptance, r.acceptance),
        acceptance_deadline_s = coalesce(c.acceptance_deadline_s, r.acceptance_deadline_s),
        auto_progress = coalesce(c.auto_progress, r.auto_progress),
        kitchen_capacity = coalesce(c.kitchen_capacity, r.kitchen_capacity),
        preparation_s = coalesce(c.preparation_s, r.preparation_s),
        description = coalesce(c.description, r.description),
        minimum_order = coalesce(c.minimum_order, r.minimum_order), updated_at = $3
    FROM jsonb_to_record($2) AS c(paused boolean, acceptance text, acceptance_deadline_s integer,
        auto_progress boolean, kitchen_capacity integer, preparation_s integer, description text, minimum_order bigint)
    WHERE r.id = $1
    RETURNING r.*
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $4, 'settings', $2, $3 FROM changed
)
SELECT {COLUMNS} FROM changed"""  # noqa: S608 - constants
# A version of null overwrites whatever there is.
HOURS = f"""
WITH changed AS (
    UPDATE restaurants SET hours = $2, hours_version = hours_version + 1, updated_at = $4
    WHERE id = $1 AND ($3::integer IS NULL OR hours_version = $3)
    RETURNING *
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $5, 'hours', $2, $4 FROM changed
)
SELECT {COLUMNS} FROM changed"""  # noqa: S608 - constants
# Dates that are long over are removed at the same time.
CLOSURES = f"""
WITH changed AS (
    UPDATE restaurants SET updated_at = $4::timestamptz, closures = ARRAY(
        SELECT DISTINCT day FROM unnest(closures || $2::date[]) AS day
        WHERE day <> ALL ($3::date[]) AND day > $4::timestamptz::date - 7 ORDER BY day)
    WHERE id = $1
    RETURNING *
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $5, 'closures', jsonb_build_object('closed', $2::date[], 'opened', $3::date[]), $4 FROM changed
)
SELECT {COLUMNS} FROM changed"""  # noqa: S608 - constants
SOLD_OUT = f"""
WITH changed AS (
    UPDATE restaurants SET updated_at = $4, sold_out = CASE WHEN $3 THEN array_append(array_remove(sold_out, $2), $2)
        ELSE array_remove(sold_out, $2) END
    WHERE id = $1
    RETURNING *
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $5, 'sold_out', jsonb_build_object('item_id', $2::uuid, 'sold_out', $3::boolean), $4 FROM changed
)
SELECT {COLUMNS} FROM changed"""  # noqa: S608 - constants
MENU = "SELECT document FROM menus WHERE restaurant_id = $1 AND version = $2"
PUT_MENU = f"""
WITH changed AS (
    UPDATE restaurants SET menu_version = menu_version + 1, search = to_tsvector('simple', $3), updated_at = $5,
        sold_out = ARRAY(SELECT item FROM unnest(sold_out) AS item WHERE item = ANY ($7::uuid[]))
    WHERE id = $1 AND ($4::integer IS NULL OR menu_version = $4)
    RETURNING *
), kept AS (
    INSERT INTO restaurant_changes (restaurant_id, user_id, kind, change, at)
    SELECT id, $6, 'menu', jsonb_build_object('version', menu_version), $5 FROM changed
), stored AS (
    INSERT INTO menus (restaurant_id, version, document, created_at) SELECT id, menu_version, $2, $5 FROM changed
)
SELECT {COLUMNS} FROM changed"""  # noqa: S608 - constants
CHANGES = """
SELECT id, user_id, kind, change, at FROM restaurant_changes
WHERE restaurant_id = $1 AND ($2::bigint IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"""

WORKS_AT = "SELECT restaurant_id FROM staff WHERE user_id = $1 ORDER BY restaurant_id LIMIT $2"
WORKS = "SELECT EXISTS (SELECT FROM staff WHERE user_id = $1 AND restaurant_id = $2)"
STAFF = "SELECT user_id, added_at FROM staff WHERE restaurant_id = $1 ORDER BY user_id LIMIT $2"
ADD_STAFF = f"""
INSERT INTO staff (user_id, restaurant_id, added_at) SELECT $2, id, $3 FROM restaurants
WHERE id = $1 AND (SELECT count(*) FROM staff WHERE user_id = $2 AND restaurant_id <> $1) < $4
  AND NOT {DELETED_USERS.holds("$2")}
ON CONFLICT (user_id, restaurant_id) DO UPDATE SET added_at = staff.added_at
RETURNING user_id"""  # noqa: S608 - constants
WAS_DELETED = f"SELECT {DELETED_USERS.holds('$1::uuid')}"
REMOVE_STAFF = "DELETE FROM staff WHERE restaurant_id = $1 AND user_id = $2"


@dataclass(frozen=True)
class Near:
    """Where distances are measured from."""

    lat: float
    lon: float


class RestaurantRepository:
    """Methods may raise Unavailable("database")."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def page(
        self,
        *,
        query: str,
        cuisine: str | None,
        near: Near | None,
        after: tuple[float, str, UUID] | None,
        limit: int,
    ) -> list[tuple[Restaurant, float | None]]:
        """Restaurants with their distance in metres, the nearest first, or by name when ``near`` is not given."""
        words = search_words(query)[:MAX_QUERY_WORDS]
        if query and not words:
            return []
        expression = " & ".join(f"{word}:*" for word in words) or None
        lat, lon = (near.lat, near.lon) if near else (None, None)
        distance, name, last = after or (None, None, None)
        rows = await self._database.fetch(PAGE, expression, cuisine, lat, lon, distance, name, last, limit)
        return [(restaurant(row), row["distance_m"]) for row in rows]

    async def get(self, restaurant_id: UUID) -> Restaurant | None:
        return _maybe(await self._database.fetchrow(BY_ID, restaurant_id))

    async def of_user(self, user_id: UUID) -> list[Restaurant]:
        """Where the user works."""
        return [restaurant(row) for row in await self._database.fetch(BY_USER, user_id)]

    async def insert(
        self, fields: Mapping[str, Any], menu: Mapping[str, Any], now: datetime, user_id: UUID | None
    ) -> bool:
        """Add a restaurant with its first menu; False when its id exists."""
        words = _search_text(fields["name"], fields["cuisine"], menu)
        row = {**fields, "sort_name": folded(fields["name"])}
        return await self._database.fetchval(INSERT, row, words, menu, now, user_id) is not None

    async def change_hours(
        self, restaurant_id: UUID, hours: Mapping[str, Any], version: int | None, now: datetime, user_id: UUID
    ) -> Restaurant | None:
        """Replace the hours of ``version``; None when they have another one."""
        return _maybe(await self._database.fetchrow(HOURS, restaurant_id, hours, version, now, user_id))

    async def change_closures(
        self, restaurant_id: UUID, closed: Sequence[date], opened: Sequence[date], now: datetime, user_id: UUID
    ) -> Restaurant | None:
        arguments = (restaurant_id, list(closed), list(opened), now, user_id)
        return _maybe(await self._database.fetchrow(CLOSURES, *arguments))

    async def set_sold_out(
        self, restaurant_id: UUID, item_id: UUID, sold_out: bool, now: datetime, user_id: UUID
    ) -> Restaurant | None:
        return _maybe(await self._database.fetchrow(SOLD_OUT, restaurant_id, item_id, sold_out, now, user_id))

    async def menu(self, restaurant_id: UUID, version: int) -> dict[str, Any]:
        document: dict[str, Any] = await self._database.fetchval(MENU, restaurant_id, version)
        return document

    async def put_menu(
        self,
        of: Restaurant,
        document: Mapping[str, Any],
        version: int | None,
        now: datetime,
        user_id: UUID,
    ) -> Restaurant | None:
        """Replace the menu of ``version``; None when it has another one. Items that stay sold out keep their id."""
        words = _search_text(of.name, of.cuisine, document)
        items = [item["id"] for section in document["sections"] for item in section["items"]]
        arguments = (of.id, document, words, version, now, user_id, items)
        return _maybe(await self._database.fetchrow(PUT_MENU, *arguments))

    async def changes(self, restaurant_id: UUID, before: int | None, limit: int) -> list[Record]:
        """What was changed, and by whom, the newest first; without a user it was the sample's loader."""
        return await self._database.fetch(CHANGES, restaurant_id, before, limit)

    async def works_at(self, user_id: UUID, limit: int) -> list[UUID]:
        return [row["restaurant_id"] for row in await self._database.fetch(WORKS_AT, user_id, limit)]

    async def works(self, user_id: UUID, restaurant_id: UUID) -> bool:
        return bool(await self._database.fetchval(WORKS, user_id, restaurant_id))

    async def staff(self, restaurant_id: UUID, limit: int) -> list[Record]:
        return await self._database.fetch(STAFF, restaurant_id, limit)

    async def add_staff(self, restaurant_id: UUID, user_id: UUID, now: datetime, limit: int) -> bool:
        """False when there is no such restaurant, the user was deleted, or works at ``limit`` others."""
        return await self._database.fetchval(ADD_STAFF, restaurant_id, user_id, now, limit) is not None

    async def was_deleted(self, user_id: UUID) -> bool:
        return bool(await self._database.fetchval(WAS_DELETED, user_id))

    async def remove_staff(self, restaurant_id: UUID, user_id: UUID) -> None:
        await self._database.execute(REMOVE_STAFF, restaurant_id, user_id)


async def menus(connection: Connection, wanted: Sequence[tuple[UUID, int]]) -> dict[tuple[UUID, int], Any]:
    """Documents by restaurant and version."""
    rows = await connection.fetch(
        "SELECT restaurant_id, version, document FROM menus"
        " WHERE (restaurant_id, version) IN (SELECT * FROM unnest($1::uuid[], $2::integer[]))",
        [restaurant_id for restaurant_id, _ in wanted],
        [version for _, version in wanted],
    )
    return {(row["restaurant_id"], row["version"]): row["document"] for row in rows}


def search_words(text: str) -> list[str]:
    """The words of ``text`` without case and accents."""
    return "".join(character if character.isalnum() else " " for character in folded(text)).split()


def restaurant(row: Record) -> Restaurant:
    return Restaurant(**{name: row[name] for name in COLUMN_NAMES})


COLUMN_NAMES = [name.strip() for name in COLUMNS.split(",")]


def _maybe(row: Record | None) -> Restaurant | None:
    return None if row is None else restaurant(row)


def _search_text(name: str, cuisine: str, menu: Mapping[str, Any]) -> str:
    dishes = [item["name"] for section in menu["sections"] for item in section["items"]]
    return " ".join([word for text in (name, cuisine, *dishes) for word in search_words(text)][:MAX_SEARCH_WORDS])
