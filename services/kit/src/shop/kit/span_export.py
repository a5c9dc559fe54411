"""Sends recorded spans over OTLP/HTTP, on a thread of its own with a bounded queue: a collector that is slow or away
delays neither a request nor the end of the process.

The only module that uses the OpenTelemetry SDK, which is loaded when there is an endpoint to export to.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.metadata
import logging
import threading
import uuid
from typing import TYPE_CHECKING, Any

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

if TYPE_CHECKING:
    from shop.kit.spans import Span
    from shop.kit.telemetry import Trace

TRACES_PATH = "/v1/traces"
EXPORT_TIMEOUT_S = 5.0
"""For one batch of spans, all tries together."""
FLUSH_TIMEOUT_S = 2.0
"""For the remaining spans when the service stops; an unreachable collector delays it by no more."""
MAX_QUEUED_SPANS = 4_096
"""Spans that wait for the collector; the oldest are dropped."""
MAX_SPANS_PER_EXPORT = 512
EXPORT_EVERY_MS = 1_000
SCOPE = InstrumentationScope("shop.kit")
SAMPLED = TraceFlags(TraceFlags.SAMPLED)
NOT_FAILED = Status()
EXPORTER_LOG = "opentelemetry.exporter.otlp.proto.http.trace_exporter"


def traces_url(endpoint: str) -> str:
    """Where spans go, by OTLP's rule for a base endpoint; one that already has the path is used unchanged."""
    base = endpoint.rstrip("/")
    return base if base.endswith(TRACES_PATH) else base + TRACES_PATH


class SpanExport:
    """``endpoint`` is a base, to which OTLP adds the signal's path: http://collector:4318.

    OTEL_RESOURCE_ATTRIBUTES adds resource attributes.
    """

    def __init__(self, service: str, endpoint: str) -> None:
        about = {
            "service.name": service,
            "service.version": _version(service),
            "service.instance.id": str(uuid.uuid4()),
        }
        # A try that fails and is repeated is no news; a batch that is given up is an error.
        logging.getLogger(EXPORTER_LOG).setLevel(logging.ERROR)
        self._resource = Resource.create(about)
        self._processor = BatchSpanProcessor(
            OTLPSpanExporter(endpoint=traces_url(endpoint), timeout=EXPORT_TIMEOUT_S),
            max_queue_size=MAX_QUEUED_SPANS,
            schedule_delay_millis=EXPORT_EVERY_MS,
            max_export_batch_size=MAX_SPANS_PER_EXPORT,
        )

    def add(self, span: Span, ended_ns: int) -> None:
        """Queue a span that has ended."""
        parent = _context(span.trace.trace_id, span.parent_id) if span.parent_id else None
        self._processor.on_end(
            ReadableSpan(
                span.name,
                _context(span.trace.trace_id, span.trace.span_id),
                parent,
                self._resource,
                span.attributes,
                _events(span, ended_ns),
                [Link(_context_of(trace)) for trace in span.links],
                SpanKind[span.kind.name],
                status=Status(StatusCode.ERROR, span.error_type) if span.error_type else NOT_FAILED,
                start_time=span.started_ns,
                end_time=ended_ns,
                instrumentation_scope=SCOPE,
            )
        )

    async def close(self) -> None:
        """Export the remaining spans, for at most FLUSH_TIMEOUT_S; others are dropped."""
        flushed: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def end() -> None:
            if not flushed.done():
                flushed.set_result(None)

        def flush() -> None:
            self._processor.force_flush(int(FLUSH_TIMEOUT_S * 1_000))
            with contextlib.suppress(RuntimeError):  # the loop may have ended meanwhile
                flushed.get_loop().call_soon_threadsafe(end)

        # Not a thread of the loop's executor: the interpreter would wait for it at its end.
        threading.Thread(target=flush, daemon=True).start()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(flushed, FLUSH_TIMEOUT_S)


def _version(service: str) -> str:
    try:
        return importlib.metadata.version(f"shop-{service}")
    except importlib.metadata.PackageNotFoundError:
        return "unknown"


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), False, SAMPLED)


def _context_of(trace: Trace) -> SpanContext:
    return _context(trace.trace_id, trace.span_id)


def _events(span: Span, ended_ns: int) -> list[Event]:
    if not span.stack:
        return []
    attributes: dict[str, Any] = {"exception.type": span.error_type, "exception.stacktrace": span.stack}
    return [Event("exception", attributes, ended_ns)]
