"""What is remembered of an instance's answers: all of it decays with time, nothing is reset."""

from __future__ import annotations

import math


class PeakLatency:
    """An average that jumps up to a slower answer at once and comes down with time, answers or not.

    ``decay_s``: seconds in which what is remembered falls to 1/e of itself. Without answers the value falls, so that an
    instance that was avoided is tried again.
    """

    __slots__ = ("_at", "_decay_s", "_value_s")

    def __init__(self, decay_s: float, first_s: float, now: float) -> None:
        self._decay_s = decay_s
        self._value_s = first_s
        self._at = now

    def add(self, taken_s: float, now: float) -> None:
        if taken_s >= self._value_s:
            self._value_s = taken_s
        else:
            kept = math.exp((self._at - now) / self._decay_s)
            self._value_s = self._value_s * kept + taken_s * (1.0 - kept)
        self._at = now

    def at(self, now: float) -> float:
        """Seconds."""
        return self._value_s * math.exp((self._at - now) / self._decay_s)

    def forget(self, taken_s: float, now: float) -> None:
        """Begin anew with one answer."""
        self._value_s = taken_s
        self._at = now


class Faults:
    """Answers and faults, each counting less the older it is: e^(-age / ``decay_s``)."""

    __slots__ = ("_at", "_decay_s", "_faults", "_seen")

    def __init__(self, decay_s: float, now: float) -> None:
        self._decay_s = decay_s
        self._faults = 0.0
        self._seen = 0.0
        self._at = now

    def add(self, now: float, *, fault: bool) -> None:
        kept = math.exp((self._at - now) / self._decay_s)
        self._seen = self._seen * kept + 1.0
        self._faults = self._faults * kept + fault
        self._at = now

    def count(self, now: float) -> float:
        """Faults, decayed until now."""
        return self._faults * math.exp((self._at - now) / self._decay_s)

    @property
    def share(self) -> float | None:
        """Of the answers; None when there were none."""
        return self._faults / self._seen if self._seen else None
