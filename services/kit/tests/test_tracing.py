"""Spans reach a standard OTLP/HTTP collector, and an unreachable one delays nothing."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from services.kit.tests.grpc_service import calling, serving
from shop.devkit.testing import wait_until
from shop.kit import telemetry
from shop.kit.errors import OutcomeUnknown


@dataclass
class Collector:
    """An OTLP receiver: request line, headers and body of each request."""

    url: str = ""
    answers: bool = True
    requests: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)

    async def take(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await reader.readexactly(int(headers["content-length"]))
        body = gzip.decompress(body) if headers.get("content-encoding") == "gzip" else body
        self.requests.append((head[0], headers, body))
        if self.answers:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: application/x-protobuf\r\nContent-Length: 0\r\n\r\n")
        else:
            await asyncio.Event().wait()

    def received(self) -> ExportTraceServiceRequest:
        found: ExportTraceServiceRequest = ExportTraceServiceRequest.FromString(self.requests[0][2])
        return found


@pytest.fixture
async def collector() -> AsyncIterator[Collector]:
    found = Collector()
    server = await asyncio.start_server(found.take, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    yield found
    server.close()


@pytest.fixture(autouse=True)
def untraced() -> Iterator[None]:
    """Tests in this process go on without tracing."""
    yield
    telemetry._tracer = telemetry._provider = None
    telemetry._sample_ratio = 0.0


@pytest.mark.parametrize(
    ("endpoint", "url"),
    [
        ("http://collector:4318", "http://collector:4318/v1/traces"),
        ("http://collector:4318/", "http://collector:4318/v1/traces"),
        ("https://otlp.example.com/tenant/a", "https://otlp.example.com/tenant/a/v1/traces"),
        ("http://collector:4318/v1/traces", "http://collector:4318/v1/traces"),
    ],
)
def test_the_path_of_the_signal_is_added_to_a_base_endpoint(endpoint: str, url: str) -> None:
    assert telemetry.traces_url(endpoint) == url


async def test_a_collector_gets_spans_where_and_as_it_expects_them(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=bookshop,k8s.pod.name=order-1")
    telemetry.configure("order", collector.url, 1.0)
    trace = telemetry.begin()
    with telemetry.span("saga.reserve", phase="action"):
        pass
    await telemetry.close()
    await wait_until(lambda: bool(collector.requests))
    line, headers, _ = collector.requests[0]
    assert line == "POST /v1/traces HTTP/1.1"
    assert headers["content-type"] == "application/x-protobuf"
    (spans,) = collector.received().resource_spans
    about = {one.key: one.value.string_value for one in spans.resource.attributes}
    assert about["service.name"] == "order"
    assert about["service.version"] == "0.1.0"
    assert about["service.instance.id"]
    assert (about["service.namespace"], about["k8s.pod.name"]) == ("bookshop", "order-1")
    (span,) = spans.scope_spans[0].spans
    assert (span.name, span.trace_id.hex()) == ("saga.reserve", trace.trace_id)
    assert {one.key: one.value.string_value for one in span.attributes} == {"phase": "action"}


async def test_a_collector_that_does_not_answer_does_not_delay_shutdown(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(telemetry, "FLUSH_TIMEOUT_S", 0.2)
    collector.answers = False
    telemetry.configure("order", collector.url, 1.0)
    telemetry.begin()
    with telemetry.span("saga.reserve"):
        pass
    async with asyncio.timeout(telemetry.EXPORT_TIMEOUT_S / 2):
        await telemetry.close()
    assert telemetry._tracer is None


async def test_both_sides_of_a_grpc_call_have_spans_of_one_trace(collector: Collector) -> None:
    async with serving(tracing_endpoint=collector.url, trace_sample_ratio=1.0) as running:
        trace = telemetry.begin()
        async with calling(running.address) as caller:
            assert await caller.say("hello") == "said hello"
            with pytest.raises(OutcomeUnknown):
                await caller.say("secret")
    await wait_until(lambda: bool(collector.requests))
    (resource,) = collector.received().resource_spans
    spans = list(resource.scope_spans[0].spans)
    assert {(span.name, span.trace_id.hex()) for span in spans} == {("grpc shop.test.v1.Echo/Say", trace.trace_id)}
    made = [span for span in spans if span.parent_span_id.hex() == trace.span_id]
    served = [next(span for span in spans if span.parent_span_id == one.span_id) for one in made]
    for pair, status in zip(zip(made, served, strict=True), (0, 13), strict=True):
        for span in pair:
            attributes = {one.key: one.value for one in span.attributes}
            assert attributes["rpc.service"].string_value == "shop.test.v1.Echo"
            assert attributes["rpc.grpc.status_code"].int_value == status
    assert [span.status.code for span in served] == [Status.STATUS_CODE_UNSET, Status.STATUS_CODE_ERROR]
    assert [event.name for event in served[1].events] == ["exception"]
