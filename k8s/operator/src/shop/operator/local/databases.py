"""One database and role per service, migrated: `python -m shop.operator.local.databases` with a JSON request on stdin.

A separate program, so that the supervisor never loads a database driver, and so that its start overlaps with
that of PostgreSQL: it imports first and reads the request, `{"admin_url": ..., "services": {noun: url}}`, afterwards;
for a new shop that begins with a backup the request has `"restore": "folder"`, too.
It prints one JSON line per service, `{"noun": ..., "migrations": 3, "seconds": 0.2}`, and on failure one sentence on
stderr.
"""

import json
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote, urlsplit

import psycopg
from psycopg import sql

from shop.kit import migrate
from shop.operator.errors import ShopctlError

CONNECT_TIMEOUT_S = 10
STATEMENT_TIMEOUT_MS = 60_000
MAX_PARALLEL = 4


@dataclass(frozen=True)
class Target:
    """A service's own database."""

    noun: str
    url: str

    @property
    def role(self) -> str:
        return unquote(urlsplit(self.url).username or "")

    @property
    def password(self) -> str:
        return unquote(urlsplit(self.url).password or "")

    @property
    def database(self) -> str:
        return urlsplit(self.url).path.removeprefix("/")


def prepare(admin_url: str, targets: list[Target]) -> None:
    """Create the roles and databases that are missing; each role may connect to its own database only."""
    with psycopg.connect(admin_url, autocommit=True, connect_timeout=CONNECT_TIMEOUT_S) as connection:
        connection.execute(f"SET statement_timeout = {STATEMENT_TIMEOUT_MS}".encode())
        connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        connection.execute("REVOKE CONNECT ON DATABASE postgres FROM PUBLIC")
        connection.execute("REVOKE CONNECT ON DATABASE template1 FROM PUBLIC")
        roles = {row[0] for row in connection.execute("SELECT rolname FROM pg_roles")}
        databases = {row[0] for row in connection.execute("SELECT datname FROM pg_database")}
        for target in targets:
            _make(connection, target, target.role in roles, target.database in databases)


def _make(connection: psycopg.Connection, target: Target, role_exists: bool, database_exists: bool) -> None:
    role, database = sql.Identifier(target.role), sql.Identifier(target.database)
    verb = sql.SQL("ALTER ROLE" if role_exists else "CREATE ROLE")
    connection.execute(sql.SQL("{} {} LOGIN PASSWORD {}").format(verb, role, sql.Literal(target.password)))
    if not database_exists:
        connection.execute(sql.SQL("CREATE DATABASE {} OWNER {}").format(database, role))
        connection.execute(sql.SQL("REVOKE CONNECT ON DATABASE {} FROM PUBLIC").format(database))


def _migrate(target: Target) -> dict[str, object]:
    began = time.monotonic()
    try:
        count = migrate.apply(target.noun, target.url)
    except Exception as error:
        raise RuntimeError(f"{target.noun}: migration failed: {' '.join(str(error).split())}") from error
    return {"noun": target.noun, "migrations": count, "seconds": round(time.monotonic() - began, 2)}


def run(admin_url: str, services: Mapping[str, str], restore: str | None = None) -> None:
    """Prepare, fill from a backup if one is given, and migrate the databases at `services` (noun to URL)."""
    targets = [Target(noun, url) for noun, url in services.items()]
    prepare(admin_url, targets)
    if restore is not None:
        from shop.operator.backup import scripts

        scripts.restore(services, Path(restore))
    with ThreadPoolExecutor(MAX_PARALLEL) as pool:
        for result in pool.map(_migrate, targets):
            print(json.dumps(result), flush=True)  # noqa: T201 - standard output is this program's answer


def main() -> None:
    """Answer one request from standard input."""
    request = json.loads(sys.stdin.readline() or "null")
    if request is None:
        return
    try:
        run(request["admin_url"], request["services"], request.get("restore"))
    except (RuntimeError, ShopctlError, psycopg.Error) as error:
        sys.exit(" ".join(str(error).split()))


if __name__ == "__main__":
    main()
