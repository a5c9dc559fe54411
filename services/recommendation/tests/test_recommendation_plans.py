"""What a batch of events costs the database: in proportion to the batch, also by a plan for tables that are empty."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import orjson
import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.recommendation.repository import ADD, CANCEL

FEW, MANY = 10, 250
PRODUCTS = 2
"""Of each order."""
MORE_THAN_IN_PROPORTION = 2.0
"""An index that has grown is searched through one more page. Nested loops were 23 times as much."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
async def database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    made = await Database.connect(await database_for("recommendation"), pool_size=1, application="test")
    yield made
    await made.close()


@pytest.mark.parametrize("mode", ["force_generic_plan", "force_custom_plan"])
@pytest.mark.parametrize("statement", ["add", "cancel"])
async def test_a_batch_costs_in_proportion_to_its_orders(database: Database, statement: str, mode: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        await connection.execute(f"PREPARE add (uuid[], uuid[], timestamptz[], uuid[]) AS {ADD}")
        await connection.execute(f"PREPARE cancel (uuid[], uuid[], timestamptz) AS {CANCEL}")
        few, many = [await cost(connection, statement, orders(count)) for count in (FEW, MANY)]
        assert await connection.fetchval("SELECT count(*) FROM orders") == FEW + MANY
        purchases = (FEW + MANY) * PRODUCTS if statement == "add" else 0
        assert await connection.fetchval("SELECT count(*) FROM purchases") == purchases
        await connection.execute("DEALLOCATE ALL")
    assert many["blocks"] / MANY < MORE_THAN_IN_PROPORTION * few["blocks"] / FEW
    assert many["rows"] / MANY < MORE_THAN_IN_PROPORTION * few["rows"] / FEW


def orders(count: int) -> list[tuple[UUID, UUID, datetime, UUID]]:
    """Lines of orders, each of another customer and with products that no other one has."""
    made = ((new_id(), new_id()) for _ in range(count))
    return [(order_id, user_id, NOW, new_id()) for order_id, user_id in made for _ in range(PRODUCTS)]


async def cost(connection: Any, statement: str, lines: Sequence[tuple[UUID, UUID, datetime, UUID]]) -> dict[str, int]:
    """The pages of the database that are read, from memory or from disk, and the rows that pass or fail in any step."""
    columns = [array(column) for column in zip(*lines, strict=True)]
    arguments = columns if statement == "add" else [*columns[:2], f"'{NOW}'"]
    execute = f"EXECUTE {statement} ({', '.join(arguments)})"
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
    plan = (orjson.loads(explained) if isinstance(explained, str | bytes) else explained)[0]["Plan"]
    rows = sum(
        (one["Actual Rows"] + one.get("Rows Removed by Join Filter", 0)) * one["Actual Loops"] for one in steps(plan)
    )
    return {"blocks": plan["Shared Hit Blocks"] + plan["Shared Read Blocks"], "rows": rows}


def array(values: Sequence[object]) -> str:
    return "'{" + ",".join(f'"{value}"' for value in values) + "}'"


def steps(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for below in plan.get("Plans", ()):
        yield from steps(below)
