"""Migrations are applied and recorded together, by whoever runs them."""

from __future__ import annotations

import asyncio
import getpass
import sys
from pathlib import Path
from typing import Any

import psycopg
import pytest
from yoyo.backends.base import DatabaseBackend

from shop.devkit.processes import free_port
from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import migrate


class Killed(BaseException):
    """Raised in place of what a killed process does not do any more."""


async def unmigrated(database_for: DatabaseFor) -> str:
    url = await database_for("kit")
    with psycopg.connect(url) as connection:
        connection.execute(
            "DROP TABLE outbox, inbox, dead_letter, saga, deleted_user_digest; DELETE FROM _yoyo_migration"
        )
    return url


def tables(url: str) -> set[str]:
    with psycopg.connect(url) as connection:
        return {row[0] for row in connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")}


async def test_a_migration_that_was_not_recorded_is_rolled_back(
    database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = await unmigrated(database_for)

    def killed(*_: Any, **__: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(DatabaseBackend, "mark_one", killed)
        with pytest.raises(Killed):
            migrate.apply("kit", url)
    assert "outbox" not in tables(url)
    assert migrate.apply("kit", url) > 0
    assert "outbox" in tables(url)
    assert migrate.apply("kit", url) == 0


async def test_a_user_without_a_name_may_migrate(database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise OSError("no username set in the environment")

    monkeypatch.setattr(getpass, "getuser", nameless)
    assert migrate.apply("kit", await unmigrated(database_for)) > 0


async def test_an_index_is_built_concurrently_while_another_process_waits_to_migrate(
    database_for: DatabaseFor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    url = await database_for("kit")
    (tmp_path / "1000.index.sql").write_text(
        "-- transactional: false\n"
        "DROP INDEX CONCURRENTLY IF EXISTS late;\nCREATE INDEX CONCURRENTLY late ON outbox (type);\n"
    )
    monkeypatch.setattr(migrate, "folders", lambda _: [tmp_path])
    with psycopg.connect(url) as writer:
        writer.execute(
            "INSERT INTO outbox (event_id, type, subject_id, payload) VALUES (gen_random_uuid(), '', '', '')"
        )
        both = [asyncio.create_task(asyncio.to_thread(migrate.apply, "kit", url)) for _ in range(2)]
        waits = (
            "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%CONCURRENTLY late%' AND wait_event_type = 'Lock'"
        )
        with psycopg.connect(url, autocommit=True) as watcher:
            await wait_until(lambda: watcher.execute(waits).fetchone() == (1,), what="the index waits for the writer")
    assert sorted(await asyncio.gather(*both)) == [0, 1]
    with psycopg.connect(url) as connection:
        valid = "SELECT indisvalid FROM pg_index WHERE indexrelid = 'late'::regclass"
        assert connection.execute(valid).fetchone() == (True,)


def test_a_database_that_cannot_be_reached_is_named_in_the_last_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrate, "CONNECT_TRIES", 1)
    monkeypatch.setattr(sys, "argv", ["migrate", "order"])
    monkeypatch.setenv("SHOP_DATABASE_URL", f"postgresql://shop:secret@127.0.0.1:{free_port()}/shop_order")
    with pytest.raises(SystemExit) as ended:
        migrate.main()
    assert str(ended.value).startswith("order: the database at 127.0.0.1 cannot be reached: ")
    assert "secret" not in str(ended.value)
