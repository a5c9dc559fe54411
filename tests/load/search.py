"""Find the highest arrival rate that the shop sustains."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.load.open_loop import Run

FIRST_RATE_PER_S = 50.0
GROWTH = 2.0
REFINEMENTS = 3
STEP = 1.08
MAX_STEPS = 10
MAX_P99_S = 1.0


@dataclass(frozen=True)
class Verdict:
    """Whether a run was sustainable, and if not why."""

    sustainable: bool
    reason: str


def judge(run: Run) -> Verdict:
    """A rate is sustained when every order is accepted, 99 of 100 within ``MAX_P99_S`` of the time they were due."""
    orders = run.of("order")
    if orders.bad:
        return Verdict(False, f"{orders.bad} of {orders.sent} orders not accepted: {dict(orders.codes.most_common(3))}")
    if orders.latency_s(99) > MAX_P99_S:
        return Verdict(False, f"p99 {orders.latency_s(99):.2f} s is above {MAX_P99_S:g} s")
    return Verdict(True, "")


async def highest_sustainable(
    try_rate: Callable[[float], Awaitable[Verdict]], first: float = FIRST_RATE_PER_S
) -> float:
    """Double the rate until it is too much, then halve the gap ``REFINEMENTS`` times; 0 when nothing is sustained."""
    low, high = 0.0, 0.0
    rate = first
    for _ in range(MAX_STEPS):
        if (await try_rate(rate)).sustainable:
            low, rate = rate, rate * GROWTH
        else:
            high = rate
            break
    if not high:
        return low
    for _ in range(REFINEMENTS):
        middle = (low + high) / 2
        if (await try_rate(middle)).sustainable:
            low = middle
        else:
            high = middle
    return low


async def near(try_rate: Callable[[float], Awaitable[Verdict]], guess: float) -> float:
    """The same from a rate that was sustained before: up or down in steps of `STEP`; 0 when nothing is sustained."""
    low, high, rate = 0.0, 0.0, guess
    for _ in range(MAX_STEPS):
        if (await try_rate(rate)).sustainable:
            low, rate = rate, rate * STEP
        else:
            high, rate = rate, rate / STEP
        if low and high:
            break
    return low
