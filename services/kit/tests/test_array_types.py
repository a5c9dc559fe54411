"""The driver knows arrays as the server does, and asks for none of them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any
from uuid import uuid4

import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit.array_types import ARRAYS
from shop.kit.db import Database

VALUES: dict[str, list[Any]] = {
    "bool": [True, False],
    "bytea": [b"\x00a", b""],
    "int2": [-1, 7],
    "int4": [-1, 70_000],
    "text": ["", "ä,{}\"'\\"],
    "int8": [-1, 1 << 40],
    "float8": [0.1, -2.5],
    "date": [date(2026, 1, 31)],
    "timestamptz": [datetime(2026, 1, 31, 12, 30, tzinfo=UTC)],
    "numeric": [Decimal("0.10"), Decimal(-3)],
    "uuid": [uuid4(), uuid4()],
    "jsonb": [{"a": [1, None]}, "text", 2],
}
ASKED = "SELECT count(*) FROM pg_prepared_statements WHERE statement LIKE 'WITH RECURSIVE typeinfo%'"


@pytest.fixture
async def database(database_for: DatabaseFor) -> Any:
    database = await Database.connect(await database_for("kit"), pool_size=1, application="test")
    yield database
    await database.close()


async def test_their_ids_are_those_of_the_server(database: Database) -> None:
    sql = (
        "SELECT typname::text AS name, typarray::int AS oid, oid::int AS element FROM pg_type WHERE typname = ANY ($1)"
    )
    rows = await database.fetch(sql, list(ARRAYS))
    assert {row["name"]: (row["oid"], row["element"]) for row in rows} == ARRAYS


@pytest.mark.parametrize("element", ARRAYS)
async def test_values_come_back_and_the_server_is_not_asked(database: Database, element: str) -> None:
    for values in (VALUES[element], [None, *VALUES[element]], []):
        assert await database.fetchval(f"SELECT $1::{element}[]", values) == values
    assert await database.fetchval(ASKED) == 0


async def test_the_server_is_asked_for_other_types(database: Database) -> None:
    await database.execute("CREATE TYPE mood AS ENUM ('good', 'bad')")
    assert await database.fetchval("SELECT ARRAY['good', 'bad']::mood[]") == ["good", "bad"]
    assert await database.fetchval(ASKED) == 1
