"""A budget for requests that are sent a second time, so that a service in trouble is not given more work by it."""

from __future__ import annotations

RETRY_SHARE = 0.2
MIN_RETRIES_PER_S = 1.0
MAX_SAVED = 20.0
"""Retries that may follow one another after a time without any."""


class RetryBudget:
    """Retries are at most ``share`` of the requests, and beside that ``min_per_s`` a second, for a service with few.

    ``now`` is in seconds and does not fall.
    """

    def __init__(self, now: float, share: float = RETRY_SHARE, min_per_s: float = MIN_RETRIES_PER_S) -> None:
        self._share = share
        self._min_per_s = min_per_s
        self._saved = MAX_SAVED
        self._at = now

    def requested(self) -> None:
        """A request is sent for the first time."""
        self._saved = min(MAX_SAVED, self._saved + self._share)

    def take(self, now: float) -> bool:
        """Whether a request may be sent again; if so, it is counted."""
        self._saved = min(MAX_SAVED, self._saved + self._min_per_s * (now - self._at))
        self._at = now
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True
