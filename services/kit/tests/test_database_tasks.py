"""Database, migrations and background loops."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from uuid import RFC_4122, UUID

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.devkit import embedded
from shop.devkit.testing import DatabaseFor, Databases, wait_until
from shop.kit import migrate, pages, tasks
from shop.kit.backoff import MAX_BACKOFF_S, backoff_s
from shop.kit.db import Database
from shop.kit.errors import Problem, Unavailable
from shop.kit.ids import new_id
from shop.kit.tasks import Tasks


async def test_a_transaction_commits_whole_or_not_at_all(database_for: DatabaseFor) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=2, application="test")
    await database.execute("CREATE TABLE notes (body jsonb)")
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO notes VALUES ($1)", {"kept": True})
    with pytest.raises(asyncpg.DivisionByZeroError):  # noqa: PT012 - the block is what is tested
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO notes VALUES ($1)", {"kept": False})
            await connection.fetchval("SELECT 1 / 0")
    assert [row["body"] for row in await database.fetch("SELECT body FROM notes")] == [{"kept": True}]
    await database.close()


async def test_a_lost_connection_is_unavailable_and_the_next_one_works(
    database_for: DatabaseFor, postgres: embedded.Server
) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=2, application="test")
    admin = await asyncpg.connect(postgres.url)
    with pytest.raises(Unavailable) as caught:  # noqa: PT012 - the block is what is tested
        async with database.transaction() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await admin.execute("SELECT pg_terminate_backend($1)", pid)
            await connection.execute("SELECT 1")
    assert caught.value.service == "database"
    assert await database.fetchval("SELECT 1") == 1
    await admin.close()
    await database.close()


async def test_no_database_is_unavailable() -> None:
    with pytest.raises(Unavailable):
        await Database.connect(f"postgresql://a:b@127.0.0.1:{embedded.free_port()}/c", pool_size=2, application="test")


async def test_an_exhausted_pool_is_unavailable(database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=1, application="test")
    async with database.transaction():
        monkeypatch.setattr("shop.kit.db.ACQUIRE_TIMEOUT_S", 0.05)
        with pytest.raises(Unavailable):
            async with database.transaction():
                pass
    await database.close()


async def test_replicas_may_migrate_at_once(databases: Databases) -> None:
    url = await databases.clone("kit")
    connection = await asyncpg.connect(url)
    await connection.execute(
        "DROP TABLE outbox, inbox, dead_letter, saga, deleted_user_digest; DELETE FROM _yoyo_migration"
    )
    applied = await asyncio.gather(*(asyncio.to_thread(migrate.apply, "kit", url) for _ in range(4)))
    assert sorted(applied) == [0, 0, 0, 4]
    await connection.execute("INSERT INTO yoyo_lock (locked, ctime, pid) VALUES (1, now(), 1)")
    assert await asyncio.to_thread(migrate.apply, "kit", url) == 0
    await connection.close()


async def test_a_loop_that_fails_starts_again(caplog: pytest.LogCaptureFixture) -> None:
    runs = 0

    async def flaky() -> None:
        nonlocal runs
        runs += 1
        if runs < 3:
            raise RuntimeError("again")

    loops = Tasks()
    with caplog.at_level(logging.ERROR):
        loops.start("flaky", flaky)
        await wait_until(lambda: runs == 3)
    assert len(caplog.records) == 2
    await loops.stop()


async def test_polling_goes_on_at_once_after_work_and_waits_to_be_woken_without() -> None:
    """With work left the next call follows at once; otherwise only the event starts it: the next poll is hours away."""
    results = [2, 1, 0, 1, 0]
    wake, idle = asyncio.Event(), asyncio.Event()

    async def step() -> int:
        found = results.pop(0)
        if not found:
            idle.set()
        return found

    polling = asyncio.create_task(tasks.poll(step, 3_600.0, wake=wake))
    await asyncio.wait_for(idle.wait(), 10)
    assert results == [1, 0]
    idle.clear()
    wake.set()
    await asyncio.wait_for(idle.wait(), 10)
    assert results == []
    polling.cancel()


async def test_polling_without_an_event_goes_on_after_its_interval() -> None:
    calls = 0

    async def step() -> int:
        nonlocal calls
        calls += 1
        return 0

    polling = asyncio.create_task(tasks.poll(step, 0.001))
    await wait_until(lambda: calls > 3)
    polling.cancel()


@given(st.integers(0, 10_000))
def test_backoff_stays_in_its_limits(attempt: int) -> None:
    assert 0 < backoff_s(attempt) <= MAX_BACKOFF_S


def test_ids_are_version_7_of_the_present() -> None:
    before, made, after = time.time_ns() // 1_000_000, new_id(), time.time_ns() // 1_000_000
    assert before <= made.int >> 80 <= after + 1
    assert (made.version, made.variant) == (7, RFC_4122)


def test_ids_are_in_the_order_of_their_creation() -> None:
    ids = [new_id() for _ in range(10_000)]
    assert ids == sorted(set(ids))


def test_ids_go_on_when_the_clock_goes_back(monkeypatch: pytest.MonkeyPatch) -> None:
    last = new_id()
    monkeypatch.setattr(time, "time_ns", lambda: 0)
    ids = [last, *(new_id() for _ in range(100))]
    assert ids == sorted(set(ids))
    assert {each.version for each in ids} == {7}


def test_cursors_survive_encoding() -> None:
    row_id, at = new_id(), datetime(2026, 1, 2, tzinfo=UTC)
    cursor = pages.encode_cursor(str(at.isoformat()), row_id, 5)
    assert pages.decode_cursor(cursor, str, UUID, int) == (at.isoformat(), row_id, 5)


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_a_page_has_a_cursor_if_and_only_if_more_rows_follow(count: int) -> None:
    rows, next_cursor = pages.cut_page(list(range(count)), 2, lambda row: (row,))
    assert rows == list(range(min(count, 2)))
    assert next_cursor == (pages.encode_cursor(1) if count == 3 else None)


@given(st.text(max_size=60))
def test_an_invalid_cursor_is_a_400(cursor: str) -> None:
    with pytest.raises(Problem) as caught:
        pages.decode_cursor(cursor, UUID)
    assert (caught.value.status, caught.value.code) == (400, "invalid_cursor")
