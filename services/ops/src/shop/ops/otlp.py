"""Reads what services export: OTLP over HTTP, as protobuf.

Any process that can connect may send anything, so lengths and numbers are limited, and what is no span is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from shop.kit.errors import Problem
from shop.ops.model import Span, Value

PROTOBUF = "application/x-protobuf"
TRACE_ID_BYTES = 16
SPAN_ID_BYTES = 8
MAX_ATTRIBUTES = 48
MAX_LINKS = 128
MAX_NAME_CHARACTERS = 200
MAX_VALUE_CHARACTERS = 500
MAX_STACK_CHARACTERS = 4_000
MAX_TIME_NS = 2**63 - 1
FAILED = "error"
"""The error of a span that names none."""


def read(body: bytes) -> list[Span]:
    """The spans of one export; Problem 400 ``malformed_export`` when it is none."""
    try:
        message = ExportTraceServiceRequest.FromString(body)
    except DecodeError:
        raise Problem(400, "malformed_export", "The body is no export of spans in protobuf.") from None
    return list(_spans(message))


def answer(rejected: int) -> bytes:
    """The answer to an export, of which ``rejected`` spans were not kept."""
    response = ExportTraceServiceResponse()
    if rejected:
        response.partial_success.rejected_spans = rejected
    written: bytes = response.SerializeToString()
    return written


def _spans(message: ExportTraceServiceRequest) -> Iterator[Span]:
    for resource in message.resource_spans:
        service = str(_values(resource.resource.attributes).get("service.name", "unknown"))[:MAX_NAME_CHARACTERS]
        for scope in resource.scope_spans:
            for span in scope.spans:
                if _is_span(span):
                    yield _span(span, service)


def _is_span(message: SpanMessage) -> bool:
    ids = len(message.trace_id) == TRACE_ID_BYTES and len(message.span_id) == SPAN_ID_BYTES
    return ids and 0 < message.start_time_unix_nano <= message.end_time_unix_nano <= MAX_TIME_NS


def _span(message: SpanMessage, service: str) -> Span:
    attributes = _values(message.attributes)
    failed = message.status.code == Status.STATUS_CODE_ERROR
    error = str(attributes.get("error.type") or message.status.message or FAILED) if failed else ""
    return Span(
        message.trace_id.hex(),
        message.span_id.hex(),
        message.parent_span_id.hex(),
        service,
        message.name[:MAX_NAME_CHARACTERS],
        SpanMessage.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_").lower(),
        message.start_time_unix_nano,
        message.end_time_unix_nano,
        error[:MAX_NAME_CHARACTERS],
        _stack(message),
        attributes,
        tuple(dict.fromkeys(link.trace_id.hex() for link in message.links[:MAX_LINKS])),
    )


def _stack(message: SpanMessage) -> str:
    for event in message.events:
        if event.name == "exception":
            found = (one.value.string_value for one in event.attributes if one.key == "exception.stacktrace")
            return next(found, "")[-MAX_STACK_CHARACTERS:]
    return ""


def _values(attributes: Iterable[Any]) -> dict[str, Value]:
    """Texts, numbers and booleans; the services send nothing else."""
    found: dict[str, Value] = {}
    for one in attributes:
        kind = one.value.WhichOneof("value")
        if len(found) < MAX_ATTRIBUTES and kind in {"string_value", "int_value", "double_value", "bool_value"}:
            value = getattr(one.value, kind)
            found[one.key[:MAX_NAME_CHARACTERS]] = value[:MAX_VALUE_CHARACTERS] if isinstance(value, str) else value
    return found
