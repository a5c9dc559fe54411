"""Spans in SQLite, for as long as there is room: limited by time, by number and by bytes.

One thread does all of it, so that no request waits for a disk and the database needs no lock of ours.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Self

import orjson
from prometheus_client import Counter, Gauge

from shop.kit.exposition import start_at_zero
from shop.ops.model import Search, Span, Summary

log = logging.getLogger(__name__)

MAX_SPANS = 100_000
MAX_SPANS_PER_TRACE = 2_000
MAX_WAITING_BATCHES = 32
"""Exports that wait to be stored; further ones are dropped, because the services must not wait for this."""
EXPIRED_AT_ONCE = 50
"""Traces, oldest first."""
EVICTED_SHARE = 0.02
"""Of the traces, at least one: a few large ones may fill the store, and the newest is not to go with them."""
EVICTION_ROUNDS = 200
PAGE_CACHE_KIB = 2_048
SPANS = Counter("shop_ops_spans_total", "Spans received, by what became of them", ["result"])
BYTES = Gauge("shop_ops_store_bytes", "What the kept spans take")
RESULTS = ("stored", "dropped")
start_at_zero(SPANS, RESULTS)

SCHEMA = """
CREATE TABLE IF NOT EXISTS traces (
    trace_id TEXT PRIMARY KEY, name TEXT NOT NULL, service TEXT NOT NULL, rooted INTEGER NOT NULL,
    began_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, spans INTEGER NOT NULL, errors INTEGER NOT NULL,
    order_id TEXT NOT NULL, user_id TEXT NOT NULL, services TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS traces_by_time ON traces (began_ns);
CREATE INDEX IF NOT EXISTS traces_by_order ON traces (order_id) WHERE order_id <> '';
CREATE INDEX IF NOT EXISTS traces_by_user ON traces (user_id) WHERE user_id <> '';
CREATE TABLE IF NOT EXISTS spans (
    trace_id TEXT NOT NULL, span_id TEXT NOT NULL, parent_id TEXT NOT NULL, service TEXT NOT NULL, name TEXT NOT NULL,
    kind TEXT NOT NULL, began_ns INTEGER NOT NULL, ended_ns INTEGER NOT NULL, error TEXT NOT NULL, stack TEXT NOT NULL,
    attributes TEXT NOT NULL, links TEXT NOT NULL, PRIMARY KEY (trace_id, span_id)
) WITHOUT ROWID;
"""
ADD_SPAN = "INSERT OR IGNORE INTO spans VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
ADD_TO_TRACE = """
INSERT INTO traces VALUES
    (:trace_id, :name, :service, :rooted, :began_ns, :ended_ns, 1, :errors, :order_id, :user_id, :services)
ON CONFLICT (trace_id) DO UPDATE SET
    name = CASE WHEN excluded.rooted > rooted OR (excluded.rooted = rooted AND excluded.began_ns < began_ns)
                THEN excluded.name ELSE name END,
    service = CASE WHEN excluded.rooted > rooted OR (excluded.rooted = rooted AND excluded.began_ns < began_ns)
                   THEN excluded.service ELSE service END,
    rooted = max(rooted, excluded.rooted),
    began_ns = min(began_ns, excluded.began_ns), ended_ns = max(ended_ns, excluded.ended_ns),
    spans = spans + 1, errors = errors + excluded.errors,
    order_id = CASE WHEN order_id = '' THEN excluded.order_id ELSE order_id END,
    user_id = CASE WHEN user_id = '' THEN excluded.user_id ELSE user_id END,
    services = CASE WHEN instr(services, excluded.services) THEN services ELSE services || excluded.services END
"""
FIND = """
SELECT trace_id, name, service, began_ns, ended_ns, spans, errors, services, order_id, user_id FROM traces
WHERE (:order_id = '' OR order_id = :order_id) AND (:user_id = '' OR user_id = :user_id)
  AND (:service = '' OR instr(services, ' ' || :service || ' ')) AND (:name = '' OR instr(lower(name), lower(:name)))
  AND ended_ns - began_ns >= :min_ms * 1000000 AND (NOT :failed OR errors > 0)
ORDER BY began_ns DESC LIMIT :limit
"""
REQUESTS = """
SELECT * FROM spans WHERE service = :service AND kind = 'server' AND (NOT :failed OR error <> '')
ORDER BY CASE WHEN :failed THEN began_ns ELSE ended_ns - began_ns END DESC LIMIT :limit
"""
COUNT = "SELECT count(*) FROM spans"
REMOVE_SPANS = "DELETE FROM spans WHERE trace_id = ?"
READ = "SELECT * FROM spans WHERE trace_id = ? ORDER BY began_ns LIMIT ?"
OLDEST = """
SELECT trace_id FROM traces ORDER BY began_ns LIMIT (SELECT max(1, CAST(? * count(*) AS INTEGER)) FROM traces)"""
EXPIRED = "SELECT trace_id FROM traces WHERE began_ns < ? ORDER BY began_ns LIMIT ?"


class SpanRepository:
    """The kept spans. Its methods run in one thread of its own; `close` ends it."""

    def __init__(self, connection: sqlite3.Connection, keep_s: float, max_bytes: int) -> None:
        self._connection = connection
        self._keep_s = keep_s
        self._max_bytes = max_bytes
        self._thread = ThreadPoolExecutor(1, "spans")
        self._waiting = 0
        BYTES.set_function(lambda: self._bytes)
        self._bytes = 0
        self._spans = connection.execute(COUNT).fetchone()[0]

    @classmethod
    def open(cls, file: Path | None, keep_s: float, max_bytes: int) -> Self:
        """Spans in ``file``, or in memory. A file that is none of SQLite is replaced: these are no data of the shop."""
        try:
            return cls(_connect(file), keep_s, max_bytes)
        except sqlite3.DatabaseError as error:
            if file is None:
                raise
            log.warning("the kept spans are unreadable: %s", error, extra={"event": "spans_unreadable"})
            file.unlink(missing_ok=True)
            return cls(_connect(file), keep_s, max_bytes)

    async def add(self, spans: Sequence[Span]) -> int:
        """Keep these spans and return how many were not: too many wait. The oldest traces go where room is short."""
        if self._waiting >= MAX_WAITING_BATCHES:
            SPANS.labels("dropped").inc(len(spans))
            return len(spans)
        self._waiting += 1
        try:
            kept = await self._run(self._add, spans)
        finally:
            self._waiting -= 1
        SPANS.labels("stored").inc(kept)
        SPANS.labels("dropped").inc(len(spans) - kept)
        return len(spans) - kept

    async def find(self, search: Search) -> list[Summary]:
        """The newest traces that fit."""
        return await self._run(self._find, search)

    async def trace(self, trace_id: str) -> list[Span]:
        """The spans of one trace in the order in which they began; none when it is not known."""
        return await self._run(self._trace, trace_id)

    async def requests(self, service: str, *, failed: bool, limit: int) -> list[Span]:
        """Kept requests that the service answered: the slowest ones, or the newest that failed."""
        return await self._run(self._requests, {"service": service, "failed": failed, "limit": limit})

    async def close(self) -> None:
        await self._run(self._connection.close)
        self._thread.shutdown(wait=False)

    async def _run[T](self, work: Callable[..., T], *arguments: Any) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *arguments)

    def _add(self, spans: Sequence[Span]) -> int:
        try:
            with self._connection:
                kept = sum(self._add_one(span) for span in spans)
            self._evict(time.time_ns())
        except sqlite3.Error:  # what was counted may have been rolled back
            self._spans = self._connection.execute(COUNT).fetchone()[0]
            raise
        return kept

    def _add_one(self, span: Span) -> bool:
        """Whether it is kept now; a span that came before, in an export that was sent again, counts once."""
        known = self._connection.execute("SELECT spans FROM traces WHERE trace_id = ?", [span.trace_id]).fetchone()
        if known is not None and known[0] >= MAX_SPANS_PER_TRACE:
            return False
        if self._connection.execute(ADD_SPAN, _row(span)).rowcount:
            self._spans += 1
            self._connection.execute(ADD_TO_TRACE, _of_trace(span))
        return True

    def _evict(self, now_ns: int) -> None:
        """Delete traces that are too old, and the oldest while there are too many spans or bytes."""
        for _ in range(EVICTION_ROUNDS):
            expired = self._ids(EXPIRED, now_ns - round(self._keep_s * 1e9), EXPIRED_AT_ONCE)
            if not expired and self._fits():
                return
            with self._connection:
                for trace_id in expired or self._ids(OLDEST, EVICTED_SHARE):
                    self._spans -= self._connection.execute(REMOVE_SPANS, [trace_id]).rowcount
                    self._connection.execute("DELETE FROM traces WHERE trace_id = ?", [trace_id])

    def _ids(self, statement: str, *values: float) -> list[str]:
        return [row[0] for row in self._connection.execute(statement, values)]

    def _fits(self) -> bool:
        page, pages, free = (self._pragma(name) for name in ("page_size", "page_count", "freelist_count"))
        self._bytes = page * (pages - free)
        return self._bytes <= self._max_bytes and self._spans <= MAX_SPANS

    def _pragma(self, name: str) -> int:
        return int(self._connection.execute(f"PRAGMA {name}").fetchone()[0])

    def _find(self, search: Search) -> list[Summary]:
        values = {name: getattr(search, name) for name in Search.__dataclass_fields__}
        return [
            Summary(**{**dict(row), "services": tuple(row["services"].split())})
            for row in self._connection.execute(FIND, values)
        ]

    def _requests(self, values: dict[str, Any]) -> list[Span]:
        return [_span(dict(row)) for row in self._connection.execute(REQUESTS, values)]

    def _trace(self, trace_id: str) -> list[Span]:
        rows = self._connection.execute(READ, [trace_id, MAX_SPANS_PER_TRACE])
        return [_span(dict(row)) for row in rows]


def _connect(file: Path | None) -> sqlite3.Connection:
    connection = sqlite3.connect(file or ":memory:", check_same_thread=False)
    connection.row_factory = sqlite3.Row
    with contextlib.closing(connection.cursor()) as cursor:
        # What a crash loses here is the newest spans, and at worst the file, which is made anew.
        cursor.executescript(
            f"PRAGMA journal_mode = MEMORY; PRAGMA synchronous = OFF; PRAGMA cache_size = -{PAGE_CACHE_KIB};"
        )
        cursor.executescript(SCHEMA)
    return connection


def _row(span: Span) -> tuple[Any, ...]:
    return (
        span.trace_id, span.span_id, span.parent_id, span.service, span.name, span.kind, span.began_ns, span.ended_ns,
        span.error, span.stack, orjson.dumps(span.attributes).decode(), " ".join(span.links),
    )  # fmt: skip


def _of_trace(span: Span) -> dict[str, Any]:
    return {
        "trace_id": span.trace_id,
        "name": span.name,
        "service": span.service,
        "rooted": not span.parent_id,
        "began_ns": span.began_ns,
        "ended_ns": span.ended_ns,
        "errors": bool(span.error),
        "order_id": span.order_id,
        "user_id": span.user_id,
        "services": f" {span.service} ",
    }


def _span(row: dict[str, Any]) -> Span:
    return Span(**{**row, "attributes": orjson.loads(row["attributes"]), "links": tuple(row["links"].split())})
