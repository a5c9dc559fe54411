"""Kept spans: found again, and limited by time, number and bytes."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from services.ops.tests.made import BEGAN_NS, ORDER_ID, TRACE_ID, USER_ID, span, trace_id
from shop.ops import span_store
from shop.ops.model import Search, Span
from shop.ops.span_store import SpanRepository

KEEP_S = 100 * 365 * 86_400.0
"""The spans of these tests began long ago."""
ROOM_BYTES = 64 << 20


@pytest.fixture
async def store() -> AsyncIterator[SpanRepository]:
    made = SpanRepository.open(None, KEEP_S, ROOM_BYTES)
    yield made
    await made.close()


async def found(store: SpanRepository, **search: object) -> list[str]:
    return [one.trace_id for one in await store.find(Search(**search))]  # type: ignore[arg-type]


def checkout(number: int, at_ms: float = 0) -> list[Span]:
    """The spans of one order of its own."""
    own = trace_id(number)
    ids = {"shop.order.id": f"{number:08x}{ORDER_ID[8:]}", "user.id": f"{number:08x}{USER_ID[8:]}"}
    return [
        span(1, 0, at_ms, 40, own, service="gateway", name="POST /api/v1/orders"),
        span(2, 1, at_ms, 30, own, attributes=ids),
        span(3, 2, at_ms, 10, own, service="payment", error="503" if number == 2 else ""),
    ]


async def test_a_trace_is_kept_whatever_the_order_of_its_spans(store: SpanRepository) -> None:
    spans = [span(3, 2, 20, 80), span(1, 0, 0, 50, service="gateway", name="GET /"), span(2, 1, 10, error="503")]
    for one in spans:
        assert await store.add([one]) == 0
    assert await store.trace(TRACE_ID) == sorted(spans, key=lambda one: one.began_ns)
    (summary,) = await store.find(Search())
    assert (summary.name, summary.service, summary.spans, summary.errors) == ("GET /", "gateway", 3, 1)
    assert (summary.began_ns, summary.duration_ms, set(summary.services)) == (BEGAN_NS, 100.0, {"gateway", "order"})


async def test_a_span_that_is_sent_again_counts_once(store: SpanRepository) -> None:
    for _ in range(2):
        await store.add([span(1, error="503")])
    (summary,) = await store.find(Search())
    assert (summary.spans, summary.errors) == (1, 1)


async def test_traces_are_found_by_order_user_service_name_duration_and_failure(store: SpanRepository) -> None:
    await store.add(
        [*checkout(1), *checkout(2, 10), span(9, 0, 20, 900, trace_id(9), service="product", name="GET /slow")]
    )
    assert await found(store) == [trace_id(9), trace_id(2), trace_id(1)]
    assert await found(store, order_id=f"{1:08x}{ORDER_ID[8:]}") == [trace_id(1)]
    assert await found(store, user_id=f"{2:08x}{USER_ID[8:]}") == [trace_id(2)]
    assert await found(store, service="payment") == [trace_id(2), trace_id(1)]
    assert await found(store, service="pay") == []
    assert await found(store, name="api/V1") == [trace_id(2), trace_id(1)]
    assert await found(store, min_ms=500) == [trace_id(9)]
    assert await found(store, failed=True) == [trace_id(2)]
    assert await found(store, limit=1) == [trace_id(9)]


async def test_traces_that_are_too_old_are_deleted() -> None:
    store = SpanRepository.open(None, 60.0, ROOM_BYTES)
    now_ms = (time.time_ns() - BEGAN_NS) / 1e6
    await store.add([*checkout(1, now_ms - 120_000), *checkout(2, now_ms)])
    assert await found(store) == [trace_id(2)]
    assert await store.trace(trace_id(1)) == []
    await store.close()


async def test_the_oldest_traces_go_when_there_are_too_many_spans(
    store: SpanRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(span_store, "MAX_SPANS", 9)
    for number in range(1, 6):
        await store.add(checkout(number, number))
    assert await found(store) == [trace_id(5), trace_id(4), trace_id(3)]


async def test_the_oldest_traces_go_when_their_bytes_are_too_many() -> None:
    limit = 1 << 20
    store = SpanRepository.open(None, KEEP_S, limit)
    filler = {f"name-{number}": "x" * 400 for number in range(20)}
    for number in range(1, 201):
        await store.add([span(1, 0, number, 1, trace_id(number), attributes=filler)])
    kept = await found(store, limit=1_000)
    assert 0 < len(kept) < 200
    assert kept[0] == trace_id(200)
    assert span_store.BYTES._value is not None
    assert store._bytes <= limit
    await store.close()


async def test_the_newest_trace_stays_when_a_few_large_ones_fill_the_store() -> None:
    store = SpanRepository.open(None, KEEP_S, 1 << 20)
    filler = {f"name-{number}": "x" * 400 for number in range(20)}
    for number in range(1, 31):
        large = [span(one, 0, number, 1, trace_id(number), attributes=filler) for one in range(1, 31)]
        await store.add([*large, span(1, 0, 1_000 + number, 1, trace_id(1_000 + number))])
        assert trace_id(1_000 + number) in await found(store)
    await store.close()


async def test_one_trace_cannot_fill_the_store(store: SpanRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_store, "MAX_SPANS_PER_TRACE", 5)
    assert await store.add([span(number) for number in range(1, 9)]) == 3
    assert len(await store.trace(TRACE_ID)) == 5


async def test_exports_are_dropped_while_too_many_wait(store: SpanRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(span_store, "MAX_WAITING_BATCHES", 0)
    assert await store.add([span(1), span(2)]) == 2
    assert await found(store) == []


async def test_spans_outlast_the_process(tmp_path: Path) -> None:
    first = SpanRepository.open(tmp_path / "traces.sqlite", KEEP_S, ROOM_BYTES)
    await first.add(checkout(1))
    await first.close()
    second = SpanRepository.open(tmp_path / "traces.sqlite", KEEP_S, ROOM_BYTES)
    assert await found(second) == [trace_id(1)]
    await second.close()


async def test_a_file_that_is_unreadable_is_replaced(tmp_path: Path) -> None:
    file = tmp_path / "traces.sqlite"
    file.write_bytes(b"this is no database" * 100)
    store = SpanRepository.open(file, KEEP_S, ROOM_BYTES)
    await store.add(checkout(1))
    assert await found(store) == [trace_id(1)]
    await store.close()
