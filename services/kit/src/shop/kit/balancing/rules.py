"""The numbers that balancing goes by."""

from __future__ import annotations

from dataclasses import dataclass

from shop.kit.balancing.breaker import FAILURES_TO_OPEN, RESET_S

MAX_INFLIGHT = 1_024
"""Requests under way at one instance; beyond, a quick 503 serves everyone better than a long queue."""
MAX_LATENCY_S = 10.0
"""A latency never counts for more than this."""
STREAM_WEIGHT = 0.01
"""What an open event stream counts for, of a request under way."""
MIN_WARMTH = 0.1
"""Of its share, what a new instance gets at first."""


@dataclass(frozen=True, slots=True)
class Rules:
    """``failures_to_open``, ``reset_s`` and ``max_reset_s`` are the breaker's.

    Ejection compares: an instance is ejected when at least ``faults_to_eject`` of its answers, decayed with
    ``faults_decay_s``, were faults, and their share is above ``outlier_share`` plus twice the others' median.
    """

    failures_to_open: int = FAILURES_TO_OPEN
    reset_s: float = RESET_S
    max_reset_s: float = 60.0
    latency_decay_s: float = 3.0
    first_latency_s: float = 0.01
    """What is assumed of the first instances, until they have answered."""
    failure_latency_s: float = 1.0
    """A failure counts as an answer that took this long, or twice what the instance had before, if that is more."""
    slow_start_s: float = 5.0
    """Time in which an instance that is new, or back, comes to its full share."""
    faults_to_eject: float = 5.0
    faults_decay_s: float = 10.0
    outlier_share: float = 0.2
    max_ejected_share: float = 0.5
    """Of the instances, how many may be ejected at a time."""
    panic_share: float = 0.25
    """With a smaller share of usable instances, those that answer at all are used although they do badly."""
    max_pause_s: float = 30.0
    """Of a Retry-After, the most that is honoured."""
