"""The next instance for a request whose connection could not be made: nothing was sent, so any instance may get it.

An instance that restarts, or a pod that is not yet known to every node, refuses connections for a moment. A request in
that moment waits instead of failing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from shop.kit.balancing.breaker import Breaker, State

MAX_TRIES_AT_ONCE = 3
"""Instances tried one right after the other before a pause."""
FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 0.4
MIN_JITTER = 0.5
"""Of a pause: requests that were refused at once are not repeated at once."""


class HasBreaker(Protocol):
    """An instance of a service."""

    breaker: Breaker


class Reconnect[I: HasBreaker]:
    """The search for an instance after a request's first connection failed; it lasts ``window_s`` seconds.

    ``pick`` returns an instance that takes requests and is not among those given, or None. A request counts once as a
    failure of an instance, when it moves to another or gives up, however often it was tried.
    """

    def __init__(self, pick: Callable[[Sequence[I]], I | None], window_s: float) -> None:
        self._pick = pick
        self._ends_at = asyncio.get_running_loop().time() + window_s
        self._pause_s = FIRST_PAUSE_S
        self._tried: list[I] = []
        self._counted: list[I] = []

    async def after(self, refused: I) -> I | None:
        """The instance to try next, after a pause if all were tried; None to give up."""
        self._tried.append(refused)
        another = self._pick(self._tried) if len(self._tried) < MAX_TRIES_AT_ONCE else None
        if another is None and await self._paused():
            self._tried.clear()
            another = self._pick([refused]) or (None if refused.breaker.state is State.OPEN else refused)
        if another is not refused and refused not in self._counted:
            self._counted.append(refused)
            refused.breaker.failed()
        return another

    async def _paused(self) -> bool:
        """Pause, longer each time; False when the window would end before."""
        loop = asyncio.get_running_loop()
        pause_s = self._pause_s * random.uniform(MIN_JITTER, 1.0)
        if loop.time() + pause_s >= self._ends_at:
            return False
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        await asyncio.sleep(pause_s)
        return True
