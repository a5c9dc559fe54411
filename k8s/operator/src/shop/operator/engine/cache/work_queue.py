"""Keys that wait for work: each once, in order of arrival, never worked on by two at a time.

Some may go first: what has begun is ended before more is begun, so little stands half done at any time.

It is by level: who adds a key says only that something may have changed, and many sayings make one piece of work.
All calls are made from the thread of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

MAX_KEYS = 50_000
"""Beyond it new keys are left to the next resync."""
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 300.0
JITTER = 0.25
HURRY_S = 2.0
"""A change may end a backoff early, but not sooner than this after the failure: the change can come of the failure."""

FAILING_TURN = 4
"""While others wait, one take in so many may be of a key whose last work failed."""
MAX_FIRST = 32
"""Keys in a row that went first while others waited."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failures:
    count: int
    not_before: float


class WorkQueue[K: Hashable]:
    """`key = await get()`, work, then `succeeded(key)` or `failed(key)`, and always `done(key)`."""

    def __init__(self, goes_first: Callable[[K], bool] = lambda _: False, max_failing: int | None = None) -> None:
        """`max_failing`: how many keys whose last work failed may be worked on at once; None is no limit."""
        self._goes_first = goes_first
        self._max_failing = max_failing
        self._first: dict[K, float] = {}
        self._ready: dict[K, float] = {}
        self._failing: dict[K, float] = {}
        self._in_a_row = 0
        self._since_failing = 0
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._later: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, _Failures] = {}
        self._wake = asyncio.Event()
        self._closed = False
        self._told = False

    def __len__(self) -> int:
        """How many wait to be worked on now."""
        return len(self._first) + len(self._ready) + len(self._failing) + len(self._again)

    @property
    def oldest_s(self) -> float:
        """How long the first in line has waited; those whose last work failed wait on purpose and do not count."""
        now = time.monotonic()
        return now - min((next(iter(lane.values())) for lane in (self._first, self._ready) if lane), default=now)

    def add(self, key: K) -> None:
        """Work on it as soon as may be; after a failure not at once."""
        failed = self._failures.get(key)
        wait_s = failed.not_before - time.monotonic() if failed else 0.0
        if wait_s > 0 and key not in self._working:
            self.add_after(key, wait_s)
        else:
            self._enqueue(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Work on it in a while, unless that happens before for another reason: then whoever works asks again."""
        loop = asyncio.get_running_loop()
        when = loop.time() + max(0.0, delay_s)
        known = self._later.get(key)
        if self._closed or (known and known.when() <= when) or (known is None and self._full()):
            return
        if known:
            known.cancel()
        self._later[key] = loop.call_at(when, self._enqueue, key)

    async def get(self) -> K | None:
        """The next key; None once the queue is closed."""
        while not self._first and not self._ready and not self._failing_may_go() and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            return None
        key = self._take()
        self._drop_later(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """Nobody works on it any more; what was added meanwhile comes up again."""
        self._working.discard(key)
        self._wake.set()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def failed(self, key: K) -> float:
        """Try again after a while that grows with every failure in a row; the seconds until then."""
        count = self._failures[key].count + 1 if key in self._failures else 1
        longest = min(FIRST_BACKOFF_S * 2.0 ** min(count - 1, 30), MAX_BACKOFF_S)
        delay_s = longest * random.uniform(1 - JITTER, 1)
        self._failures[key] = _Failures(count, time.monotonic() + min(delay_s, HURRY_S))
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: K) -> None:
        """The next failure is the first again."""
        self._failures.pop(key, None)

    def close(self) -> None:
        """Give out no more keys; work under way may end."""
        self._closed = True
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
        self._wake.set()

    def _failing_may_go(self) -> bool:
        if not self._failing:
            return False
        at_once = sum(key in self._failures for key in self._working)
        return self._max_failing is None or at_once < self._max_failing

    def _take(self) -> K:
        others = bool(self._first or self._ready)
        if self._failing_may_go() and (not others or self._since_failing >= FAILING_TURN - 1):
            self._since_failing = 0
            key = next(iter(self._failing))
            del self._failing[key]
            return key
        self._since_failing += 1
        return self._take_other()

    def _take_other(self) -> K:
        others_turn = not self._first or (self._ready and self._in_a_row >= MAX_FIRST)
        self._in_a_row = 0 if others_turn else self._in_a_row + 1
        lane = self._ready if others_turn else self._first
        key = next(iter(lane))
        del lane[key]
        return key

    def _enqueue(self, key: K) -> None:
        if self._closed or (key not in self._later and key not in self._working and self._full()):
            return
        if key in self._working:
            self._again.add(key)
        elif not any(key in lane for lane in (self._first, self._ready, self._failing)):
            self._lane_of(key)[key] = time.monotonic()
            self._wake.set()
        self._drop_later(key)

    def _lane_of(self, key: K) -> dict[K, float]:
        if key in self._failures:
            return self._failing
        return self._first if self._goes_first(key) else self._ready

    def _drop_later(self, key: K) -> None:
        if handle := self._later.pop(key, None):
            handle.cancel()

    def _full(self) -> bool:
        full = len(self._first) + len(self._ready) + len(self._failing) + len(self._later) >= MAX_KEYS
        if full and not self._told:
            logger.error("the queue is full with %d keys; more are left to the next resync", MAX_KEYS)
        self._told = full
        return full
