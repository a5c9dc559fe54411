"""Searching 100,000 products: the right page, for a bounded number of pages of the database."""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator
from typing import Any
from uuid import UUID

import orjson
import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit import db
from shop.kit.db import Database
from shop.product.repository import SORTS, ProductRepository, page_statement
from tests.load.catalogue_bench import fill

PRODUCTS = 100_000
LIMIT = 21
PATIENT_S = 60.0
"""The index takes a second on a machine that does nothing else."""
MAX_BLOCKS = 5_000
"""Of 8 KiB, for a page of a search; reading all products in order takes 100,000."""
MAX_BLOCKS_UNFILTERED = 500
STRAIGHT = """
SELECT id FROM products WHERE ($1 = '' OR search @@ to_tsquery('simple', $1)) AND ($2 = '' OR category = $2)
ORDER BY {column} {direction}, id {direction} LIMIT 60"""
SEARCHES = ("", "common", "uncommon", "zebra", "sku 777", "common zebra", "nothing")


@pytest.fixture
async def catalogue(database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Database]:
    monkeypatch.setattr(db, "STATEMENT_TIMEOUT_S", PATIENT_S)
    database = await Database.connect(await database_for("product"), pool_size=2, application="test")
    await fill(database, PRODUCTS)
    yield database
    await database.close()


async def test_searches_are_right_and_none_reads_the_whole_catalogue(catalogue: Database) -> None:
    """One test, because it takes seconds to make the catalogue."""
    for sort in SORTS:
        for category in (None, "category-7"):
            for query in SEARCHES:
                assert await _found(catalogue, sort, category, query) == await _expected(
                    catalogue, sort, category, query
                ), (sort, category, query)
    assert await _too_many_blocks(catalogue, "force_custom_plan") == {}
    assert await _too_many_blocks(catalogue, "force_generic_plan") == {}


async def _found(catalogue: Database, sort: str, category: str | None, query: str) -> list[UUID]:
    """The ids of three pages."""
    repository, found, after = ProductRepository(catalogue), [], None
    for _ in range(3):
        page = await repository.page(query=query, category=category, sort=sort, after=after, limit=20)
        found += [row["id"] for row in page]
        after = (page[-1][SORTS[sort][0]], page[-1]["id"]) if page else after
    return found


async def _expected(catalogue: Database, sort: str, category: str | None, query: str) -> list[UUID]:
    column, direction, _ = SORTS[sort]
    statement = STRAIGHT.format(column=column, direction=direction)
    return [row["id"] for row in await catalogue.fetch(statement, _expression(query), category or "")]


def _expression(query: str) -> str:
    return " & ".join(f"{word}:*" for word in query.split())


async def _too_many_blocks(catalogue: Database, mode: str) -> dict[tuple[str, str | None, str], int]:
    read = {}
    async with catalogue.transaction() as connection:
        await connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        for key in itertools.product(SORTS, (None, "category-7"), SEARCHES):
            read[key] = await _blocks(connection, *key)
    return {key: blocks for key, blocks in read.items() if blocks > (MAX_BLOCKS if key[2] else MAX_BLOCKS_UNFILTERED)}


async def _blocks(connection: Any, sort: str, category: str | None, query: str) -> int:
    """The database's pages that a search reads, from memory or from disk."""
    statement = page_statement(sort, words=bool(query), category=category is not None, after=False)
    texts = [one for one in (_expression(query), category) if one]
    types, arguments = ["bigint", *["text" for _ in texts]], [str(LIMIT), *(f"'{text}'" for text in texts)]
    await connection.execute(f"PREPARE search ({', '.join(types)}) AS {statement}")
    execute = f"EXECUTE search ({', '.join(arguments)})"
    explained = await connection.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {execute}")
    await connection.execute("DEALLOCATE search")
    plan = (orjson.loads(explained) if isinstance(explained, str | bytes) else explained)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])
