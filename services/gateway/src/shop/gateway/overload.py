"""How many requests a service has at once: fewer while they take too long, so that those it accepts are answered soon.

A service that gets more than it can do has a queue that grows until every request times out, and then all its work is
for clients that have gone. Requests under way are throughput times latency, so a limit on them is a limit on latency,
whatever the machine's speed. It is adjusted by the median latency of each window: above the target it shrinks, and
while it is used up below the target it grows.

Where even the smallest limit does not bring the latency down, and the gateway itself is not late, the cause is not the
load but, say, a slow payment provider: what requests take then is accepted for a while, and afterwards tried again.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from statistics import median

from prometheus_client import Counter, Gauge

from shop.kit.errors import Problem
from shop.kit.exposition import start_at_zero

WINDOW_S = 0.25
MIN_SAMPLES = 16
"""Requests that end before a window does; with fewer its median says little."""
MAX_SAMPLES = 4_096
QUIET_S = 30.0
"""A window that lasts so long had hardly any requests: what was before says nothing about those that come now."""
FIRST_LIMIT = 256
MIN_LIMIT = 16
"""So few requests at once are no overload on any machine."""
MAX_LIMIT = 4_096
SHRINK_LEAST, SHRINK_MOST = 0.8, 0.5
"""What a window leaves of the limit. One slow window may be a pause of the disk and takes the least; those that follow
take as much as the latency is too high."""
GROWTH = 1.1
ACCEPTED_FACTOR = 2.0
"""Of the median that no limit brings down, how much becomes the target."""
ACCEPTED_FOR_S = 60.0
LAG_EVERY_S = 0.5
MAX_LAG_S = 0.05
"""A timer of the event loop that is later than this: the gateway has more to do than it can."""
RETRY_AFTER_S = 1

REFUSED = Counter(
    "shop_gateway_overload_refused_total", "Requests refused because a service has too many", ["upstream"]
)
LIMIT = Gauge("shop_gateway_concurrency_limit", "Requests that a service may have at once", ["upstream"])


class Slot:
    """One request under way; `end` gives its place to another one, and may be called again without effect."""

    __slots__ = ("_began_at", "_limit")

    def __init__(self, limit: ConcurrencyLimit, began_at: float) -> None:
        self._limit: ConcurrencyLimit | None = limit
        self._began_at = began_at

    def end(self, *, sampled: bool = True) -> None:
        """``sampled``: whether the time it took says something about the service."""
        if self._limit is not None:
            self._limit.ended(self._began_at, sampled=sampled)
            self._limit = None


class ConcurrencyLimit:
    """The limit of one service.

    ``target_s``: the median latency that is not exceeded for long, in seconds. ``late``: whether the gateway is.
    """

    def __init__(
        self,
        target_s: float,
        *,
        first: int = FIRST_LIMIT,
        late: Callable[[], bool] = lambda: False,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        self.limit = self._first = float(first)
        self.inflight = 0
        self._late = late
        self._now = now
        self._declined_from = 0.0
        """The limit before it began to shrink; 0 while it does not."""
        self._usual_target_s = self._target_s = target_s
        self._accepted_until = 0.0
        self._window_began_at = now()
        self._latencies_s: list[float] = []
        self._most_inflight = 0

    def begin(self) -> Slot | None:
        """A place for one more request; None when there is none."""
        now = self._now()
        if not self.inflight and now - self._window_began_at >= QUIET_S:
            self._forget(now)
        if self.is_full():
            return None
        self.inflight += 1
        self._most_inflight = max(self._most_inflight, self.inflight)
        return Slot(self, now)

    def is_full(self) -> bool:
        return self.inflight >= int(self.limit)

    def _forget(self, now: float) -> None:
        self.limit, self._declined_from = max(self.limit, self._first), 0.0
        self._window_began_at, self._most_inflight = now, 0
        self._latencies_s.clear()

    def ended(self, began_at: float, *, sampled: bool) -> None:
        """Called by `Slot.end`."""
        self.inflight -= 1
        now = self._now()
        if sampled and len(self._latencies_s) < MAX_SAMPLES:
            self._latencies_s.append(now - began_at)
        if now - self._window_began_at >= WINDOW_S and len(self._latencies_s) >= MIN_SAMPLES:
            self._adjust(median(self._latencies_s), now)
            self._window_began_at = now
            self._latencies_s.clear()
            self._most_inflight = self.inflight

    def _adjust(self, latency_s: float, now: float) -> None:
        if self._accepted_until and now >= self._accepted_until:
            self._target_s, self._accepted_until = self._usual_target_s, 0.0
        if latency_s > self._target_s:
            self._shrink(latency_s, now)
            return
        self._declined_from = 0.0
        if self._most_inflight >= int(self.limit):
            self.limit = min(MAX_LIMIT, self.limit * GROWTH + 1.0)

    def _shrink(self, latency_s: float, now: float) -> None:
        most = SHRINK_MOST if self._declined_from else SHRINK_LEAST
        self._declined_from = self._declined_from or self.limit
        if self._most_inflight > MIN_LIMIT:
            left = min(SHRINK_LEAST, max(most, self._target_s / latency_s))
            self.limit = max(MIN_LIMIT, min(self.limit, self._most_inflight) * left)
        elif not self._late():
            self.limit, self._declined_from = self._declined_from, 0.0
            self._target_s, self._accepted_until = latency_s * ACCEPTED_FACTOR, now + ACCEPTED_FOR_S


class ConcurrencyLimits:
    """The limit of each service that has been sent a request. With ``target_s`` 0 it is `MAX_LIMIT`."""

    def __init__(self, target_s: float, now: Callable[[], float] = time.monotonic) -> None:
        self._target_s = target_s
        self._now = now
        self._lag_s = 0.0
        self._limits: dict[str, ConcurrencyLimit] = {}

    def of(self, service: str) -> ConcurrencyLimit:
        found = self._limits.get(service)
        if found is None:
            first = FIRST_LIMIT if self._target_s else MAX_LIMIT
            found = ConcurrencyLimit(self._target_s or math.inf, first=first, late=self.late, now=self._now)
            self._limits[service] = found
            LIMIT.labels(service).set_function(lambda: int(found.limit))
        return found

    def late(self) -> bool:
        """Whether this process has more to do than it can."""
        return self._lag_s > MAX_LAG_S

    async def watch(self) -> None:
        """Measure how late the event loop is, for as long as the gateway runs."""
        while True:
            began = self._now()
            await asyncio.sleep(LAG_EVERY_S)
            self._lag_s = self._now() - began - LAG_EVERY_S

    def check(self, service: str) -> None:
        """Problem 503 ``overloaded`` when `begin` would refuse, before anything else: refusals are to be cheap."""
        if self.of(service).is_full():
            raise _overloaded(service)

    def begin(self, service: str) -> Slot:
        """A place for a request to ``service``; Problem 503 ``overloaded`` when it has as many as it can process."""
        slot = self.of(service).begin()
        if slot is None:
            raise _overloaded(service)
        return slot


def _overloaded(service: str) -> Problem:
    REFUSED.labels(service).inc()
    detail = "The shop has more requests than it can process; please try again."
    return Problem(503, "overloaded", detail, headers={"Retry-After": str(RETRY_AFTER_S)})


def expect(service: str) -> None:
    """Make the time series of a service before its first refusal."""
    start_at_zero(REFUSED, [service])
