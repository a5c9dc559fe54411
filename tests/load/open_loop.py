"""An open-loop load generator: requests are sent when they are due, however slow the responses are.

A closed loop waits for a response before it sends the next request, so a stall of the shop hides the requests that it
would have delayed. Here the arrival times are fixed beforehand, and a latency is counted from the time at which the
request was due, whether or not the generator managed to send it then.
"""

from __future__ import annotations

import asyncio
import math
import random
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

MAX_IN_FLIGHT = 4_000
MAX_RATE_PER_S = 20_000.0
MAX_SECONDS = 600.0
DRAIN_TIMEOUT_S = 30.0
CLOCK_TICK_S = 0.001
"""Of an event loop's timers; uvloop rounds the wait to it, and a wait of less than half of it to none."""
NOT_SENT = "not_sent"
UNANSWERED = "unanswered"


class Outcome(NamedTuple):
    """How one request ended; ``code`` says why when it is not ``ok``."""

    ok: bool
    code: str


class Arrival(NamedTuple):
    """A request that is due ``at_s`` seconds after the start."""

    at_s: float
    kind: str


class Sample(NamedTuple):
    """One request's end: ``latency_s`` from the time it was due, ``ended_s`` from the start of the run."""

    kind: str
    latency_s: float
    ended_s: float
    outcome: Outcome


@dataclass(frozen=True)
class Run:
    """The outcome of every arrival of one run; ``late_s`` is the most that the generator itself was behind."""

    arrivals: int
    samples: Sequence[Sample]
    late_s: float

    def of(self, kind: str) -> Tally:
        chosen = [sample for sample in self.samples if sample.kind == kind]
        last_s = max((sample.ended_s for sample in chosen), default=0.0)
        codes = Counter(sample.outcome.code for sample in chosen if not sample.outcome.ok)
        good = [sample.latency_s for sample in chosen if sample.outcome.ok]
        return Tally(len(chosen), len(good), last_s, codes, sorted(good))


@dataclass(frozen=True)
class Tally:
    """Requests of one kind: good responses, others by code, and latencies of the good ones, ascending (seconds)."""

    sent: int
    good: int
    last_s: float
    codes: Counter[str]
    latencies_s: Sequence[float] = field(repr=False)

    @property
    def good_per_s(self) -> float:
        """Good responses a second until the last one: a backlog that is processed late lowers it."""
        return self.good / self.last_s if self.last_s else 0.0

    @property
    def bad(self) -> int:
        return self.sent - self.good

    def latency_s(self, percent: float) -> float:
        return percentile(self.latencies_s, percent)


def percentile(ascending: Sequence[float], percent: float) -> float:
    """The value that ``percent`` of the values do not exceed (nearest rank); NaN of no values."""
    if not ascending:
        return math.nan
    return ascending[max(0, math.ceil(len(ascending) * percent / 100) - 1)]


def poisson(rates: dict[str, float], seconds: float, seed: int) -> list[Arrival]:
    """Independent arrivals of each kind at its rate (1/s) over ``seconds``, in order of time, the same for one seed."""
    if not 0 < seconds <= MAX_SECONDS:
        raise ValueError(f"seconds must be above 0 and at most {MAX_SECONDS:g}")
    if not 0 < sum(rates.values()) <= MAX_RATE_PER_S:
        raise ValueError(f"the rates together must be above 0 and at most {MAX_RATE_PER_S:g}/s")
    chance = random.Random(seed)
    return sorted(arrival for kind, rate in rates.items() for arrival in _one_kind(kind, rate, seconds, chance))


def _one_kind(kind: str, rate: float, seconds: float, chance: random.Random) -> Iterable[Arrival]:
    at_s = chance.expovariate(rate) if rate > 0 else math.inf
    while at_s < seconds:
        yield Arrival(at_s, kind)
        at_s += chance.expovariate(rate)


