"""The search for what people enter finds it in a span, in a log and in a metric: a leak of each is planted."""

from __future__ import annotations

import logging

from prometheus_client import CollectorRegistry, Counter, generate_latest

from shop.devkit.testing import wait_until
from shop.kit.logging import JsonFormatter
from shop.kit.span_export import SpanExport
from shop.kit.spans import Kind, Span
from shop.kit.telemetry import new_trace
from tests.telemetry import leaks, markers
from tests.telemetry.markers import MARKER
from tests.telemetry.otlp import ReceivedSpan, receiving

WANTED = leaks.pattern(MARKER, "tok_visa")
DOCUMENT = {
    "components": {
        "schemas": {
            "Retail": {"type": "object", "properties": {"kind": {"const": "retail"}, "note": {"type": "string"}}},
            "Food": {"type": "object", "properties": {"kind": {"const": "food"}, "tip": {"$ref": "#/components/Tip"}}},
        },
        "Tip": {"anyOf": [{"type": "object", "properties": {"amount": {"type": "integer"}}}, {"type": "null"}]},
    },
    "paths": {
        "/orders/{order_id}": {
            "put": {
                "parameters": [
                    {"in": "path", "name": "order_id", "schema": {"type": "string", "format": "uuid"}},
                    {"in": "header", "name": "Idempotency-Key", "schema": {"type": "string"}},
                ],
                "requestBody": {
                    "content": {
                        "application/json": {
                            "schema": {
                                "type": "object",
                                "properties": {
                                    "lines": {
                                        "type": "array",
                                        "items": {
                                            "oneOf": [
                                                {"$ref": "#/components/schemas/Retail"},
                                                {"$ref": "#/components/schemas/Food"},
                                            ]
                                        },
                                    },
                                    "labels": {"type": "object", "additionalProperties": {"type": "string"}},
                                },
                            }
                        }
                    }
                },
            }
        }
    },
}


async def exported(*wanted: tuple[str, dict[str, str]]) -> list[ReceivedSpan]:
    """What a collector gets of spans with these names and attributes."""
    with receiving() as receiver:
        export = SpanExport("test", receiver.url)
        for name, attributes in wanted:
            span = Span(name, Kind.INTERNAL, new_trace(sampled=True), "", attributes)
            export.add(span, span.started_ns + 1)
        await export.close()
        await wait_until(lambda: len(receiver.spans()) == len(wanted))
        return receiver.spans()


def log_of(message: str, **fields: str) -> str:
    record = logging.makeLogRecord({"msg": message, "levelname": "INFO", "name": "test", "event": "tested", **fields})
    return "\n".join([JsonFormatter("test").format(record)] * 2)


def metrics_of(label: str) -> str:
    registry = CollectorRegistry()
    Counter("shop_test_things", "Things", ["name"], registry=registry).labels(label).inc()
    return generate_latest(registry).decode()


async def test_a_leak_in_a_span_is_found_in_its_name_and_its_attributes() -> None:
    spans = await exported(
        ("GET /products/{product_id}", {}),
        (f"GET /{MARKER}", {}),
        ("GET /", {"url.path": MARKER.upper()}),
        ("charge", {"card": "tok_visa"}),
    )
    assert len(leaks.leaks(WANTED, spans, {}, {})) == 3


def test_a_leak_in_a_log_is_found() -> None:
    logs = {"order-1": log_of("a clean line"), "user-1": log_of(f"hello {MARKER}"), "gateway-1": log_of("x", a=MARKER)}
    found = leaks.leaks(WANTED, [], logs, {})
    assert [one.partition(":")[0] for one in found] == ["log of user-1"] * 2 + ["log of gateway-1"] * 2


def test_a_leak_in_a_metric_is_found() -> None:
    found = leaks.leaks(WANTED, [], {}, {"order-1": metrics_of("fine"), "user-1": metrics_of(MARKER)})
    assert {one.partition(":")[0] for one in found} == {"metrics of user-1"}


def test_what_has_no_marker_is_no_leak() -> None:
    assert leaks.leaks(WANTED, [], {"order-1": log_of("a clean line")}, {"order-1": metrics_of("fine")}) == []


def test_each_field_of_each_alternative_has_a_marker_in_some_request() -> None:
    wrong = list(markers.operations(DOCUMENT, wrong=True))
    assert len(wrong) == 2
    schema = markers.body_of(DOCUMENT, DOCUMENT["paths"]["/orders/{order_id}"]["put"])  # type: ignore[index]
    assert schema is not None
    fields = markers.fields_of(DOCUMENT, schema)
    assert fields == {"lines.[].kind", "lines.[].note", "lines.[].tip.amount", "labels.{}"}
    assert set().union(*(markers.marked_in(one.body) for one in wrong)) == fields
    for one in wrong:
        assert MARKER in one.path
        assert MARKER in one.headers["Idempotency-Key"]


def test_right_requests_keep_to_the_types() -> None:
    first, second = markers.operations(DOCUMENT, wrong=False)
    assert first.body["lines"][0] == {"kind": "retail", "note": MARKER}
    assert second.body["lines"][0] == {"kind": "food", "tip": {"amount": 1}}
    assert MARKER not in first.path
