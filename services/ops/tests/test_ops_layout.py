"""The drawing: every service has a place of its own, callers are left of what they call."""

from __future__ import annotations

import itertools

import pytest

from shop.ops.layout import BOX_HEIGHT, BOX_WIDTH, layout
from shop.ops.services import ABOUT, CALLS

STORES = ["nats", "postgres", "valkey"]
FEW = ["order", "payment", "product", "gateway"]


@pytest.mark.parametrize("nouns", [list(ABOUT), FEW, ["gateway"], []])
def test_no_box_covers_another(nouns: list[str]) -> None:
    found = layout(nouns, STORES)
    assert set(found.places) == {*nouns, *STORES}
    for one, other in itertools.combinations(found.places.values(), 2):
        assert abs(one.x - other.x) >= BOX_WIDTH or abs(one.y - other.y) >= BOX_HEIGHT
    for place in found.places.values():
        assert 0 <= place.x <= found.width - BOX_WIDTH + 1
        assert 0 <= place.y <= found.height - BOX_HEIGHT / 2


def test_callers_are_left_of_what_they_call() -> None:
    places = layout(list(ABOUT), STORES).places
    wrong = [(noun, other) for noun, called in CALLS.items() for other in called if places[noun].x >= places[other].x]
    assert wrong == []


def test_arrows_begin_and_end_at_boxes() -> None:
    found = layout(FEW, STORES)
    start = found.places["gateway"]
    assert found.curve("gateway", "order").startswith(f"M{start.x + BOX_WIDTH:.0f} ")
