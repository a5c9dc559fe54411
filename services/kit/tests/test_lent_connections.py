"""A session that pauses lends its connection to quick statements, so that a service at rest has one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from shop.devkit.testing import wait_until
from shop.kit.db import STATEMENT_TIMEOUT_S, Database, ReadOnly
from shop.kit.errors import Unavailable
from shop.kit.kept_connections import _is_open

BACKEND = "SELECT pg_backend_pid()"
BLOCKED = "SELECT pg_advisory_xact_lock(1)"
WAITING = """
SELECT count(*) = 1 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted
AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""


async def blocked_on_lent(database: Database, admin: asyncpg.Connection) -> asyncio.Task[list[asyncpg.Record]]:
    """A statement that runs until `admin` gives the lock back."""
    await admin.execute("SELECT pg_advisory_lock(1)")
    statement = asyncio.create_task(database.quick.fetch(BLOCKED))
    await wait_until(lambda: admin.fetchval(WAITING))
    return statement


async def test_statements_use_the_connection_of_a_session_that_pauses(database: Database) -> None:
    async with database.session() as raw:
        async with database.lender(raw).pausing():
            assert await database.quick.fetchval(BACKEND) == raw.get_server_pid()
            assert await database.quick.fetchval(BACKEND) == raw.get_server_pid()
        assert await database.quick.fetchval(BACKEND) != raw.get_server_pid()
    async with database.session() as raw, database.lender(raw).pausing():
        assert await database.quick.fetchval(BACKEND) == raw.get_server_pid()


async def test_a_statement_that_runs_is_waited_for(database: Database, admin: asyncpg.Connection) -> None:
    statements = []

    async def session() -> int:
        async with database.session() as raw:
            async with database.lender(raw).pausing():
                statements.append(await blocked_on_lent(database, admin))
            return int(await raw.fetchval("SELECT 7"))

    ended = asyncio.create_task(session())
    await wait_until(lambda: statements)
    await asyncio.sleep(0)
    assert not ended.done()
    await admin.execute("SELECT pg_advisory_unlock(1)")
    assert await ended == 7
    await statements[0]


async def test_statements_that_come_together_wait_for_each_other(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw, database.lender(raw).pausing():
        statement = await blocked_on_lent(database, admin)
        another = asyncio.create_task(database.quick.fetchval(BACKEND))
        assert await database.fetchval(BACKEND) != raw.get_server_pid()
        assert not another.done()
        await admin.execute("SELECT pg_advisory_unlock(1)")
        await statement
        assert await another == raw.get_server_pid()


async def test_a_transaction_has_a_connection_of_its_own(database: Database) -> None:
    async with database.session() as raw, database.lender(raw).pausing(), database.transaction() as connection:
        assert await connection.fetchval(BACKEND) != raw.get_server_pid()


async def test_a_statement_that_fails_leaves_it_usable(database: Database) -> None:
    async with database.session() as raw:
        async with database.lender(raw).pausing():
            with pytest.raises(asyncpg.DivisionByZeroError):
                await database.quick.fetch("SELECT 1 / 0")
            assert await database.quick.fetchval(BACKEND) == raw.get_server_pid()
        assert await raw.fetchval("SELECT 7") == 7


async def test_a_statement_that_is_cancelled_leaves_it_usable(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw:
        async with database.lender(raw).pausing():
            statement = await blocked_on_lent(database, admin)
            statement.cancel()
            with pytest.raises(asyncio.CancelledError):
                await statement
        assert await raw.fetchval("SELECT 7") == 7


async def test_a_session_that_does_not_wait_for_a_statement_ends_its_connection(
    database: Database, admin: asyncpg.Connection
) -> None:
    """Else it would be in the pool while the statement runs on it, and with the locks of the session."""
    statements = []

    async def session() -> None:
        async with database.session() as raw:
            await raw.execute("SELECT pg_advisory_lock(2)")
            async with database.lender(raw).pausing():
                statements.append(await blocked_on_lent(database, admin))

    ended = asyncio.create_task(session())
    await wait_until(lambda: statements)
    await asyncio.sleep(0)
    ended.cancel()
    with pytest.raises(asyncio.CancelledError):
        await ended
    with pytest.raises(Unavailable):
        await asyncio.wait_for(statements[0], STATEMENT_TIMEOUT_S / 2)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await wait_until(lambda: admin.fetchval("SELECT pg_try_advisory_lock(2)"))
    assert [*await asyncio.gather(database.fetchval("SELECT 1"), database.fetchval("SELECT 2"))] == [1, 2]


async def test_a_connection_that_was_closed_is_not_lent(database: Database, admin: asyncpg.Connection) -> None:
    async with database.session() as raw:
        backend = raw.get_server_pid()
        async with database.lender(raw).pausing():
            await admin.execute("SELECT pg_terminate_backend($1)", backend)
            await wait_until(lambda: not _is_open(raw))
            assert await database.quick.fetchval(BACKEND) != backend


async def test_an_expired_connection_is_not_lent(database: Database) -> None:
    """To a server that has become read-only; also when its session pauses again."""
    async with database.session() as raw:
        lender = database.lender(raw)
        async with lender.pausing():
            assert await database.quick.fetchval(BACKEND) == raw.get_server_pid()
            await database._raw.expire_connections()
            assert await database.quick.fetchval(BACKEND) != raw.get_server_pid()
        async with lender.pausing():
            assert await database.quick.fetchval(BACKEND) != raw.get_server_pid()


async def test_other_statements_have_connections_of_their_own(database: Database) -> None:
    """A session would wait for them, however long they take."""
    async with database.session() as raw, database.lender(raw).pausing():
        assert await database.fetchval(BACKEND) != raw.get_server_pid()


async def test_a_read_only_server_is_unavailable_for_quick_statements(database: Database) -> None:
    await database.execute("CREATE SEQUENCE numbers")
    before = database._raw.generation
    with pytest.raises(ReadOnly):
        await database.quick.fetchval("SELECT set_config('transaction_read_only', 'on', true), nextval('numbers')")
    await wait_until(lambda: database._raw.generation > before)
