"""Where a request goes next when a connection could not be made: nothing of it was sent, so it may go anywhere.

An instance that starts anew, or a cluster that has not yet told its nodes of a new pod, refuses connections for a
moment. Whoever asks in that moment waits a little instead of failing.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Protocol

from shop.kit.http.breaker import Breaker, State

MAX_TRIES_AT_ONCE = 3
"""Instances tried one right after the other before a pause."""
FIRST_PAUSE_S = 0.05
MAX_PAUSE_S = 0.4
LEAST_SHARE = 0.5
"""Of a pause: those who were refused together do not come back together."""


class Guarded(Protocol):
    """An instance of a service, as far as it matters here."""

    breaker: Breaker


class Reconnect[I: Guarded]:
    """The search of one request, begun when its first connection was not made; it lasts ``window_s`` seconds.

    ``pick`` names an instance that takes requests and is not among those given, or None. An instance's breaker is
    told once per request, when the request leaves it for another or gives up, however often it was tried.
    """

    def __init__(self, pick: Callable[[Sequence[I]], I | None], window_s: float) -> None:
        self._pick = pick
        self._ends_at = asyncio.get_running_loop().time() + window_s
        self._pause_s = FIRST_PAUSE_S
        self._tried: list[I] = []
        self._told: list[I] = []

    async def after(self, refused: I) -> I | None:
        """The instance to try now, after a pause if all were tried; None when it is time to give up."""
        self._tried.append(refused)
        another = self._pick(self._tried) if len(self._tried) < MAX_TRIES_AT_ONCE else None
        if another is None and await self._paused():
            self._tried.clear()
            another = self._pick([refused]) or (None if refused.breaker.state is State.OPEN else refused)
        if another is not refused and refused not in self._told:
            self._told.append(refused)
            refused.breaker.failed()
        return another

    async def _paused(self) -> bool:
        """Wait a little, each time longer; False when the window would be over then."""
        loop = asyncio.get_running_loop()
        pause_s = self._pause_s * random.uniform(LEAST_SHARE, 1.0)
        if loop.time() + pause_s >= self._ends_at:
            return False
        self._pause_s = min(2 * self._pause_s, MAX_PAUSE_S)
        await asyncio.sleep(pause_s)
        return True
