"""Spans of events: one when the relay sends an event, and one when a consumer has processed it."""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Sequence

from shop.kit import spans, telemetry
from shop.kit.events import Received
from shop.kit.logging import bind_subjects
from shop.kit.spans import Kind, Span
from shop.kit.telemetry import NO_TRACE, Trace

SAMPLED_TRACEPARENT = re.compile(r'"traceparent": ?"(00-[0-9a-f]{32}-[0-9a-f]{16}-01)"')
HEAD_CHARACTERS = 1_024
"""The trace context of an envelope comes before its data, within this."""
TRACEPARENT = "traceparent"


def sending(subject: str, payload: str, message_id: str) -> Span | None:
    """A span of the event's own trace, if that is recorded; it ends with the broker's acknowledgement."""
    if not spans.exported():
        return None
    found = SAMPLED_TRACEPARENT.search(payload, 0, HEAD_CHARACTERS)
    trace = telemetry.parse(found[1]) if found else None
    if trace is None:
        return None
    return spans.child(trace, f"send {subject}", _attributes("send", subject, message_id), Kind.PRODUCER)


@contextlib.contextmanager
def processing(group: str, events: Sequence[Received]) -> Iterator[None]:
    """The block processes ``events``, as one batch of the consumer ``group``.

    Events of one trace continue it. A batch of several traces is a trace of its own with links to them; each of them
    has a span that is linked to it.
    """
    one = _of_one_trace([event.traceparent for event in events])
    bind_subjects(events[0].event if len(events) == 1 else None)
    recorded = _recorded(events)
    if not recorded:
        with spans.continued(one):
            yield
        return
    first, trace = recorded[0]
    if one is not NO_TRACE:
        attributes = _attributes("process", first.type, str(first.event_id)) | _batch(group, events) | _order(first)
        with spans.child(trace, f"process {first.type}", attributes, Kind.CONSUMER):
            yield
        return
    with _batch_span(group, recorded, events):
        yield


@contextlib.contextmanager
def _batch_span(group: str, recorded: Sequence[tuple[Received, Trace]], events: Sequence[Received]) -> Iterator[None]:
    noun = events[0].type.partition(".")[0]
    about = _common("process", noun) | _batch(group, events)
    batch = spans.new_root(f"process {noun}", about, Kind.CONSUMER, [trace for _, trace in recorded])
    parts = [_part(group, event, trace, batch.trace) for event, trace in recorded]
    try:
        with batch:
            yield
    finally:
        for part in parts:
            if batch.error_type:
                part.fail(batch.error_type)
            part.end()


def _part(group: str, event: Received, trace: Trace, batch: Trace) -> Span:
    about = _attributes("process", event.type, str(event.event_id)) | _order(event)
    attributes = about | {"messaging.consumer.group.name": group}
    return spans.child(trace, f"process {event.type}", attributes, Kind.CONSUMER, [batch])


def _order(received: Received) -> dict[str, str | int | float | bool]:
    order_id = getattr(received.event, "order_id", None)
    return {} if order_id is None else {spans.ORDER_ID: str(order_id)}


def _of_one_trace(traceparents: Sequence[str]) -> Trace:
    """The trace that all of these belong to, as the first has it; NO_TRACE when they are of several."""
    found = [telemetry.parse(one) for one in traceparents]
    first = found[0]
    if first is None or any(other is None or other.trace_id != first.trace_id for other in found):
        return NO_TRACE
    return first


def _recorded(events: Sequence[Received]) -> list[tuple[Received, Trace]]:
    if not spans.exported():
        return []
    parsed = ((event, telemetry.parse(event.traceparent)) for event in events)
    return [(event, trace) for event, trace in parsed if trace is not None and trace.sampled]


def _batch(group: str, events: Sequence[Received]) -> dict[str, str | int | float | bool]:
    return {"messaging.consumer.group.name": group, "messaging.batch.message_count": len(events)}


def _attributes(operation: str, subject: str, message_id: str) -> dict[str, str | int | float | bool]:
    return _common(operation, subject) | {"messaging.message.id": message_id}


def _common(operation: str, destination: str) -> dict[str, str | int | float | bool]:
    return {
        "messaging.system": "nats",
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
        "messaging.destination.name": destination,
    }
