"""The waterfall: each span once, below its parent, at its place on the time axis."""

from __future__ import annotations

import pytest

from services.ops.tests.made import span, trace_id
from shop.ops.model import Layer, Span
from shop.ops.waterfall import LEAST_WIDTH, SCALE, Waterfall, waterfall


def shape(found: Waterfall) -> list[tuple[str, int]]:
    return [(row.span.name, row.depth) for row in found.rows]


def test_children_follow_their_parent_in_the_order_of_time() -> None:
    spans = [span(4, 2, 50), span(3, 1, 60), span(2, 1, 40), span(1, 0, 0, 100)]
    assert shape(waterfall(spans)) == [("span 1", 0), ("span 2", 1), ("span 4", 2), ("span 3", 1)]


def test_places_are_shares_of_the_whole_duration() -> None:
    rows = waterfall([span(1, 0, 0, 200), span(2, 1, 50, 100), span(3, 1, 200, 0)]).rows
    assert [(row.left, row.width) for row in rows[:2]] == [(0, SCALE), (SCALE / 4, SCALE / 2)]
    assert rows[2].left + rows[2].width == SCALE
    assert rows[2].width == LEAST_WIDTH


def test_a_span_without_its_parent_stands_at_the_left() -> None:
    assert shape(waterfall([span(1, 0, 0, 100), span(3, 2, 10)])) == [("span 1", 0), ("span 3", 0)]


@pytest.mark.parametrize("spans", [[span(1, 2), span(2, 1)], [span(1, 1)], [span(3), span(1, 2, 5), span(2, 1, 5)]])
def test_a_circle_of_parents_is_shown_once(spans: list[Span]) -> None:
    shown = [row.span for row in waterfall(spans).rows]
    assert sorted(shown, key=lambda one: one.span_id) == sorted(spans, key=lambda one: one.span_id)


def test_a_deep_chain_is_shown_whole() -> None:
    chain = [span(number, number - 1, number) for number in range(1, 2_001)]
    assert [row.depth for row in waterfall(chain).rows] == list(range(2_000))


def test_no_span_is_an_empty_waterfall() -> None:
    assert waterfall([]).rows == ()


def test_linked_traces_are_named_once_and_without_the_own() -> None:
    other = trace_id(7)
    found = waterfall([span(1, links=(other, "ab" * 16)), span(2, 1, links=(other,))])
    assert found.linked == [other]


@pytest.mark.parametrize(
    ("attributes", "layer"),
    [
        ({"http.request.method": "GET"}, Layer.HTTP),
        ({"rpc.system": "grpc"}, Layer.GRPC),
        ({"messaging.system": "nats"}, Layer.EVENT),
        ({"db.system.name": "postgresql"}, Layer.SQL),
        ({"db.system.name": "redis"}, Layer.CACHE),
        ({"shop.saga.phase": "action"}, Layer.STEP),
    ],
)
def test_a_span_has_its_layer(attributes: dict[str, str], layer: Layer) -> None:
    assert span(1, attributes=attributes).layer is layer