async def run(
    arrivals: Sequence[Arrival],
    send: Callable[[str], Coroutine[Any, Any, Outcome]],
    *,
    max_in_flight: int = MAX_IN_FLIGHT,
    drain_timeout_s: float = DRAIN_TIMEOUT_S,
) -> Run:
    """Send every arrival when it is due and wait for the responses.

    An arrival during ``max_in_flight`` open requests is not sent, one without a response ``drain_timeout_s`` after the
    last arrival is cancelled; both count as bad.
    """
    return await _Generator(send, max_in_flight).run(arrivals, drain_timeout_s)


class _Generator:
    """A timer sends what is due: tasks begin at once, without another turn of the event loop."""

    def __init__(self, send: Callable[[str], Coroutine[Any, Any, Outcome]], max_in_flight: int) -> None:
        self._send = send
        self._max_in_flight = max_in_flight
        self._loop = asyncio.get_running_loop()
        self._started_at = time.monotonic()
        self._in_flight: dict[asyncio.Task[None], Arrival] = {}
        self._samples: list[Sample] = []
        self._late_s = 0.0
        self._all_sent: asyncio.Future[None] = self._loop.create_future()
        self._timer: asyncio.TimerHandle | None = None

    async def run(self, arrivals: Sequence[Arrival], drain_timeout_s: float) -> Run:
        try:
            self._send_due(deque(arrivals))
            await self._all_sent
        finally:
            if self._timer:
                self._timer.cancel()
        if self._in_flight:
            await asyncio.wait(list(self._in_flight), timeout=drain_timeout_s)
        await self._cancel_open()
        return Run(len(arrivals), self._samples, self._late_s)

    def _send_due(self, waiting: deque[Arrival]) -> None:
        """An error ends the run; the event loop would only log it."""
        try:
            self._start_due(waiting)
        except Exception as error:  # noqa: BLE001 - raised where the run waits
            self._all_sent.set_exception(error)

    def _start_due(self, waiting: deque[Arrival]) -> None:
        """Never before its time: a timer that ends early is set again."""
        while waiting:
            late_s = self._now_s() - waiting[0].at_s
            if late_s < 0:
                wait_s = math.ceil(-late_s / CLOCK_TICK_S) * CLOCK_TICK_S
                self._timer = self._loop.call_later(wait_s, self._send_due, waiting)
                return
            self._late_s = max(self._late_s, late_s)
            self._start(waiting.popleft())
        self._all_sent.set_result(None)

    def _now_s(self) -> float:
        """Not by the event loop's clock: that of uvloop counts whole milliseconds."""
        return time.monotonic() - self._started_at

    def _start(self, arrival: Arrival) -> None:
        if len(self._in_flight) >= self._max_in_flight:
            self._record(arrival, Outcome(False, NOT_SENT))
            return
        task = asyncio.Task(self._one(arrival), loop=self._loop, eager_start=True)
        if not task.done():
            self._in_flight[task] = arrival
            task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._in_flight.pop(task, None)

    async def _one(self, arrival: Arrival) -> None:
        self._record(arrival, await self._send(arrival.kind))

    def _record(self, arrival: Arrival, outcome: Outcome) -> None:
        ended_s = self._now_s()
        self._samples.append(Sample(arrival.kind, ended_s - arrival.at_s, ended_s, outcome))

    async def _cancel_open(self) -> None:
        left = dict(self._in_flight)
        for task, arrival in left.items():
            task.cancel()
            self._record(arrival, Outcome(False, UNANSWERED))
        await asyncio.gather(*left, return_exceptions=True)


async def closed_loop(send: Callable[[], Awaitable[bool]], *, workers: int, seconds: float) -> float:
    """Good responses a second when each of ``workers`` sends its next request after a response: the maximum."""
    loop = asyncio.get_running_loop()
    ends_at = loop.time() + seconds

    async def work() -> int:
        answered = 0
        while loop.time() < ends_at:
            answered += await send()
        return answered

    return sum(await asyncio.gather(*(work() for _ in range(workers)))) / seconds
