"""A database of the kit's own, for tests of connections to it; some files have fixtures of these names of their own."""

from __future__ import annotations

from collections.abc import AsyncIterator

import asyncpg
import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit.db import Database


@pytest.fixture
async def url(database_for: DatabaseFor) -> str:
    return await database_for("kit")


@pytest.fixture
async def admin(url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(url)
    yield connection
    await connection.close()


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    """Of two connections at most."""
    database = await Database.connect(url, pool_size=2, application="test")
    yield database
    await database.close()
