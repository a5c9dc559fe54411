"""Statements that every order has look rows up by the primary key, also when they are planned while tables are empty.

A plan is kept for all later executions of a connection, so one that reads a whole table gets slower with each order.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

import asyncpg
import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit.saga.store import OWN_TABLE
from shop.order.repository import SAGAS
from shop.payment.repository import RECORD_OUTCOMES
from shop.restaurant.tickets import ANY_DUE, LOCK_DUE

SCAN = re.compile(r"((?:Seq|Index|Index Only|Bitmap Heap|Tid) Scan)(?: using (\w+))? on (\w+)")
PARAMETER = re.compile(r"\$(\d+)")


@pytest.mark.parametrize(
    ("noun", "statement", "tables"),
    [
        pytest.param("order", SAGAS.save, {"sagas", "orders", "food_orders"}, id="a saga of an order"),
        pytest.param("order", OWN_TABLE.save, {"saga"}, id="a saga of the kit's table"),
        pytest.param("payment", RECORD_OUTCOMES, {"payments"}, id="outcomes of charges"),
    ],
)
async def test_rows_are_found_by_the_primary_key(
    database_for: DatabaseFor, noun: str, statement: str, tables: Iterable[str]
) -> None:
    plan = await generic_plan(await database_for(noun), statement)
    found = {(kind, index) for kind, index, table in SCAN.findall(plan) if table in tables}
    assert found == {("Index Scan", f"{table}_pkey") for table in tables}, plan


@pytest.mark.parametrize("statement", [ANY_DUE, LOCK_DUE], ids=["is there one", "its restaurant"])
async def test_the_clock_of_kitchens_reads_only_tickets_that_are_due(database_for: DatabaseFor, statement: str) -> None:
    """Twice a second: whatever it reads besides grows with all tickets that were ever stored."""
    plan = await generic_plan(await database_for("restaurant"), statement)
    assert [index for _, index, table in SCAN.findall(plan) if table == "tickets"] == ["tickets_due"], plan


async def generic_plan(url: str, statement: str) -> str:
    """The plan for any values of the parameters, which is the one that is kept."""
    count = max(int(number) for number in PARAMETER.findall(statement))
    connection = await asyncpg.connect(url)
    try:
        await connection.execute("SET plan_cache_mode = force_generic_plan")
        await connection.execute(f"PREPARE planned AS {statement}")
        rows = await connection.fetch(f"EXPLAIN EXECUTE planned ({', '.join(['NULL'] * count)})")
    finally:
        await connection.close()
    return "\n".join(row[0] for row in rows)
