"""Sums over what two products share, against plain matrices, however they are cut into blocks."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.recommendation.tests.purchases_by_hand import order, trained
from shop.recommendation import product_sums
from shop.recommendation.model import Floats
from shop.recommendation.product_sums import ProductSums
from shop.recommendation.purchases import STEPS, Bought

PRODUCTS = 7
LIMITS = [(1, 0), (1, 1_000), (5, 1), (9, 3), (65_536, 0), (65_536, 8)]
"""MAX_BLOCK_PAIRS and MAX_CELLS_PER_PAIR: each product alone or all at once, with and without sorting."""


@st.composite
def weighted_purchases(draw: st.DrawFn) -> tuple[Bought, Floats, Floats]:
    """Products of groups, some of which are empty, with two weights each."""
    groups = draw(st.lists(st.sets(st.integers(0, PRODUCTS - 1), max_size=PRODUCTS), max_size=8))
    count = sum(map(len, groups))
    weights = st.lists(st.integers(1, STEPS), min_size=count, max_size=count)
    left, right = (np.array(draw(weights), np.float64) / STEPS for _ in range(2))
    return bought(groups), left, right


def bought(groups: list[set[int]]) -> Bought:
    sizes = np.array([len(group) for group in groups], np.int64)
    products = np.array([one for group in groups for one in sorted(group)], np.int32)
    return Bought(np.repeat(np.arange(len(groups)), sizes), sizes, products, products, products.astype(np.float64))


def expected(of: Bought, left: Floats, right: Floats) -> Floats:
    """left.T @ right without its diagonal."""
    lefts, rights = np.zeros((2, len(of.sizes), PRODUCTS))
    lefts[of.groups, of.products], rights[of.groups, of.products] = left, right
    sums: Floats = lefts.T @ rights
    np.fill_diagonal(sums, 0)
    return sums


@pytest.mark.parametrize(("pairs", "cells_per_pair"), LIMITS)
@given(made=weighted_purchases())
def test_sums_are_those_of_matrices(made: tuple[Bought, Floats, Floats], pairs: int, cells_per_pair: int) -> None:
    of, left, right = made
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(product_sums, "MAX_BLOCK_PAIRS", pairs)
        patch.setattr(product_sums, "MAX_CELLS_PER_PAIR", cells_per_pair)
        sums = ProductSums(of, PRODUCTS)
        rows = list(sums.rows(left, right))
    matrix = expected(of, left, right)
    assert [position for position, _, _ in rows] == list(range(PRODUCTS))
    for position, products, shared in rows:
        assert products.tolist() == np.flatnonzero(matrix[position]).tolist()
        assert shared.tolist() == matrix[position][products].tolist()
    assert sums.totals(left, right).tolist() == matrix.sum(axis=1).tolist()


def test_no_products_have_no_rows() -> None:
    nothing = bought([])
    assert list(ProductSums(nothing, 0).rows(np.zeros(0), np.zeros(0))) == []


@pytest.mark.parametrize(("pairs", "cells_per_pair"), LIMITS)
def test_training_in_blocks_is_the_same(monkeypatch: pytest.MonkeyPatch, pairs: int, cells_per_pair: int) -> None:
    rows = [row for number in range(50) for row in order(number, number % 7, [number % 11, number % 5, number % 3])]
    whole = trained(rows).to_bytes()
    monkeypatch.setattr(product_sums, "MAX_BLOCK_PAIRS", pairs)
    monkeypatch.setattr(product_sums, "MAX_CELLS_PER_PAIR", cells_per_pair)
    assert trained(rows).to_bytes() == whole


def test_no_more_pairs_exist_at_once_than_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """One product that all customers have, and twenty that few have."""
    made = bought([{0, 1 + number % 20} for number in range(1_000)])
    monkeypatch.setattr(product_sums, "MAX_BLOCK_PAIRS", 100)
    counts: list[int] = []
    original = ProductSums._pairs

    def counted(*arguments: object) -> object:
        found = original(*arguments)  # type: ignore[arg-type]
        counts.append(len(found[0]))
        return found

    monkeypatch.setattr(ProductSums, "_pairs", counted)
    weights = np.ones(len(made.products))
    assert len(list(ProductSums(made, 21).rows(weights, weights))) == 21
    assert sum(counts) == 4_000
    assert max(counts) == 100
