"""A value that is loaded again when it is too old and outlives failures of its source (stale-if-error, RFC 5861)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from shop.kit.errors import Problem, Unavailable

MAX_WAIT_S = 10.0
"""How long a request waits for a load that it started, or for the first value."""
FAILURE_PAUSE_S = 1.0
"""How long the previous value is served after a failed load before the next attempt."""


class RefreshingValue[T]:
    """At most one load at a time. Requests that arrive during a load get the previous value, if there is one."""

    def __init__(self, load: Callable[[], Awaitable[T]], ttl_s: float, max_wait_s: float = MAX_WAIT_S) -> None:
        self._load = load
        self._ttl_s = ttl_s
        self._max_wait_s = max_wait_s
        self._value: T | None = None
        self._expires_at = float("-inf")
        self._loading: asyncio.Task[T] | None = None

    async def get(self) -> T:
        """The value. While there is none yet: the load's Unavailable or Problem, or TimeoutError after `max_wait_s`,
        after which the load goes on for the requests to come."""
        value = self._value
        if value is not None and (time.monotonic() < self._expires_at or self._loading):
            return value
        if self._loading is None:
            self._loading = asyncio.create_task(self._refresh())
            self._loading.add_done_callback(self._finished)
        try:
            async with asyncio.timeout(self._max_wait_s):
                return await asyncio.shield(self._loading)
        except (Unavailable, Problem, TimeoutError):
            if value is None:
                raise
            return value

    async def _refresh(self) -> T:
        try:
            self._value = value = await self._load()
        except BaseException:
            self._expires_at = time.monotonic() + FAILURE_PAUSE_S
            raise
        self._expires_at = time.monotonic() + self._ttl_s
        return value

    def _finished(self, task: asyncio.Task[T]) -> None:
        self._loading = None
        if not task.cancelled():
            task.exception()  # marks it as retrieved: the requests that waited for it may be gone

    async def close(self) -> None:
        if self._loading:
            self._loading.cancel()
            await asyncio.wait([self._loading])
