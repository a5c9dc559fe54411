"""What a shop has done so far, counted by its stores: statements, commits, log and disk syncs of PostgreSQL, messages.

Names are those of a figure, such as ``statements.order``, the statements in the database of order. What an older
version or another server does not count is left out.
"""

from __future__ import annotations

import json
import re
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import asyncpg

from tests.load.local_shop import LocalShop

NATS_TIMEOUT_S = 5.0
MONITORING = re.compile(r"^http: (\S+)$", re.MULTILINE)
DATABASE = "shop_"
SYNCS_IN_IO_VIEW = 180_000
"""The version of PostgreSQL whose pg_stat_io has the log's syncs; before, pg_stat_wal has them."""
STATEMENTS = """
SELECT datname, sum(calls)::float8 AS number FROM pg_stat_statements JOIN pg_database ON pg_database.oid = dbid
GROUP BY datname"""
COMMITS = "SELECT datname, xact_commit::float8 AS number FROM pg_stat_database WHERE datname IS NOT NULL"
WAL_BYTES = "SELECT (pg_current_wal_insert_lsn() - '0/0')::float8"
SYNCS = "SELECT sum(fsyncs)::float8 FROM pg_stat_io WHERE object = 'wal'"
OLD_SYNCS = "SELECT wal_sync::float8 FROM pg_stat_wal"
MESSAGES = {
    "messages_in": "in_msgs",
    "messages_out": "out_msgs",
    "message_bytes_in": "in_bytes",
    "message_bytes_out": "out_bytes",
}


async def read(shop: LocalShop) -> dict[str, float]:
    """All counters of a running shop. PostgreSQL's commits and syncs may be a second old, the rest is current."""
    found = await of_postgres(shop.database_url())
    if not any(name.startswith("statements.") for name in found):
        found |= {f"statements.{noun}": number for noun, number in shop.statements_by_service().items()}
    return found | of_nats(shop.data_dir / "nats")


async def of_postgres(url: str) -> dict[str, float]:
    """``url`` is the superuser's. Statements are those that the server executed, transaction control included."""
    connection = await asyncpg.connect(url)
    try:
        found = await _statements(connection)
        for row in await connection.fetch(COMMITS):
            found |= _named("commits", row)
        found["wal_bytes"] = await connection.fetchval(WAL_BYTES)
        version = int(await connection.fetchval("SHOW server_version_num"))
        found["wal_syncs"] = await connection.fetchval(SYNCS if version >= SYNCS_IN_IO_VIEW else OLD_SYNCS)
        return found
    finally:
        await connection.close()


async def _statements(connection: asyncpg.Connection) -> dict[str, float]:
    try:
        await connection.execute("CREATE EXTENSION IF NOT EXISTS pg_stat_statements")
        rows = await connection.fetch(STATEMENTS)
    except (asyncpg.FeatureNotSupportedError, asyncpg.ObjectNotInPrerequisiteStateError, asyncpg.UndefinedFileError):
        return {}
    found: dict[str, float] = {}
    for row in rows:
        found |= _named("statements", row)
    return found


def _named(figure: str, row: asyncpg.Record) -> dict[str, float]:
    """The figure of a service's database; nothing of PostgreSQL's own databases."""
    database = str(row["datname"])
    return {f"{figure}.{database.removeprefix(DATABASE)}": float(str(row["number"]))} if DATABASE in database else {}


def of_nats(directory: Path) -> dict[str, float]:
    """Messages and bytes by the server's monitoring; nothing where its configuration names no address for that."""
    file = directory / "nats.conf"
    address = MONITORING.search(file.read_text(encoding="utf-8")) if file.exists() else None
    if address is None:
        return {}
    with urllib.request.urlopen(f"http://{address[1]}/varz", timeout=NATS_TIMEOUT_S) as answer:
        counted = json.load(answer)
    return {name: float(counted[key]) for name, key in MESSAGES.items() if key in counted}


def differences(before: Mapping[str, float], after: Mapping[str, float]) -> dict[str, float]:
    """How much each counter has grown; one that is new began at 0. What did not grow is left out."""
    grown = {name: number - before.get(name, 0.0) for name, number in after.items()}
    return {name: number for name, number in grown.items() if number > 0}


def per_order(grown: Mapping[str, float], orders: int) -> dict[str, float]:
    """Each counter for each of ``orders``; those by database, such as commits, have a sum as well."""
    each = {name: number / max(1, orders) for name, number in grown.items()}
    for name, number in list(each.items()):
        figure, _, database = name.partition(".")
        if database:
            each[figure] = each.get(figure, 0.0) + number
    return {name: round(number, 3) for name, number in sorted(each.items())}
