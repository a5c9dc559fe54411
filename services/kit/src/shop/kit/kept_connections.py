"""asyncpg's pool for single statements: the connection of one stays for the next instead of going back in between.

Giving a connection back to asyncpg's pool and getting it again takes as much processor time as a small statement: a
task, a proxy and a timer each time. Here connections that have finished a statement are kept for the next one. Whatever
is unusual goes the pool's way: a statement that failed or was cancelled, a session, a connection that others wait for.

A session that pauses lends its connection to quick statements, so a service at rest has one connection and not two.
"""

from __future__ import annotations

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import asyncpg

STATEMENTS_BEFORE_RETURN = 1_000
"""After so many a connection goes back once, for the pool's own limits."""
BUSY_PER_S = 2.0
"""With more statements than that nothing goes back: it would be opened again soon, which takes 20 ms of processor time
with what the driver asks of types and the plans of its first statements."""


class Statements(ABC):
    """Single statements; ``run`` chooses the connection whose method each one is."""

    @abstractmethod
    async def run(self, method: str, *args: Any) -> Any: ...

    async def fetch(self, sql: str, *args: Any) -> list[asyncpg.Record]:
        return await self.run("fetch", sql, *args)  # type: ignore[no-any-return]

    async def fetchrow(self, sql: str, *args: Any) -> asyncpg.Record | None:
        return await self.run("fetchrow", sql, *args)  # type: ignore[no-any-return]

    async def fetchval(self, sql: str, *args: Any) -> Any:
        return await self.run("fetchval", sql, *args)

    async def execute(self, sql: str, *args: Any) -> str:
        return await self.run("execute", sql, *args)  # type: ignore[no-any-return]

    async def executemany(self, sql: str, rows: Any) -> None:
        await self.run("executemany", sql, rows)


class Lender:
    """A session that lends its connection to quick statements while it pauses.

    They wait for each other, which takes less time than opening another connection.
    """

    def __init__(self, pool: KeptConnections, connection: Any) -> None:
        self._pool = pool
        self._connection = connection
        self._generation = pool.generation
        self._in_use = asyncio.Lock()

    @contextlib.asynccontextmanager
    async def pausing(self) -> AsyncIterator[None]:
        """Lend while the block runs; at its end it waits for the statements that have begun.

        When that is cancelled it ends the connection, which would go back to the pool while the statement runs on it.
        """
        self._pool.lender = self
        try:
            yield
        finally:
            self._pool.lender = None
            try:
                await self._in_use.acquire()
            except asyncio.CancelledError:
                if _is_open(self._connection):
                    self._connection.terminate()
                raise
            self._in_use.release()

    def can_lend(self) -> bool:
        """Not a connection that was closed or is to be replaced."""
        return self._generation == self._pool.generation and _is_open(self._connection)

    async def run(self, method: str, *args: Any) -> Any:
        async with self._in_use:
            return await getattr(self._connection, method)(*args)


class KeptConnections(Statements):
    """What `shop.kit.db` uses of ``pool``. A connection that is not used for ``idle_s`` seconds goes back to it, unless
    the service is busy."""

    def __init__(self, pool: asyncpg.Pool, idle_s: float) -> None:
        self._pool = pool
        self._idle_s = idle_s
        self._kept: deque[tuple[Any, float]] = deque()
        """With the time when each was used last, the newest at the end."""
        self.lender: Lender | None = None
        """The session that lends its connection now."""
        self._waiting = 0
        self.generation = 0
        """Grows when those that are open are to be replaced."""
        self._until_return = STATEMENTS_BEFORE_RETURN
        self._statements = 0
        """Since the last look for unused connections, at ``_looked_at``."""
        self._looked_at = 0.0
        self._timer: asyncio.TimerHandle | None = None
        """Runs while connections are kept: at rest nothing else gives them back."""
        self._returning: asyncio.Task[None] | None = None

    async def run(self, method: str, *args: Any) -> Any:
        generation = self.generation
        connection = self._take() or await self.acquire()
        try:
            result = await getattr(connection, method)(*args)
        except BaseException:
            await self._pool.release(connection)
            raise
        self._statements += 1
        self._until_return -= 1
        if self._is_wanted() or self._until_return <= 0 or generation != self.generation:
            self._until_return = STATEMENTS_BEFORE_RETURN
            await self._pool.release(connection)
        else:
            self._keep(connection)
        return result

    def _is_wanted(self) -> bool:
        """Whether someone waits for a connection who will not get one of their own, which the pool may still open."""
        return self._waiting > 0 and self._waiting > self._pool.get_max_size() - self._pool.get_size()

    def _keep(self, connection: Any) -> None:
        self._kept.append((connection, asyncio.get_running_loop().time()))
        self._look_after(self._idle_s)

    def _look_after(self, seconds: float) -> None:
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(seconds, self._look)

    def _look(self) -> None:
        self._timer = None
        self._returning = asyncio.get_running_loop().create_task(self._return_unused())

    async def _return_unused(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._is_busy(now):
            self._look_after(self._idle_s)
            return
        while self._kept and now - self._kept[0][1] >= self._idle_s:
            await self._pool.release(self._kept.popleft()[0])
        if self._kept:
            self._look_after(self._kept[0][1] + self._idle_s - now)

    def _is_busy(self, now: float) -> bool:
        busy = self._statements > BUSY_PER_S * (now - self._looked_at)
        self._statements, self._looked_at = 0, now
        return busy

    def _take(self) -> Any:
        """One that was kept, the newest; None when there is none."""
        while self._kept:
            connection, _ = self._kept.pop()
            if _is_open(connection):
                return connection
        return None

    async def acquire(self, timeout: float | None = None) -> Any:
        """A connection, which the caller gives back with `release`."""
        if (connection := self._take()) is not None:
            return connection
        self._waiting += 1
        try:
            return await self._pool.acquire(timeout=timeout)
        finally:
            self._waiting -= 1

    async def release(self, connection: Any) -> None:
        """To the pool, which ends what the caller has left open."""
        await self._pool.release(connection)

    async def expire_connections(self) -> None:
        """Have those that are open now replaced when they have been used."""
        self.generation += 1
        await self._pool.expire_connections()
        await self._return_all()

    async def _return_all(self) -> None:
        while self._kept:
            await self._pool.release(self._kept.pop()[0])

    async def close(self) -> None:
        self._stop_looking()
        self._waiting += self._pool.get_max_size() + 1  # what ends from now on goes back, too
        await self._return_all()
        await self._pool.close()

    def _stop_looking(self) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def terminate(self) -> None:
        self._stop_looking()
        self._pool.terminate()

    def get_size(self) -> int:
        return self._pool.get_size()

    def get_idle_size(self) -> int:
        return self._pool.get_idle_size() + sum(_is_open(connection) for connection, _ in self._kept)


def _is_open(connection: Any) -> bool:
    """The pool takes a connection back by itself when it is closed, and then it refuses to answer."""
    try:
        return not connection.is_closed()
    except asyncpg.InterfaceError:
        return False


class QuickStatements(Statements):
    """Single statements of ``pool`` that use the connection of a session that pauses, when there is one."""

    def __init__(self, pool: KeptConnections) -> None:
        self._pool = pool

    async def run(self, method: str, *args: Any) -> Any:
        lender = self._pool.lender
        run = lender.run if lender is not None and lender.can_lend() else self._pool.run
        return await run(method, *args)
