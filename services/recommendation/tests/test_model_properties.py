"""What holds for any purchases: Hypothesis against the definitions in plain Python."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendation.tests.purchases_by_hand import Reference, Row, product, trained
from shop.recommendation.model import Model, Scored
from shop.recommendation.model_format import MAGIC

PRODUCTS = 8
REFUSED = r"damaged|not a recommendation model"


@st.composite
def histories_of_orders(draw: st.DrawFn) -> list[Row]:
    """Orders of a few customers; every order has one customer and one time."""
    orders = draw(
        st.lists(
            st.tuples(
                st.integers(0, 4),
                st.sets(st.integers(0, PRODUCTS - 1), min_size=1, max_size=4),
                st.sampled_from([0.0, 0.5, 3.0, 20.0, 20.0, 400.0]),
            ),
            max_size=14,
        )
    )
    return [
        Row(one, user, number, days) for number, (user, products, days) in enumerate(orders) for one in sorted(products)
    ]


def assert_ranked(ranked: Sequence[Scored]) -> None:
    assert [(-one.score, one.product_id) for one in ranked] == sorted((-one.score, one.product_id) for one in ranked)
    assert len({one.product_id for one in ranked}) == len(ranked)
    assert all(math.isfinite(one.score) and one.score > 0 for one in ranked)


def as_numbers(ranked: Sequence[Scored]) -> dict[int, float]:
    return {one.product_id.int - 1: one.score for one in ranked}


@given(histories_of_orders(), st.lists(st.integers(0, PRODUCTS), unique=True, max_size=5))
def test_rankings_are_sorted_and_never_hold_what_they_are_asked_about(rows: list[Row], chosen: list[int]) -> None:
    model, given_ = trained(rows, PRODUCTS + 1), [product(number) for number in chosen]
    assert_ranked(model.popular())
    for ranked in (model.for_history(given_), model.bought_together(given_), *map(model.similar_to, given_)):
        assert_ranked(ranked)
    assert not {one.product_id for one in model.for_history(given_)} & set(given_)
    assert not {one.product_id for one in model.bought_together(given_)} & set(given_)
    for one in given_:
        assert one not in {found.product_id for found in model.similar_to(one)}


@given(histories_of_orders(), st.lists(st.integers(0, PRODUCTS - 1), unique=True, min_size=1, max_size=4))
def test_scores_are_those_of_the_definition(rows: list[Row], history: list[int]) -> None:
    model, reference = trained(rows), Reference(rows)
    assert as_numbers(model.popular()) == pytest.approx(reference.popularity, rel=1e-5)
    known = [number for number in history if number in reference.popularity]
    if known:
        ranked = model.for_history([product(number) for number in history])
        assert as_numbers(ranked) == pytest.approx(reference.for_history(known), rel=1e-4)
        allowed = {product(number) for number in known} | {None}
        assert {one.because for one in ranked} <= allowed


@given(histories_of_orders(), st.randoms(use_true_random=False))
def test_order_and_numbers_of_rows_do_not_change_a_byte(rows: list[Row], shuffler: random.Random) -> None:
    shuffled = [Row(row.product, 900 - row.user * 7, (row.order * 37) % 101, row.days) for row in rows]
    shuffler.shuffle(shuffled)
    assert trained(shuffled).to_bytes() == trained(rows).to_bytes()


@given(histories_of_orders())
def test_storing_a_model_changes_nothing(rows: list[Row]) -> None:
    model = trained(rows)
    loaded = Model.from_bytes(model.to_bytes())
    assert loaded.to_bytes() == model.to_bytes()
    history = [product(0), product(1)]
    assert loaded.for_history(history) == model.for_history(history)
    assert loaded.popular() == model.popular()
    assert loaded.pairs(50) == model.pairs(50)
    assert (loaded.order_count, loaded.pair_count) == (model.order_count, model.pair_count)


STORED = trained([Row(0, 1, 1), Row(1, 1, 1), Row(1, 2, 2), Row(2, 2, 2)]).to_bytes()


@given(st.integers(0, len(STORED) - 1), st.integers(1, 255))
def test_a_changed_byte_is_found(place: int, change: int) -> None:
    damaged = bytearray(STORED)
    damaged[place] ^= change
    with pytest.raises(ValueError, match=REFUSED):
        Model.from_bytes(bytes(damaged))


@given(st.integers(0, len(STORED) - 1))
def test_a_truncated_model_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match=REFUSED):
        Model.from_bytes(STORED[:length])


def test_other_bytes_are_refused() -> None:
    for other in (b"", b"{}", MAGIC, b"x" * 500, STORED + b"x", MAGIC[:-1] + b"2" + STORED[len(MAGIC) :]):
        with pytest.raises(ValueError, match=REFUSED):
            Model.from_bytes(other)
