"""What services export becomes spans, within limits."""

from __future__ import annotations

import pytest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage

from services.ops.tests.made import BEGAN_NS, MS, ORDER_ID, TRACE_ID, USER_ID, export, message, pair, span_id
from shop.kit.errors import Problem
from shop.ops import otlp


def test_a_span_is_read_with_all_that_is_shown_of_it() -> None:
    attributes = [pair("shop.order.id", ORDER_ID), pair("user.id", USER_ID), pair("http.response.status_code", 503)]
    stack = SpanMessage.Event(name="exception", attributes=[pair("exception.stacktrace", "line 7")])
    link = SpanMessage.Link(trace_id=bytes.fromhex("cd" * 16), span_id=b"12345678")
    sent = message(
        2, attributes=attributes, error="503", parent_span_id=bytes.fromhex(span_id(1)), events=[stack], links=[link]
    )
    (found,) = otlp.read(export(sent, service="payment").SerializeToString())
    assert (found.service, found.name, found.kind, found.error) == ("payment", "span 2", "server", "503")
    assert (found.trace_id, found.span_id, found.parent_id) == (TRACE_ID, span_id(2), span_id(1))
    assert (found.began_ns, found.duration_ms) == (BEGAN_NS, 5.0)
    assert (found.order_id, found.user_id, found.stack, found.links) == (ORDER_ID, USER_ID, "line 7", ("cd" * 16,))
    assert found.attributes["http.response.status_code"] == 503


@pytest.mark.parametrize(
    "wrong",
    [
        message(trace="ab" * 8),
        message(span_id=b"short"),
        message(start_time_unix_nano=0),
        message(end_time_unix_nano=BEGAN_NS - MS),
        message(end_time_unix_nano=2**64 - 1),
    ],
)
def test_what_is_no_span_is_left_out(wrong: SpanMessage) -> None:
    found = otlp.read(export(wrong, message(2)).SerializeToString())
    assert [span.span_id for span in found] == [span_id(2)]


def test_texts_and_numbers_of_attributes_are_limited() -> None:
    attributes = [pair(f"name-{number}", "x" * 10_000) for number in range(200)]
    (found,) = otlp.read(export(message(attributes=attributes, name="n" * 10_000)).SerializeToString())
    assert len(found.attributes) == otlp.MAX_ATTRIBUTES
    assert {len(str(value)) for value in found.attributes.values()} == {otlp.MAX_VALUE_CHARACTERS}
    assert len(found.name) == otlp.MAX_NAME_CHARACTERS


def test_what_is_no_export_is_refused() -> None:
    with pytest.raises(Problem) as refused:
        otlp.read(b"\xff\xff")
    assert (refused.value.status, refused.value.code) == (400, "malformed_export")
