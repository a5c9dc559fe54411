"""Connections that stay with single statements, and everybody else who needs one."""

from __future__ import annotations

import asyncio

import asyncpg
import pytest

from shop.devkit.testing import wait_until
from shop.kit import kept_connections
from shop.kit.db import Database
from shop.kit.kept_connections import KeptConnections, _is_open

BACKEND = "SELECT pg_backend_pid()"


def kept(database: Database) -> KeptConnections:
    found: KeptConnections = database._raw
    return found


async def blocked_statements(database: Database, admin: asyncpg.Connection) -> list[asyncio.Task[list[asyncpg.Record]]]:
    """As many as there are connections, until `admin` gives the lock back."""
    await admin.execute("SELECT pg_advisory_lock(1)")
    statements = [asyncio.create_task(database.fetch("SELECT pg_advisory_xact_lock(1)")) for _ in range(2)]
    waiting = "SELECT count(*) = 2 FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
    await wait_until(lambda: admin.fetchval(waiting))
    return statements


async def both_kept(database: Database, admin: asyncpg.Connection) -> None:
    statements = await blocked_statements(database, admin)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.gather(*statements)
    assert len(kept(database)._kept) == 2


async def test_statements_one_after_the_other_use_one_connection(database: Database) -> None:
    backends = {
        await database.fetchval(BACKEND),
        (await database.fetch(BACKEND))[0][0],
        ((await database.fetchrow(BACKEND)) or [0])[0],
    }
    assert await database.execute("SELECT 1") == "SELECT 1"
    await database.executemany("SELECT $1::integer", [[1], [2]])
    assert len(backends) == 1
    assert len(kept(database)._kept) == 1


async def test_sessions_get_the_connections_that_were_kept(database: Database, admin: asyncpg.Connection) -> None:
    await both_kept(database, admin)
    async with database.transaction() as first, database.transaction() as second:
        assert await first.fetchval(BACKEND) != await second.fetchval(BACKEND)


async def test_who_waits_gets_the_connection_of_a_statement_that_ends(
    database: Database, admin: asyncpg.Connection
) -> None:
    statements = await blocked_statements(database, admin)
    another = asyncio.create_task(database.fetchval("SELECT 7"))
    await wait_until(lambda: kept(database)._waiting)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    assert await asyncio.wait_for(another, 10) == 7
    await asyncio.gather(*statements)


async def test_a_cancelled_statement_leaves_a_connection_that_works(
    database: Database, admin: asyncpg.Connection
) -> None:
    statements = await blocked_statements(database, admin)
    for statement in statements:
        statement.cancel()
    assert {type(one) for one in await asyncio.gather(*statements, return_exceptions=True)} == {asyncio.CancelledError}
    assert [*await asyncio.gather(database.fetchval("SELECT 1"), database.fetchval("SELECT 2"))] == [1, 2]


async def test_a_statement_that_fails_gives_its_connection_back(database: Database) -> None:
    with pytest.raises(asyncpg.DivisionByZeroError):
        await database.fetch("SELECT 1 / 0")
    assert not kept(database)._kept
    assert await database.fetchval("SELECT 1") == 1


async def test_a_connection_that_was_closed_is_not_used_again(database: Database, admin: asyncpg.Connection) -> None:
    await both_kept(database, admin)
    for connection, _ in list(kept(database)._kept):
        await admin.execute("SELECT pg_terminate_backend($1)", connection.get_server_pid())
    await wait_until(lambda: not any(_is_open(connection) for connection, _ in kept(database)._kept))
    assert [*await asyncio.gather(database.fetchval("SELECT 1"), database.fetchval("SELECT 2"))] == [1, 2]


async def test_expired_connections_are_replaced(database: Database) -> None:
    before = await database.fetchval(BACKEND)
    await kept(database).expire_connections()
    assert await database.fetchval(BACKEND) != before


async def test_connections_that_expire_while_they_are_used_are_not_kept(
    database: Database, admin: asyncpg.Connection
) -> None:
    statements = await blocked_statements(database, admin)
    await kept(database).expire_connections()
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.gather(*statements)
    assert not kept(database)._kept


async def test_a_statement_that_ends_while_the_pool_is_closed_keeps_nothing(
    url: str, admin: asyncpg.Connection
) -> None:
    database = await Database.connect(url, pool_size=2, application="test")
    statements = await blocked_statements(database, admin)
    closing = asyncio.create_task(database.close())
    await wait_until(lambda: kept(database)._waiting)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.gather(closing, *statements)
    assert not kept(database)._kept


async def test_what_is_not_used_goes_back(database: Database, admin: asyncpg.Connection) -> None:
    kept(database)._idle_s = 0.05
    statements = await blocked_statements(database, admin)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await asyncio.gather(*statements)
    await wait_until(lambda: not kept(database)._kept and kept(database).get_idle_size() == 2)


async def test_after_many_statements_a_connection_goes_back(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(database)._until_return = 3
    monkeypatch.setattr(kept_connections, "STATEMENTS_BEFORE_RETURN", 2)
    found = []
    for _ in range(5):
        await database.fetch(BACKEND)
        found.append(len(kept(database)._kept))
    assert found == [1, 1, 0, 1, 0]


async def test_what_is_not_used_stays_while_the_service_is_busy(
    database: Database, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept(database)._idle_s = 0.05
    with monkeypatch.context() as always_busy:
        always_busy.setattr(kept_connections, "BUSY_PER_S", -1.0)
        await both_kept(database, admin)
    kept(database)._statements = 1_000_000
    await wait_until(lambda: kept(database)._statements == 0)
    assert len(kept(database)._kept) == 2
    await wait_until(lambda: not kept(database)._kept and kept(database).get_idle_size() == 2)


async def test_a_connection_stays_while_another_one_is_opened(
    database: Database, admin: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who waits for the new one has no use for it."""
    await database.fetchval(BACKEND)
    pool = kept(database)._pool
    acquire, may_open = pool.acquire, asyncio.Event()

    async def acquire_late(**options: float | None) -> object:
        await may_open.wait()
        return await acquire(**options)

    monkeypatch.setattr(kept(database), "_pool", _Instead(pool, acquire=acquire_late))
    await admin.execute("SELECT pg_advisory_lock(1)")
    blocked = asyncio.create_task(database.fetch("SELECT pg_advisory_xact_lock(1)"))
    another = asyncio.create_task(database.fetchval("SELECT 7"))
    await wait_until(lambda: kept(database)._waiting)
    await admin.execute("SELECT pg_advisory_unlock(1)")
    await blocked
    assert len(kept(database)._kept) == 1
    may_open.set()
    assert await another == 7


class _Instead:
    """``of`` with other methods."""

    def __init__(self, of: object, **methods: object) -> None:
        self._of = of
        self.__dict__.update(methods)

    def __getattr__(self, name: str) -> object:
        return getattr(self._of, name)
