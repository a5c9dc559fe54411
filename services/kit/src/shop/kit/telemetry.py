"""Trace context and spans, created explicitly at a few places.

Every request, event and log line has a trace id, at the cost of two context variables. The OpenTelemetry SDK is loaded
only when there is an endpoint to export to, and spans are recorded only for sampled traces.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import random
import re
import threading
import uuid
from collections.abc import Iterator
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
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
_provider: TracerProvider | None = None
_sample_ratio = 0.0

TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 5.0
"""For one batch of spans, all tries together."""
FLUSH_TIMEOUT_S = 2.0
"""For the remaining spans when the service stops; an unreachable collector delays it by no more."""


def configure(service: str, endpoint: str, sample_ratio: float) -> None:
    """Send sampled spans over OTLP/HTTP; without an ``endpoint``, only ids are propagated.

    ``endpoint`` is a base, to which OTLP adds the signal's path: http://collector:4318. OTEL_RESOURCE_ATTRIBUTES adds
    resource attributes.
    """
    global _tracer, _provider, _sample_ratio  # noqa: PLW0603 - one process is one service
    _sample_ratio = sample_ratio
    if not endpoint:
        return
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    about = {"service.name": service, "service.version": _version(service), "service.instance.id": str(uuid.uuid4())}
    exporter = OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=EXPORT_TIMEOUT_S)
    _provider = TracerProvider(resource=Resource.create(about), shutdown_on_exit=False)
    _provider.add_span_processor(BatchSpanProcessor(exporter))
    _tracer = _provider.get_tracer("shop.kit")


def traces_url(endpoint: str) -> str:
    """Where spans go, by OTLP's rule for a base endpoint; one that already has the path is used unchanged."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH


def _version(service: str) -> str:
    try:
        return importlib.metadata.version(f"shop-{service}")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


async def close() -> None:
    """Export the remaining spans, for at most FLUSH_TIMEOUT_S; others are dropped."""
    global _tracer, _provider
    provider, _tracer, _provider = _provider, None, None
    if provider is None:
        return
    flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def end() -> None:
        if not flushed.done():
            flushed.set_result(None)

    def flush() -> None:
        provider.force_flush(int(FLUSH_TIMEOUT_S * 1_000))
        with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
            flushed.get_loop().call_soon_threadsafe(end)

    # Not a thread of the loop's executor: the interpreter would wait for it at its end.
    threading.Thread(target=flush, daemon=True).start()
    with contextlib.suppress(TimeoutError):
        await asyncio.wait_for(flushed, FLUSH_TIMEOUT_S)


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


def begin(traceparent: str | None = None) -> Trace:
    """Continue the caller's trace in this context, or start one. Recorded spans are children of the caller's."""
    caller = parse(traceparent)
    if caller and caller.sampled and _tracer is not None:
        trace = caller
    else:
        trace = Trace(
            caller.trace_id if caller else f"{random.getrandbits(128) | 1:032x}",
            f"{random.getrandbits(64) | 1:016x}",
            caller.sampled if caller else random.random() < _sample_ratio,
        )
    _trace.set(trace)
    return trace


def begin_request(traceparent: str | None, request_id: str | None) -> str:
    """Start a request's context; its id is the caller's if well-formed, else the trace id."""
    trace = begin(traceparent)
    known = request_id if request_id and REQUEST_ID.match(request_id) else trace.trace_id
    _request_id.set(known)
    return known


def trace_id() -> str:
    """32 hexadecimal digits; all zero outside any trace."""
    return _trace.get().trace_id


def sampled_trace_id() -> str:
    """The current trace's id if its spans are recorded, otherwise empty."""
    trace = _trace.get()
    return trace.trace_id if trace.sampled and _tracer is not None else ""


def traceparent() -> str:
    """The current context as a W3C header, to be stored with batched or deferred work."""
    return _trace.get().traceparent()


def request_id() -> str:
    return _request_id.get()


@contextlib.contextmanager
def span(name: str, **attributes: Any) -> Iterator[None]:
    """Record a span of the current trace, if it is sampled and there is an endpoint."""
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


def annotate(error: Exception | None = None, **attributes: Any) -> None:
    """Add to the innermost span that is being recorded, if there is one; with an ``error`` it is one that failed."""
    if _tracer is None or not _trace.get().sampled:
        return
    from opentelemetry import trace as otel

    current = otel.get_current_span()
    current.set_attributes(attributes)
    if error is not None:
        current.record_exception(error)
        current.set_status(otel.Status(otel.StatusCode.ERROR, type(error).__name__))
