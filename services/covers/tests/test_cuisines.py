"""The pictures of restaurants: well-formed, the same for the same words, and without a reference to anything else."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from shop.covers.cuisines import DISHES, cuisine_svg

MAX_PICTURE_BYTES = 12_000


@pytest.mark.parametrize("cuisine", [*DISHES, "a cuisine of tomorrow", "<script>"])
def test_a_picture_is_well_formed_small_and_reproducible(cuisine: str) -> None:
    svg = cuisine_svg(cuisine, "Napoli")
    ElementTree.fromstring(svg)
    assert len(svg.encode()) < MAX_PICTURE_BYTES
    assert "script" not in svg
    cuisine_svg.cache_clear()
    assert cuisine_svg(cuisine, "Napoli") == svg


def test_names_vary_the_picture_of_a_cuisine() -> None:
    assert len({cuisine_svg("pizza", f"restaurant {number}") for number in range(20)}) > 10
