"""Spans of events: a consumer continues the trace of its events, and a batch of several traces is linked to each."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from uuid import UUID

import pytest

from shop.kit import spans, telemetry
from shop.kit.event_spans import processing, sending
from shop.kit.events import Received
from shop.kit.telemetry import Trace
from tests.telemetry.otlp import ReceivedSpan, Receiver, orphans, receiving

FIRST = Trace("ab" * 16, "01" * 8, sampled=True)
SECOND = Trace("cd" * 16, "02" * 8, sampled=True)
UNSAMPLED = Trace("ef" * 16, "03" * 8, sampled=False)


@pytest.fixture(scope="module")
def one_receiver() -> Iterator[Receiver]:
    with receiving() as found:
        yield found


@pytest.fixture
async def collector(one_receiver: Receiver) -> AsyncIterator[Receiver]:
    one_receiver._requests.clear()
    spans.configure("notification", one_receiver.url, 0.0)
    yield one_receiver
    await spans.close()


def event(number: int, trace: Trace) -> Received:
    return Received(
        UUID(int=number), "order.confirmed.v1", datetime.now(UTC), trace.trace_id, trace.traceparent(), None
    )


async def consumed(collector: Receiver, *events: Received) -> tuple[list[ReceivedSpan], str]:
    """The spans of consuming ``events`` as one batch, and the trace that its work belonged to."""
    with processing("notification-orders", events):
        within = telemetry.trace_id()
        with spans.span("INSERT notifications"):
            pass
    await spans.close()
    return sorted(collector.spans(), key=lambda span: (span.name, span.trace_id)), within


async def test_events_of_one_trace_continue_it(collector: Receiver) -> None:
    (work, process), within = await consumed(collector, event(1, FIRST), event(2, FIRST))
    assert within == process.trace_id == work.trace_id == FIRST.trace_id
    assert (process.parent_id, work.parent_id) == (FIRST.span_id, process.span_id)
    assert (process.name, process.kind, process.links) == ("process order.confirmed.v1", "consumer", [])
    assert process.attributes["messaging.batch.message_count"] == 2
    assert process.attributes["messaging.consumer.group.name"] == "notification-orders"


async def test_a_batch_of_several_traces_is_linked_to_each_and_each_to_it(collector: Receiver) -> None:
    found, within = await consumed(collector, event(1, FIRST), event(2, SECOND), event(3, UNSAMPLED))
    work, batch, first, second = found
    assert (work.parent_id, batch.parent_id, batch.name) == (batch.span_id, "", "process order")
    assert within == batch.trace_id
    assert batch.links == [(one.trace_id, one.span_id) for one in (FIRST, SECOND)]
    for part, trace in ((first, FIRST), (second, SECOND)):
        assert (part.trace_id, part.parent_id) == (trace.trace_id, trace.span_id)
        assert part.links == [(batch.trace_id, batch.span_id)]
    assert orphans([work, batch]) == []


async def test_a_batch_that_fails_is_a_failure_of_each_event(collector: Receiver) -> None:
    with pytest.raises(ValueError, match="wrong"), processing("x", [event(1, FIRST), event(2, SECOND)]):
        raise ValueError("wrong")
    await spans.close()
    assert [span.attributes["error.type"] for span in collector.spans()] == ["ValueError"] * 3


async def test_an_unsampled_event_is_not_recorded_but_its_trace_goes_on(collector: Receiver) -> None:
    found, within = await consumed(collector, event(1, UNSAMPLED))
    assert (found, within) == ([], UNSAMPLED.trace_id)


async def test_a_batch_of_unsampled_traces_belongs_to_none(collector: Receiver) -> None:
    other = UNSAMPLED._replace(trace_id="0a" * 16)
    found, within = await consumed(collector, event(1, UNSAMPLED), event(2, other))
    assert (found, within) == ([], telemetry.NO_TRACE.trace_id)


async def test_the_relay_records_what_it_sends_in_the_trace_of_the_event(collector: Receiver) -> None:
    payload = f'{{"id":"1","traceparent":"{FIRST.traceparent()}","data":{{}}}}'
    span = sending("order.confirmed.v1", payload, "1")
    assert span is not None
    span.end()
    assert sending("order.confirmed.v1", payload.replace(FIRST.traceparent(), UNSAMPLED.traceparent()), "2") is None
    await spans.close()
    (sent,) = collector.spans()
    assert (sent.name, sent.kind, sent.parent_id) == ("send order.confirmed.v1", "producer", FIRST.span_id)
