"""PostgreSQL through asyncpg: a connection pool, transactions that only this module commits, a count of statements.

A lost, refused or exhausted connection, and a server that cannot do its work now (full disk, no memory, read-only
after a failover), is ``Unavailable("database")``, which an API answers with 503 and a background loop retries. An
error of the statement itself passes through as asyncpg's own.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Callable, Sequence
from types import TracebackType
from typing import Any, Literal

import asyncpg
import orjson
from prometheus_client import Counter, Gauge, Histogram

from shop.kit import array_types, store_spans
from shop.kit.errors import Unavailable
from shop.kit.kept_connections import KeptConnections, Lender, QuickStatements

STATEMENTS = Counter("shop_database_statements_total", "SQL statements sent, transaction control included")
WAIT = Histogram(
    "shop_database_pool_wait_seconds",
    "Time that a transaction waits for a connection of the pool",
    buckets=(0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1.0, 3.0),
)
CONNECT_TIMEOUT_S = 3.0
ACQUIRE_TIMEOUT_S = 3.0
STATEMENT_TIMEOUT_S = 10.0
IDLE_CONNECTION_LIFETIME_S = 8.0
"""An idle connection holds 2 to 6 MiB in the server, and making one takes some milliseconds. A start opens as many as a
pool may have, of which a service at rest uses one or two."""
STATEMENT_CACHE_SIZE = 100
"""Statements that a connection keeps prepared. None may be kept through a pooler in transaction mode."""

Pooler = Literal["none", "transaction"]
"""What stands between a service and its server. ``transaction``: each transaction may use another server connection, so
no session state may outlive it: no prepared statement, advisory lock, SET or LISTEN."""

LOST = (
    OSError,
    asyncio.TimeoutError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)
"""What asyncpg raises when the connection failed, not the statement."""

UNAVAILABLE_CLASSES = frozenset({"08", "53", "57", "58"})
"""Classes of SQLSTATE: connection, insufficient resources, operator intervention (a cancelled statement included),
system error."""
READ_ONLY = "25006"
UNAVAILABLE_STATES = frozenset({READ_ONLY, "55P03"})
"""Of other classes: a read-only server, and a lock that could not be taken with NOWAIT."""
WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('default_transaction_read_only') = 'off'"

Record = asyncpg.Record


class ReadOnly(Unavailable):
    """The server is read-only: after a failover a new connection finds the writable one."""


class ErrorsAsUnavailable(contextlib.AbstractContextManager[None]):
    """Unavailable("database") for what the module's text says. ``read_only`` is called for a server that is read-only.

    A class instead of a generator, because every statement enters it.
    """

    def __init__(self, read_only: Callable[[], object] = lambda: None) -> None:
        self._read_only = read_only

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, LOST):
            raise Unavailable("database", f"database: {type(error).__name__}: {error}") from error
        if not isinstance(error, asyncpg.PostgresError):
            return
        state = error.sqlstate or ""
        if state == READ_ONLY:
            self._read_only()
            raise ReadOnly("database", f"database: {error}") from error
        if state[:2] in UNAVAILABLE_CLASSES or state in UNAVAILABLE_STATES:
            raise Unavailable("database", f"database: {type(error).__name__}: {error}") from error


errors_as_unavailable = ErrorsAsUnavailable()


class Connection:
    """One connection inside a transaction; it has the statements of ``Database`` and no commit."""

    def __init__(self, raw: Any, available: ErrorsAsUnavailable = errors_as_unavailable) -> None:
        self._raw = raw
        self._available = available
        self.adds_events = False

    def events_added(self) -> None:
        """Note that events were added to the outbox: their relay is woken once they are committed."""
        self.adds_events = True

    async def fetch(self, sql: str, *args: Any) -> list[Record]:
        STATEMENTS.inc()
        with self._available, store_spans.statement(sql):
            rows: list[Record] = await self._raw.fetch(sql, *args)
            return rows

    async def fetchrow(self, sql: str, *args: Any) -> Record | None:
        STATEMENTS.inc()
        with self._available, store_spans.statement(sql):
            row: Record | None = await self._raw.fetchrow(sql, *args)
            return row

    async def fetchval(self, sql: str, *args: Any) -> Any:
        STATEMENTS.inc()
        with self._available, store_spans.statement(sql):
            return await self._raw.fetchval(sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        STATEMENTS.inc()
        with self._available, store_spans.statement(sql):
            status: str = await self._raw.execute(sql, *args)
            return status

    async def executemany(self, sql: str, rows: Sequence[Sequence[Any]]) -> None:
        STATEMENTS.inc(len(rows))
        with self._available, store_spans.statement(sql):
            await self._raw.executemany(sql, rows)


class Database(Connection):
    """A pool of connections; each statement outside ``transaction`` is its own transaction."""

    def __init__(self, raw: Any, pooler: Pooler = "none") -> None:
        # Connections to a read-only server are not used again.
        super().__init__(raw, ErrorsAsUnavailable(self._expire))
        self.quick = Connection(QuickStatements(raw), self._available)
        """For single statements that take milliseconds and wait for no lock, such as looks for what is due: they may
        use the connection of a session that pauses, which would wait for them."""
        self.pooler = pooler
        self.events_committed: Callable[[], object] = lambda: None
        """Called after the commit of a transaction that added events to the outbox."""
        self._tasks: set[asyncio.Future[None]] = set()

    @classmethod
    async def connect(cls, url: str, *, pool_size: int, application: str, pooler: Pooler = "none") -> Database:
        """Open a pool of up to ``pool_size`` connections; Unavailable when there is no database at ``url``."""
        with errors_as_unavailable:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_size,
                timeout=CONNECT_TIMEOUT_S,
                command_timeout=STATEMENT_TIMEOUT_S,
                statement_cache_size=STATEMENT_CACHE_SIZE if pooler == "none" else 0,
                max_inactive_connection_lifetime=IDLE_CONNECTION_LIFETIME_S / 2,
                init=_prepare,
                reset=_no_reset,
                server_settings={"application_name": application, "timezone": "UTC"},
            )
        kept = KeptConnections(pool, IDLE_CONNECTION_LIFETIME_S / 2)
        _measure(kept, pool_size)
        return cls(kept, pooler)

    def events_added(self) -> None:
        self.events_committed()

    def _expire(self) -> None:
        self._tasks.add(task := asyncio.ensure_future(self._raw.expire_connections()))
        task.add_done_callback(self._tasks.discard)

    async def check(self) -> None:
        """Unavailable when there is no server or it is read-only; the next call then tries a new connection."""
        if not await self.quick.fetchval(WRITABLE):
            self._expire()
            raise ReadOnly("database", "database: the server takes no writes")

    @contextlib.asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """A transaction that commits when the block ends and rolls back when it raises."""
        async with self.session() as raw:
            STATEMENTS.inc(2)
            transaction = raw.transaction()
            with self._available:
                await transaction.start()
            connection = Connection(raw)
            try:
                yield connection
            except BaseException as error:
                with contextlib.suppress(*LOST):
                    await transaction.rollback()
                if isinstance(error, ReadOnly):
                    self._expire()
                raise
            with self._available, store_spans.statement("COMMIT"):
                await transaction.commit()
        if connection.adds_events:
            self.events_committed()

    @contextlib.asynccontextmanager
    async def session(self) -> AsyncIterator[Any]:
        """One raw connection of the pool for as long as the block lasts.

        Session state, such as an advisory lock, is reliable only where ``pooler`` is "none".
        """
        started = time.perf_counter()
        try:
            with self._available:
                raw = await self._raw.acquire(timeout=ACQUIRE_TIMEOUT_S)
        finally:
            WAIT.observe(time.perf_counter() - started)
        try:
            yield raw
        finally:
            with contextlib.suppress(*LOST):
                await self._raw.release(raw)

    def lender(self, raw: Any) -> Lender:
        """For a `session` that pauses at times; it must not be used while it lends its connection."""
        return Lender(self._raw, raw)

    async def close(self) -> None:
        with contextlib.suppress(*LOST):
            await asyncio.wait_for(self._raw.close(), CONNECT_TIMEOUT_S)
        self._raw.terminate()


@functools.cache
def _gauges() -> tuple[Gauge, Gauge]:
    """Only services with a database have them."""
    connections = Gauge("shop_database_pool_connections", "Connections of the pool: in use, or idle", ["state"])
    return connections, Gauge("shop_database_pool_limit", "Connections that the pool may open")


def _measure(pool: KeptConnections, limit: int) -> None:
    connections, most = _gauges()
    connections.labels("used").set_function(lambda: pool.get_size() - pool.get_idle_size())
    connections.labels("idle").set_function(pool.get_idle_size)
    most.set(limit)


async def _prepare(connection: asyncpg.Connection) -> None:
    for kind in ("json", "jsonb"):
        await connection.set_type_codec(kind, encoder=_encode, decoder=orjson.loads, schema="pg_catalog", format="text")
    array_types.introduce(connection)


async def _no_reset(_: asyncpg.Connection) -> None:
    """No session state outlives its statement or transaction here, so there is nothing to reset.

    The driver's own reset is one more round trip per statement. Code that changes a session through
    ``Database.session`` undoes that itself.
    """


def _encode(value: Any) -> str:
    return orjson.dumps(value, default=str).decode()
