"""Time as a dependency, so that a test can set it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta


class Clock:
    def now(self) -> datetime:
        """The present in UTC."""
        return datetime.now(UTC)


class FixedClock(Clock):
    """A clock that stands still until it is advanced."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at

    def advance(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)
