"""A session that pauses lends its connection to single statements, so that a service at rest has one."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.kept_connections import _is_open

BACKEND = "SELECT pg_backend_pid()"
BLOCKED = "SELECT pg_advisory_xact_lock(1)"
WAITING = "SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"


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
    database = await Database.connect(url, pool_size=2, application="test")
    yield database
    await database.close()


async def blocked_on_lent(database: Database, admin: asyncpg.Connection) -> asyncio.Task[list[asyncpg.Record]]:
    """A statement that runs until `admin` gives the lock back."""
    await admin.execute("SELECT pg_advisory_lock(1)")
    statement = asyncio.create_task(database.fetch(BLOCKED))
    await wait_until(lambda: admin.fetchval(WAITING))
    return statement


async def test_statements_use_the_connection_of_a_session_that_pauses(database: Database) -> None:
    async with database.session() as raw:
        async with database.lent(raw):
            assert await database.fetchval(BACKEND) == raw.get_server_pid()
            assert await database.fetchval(BACKEND) == raw.get_server_pid()
        assert await database.fetchval(BACKEND) != raw.get_server_pid()
    async with database.session() as raw, database.lent(raw):
        assert await database.fetchval(BACKEND) == raw.get_server_pid()


async def test_a_statement_that_runs_is_waited_for(database: Database, admin: asyncpg.Connection) -> None:
    statements = []

    async def session() -> int:
        async with database.session() as raw:
            async with database.lent(raw):
                statements.append(await blocked_on_lent(database, admin))
            return int(await raw.fetchval("SELECT 7"))

    ended = asyncio.create_task(session())
    await wait_until(lambda: statements)
    await asyncio.sleep(0)
    assert not ended.done()
    await admin.execute("SELECT pg_advisory_unlock(1)")
    assert await ended == 7
    await statements[0]


async def test_only_one_statement_at_a_time_uses_it(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw, database.lent(raw):
        statement = await blocked_on_lent(database, admin)
        assert await database.fetchval(BACKEND) != raw.get_server_pid()
        await admin.execute("SELECT pg_advisory_unlock(1)")
        await statement
        assert await database.fetchval(BACKEND) == raw.get_server_pid()


async def test_a_transaction_has_a_connection_of_its_own(database: Database) -> None:
    async with database.session() as raw, database.lent(raw), database.transaction() as connection:
        assert await connection.fetchval(BACKEND) != raw.get_server_pid()


async def test_a_statement_that_fails_leaves_it_usable(database: Database) -> None:
    async with database.session() as raw:
        async with database.lent(raw):
            with pytest.raises(asyncpg.DivisionByZeroError):
                await database.fetch("SELECT 1 / 0")
            assert await database.fetchval(BACKEND) == raw.get_server_pid()
        assert await raw.fetchval("SELECT 7") == 7


async def test_a_statement_that_is_cancelled_leaves_it_usable(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw:
        async with database.lent(raw):
            statement = await blocked_on_lent(database, admin)
            statement.cancel()
            with pytest.raises(asyncio.CancelledError):
                await statement
        assert await raw.fetchval("SELECT 7") == 7


async def test_the_pool_closes_a_connection_that_a_session_did_not_wait_for(
    database: Database, admin: asyncpg.Connection
) -> None:
    """Else it would go back to the pool while the statement runs on it."""
    statements = []

    async def session() -> None:
        async with database.session() as raw, database.lent(raw):
            statements.append(await blocked_on_lent(database, admin))

    ended = asyncio.create_task(session())
    await wait_until(lambda: statements)
    await asyncio.sleep(0)
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    with pytest.raises(Unavailable):
        await statements[0]
    await admin.execute("SELECT pg_advisory_unlock(1)")
    assert [*await asyncio.gather(database.fetchval("SELECT 1"), database.fetchval("SELECT 2"))] == [1, 2]


async def test_a_connection_that_was_closed_is_not_lent(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw:
        backend = raw.get_server_pid()
        async with database.lent(raw):
            await admin.execute("SELECT pg_terminate_backend($1)", backend)
            await wait_until(lambda: not _is_open(raw))
            assert await database.fetchval(BACKEND) != backend


async def test_an_expired_connection_is_not_lent(database: Database) -> None:
    """To a server that has become read-only."""
    async with database.session() as raw, database.lent(raw):
        assert await database.fetchval(BACKEND) == raw.get_server_pid()
        await database._raw.expire_connections()
        assert await database.fetchval(BACKEND) != raw.get_server_pid()
