"""The delivery fee of a way, as a restaurant's card and the quote calculate it."""

from __future__ import annotations

import pytest

from shop.contracts.store import DeliveryRule


@pytest.mark.parametrize(
    ("distance_m", "subtotal", "fee"),
    [(0, 0, 199), (1_000, 0, 259), (8, 0, 199), (9, 0, 200), (1_500, 2_999, 289), (1_500, 3_000, 0)],
)
def test_the_fee_is_rounded_half_up_once_and_nothing_from_free_above_on(
    distance_m: int, subtotal: int, fee: int
) -> None:
    assert DeliveryRule(base=199, per_km=60, free_above=3_000).fee(distance_m, subtotal) == fee


def test_a_rule_that_is_never_free() -> None:
    assert DeliveryRule(base=199, per_km=60).fee(2_000, 10_000_000) == 319
