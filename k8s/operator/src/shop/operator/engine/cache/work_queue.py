"""A deduplicating work queue: each key once, in order of arrival, never processed twice at a time.

Some keys have priority: rollouts under way are finished before others are started.

It is level-triggered: adding a key says only that something may have changed, and many additions are processed once.
All calls are made from the thread of the event loop.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass

from shop.kit.backoff import backoff_s

MAX_KEYS = 50_000
"""Beyond it new keys are left to the next resync."""
FIRST_BACKOFF_S = 1.0
MAX_BACKOFF_S = 300.0
MIN_BACKOFF_S = 2.0
"""A change may end a backoff early, but not sooner than this after the failure: it can be caused by the failure."""

FAILING_SHARE = 4
"""While others wait, one key in so many may be one that failed last time."""
MAX_PRIORITY_RUN = 32
"""Keys with priority in a row while others wait."""

logger = logging.getLogger(__name__)


@dataclass(slots=True)
class _Failures:
    count: int
    not_before: float


class WorkQueue[K: Hashable]:
    """`key = await get()`, work, then `succeeded(key)` or `failed(key)`, and always `done(key)`."""

    def __init__(self, has_priority: Callable[[K], bool] = lambda _: False, max_failing: int | None = None) -> None:
        """`max_failing`: how many keys that failed last time may be processed at once; None is no limit."""
        self._has_priority = has_priority
        self._max_failing = max_failing
        self._priority: dict[K, float] = {}
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
        self._logged_full = False

    def __len__(self) -> int:
        """How many keys are due."""
        return len(self._priority) + len(self._ready) + len(self._failing) + len(self._again)

    @property
    def oldest_s(self) -> float:
        """How long the oldest key has waited; those that failed last time wait on purpose and do not count."""
        now = time.monotonic()
        return now - min((next(iter(lane.values())) for lane in (self._priority, self._ready) if lane), default=now)

    def add(self, key: K) -> None:
        """Process it as soon as possible; after a failure not at once."""
        failed = self._failures.get(key)
        wait_s = failed.not_before - time.monotonic() if failed else 0.0
        if wait_s > 0 and key not in self._working:
            self.add_after(key, wait_s)
        else:
            self._enqueue(key)

    def add_after(self, key: K, delay_s: float) -> None:
        """Process it after `delay_s`, unless it is processed earlier for another reason; that cancels the delay."""
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
        while not self._priority and not self._ready and not self._failing_allowed() and not self._closed:
            self._wake.clear()
            await self._wake.wait()
        if self._closed:
            return None
        lane = self._next_lane()
        key = next(iter(lane))
        del lane[key]
        self._drop_later(key)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """It is no longer being processed; when it was added meanwhile, it is due again."""
        self._working.discard(key)
        self._wake.set()
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def failed(self, key: K) -> float:
        """Retry after a backoff that grows with every failure in a row; the seconds until then."""
        count = self._failures[key].count + 1 if key in self._failures else 1
        delay_s = backoff_s(count - 1, FIRST_BACKOFF_S, MAX_BACKOFF_S)
        self._failures[key] = _Failures(count, time.monotonic() + min(delay_s, MIN_BACKOFF_S))
        self.add_after(key, delay_s)
        return delay_s

    def succeeded(self, key: K) -> None:
        """The next failure is the first again."""
        self._failures.pop(key, None)

    def close(self) -> None:
        """Return no more keys; what is being processed may end."""
        self._closed = True
        for handle in self._later.values():
            handle.cancel()
        self._later.clear()
        self._wake.set()

    def _failing_allowed(self) -> bool:
        if not self._failing:
            return False
        at_once = sum(key in self._failures for key in self._working)
        return self._max_failing is None or at_once < self._max_failing

    def _next_lane(self) -> dict[K, float]:
        others = bool(self._priority or self._ready)
        if self._failing_allowed() and (not others or self._since_failing >= FAILING_SHARE - 1):
            self._since_failing = 0
            return self._failing
        self._since_failing += 1
        others_turn = not self._priority or (self._ready and self._in_a_row >= MAX_PRIORITY_RUN)
        self._in_a_row = 0 if others_turn else self._in_a_row + 1
        return self._ready if others_turn else self._priority

    def _enqueue(self, key: K) -> None:
        if self._closed or (key not in self._later and key not in self._working and self._full()):
            return
        if key in self._working:
            self._again.add(key)
        elif not any(key in lane for lane in (self._priority, self._ready, self._failing)):
            prioritised = self._priority if self._has_priority(key) else self._ready
            (self._failing if key in self._failures else prioritised)[key] = time.monotonic()
            self._wake.set()
        self._drop_later(key)

    def _drop_later(self, key: K) -> None:
        if handle := self._later.pop(key, None):
            handle.cancel()

    def _full(self) -> bool:
        full = len(self._priority) + len(self._ready) + len(self._failing) + len(self._later) >= MAX_KEYS
        if full and not self._logged_full:
            logger.error("the queue is full with %d keys; more are left to the next resync", MAX_KEYS)
        self._logged_full = full
        return full
