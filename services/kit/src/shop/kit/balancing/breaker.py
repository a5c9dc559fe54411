"""A circuit breaker: after enough failures no requests are sent for a while, then one request is the probe.

Libraries such as purgatory and aiobreaker let every waiting request through once half-open, which overloads a service
that is just starting. Here exactly one probe goes through.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from enum import StrEnum

FAILURES_TO_OPEN = 5
RESET_S = 5.0
FORGET_OPENING_S = 60.0
"""Time closed after which the next opening is half as long."""


class State(StrEnum):
    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


MEASURED = {State.CLOSED: 0, State.HALF_OPEN: 1, State.OPEN: 2}
"""What metrics say for each state."""


def _nothing() -> None:
    pass


class Breaker:
    """Closed until ``failures_to_open`` failures in a row; open for ``reset_s`` seconds; then one probe decides.

    An opening that is to be ``longer`` lasts twice as long as the one before, up to ``max_reset_s`` seconds. What
    lengthens it is not reset by a success: it is halved for each FORGET_OPENING_S that the breaker is closed.
    ``changed()`` is called on each change of the state that is not the clock's, ``opened()`` when it was closed before.

    Not thread-safe: it belongs to one event loop. A probe whose result is never reported expires after ``reset_s``
    seconds, so that a cancelled request cannot keep the breaker open.
    """

    def __init__(
        self,
        failures_to_open: int = FAILURES_TO_OPEN,
        reset_s: float = RESET_S,
        now: Callable[[], float] = time.monotonic,
        *,
        max_reset_s: float = 0.0,
        changed: Callable[[], None] = _nothing,
        opened: Callable[[], None] = _nothing,
    ) -> None:
        self.failures_to_open = failures_to_open
        self.reset_s = reset_s
        self._max_reset_s = max_reset_s
        self._now = now
        self._changed = changed
        self._opened = opened
        self._failures = 0
        self._lengthened = 0
        """How many times the time open has been doubled."""
        self._closed_at = now()
        self._half_open_at = 0.0
        self._held_until = 0.0
        """An administrator keeps it open until then, whatever requests show."""
        self._state = State.CLOSED

    @property
    def state(self) -> State:
        if self._state is State.OPEN and self._now() >= self._half_open_at:
            return State.HALF_OPEN
        return self._state

    def allows(self) -> bool:
        """Whether a request may be sent now; when half-open, the first caller becomes the probe."""
        if self._state is State.CLOSED:
            return True
        if self._now() < self._half_open_at:
            return False
        self._state = State.HALF_OPEN
        self._half_open_at = self._now() + self.reset_s
        self._changed()
        return True

    def succeeded(self) -> None:
        self._failures = 0
        if self._state is not State.CLOSED and not self._is_held():
            self._state = State.CLOSED
            self._closed_at = self._now()
            self._changed()

    def failed(self, *, longer: bool = False) -> None:
        self._failures += 1
        if self._state is State.HALF_OPEN or self._failures >= self.failures_to_open:
            self.open(longer=longer)

    def open(self, *, longer: bool = False) -> None:
        """Send no requests from now on, whatever the count of failures is."""
        now = self._now()
        if self._is_held():
            return
        if self._state is State.CLOSED:
            self._opened()
            forgotten = int((now - self._closed_at) / FORGET_OPENING_S)
            self._lengthened = max(0, self._lengthened - forgotten)
        open_s = min(self.reset_s * 2.0**self._lengthened, max(self._max_reset_s, self.reset_s))
        if longer and self._state is not State.OPEN and open_s < self._max_reset_s:
            self._lengthened += 1
        self._state = State.OPEN
        self._half_open_at = now + open_s
        self._changed()

    def try_again(self) -> None:
        """Half-open the breaker now, because the service reports that it is ready: the next request is the probe."""
        if self._state is State.OPEN and not self._is_held():
            self._half_open_at = self._now()
            self._changed()

    def hold_open(self, seconds: float) -> None:
        """Send no requests for ``seconds``, even if those under way are answered well; then one is the probe."""
        if self._state is State.CLOSED:
            self._opened()
        self._state = State.OPEN
        self._half_open_at = self._held_until = self._now() + seconds
        self._changed()

    def close(self) -> None:
        """Send requests from now on, whatever opened it."""
        self._held_until = 0.0
        self.succeeded()

    def _is_held(self) -> bool:
        return self._held_until > 0.0 and self._now() < self._held_until

    @property
    def retry_after_s(self) -> float:
        """Seconds until a request has a chance again."""
        return max(0.0, self._half_open_at - self._now())
