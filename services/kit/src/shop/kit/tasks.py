"""Supervised background loops: one that fails is logged and restarted with backoff."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Awaitable, Callable
from typing import Never

from prometheus_client import Counter

from shop.kit.backoff import MAX_BACKOFF_S, backoff_s
from shop.kit.errors import Unavailable

log = logging.getLogger(__name__)

RESTARTS = Counter("shop_task_restarts_total", "Background loops that failed and were started again", ["task"])
STOP_TIMEOUT_S = 5.0


async def poll(
    step: Callable[[], Awaitable[int]], idle_s: float, *, wake: asyncio.Event | None = None, gather_s: float = 0.0
) -> Never:
    """Call ``step``, which claims and handles what is due and returns its number, until cancelled.

    It is called again at once as long as it finds something; otherwise after ``idle_s`` seconds, or ``gather_s``
    seconds after ``wake`` is set.
    """
    while True:
        if await step():
            continue
        if wake is None:
            await asyncio.sleep(idle_s)
            continue
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(wake.wait(), idle_s)
            await asyncio.sleep(gather_s)
        wake.clear()


class Tasks:
    """The background loops of one application."""

    def __init__(self) -> None:
        self._tasks: dict[str, asyncio.Task[None]] = {}

    def start(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        """Run ``loop()`` until the application ends; a loop that returns is finished, one that raises is restarted."""
        RESTARTS.labels(name)
        self._tasks[name] = asyncio.create_task(self._supervise(name, loop), name=name)

    async def _supervise(self, name: str, loop: Callable[[], Awaitable[None]]) -> None:
        attempt = 0
        while True:
            started = asyncio.get_running_loop().time()
            try:
                await loop()
                return
            except Exception as error:
                if asyncio.get_running_loop().time() - started > MAX_BACKOFF_S:
                    attempt = 0
                RESTARTS.labels(name).inc()
                extra = {"task": name, "attempt": attempt}
                if isinstance(error, Unavailable):
                    log.warning("background loop %s waits: %s", name, error, extra={"event": "task_waits", **extra})
                else:
                    log.exception("background loop %s failed", name, extra={"event": "task_failed", **extra})
                await asyncio.sleep(backoff_s(attempt))
                attempt += 1

    def failed(self) -> list[str]:
        """Names of loops that ended with an error or were cancelled."""
        return [name for name, task in self._tasks.items() if task.done() and (task.cancelled() or task.exception())]

    async def stop(self) -> None:
        """Cancel every loop and wait for at most STOP_TIMEOUT_S seconds."""
        for task in self._tasks.values():
            task.cancel()
        if self._tasks:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.wait(self._tasks.values(), timeout=STOP_TIMEOUT_S)
        self._tasks.clear()
