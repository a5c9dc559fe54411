"""One instance of a service, and what requests to it have shown."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from shop.kit.balancing.breaker import Breaker
from shop.kit.balancing.measures import Faults, PeakLatency
from shop.kit.balancing.rules import MAX_LATENCY_S, MIN_WARMTH, STREAM_WEIGHT, Rules


@dataclass(frozen=True, slots=True)
class About:
    """What discovery knows of an instance; empty where it knows nothing."""

    id: str = ""
    version: str = ""
    zone: str = ""
    grpc: str = ""
    """Host and port of its gRPC server."""


class Instance:
    """One address of a service."""

    def __init__(
        self,
        base_url: str,
        rules: Rules,
        now: Callable[[], float],
        changed: Callable[[], None],
        opened: Callable[[], None],
        *,
        began: float,
        first_latency_s: float | None = None,
        about: About | None = None,
    ) -> None:
        self.base_url = base_url.strip().rstrip("/")
        self.about = about or About()
        self.breaker = Breaker(
            rules.failures_to_open,
            rules.reset_s,
            now,
            max_reset_s=rules.max_reset_s,
            changed=changed,
            opened=self._count_ejection,
        )
        self._opened = opened
        self.inflight = 0
        self.streams = 0
        """Open event streams. They last for minutes and cost little, so they are no requests under way; the service
        limits how many there are."""
        self.refused = False
        """Whether the last request could not connect."""
        self.healthy = True
        """What the last active health checks found."""
        self.failed_checks = 0
        """Active health checks that failed one after the other."""
        self.paused_until = 0.0
        """The instance asked for no requests until then."""
        self.ejections = 0
        """How many times its breaker has opened."""
        self._rules = rules
        self.latency = PeakLatency(rules.latency_decay_s, first_latency_s or rules.first_latency_s, began)
        self.faults = Faults(rules.faults_decay_s, began)
        self._warm_at = began
        """When it has its full share."""
        self._started: dict[int, float] = {}
        """When the requests under way were sent, the oldest first."""
        self.sent = 0
        """Requests that were sent to it, in all."""
        self._answered_at = began

    def _count_ejection(self) -> None:
        self.ejections += 1
        self._opened()

    def began(self, now: float) -> int:
        """A request is sent; the number is for `ended`."""
        self.sent += 1
        self._started[self.sent] = now
        self.inflight += 1
        return self.sent

    def ended(self, number: int) -> None:
        if self._started.pop(number, None) is not None:
            self.inflight -= 1

    def answered(self, taken_s: float, now: float) -> None:
        """An answer came after ``taken_s`` seconds, good or bad."""
        self._answered_at = now
        self.latency.add(min(taken_s, MAX_LATENCY_S), now)

    def failed(self, taken_s: float, now: float) -> None:
        """A failure counts as slow: otherwise an instance that fails fast would attract everybody."""
        slow_s = max(taken_s, self._rules.failure_latency_s, 2.0 * self.latency.at(now))
        self.answered(slow_s, now)

    def warms_up(self, now: float) -> None:
        """Its share grows from now on."""
        self._warm_at = now + self._rules.slow_start_s

    def readmitted(self, taken_s: float, now: float) -> None:
        """A probe was answered: what was before says nothing any more."""
        self.latency.forget(min(taken_s, MAX_LATENCY_S), now)
        self.warms_up(now)

    def warmth(self, now: float) -> float:
        """Its share of what it will get when it is no longer new, up to 1."""
        if now >= self._warm_at:
            return 1.0
        return max(MIN_WARMTH, 1.0 - (self._warm_at - now) / self._rules.slow_start_s)

    def latency_s(self, now: float) -> float:
        """What a request is expected to take: what others took, or for how long nothing has been answered."""
        expected = self.latency.at(now)
        if not self._started:
            return expected
        oldest = next(iter(self._started.values()))
        return max(expected, now - max(oldest, self._answered_at))

    def cost(self, now: float) -> float:
        return self.latency_s(now) * (1.0 + self.inflight + STREAM_WEIGHT * self.streams)
