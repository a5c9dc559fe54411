"""What is old is removed, a little at a time, and by one replica."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest

from shop.devkit.testing import DatabaseFor
from shop.kit import retention
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.retention import MAX_REMOVED, Retention, Rule, first_id

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
RULE = Rule(
    "notes",
    timedelta(days=30),
    f"""
WITH removed AS (
    DELETE FROM notes WHERE at IN (SELECT at FROM notes WHERE at < $1 ORDER BY at LIMIT {MAX_REMOVED}) RETURNING 1
)
SELECT count(*) FROM removed""",
)


@pytest.fixture
async def database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    database = await Database.connect(await database_for("kit"), pool_size=2, application="kit")
    await database.execute("CREATE TABLE notes (at timestamptz PRIMARY KEY)")
    yield database
    await database.close()


async def write(database: Database, notes: int, until: datetime) -> None:
    """One note a second, the last of them at ``until``."""
    notes_before = "SELECT $1::timestamptz - make_interval(secs => n) FROM generate_series(0, $2 - 1) AS n"
    await database.execute(f"INSERT INTO notes {notes_before}", until, notes)


async def count(database: Database) -> int:
    return int(await database.fetchval("SELECT count(*) FROM notes"))


async def test_what_is_old_is_removed_a_bounded_number_at_once(database: Database) -> None:
    await write(database, MAX_REMOVED + 10, NOW - timedelta(days=31))
    await write(database, 5, NOW - timedelta(days=29))
    kept = Retention(database, FixedClock(NOW), [RULE])
    assert await kept.remove_once()
    assert await count(database) == 15
    assert not await kept.remove_once()
    assert await count(database) == 5


async def test_a_rule_that_fails_keeps_no_other_from_being_applied(database: Database) -> None:
    await write(database, 5, NOW - timedelta(days=31))
    ended = "SELECT 1 FROM pg_terminate_backend(pg_backend_pid()) WHERE $1::timestamptz < now()"
    with pytest.raises(Unavailable):
        await Retention(database, FixedClock(NOW), [Rule("slow", timedelta(days=1), ended), RULE]).remove_once()
    assert await count(database) == 0


async def test_of_several_replicas_one_removes(database: Database) -> None:
    await write(database, 5, NOW - timedelta(days=31))
    kept = Retention(database, FixedClock(NOW), [RULE])
    async with database.transaction() as other:
        await other.fetchval("SELECT pg_advisory_xact_lock($1)", retention.LOCK_KEY)
        assert not await kept.remove_once()
        assert await count(database) == 5
    await kept.remove_once()
    assert await count(database) == 0


async def test_ids_are_compared_with_times(database: Database) -> None:
    before, made, after = datetime.now(UTC), new_id(), datetime.now(UTC) + timedelta(milliseconds=1)
    between = f"SELECT {first_id('$1')} <= $2 AND $2 < {first_id('$3')}"
    assert await database.fetchval(between, before, made, after)
