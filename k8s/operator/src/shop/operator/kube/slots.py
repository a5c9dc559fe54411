"""A limit of concurrent work in which slow work stops counting, so that it does not delay the rest."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

SLOW_S = 2.0
"""After this, work is slow: it waits for something outside, such as a webhook that does not respond."""


class Slots:
    """`await acquire()`, then `with working():` around the work, or `release()` when there is none.

    At most `at_once` pieces of work run, and further `max_slow` that have taken longer than SLOW_S.
    """

    def __init__(self, at_once: int, max_slow: int) -> None:
        self._free = asyncio.Semaphore(at_once)
        self._max_slow = max_slow
        self._slow = 0

    async def acquire(self) -> None:
        await self._free.acquire()

    def release(self) -> None:
        self._free.release()

    @contextmanager
    def working(self) -> Iterator[None]:
        """The slot is given back when the work becomes slow, or at its end."""
        slow = False

        def leave() -> None:
            nonlocal slow
            if self._slow < self._max_slow:
                slow = True
                self._slow += 1
                self._free.release()

        timer = asyncio.get_running_loop().call_later(SLOW_S, leave)
        try:
            yield
        finally:
            timer.cancel()
            if slow:
                self._slow -= 1
            else:
                self._free.release()
