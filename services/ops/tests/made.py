"""Spans and exports for the tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Status
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from shop.ops.model import Span

MS = 1_000_000
BEGAN_NS = 1_700_000_000_000 * MS
TRACE_ID = "ab" * 16
ORDER_ID = "01890a5d-ac96-774b-bcce-b302099a8057"
USER_ID = "01890a5d-ac96-774b-bcce-b302099a8058"


def span_id(number: int) -> str:
    return f"{number:016x}"


def span(
    number: int, parent: int = 0, at_ms: float = 0, took_ms: float = 10, trace_id: str = TRACE_ID, **changed: Any
) -> Span:
    """Span ``number``, below span ``parent``, that begins ``at_ms`` after BEGAN_NS."""
    began = BEGAN_NS + round(at_ms * MS)
    values: dict[str, Any] = {"service": "order", "name": f"span {number}", "kind": "internal", **changed}
    return Span(
        trace_id=trace_id,
        span_id=span_id(number),
        parent_id=span_id(parent) if parent else "",
        began_ns=began,
        ended_ns=began + round(took_ms * MS),
        **values,
    )


def trace_id(number: int) -> str:
    return f"{number:032x}"


def pair(key: str, value: str | int) -> KeyValue:
    found = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
    return KeyValue(key=key, value=found)


def export(*messages: SpanMessage, service: str = "order") -> ExportTraceServiceRequest:
    resource = Resource(attributes=[pair("service.name", service)])
    return ExportTraceServiceRequest(
        resource_spans=[ResourceSpans(resource=resource, scope_spans=[ScopeSpans(spans=messages)])]
    )


def message(
    number: int = 1,
    trace: str = TRACE_ID,
    attributes: Sequence[KeyValue] = (),
    error: str = "",
    **changed: Any,
) -> SpanMessage:
    values: dict[str, Any] = {
        "trace_id": bytes.fromhex(trace),
        "span_id": bytes.fromhex(span_id(number)),
        "name": f"span {number}",
        "kind": SpanMessage.SPAN_KIND_SERVER,
        "start_time_unix_nano": BEGAN_NS,
        "end_time_unix_nano": BEGAN_NS + 5 * MS,
        "attributes": attributes,
        **changed,
    }
    if error:
        values["status"] = Status(code=Status.STATUS_CODE_ERROR, message=error)
    return SpanMessage(**values)
