"""Trace context and spans, made by hand at the few places that matter.

A trace id accompanies every request, event and log line at the cost of two context variables. The OpenTelemetry
SDK is loaded, and spans are recorded, only when there is an endpoint to send them to and the trace is sampled.
"""

from __future__ import annotations

import contextlib
import random
import re
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.trace import Tracer

TRACEPARENT = re.compile(r"^00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")
REQUEST_ID = re.compile(r"^[A-Za-z0-9._-]{1,64}$")


class Trace(NamedTuple):
    """W3C trace context: 32 and 16 hexadecimal digits, and whether this trace is sampled."""

    trace_id: str
    span_id: str
    sampled: bool

    def traceparent(self) -> str:
        return f"00-{self.trace_id}-{self.span_id}-{'01' if self.sampled else '00'}"


NO_TRACE = Trace("0" * 32, "0" * 16, False)

_trace: ContextVar[Trace] = ContextVar("trace", default=NO_TRACE)
_request_id: ContextVar[str] = ContextVar("request_id", default="")
_tracer: Tracer | None = None
_sample_ratio = 0.0


def configure(service: str, endpoint: str, sample_ratio: float) -> None:
    """Send sampled spans to the OTLP/HTTP ``endpoint``; without one, only ids are propagated."""
    global _tracer, _sample_ratio  # noqa: PLW0603 - one process is one service
    _sample_ratio = sample_ratio
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider(resource=Resource.create({"service.name": service}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint)))
    _tracer = provider.get_tracer("shop.kit")


def parse(traceparent: str | None) -> Trace | None:
    """The trace of a ``traceparent`` header, None if there is none or it is malformed."""
    match = TRACEPARENT.match(traceparent) if traceparent else None
    if match is None or match[1] == "0" * 32 or match[2] == "0" * 16:
        return None
    return Trace(match[1], match[2], bool(int(match[3], 16) & 1))


def begin(traceparent: str | None = None) -> Trace:
    """Continue the caller's trace in this context, or start one."""
    caller = parse(traceparent)
    trace = Trace(
        caller.trace_id if caller else f"{random.getrandbits(128) | 1:032x}",
        f"{random.getrandbits(64) | 1:016x}",
        caller.sampled if caller else random.random() < _sample_ratio,
    )
    _trace.set(trace)
    return trace


def begin_request(traceparent: str | None, request_id: str | None) -> str:
    """Enter a request's context; its id is the caller's if well-formed, else the trace id."""
    trace = begin(traceparent)
    known = request_id if request_id and REQUEST_ID.match(request_id) else trace.trace_id
    _request_id.set(known)
    return known


def trace_id() -> str:
    """32 hexadecimal digits; all zero outside any trace."""
    return _trace.get().trace_id


def traceparent() -> str:
    """The present context as a W3C header, to be kept with batched or stored work."""
    return _trace.get().traceparent()


def request_id() -> str:
    return _request_id.get()


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """Record the time inside as a span of the present trace, if it is sampled and there is an endpoint."""
    trace = _trace.get()
    if _tracer is None or not trace.sampled:
        yield
        return
    from opentelemetry import trace as otel

    remote = otel.SpanContext(int(trace.trace_id, 16), int(trace.span_id, 16), True, otel.TraceFlags(1))
    context = otel.set_span_in_context(otel.NonRecordingSpan(remote))
    with _tracer.start_as_current_span(name, context=context, attributes=attributes) as current:
        span_id = f"{current.get_span_context().span_id:016x}"
        token = _trace.set(trace._replace(span_id=span_id))
        try:
            yield
        finally:
            _trace.reset(token)
