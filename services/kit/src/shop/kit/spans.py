"""Spans, made explicitly at few places: requests, calls, events, statements, steps of sagas.

Stock instrumentation costs most of the throughput. Here a span is a plain object until it has ended, and outside of
sampled traces there is none. Names and attributes are those of OpenTelemetry's semantic conventions. None holds what
a person entered: paths are templates, statements are summaries, and exceptions have a type and a stack, but no message.
"""

from __future__ import annotations

import contextlib
import time
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from enum import Enum
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from shop.kit import telemetry
from shop.kit.telemetry import Trace

if TYPE_CHECKING:
    from shop.kit.span_export import SpanExport

SLOW_REQUEST_S = 1.0
"""A request that takes longer is recorded although its trace is not sampled, like one that fails."""
SAMPLED_LATE = "shop.sampled_late"
"""Marks such a span: the rest of its trace is missing."""
USER_ID = "user.id"
ORDER_ID = "shop.order.id"
"""Ids by which traces are found; they say nothing about a person without the shop's databases."""
MAX_LINKS = 128
"""To and from one span."""
MAX_STACK_FRAMES = 20

type Attributes = Mapping[str, str | int | float | bool]


class Kind(Enum):
    """OpenTelemetry's kinds of spans, by their names there."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"
    PRODUCER = "producer"
    CONSUMER = "consumer"


_export: SpanExport | None = None
_active: ContextVar[Span | None] = ContextVar("span", default=None)


def configure(service: str, endpoint: str, sample_ratio: float, traces_per_second: int = 0) -> None:
    """Send sampled spans to ``endpoint``; without one only ids are propagated. See `telemetry.set_sampling`."""
    global _export  # noqa: PLW0603 - one process is one service
    telemetry.set_sampling(sample_ratio, traces_per_second)
    if endpoint:
        from shop.kit.span_export import SpanExport

        _export = SpanExport(service, endpoint)


async def close() -> None:
    """Send what was recorded, within a time limit."""
    global _export
    export, _export = _export, None
    if export is not None:
        await export.close()


class Span:
    """One span, current in its context while it is entered. ``trace.span_id`` is its own id.

    ``error_type`` is set when it failed, with ``stack`` when an exception is known.
    """

    __slots__ = (
        "_began_s", "_tokens", "attributes", "error_type", "kind", "links", "name", "parent_id", "stack",
        "started_ns", "trace",
    )  # fmt: skip

    def __init__(
        self, name: str, kind: Kind, trace: Trace, parent_id: str, attributes: Attributes, links: Iterable[Trace] = ()
    ) -> None:
        self.name = name
        self.kind = kind
        self.trace = trace
        self.parent_id = parent_id
        self.attributes = dict(attributes)
        self.links = list(links)
        self.error_type = ""
        self.stack = ""
        self.started_ns = time.time_ns()
        self._began_s = time.perf_counter()
        self._tokens: tuple[Any, Any] | None = None

    def fail(self, error: BaseException | str) -> None:
        """It failed: with an exception, or for a reason from a small set."""
        if isinstance(error, BaseException):
            self.error_type = type(error).__qualname__
            self.stack = "".join(traceback.format_tb(error.__traceback__, MAX_STACK_FRAMES))
        else:
            self.error_type = error
        self.attributes["error.type"] = self.error_type

    def link(self, trace: Trace) -> None:
        if len(self.links) < MAX_LINKS:
            self.links.append(trace)

    def end(self) -> None:
        if _export is not None:
            _export.add(self, self.started_ns + round((time.perf_counter() - self._began_s) * 1e9))

    def __enter__(self) -> Self:
        self._tokens = telemetry.current.set(self.trace), _active.set(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._tokens is not None:
            telemetry.current.reset(self._tokens[0])
            _active.reset(self._tokens[1])
        if error is not None and not self.error_type:
            self.fail(error)
        self.end()


NOT_RECORDED: contextlib.AbstractContextManager[None] = contextlib.nullcontext()


def recording() -> bool:
    """Whether what happens now belongs to a sampled trace and spans are exported."""
    return _export is not None and telemetry.current.get().sampled


def exported() -> bool:
    """Whether spans are exported at all."""
    return _export is not None


def span(
    name: str, attributes: Attributes | None = None, kind: Kind = Kind.INTERNAL
) -> contextlib.AbstractContextManager[Span | None]:
    """A span of the current trace for the block, None when it is not recorded."""
    if _export is None:
        return NOT_RECORDED
    trace = telemetry.current.get()
    return child(trace, name, attributes or {}, kind) if trace.sampled else NOT_RECORDED


def child(trace: Trace, name: str, attributes: Attributes, kind: Kind, links: Iterable[Trace] = ()) -> Span:
    """A span below ``trace``, which is sampled; the caller enters or ends it."""
    own = Trace(trace.trace_id, telemetry.new_span_id(), sampled=True)
    return Span(name, kind, own, trace.parent_id, attributes, links)


def active() -> Span | None:
    """The innermost span that is being recorded."""
    return _active.get()


def annotate(error: BaseException | None = None, attributes: Attributes | None = None) -> None:
    """Add to the innermost span that is being recorded, if there is one; with an ``error`` it is one that failed."""
    found = _active.get()
    if found is None:
        return
    found.attributes.update(attributes or {})
    if error is not None:
        found.fail(error)


@contextlib.contextmanager
def continued(trace: Trace, within: Span | None = None) -> Iterator[None]:
    """The block belongs to ``trace``, below ``within`` if that is being recorded."""
    tokens = telemetry.current.set(trace), _active.set(within)
    try:
        yield
    finally:
        telemetry.current.reset(tokens[0])
        _active.reset(tokens[1])


def joined(name: str, callers: Sequence[Span]) -> contextlib.AbstractContextManager[Any]:
    """What is done once for several callers: part of their trace if all are of one, else a linked trace of its own."""
    if not callers:
        return NOT_RECORDED
    first = callers[0]
    if all(caller.trace.trace_id == first.trace.trace_id for caller in callers):
        return continued(first.trace, first)
    batch = new_root(name, {"shop.batch.callers": len(callers)}, Kind.INTERNAL, [one.trace for one in callers])
    for caller in callers:
        caller.link(batch.trace)
    return batch


def new_root(name: str, attributes: Attributes, kind: Kind, links: Sequence[Trace]) -> Span:
    """A span that begins a sampled trace, for work that belongs to several traces."""
    return child(telemetry.new_trace(sampled=True), name, attributes, kind, links[:MAX_LINKS])


class ServerSpan:
    """One request that this process answers, of a sampled trace or not. Its trace id is known before it is answered."""

    __slots__ = ("_began_s", "_parent_id", "_recorded", "request_id", "trace")

    def __init__(self, traceparent: str | None, request_id: str | None, *, change: bool = False) -> None:
        self._began_s = time.perf_counter()
        caller = telemetry.parse(traceparent)
        above = caller or telemetry.new_trace(change=change)
        self._parent_id = above.parent_id
        span_id = telemetry.new_span_id() if caller else above.span_id
        self.trace = Trace(above.trace_id, span_id, above.sampled)
        self.request_id = telemetry.set_request_id(request_id, self.trace)
        self._recorded: Span | None = None
        if self.trace.sampled and _export is not None:
            self._recorded = Span("", Kind.SERVER, self.trace, self._parent_id, {})
        telemetry.current.set(self.trace)
        _active.set(self._recorded)

    def seconds(self) -> float:
        """Since the request began."""
        return time.perf_counter() - self._began_s

    def is_recorded(self, seconds: float, *, failed: bool) -> bool:
        """Whether it is to be ended with `end`: sampled, or failed or slow."""
        return _export is not None and (self._recorded is not None or failed or seconds > SLOW_REQUEST_S)

    def end(self, name: str, attributes: Attributes, *, failed: str = "") -> None:
        """Record it; ``failed`` is why it failed on our side."""
        span = self._recorded or self._late()
        span.name = name
        span.attributes.update(attributes)
        if failed and not span.error_type:
            span.fail(failed)
        span.end()

    def _late(self) -> Span:
        late = Span("", Kind.SERVER, self.trace._replace(sampled=True), self._parent_id, {SAMPLED_LATE: True})
        late._began_s = self._began_s
        late.started_ns -= round(self.seconds() * 1e9)
        return late
