"""The trace context of what this process does: W3C trace context, and a request id.

Every request, event and log line has a trace id, at the cost of two context variables. `shop.kit.spans` records spans
of the traces that are sampled.
"""

from __future__ import annotations

import random
import re
import time
from contextvars import ContextVar
from typing import NamedTuple

TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")
NO_PARENT = ""


class Trace(NamedTuple):
    """W3C trace context: 32 and 16 hexadecimal digits, and whether this trace is sampled.

    ``span_id`` is the span of which further ones are children. ``started_here``: there is none yet, so that the next
    one is the root of the trace.
    """

    trace_id: str
    span_id: str
    sampled: bool
    started_here: bool = False

    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"

    @property
    def parent_id(self) -> str:
        """The parent of the next span."""
        return NO_PARENT if self.started_here else self.span_id


NO_TRACE = Trace("0" * 32, "0" * 16, False)

current: ContextVar[Trace] = ContextVar("trace", default=NO_TRACE)
_request_id: ContextVar[str] = ContextVar("request_id", default="")
_sample_ratio = 0.0


class FirstOfEachSecond:
    """Chooses the first traces of each second: all of a quiet shop, and a share of a busy one that costs the same."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._second = 0
        self._left = 0

    def take(self, now_s: float) -> bool:
        """Whether the trace that begins at ``now_s`` (monotonic) is one of them."""
        if self._limit and (second := int(now_s)) != self._second:
            self._second, self._left = second, self._limit
        self._left -= 1
        return self._left >= 0


_first = {change: FirstOfEachSecond(0) for change in (False, True)}
"""Of reads, and of changes: a page with twenty pictures is no reason to miss the order that follows it."""


def set_sampling(ratio: float, traces_per_second: int = 0) -> None:
    """Of the traces that begin in this process: the share that is sampled, 0 to 1, and how many reads and how many
    changes of each second are sampled first, whatever the share."""
    global _sample_ratio  # noqa: PLW0603 - one process is one service
    _sample_ratio = ratio
    for change in _first:
        _first[change] = FirstOfEachSecond(traces_per_second)


def _is_sampled(*, change: bool) -> bool:
    return random.random() < _sample_ratio or _first[change].take(time.monotonic())


def parse(traceparent: str | None) -> Trace | None:
    """The trace of a ``traceparent`` header, None if there is none or it is malformed."""
    match = TRACEPARENT.match(traceparent) if traceparent else None
    if match is None or match[1] == "0" * 32 or match[2] == "0" * 16:
        return None
    return Trace(match[1], match[2], bool(int(match[3], 16) & 1))


def trace_id_of(traceparent: str | None) -> str:
    """The trace id of a stored ``traceparent``; empty if there is none or it is malformed."""
    trace = parse(traceparent)
    return trace.trace_id if trace else ""


def new_span_id() -> str:
    return f"{random.getrandbits(64) | 1:016x}"


def new_trace(sampled: bool | None = None, *, change: bool = False) -> Trace:
    """A trace that starts here, with a read or a ``change``; as `set_sampling` says when ``sampled`` is None."""
    sampled = _is_sampled(change=change) if sampled is None else sampled
    return Trace(f"{random.getrandbits(128) | 1:032x}", new_span_id(), sampled, started_here=True)


def begin(traceparent: str | None = None) -> Trace:
    """Continue the caller's trace in this context, or start one."""
    trace = parse(traceparent) or new_trace()
    current.set(trace)
    return trace


def set_request_id(request_id: str | None, trace: Trace) -> str:
    """The id of the request of this context: the caller's if well-formed, else the trace id."""
    known = request_id if request_id and REQUEST_ID.match(request_id) else trace.trace_id
    _request_id.set(known)
    return known


def trace_id() -> str:
    """32 hexadecimal digits; all zero outside any trace."""
    return current.get().trace_id


def traceparent() -> str:
    """The current context as a W3C header, to be stored with batched or deferred work."""
    return current.get().traceparent()


def new_request_id() -> str:
    """For a call that no single request causes."""
    return f"{random.getrandbits(128):032x}"


def request_id() -> str:
    return _request_id.get()
