"""Apply a service's migrations to its database: ``python -m shop.kit.migrate order``.

Migrations are SQL files applied by yoyo, the kit's own tables first. They are part of the package, so that an image,
a wheel and a checkout find them in the same way. A session-level advisory lock lets several replicas start at once;
yoyo's own lock row, which would outlive a killed process, is therefore safe to break.

Statements that cannot be part of a transaction, such as CREATE INDEX CONCURRENTLY for a table that is in use, are in a
file of their own that begins with ``-- transactional: false`` and may be applied again after it failed halfway.
"""

from __future__ import annotations

import importlib
import os
import sys
import time
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg
import yoyo

LOCK_KEY = 0x53484F50
LOCK_TIMEOUT_S = 120
LOCK_PAUSE_S = 0.2
CONNECT_TRIES = 60
CONNECT_PAUSE_S = 1.0


def folders(service: str) -> list[Path]:
    """The folders of migrations of ``service``, in the order in which they apply."""
    package = importlib.import_module(f"shop.{service}")
    own = Path(str(package.__file__)).parent / "migrations"
    return [Path(__file__).parent / "migrations", *([own] if own.is_dir() else [])]


def apply(service: str, url: str) -> int:
    """Apply the missing migrations to the database at ``url`` and return their number."""
    with closing(_connect(url)) as guard:
        _lock(guard)
        driver_url = url.replace("postgresql://", "postgresql+psycopg://", 1)
        backend: Any = yoyo.get_backend(driver_url)  # type: ignore[no-untyped-call]
        try:
            backend.break_lock()
            return sum(_apply_folder(backend, folder) for folder in folders(service))
        finally:
            backend.connection.close()


def _apply_folder(backend: Any, folder: Path) -> int:
    pending = backend.to_apply(yoyo.read_migrations(str(folder)))  # type: ignore[no-untyped-call]
    for migration in pending:
        # yoyo's own apply_one records a migration after it was committed: a process killed between the two would
        # leave a database that cannot be migrated. It also asks for the user's name, and in a container that has none.
        migration.load()
        if not migration.use_transactions:
            migration.process_steps(backend, "apply")
        with backend.transaction():
            if migration.use_transactions:
                migration.process_steps(backend, "apply")
            backend.mark_one(migration, log=False)
    return len(pending)


class Unreachable(Exception):
    """No connection to the database."""


def _lock(guard: psycopg.Connection[tuple[object, ...]]) -> None:
    """Wait for other processes that migrate this database, for at most LOCK_TIMEOUT_S seconds.

    No statement waits for the lock: CREATE INDEX CONCURRENTLY of the process that has it would wait for that statement.
    """
    deadline = time.monotonic() + LOCK_TIMEOUT_S
    while guard.execute("SELECT pg_try_advisory_lock(%s)", (LOCK_KEY,)).fetchone() != (True,):
        if time.monotonic() > deadline:
            raise TimeoutError(f"another process has migrated this database for {LOCK_TIMEOUT_S} s")
        time.sleep(LOCK_PAUSE_S)


def _connect(url: str) -> psycopg.Connection[tuple[object, ...]]:
    for left in reversed(range(CONNECT_TRIES)):
        try:
            return psycopg.connect(url, autocommit=True, connect_timeout=3)
        except psycopg.OperationalError as error:
            if not left:
                raise Unreachable(str(error)) from error
            time.sleep(CONNECT_PAUSE_S)
    raise AssertionError


def _in_one_line(error: Exception) -> str:
    return " ".join(str(error).split())


def main() -> None:
    """Apply the migrations of the service named on the command line to SHOP_DATABASE_URL.

    The last line of output is the reason of a failure: in a cluster it becomes the pod's termination message.
    """
    service, url = sys.argv[1], os.environ.get("SHOP_DATABASE_URL", "")
    if not url:
        sys.exit("SHOP_DATABASE_URL is not set: it names the database to migrate.")
    try:
        count = apply(service, url)
    except Unreachable as error:
        sys.exit(f"{service}: the database at {urlsplit(url).hostname} cannot be reached: {_in_one_line(error)}")
    except (psycopg.Error, TimeoutError) as error:
        sys.exit(f"{service}: the migration failed: {_in_one_line(error)}")
    sys.stdout.write(f"{service}: {count} migrations applied\n")


if __name__ == "__main__":
    main()
