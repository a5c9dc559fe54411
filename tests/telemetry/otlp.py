"""A receiver of OTLP over HTTP: it decodes what a collector would get, and keeps the spans."""

from __future__ import annotations

import gzip
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.proto.trace.v1.trace_pb2 import Status

PROTOBUF = "application/x-protobuf"
MAX_BODY_BYTES = 64 << 20


@dataclass(frozen=True)
class Request:
    """One export: request line, headers in lower case, decoded body."""

    line: str
    headers: dict[str, str]
    message: ExportTraceServiceRequest


@dataclass(frozen=True)
class ReceivedSpan:
    """``links`` are pairs of trace and span ids; ids are in hexadecimal, ``parent_id`` is empty for a root."""

    service: str
    name: str
    kind: str
    trace_id: str
    span_id: str
    parent_id: str
    started_ns: int
    ended_ns: int
    attributes: dict[str, Any]
    links: list[tuple[str, str]]
    events: dict[str, dict[str, Any]]
    failed: bool

    @property
    def seconds(self) -> float:
        return (self.ended_ns - self.started_ns) / 1e9


class Receiver:
    """``url`` is the endpoint of a service's settings. While it is not ``answering`` requests are read and held."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._requests: list[Request] = []
        self.answering = threading.Event()
        self.answering.set()
        self.closed = threading.Event()
        self.url = ""

    def take(self, request: Request) -> None:
        with self._lock:
            self._requests.append(request)

    @property
    def requests(self) -> list[Request]:
        with self._lock:
            return list(self._requests)

    def spans(self) -> list[ReceivedSpan]:
        return [
            _span(message, _values(resource.resource.attributes).get("service.name", ""))
            for request in self.requests
            for resource in request.message.resource_spans
            for scope in resource.scope_spans
            for message in scope.spans
        ]

    def trace(self, trace_id: str) -> list[ReceivedSpan]:
        """The spans of one trace, in the order in which they began."""
        found = (span for span in self.spans() if span.trace_id == trace_id)
        return sorted(found, key=lambda span: span.started_ns)


def orphans(spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    """Spans whose parent is not among ``spans``."""
    known = {span.span_id for span in spans}
    return [span for span in spans if span.parent_id and span.parent_id not in known]


def repeated(spans: list[ReceivedSpan]) -> list[str]:
    """Ids that several spans have."""
    return [span_id for span_id, times in Counter(span.span_id for span in spans).items() if times > 1]


def path_of(span: ReceivedSpan, spans: list[ReceivedSpan]) -> list[ReceivedSpan]:
    """``span`` and what is above it, up to the root."""
    known = {one.span_id: one for one in spans}
    path = [span]
    while (parent := known.get(path[-1].parent_id)) is not None and parent not in path:
        path.append(parent)
    return path


@contextmanager
def receiving() -> Iterator[Receiver]:
    """A receiver on a free port of this machine, for as long as the block lasts."""
    receiver = Receiver()
    handler = type("Handler", (_Handler,), {"receiver": receiver})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    receiver.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.closed.set()
        receiver.answering.set()
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    receiver: Receiver
    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        size = int(self.headers["Content-Length"])
        assert size <= MAX_BODY_BYTES
        body = self.rfile.read(size)
        if self.headers.get("Content-Encoding") == "gzip":
            body = gzip.decompress(body)
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.receiver.take(Request(self.requestline, headers, ExportTraceServiceRequest.FromString(body)))
        self.receiver.answering.wait()
        if self.receiver.closed.is_set():
            return
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("Content-Type", PROTOBUF)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: a test's output has no access log."""


def _span(message: SpanMessage, service: str) -> ReceivedSpan:
    return ReceivedSpan(
        service,
        message.name,
        SpanMessage.SpanKind.Name(message.kind).removeprefix("SPAN_KIND_").lower(),
        message.trace_id.hex(),
        message.span_id.hex(),
        message.parent_span_id.hex(),
        message.start_time_unix_nano,
        message.end_time_unix_nano,
        _values(message.attributes),
        [(link.trace_id.hex(), link.span_id.hex()) for link in message.links],
        {event.name: _values(event.attributes) for event in message.events},
        message.status.code == Status.STATUS_CODE_ERROR,
    )


def _values(attributes: Any) -> dict[str, Any]:
    found: list[KeyValue] = list(attributes)
    return {one.key: _value(one.value) for one in found}


def _value(value: AnyValue) -> Any:
    return getattr(value, value.WhichOneof("value") or "string_value")
