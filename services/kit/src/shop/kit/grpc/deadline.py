"""The time that is left for a call, handed on to the calls made on its behalf."""

from __future__ import annotations

import asyncio
from contextvars import ContextVar

from shop.kit.errors import Problem

DEFAULT_S = 5.0
"""For a call that came without a deadline."""
MAX_S = 60.0
"""However late the deadline that a call came with."""

_ends_at: ContextVar[float | None] = ContextVar("grpc_deadline", default=None)


def allowed_s(remaining_s: float | None) -> float:
    """How long a call may take; Problem 504 ``deadline_exceeded`` when its time is over before it began."""
    if remaining_s is None:
        return DEFAULT_S
    if remaining_s <= 0:
        raise exceeded()
    return min(remaining_s, MAX_S)


def begin(allowed: float) -> None:
    """The current call ends in ``allowed`` seconds."""
    _ends_at.set(asyncio.get_running_loop().time() + allowed)


def within(timeout_s: float) -> float:
    """``timeout_s``, or what is left for the current call if that is less; Problem 504 when nothing is."""
    ends_at = _ends_at.get()
    if ends_at is None:
        return timeout_s
    left_s = ends_at - asyncio.get_running_loop().time()
    if left_s <= 0:
        raise exceeded()
    return min(timeout_s, left_s)


def exceeded() -> Problem:
    return Problem(504, "deadline_exceeded", "The time for this call is over.")
