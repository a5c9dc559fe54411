"""From purchases to a model: what customers of a product bought besides, and what is popular of late. Pure.

The same purchases give the same bytes, in whatever order they are listed and however customers and orders are numbered.

No customer decides alone. A product counts once per customer; each product of a customer with n of them weighs n to the
power of -Tuning.customer_exponent / 2; only the newest MAX_PRODUCTS_PER_CUSTOMER count. In what is bought together, all
orders of a customer weigh at most as much as MAX_ORDERS_PER_CUSTOMER, an order of n products adds 1 to each, not n - 1,
and an order of more than MAX_PRODUCTS_PER_ORDER adds nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shop.recommendation.model import MAX_HISTORY_PRODUCTS, Floats, Model, Neighbours, Positions, Rules
from shop.recommendation.purchases import STEPS, Bought, Purchases, canonical, check, decay, newest, only_newest, steps

MAX_NEIGHBOURS = 200
MAX_PAIRS = 200
MAX_PRODUCTS_PER_CUSTOMER = 200
MAX_ORDERS_PER_CUSTOMER = 20
MAX_PRODUCTS_PER_ORDER = 50
MAX_BLOCK_CELLS = 4_000_000
"""Of the products-by-products matrix, this many cells at most exist at once: 48 MB when all of them are filled."""


@dataclass(frozen=True)
class Tuning:
    """Chosen by tests/load/recommend_evaluation.py, on other seeds than those that docs/recommendations.md reports."""

    popularity_half_life_days: float = 10.0
    customer_half_life_days: float = 730.0
    """Of what a purchase says about the customer's other purchases, and so of which products are similar."""
    order_half_life_days: float = 180.0
    customer_exponent: float = 0.5
    shrinkage: float = 1.0
    """Customers in common that are added both to what is counted and to what chance would give."""
    order_shrinkage: float = 2.0
    history_half_life: float = 15.0
    """A purchase weighs half as much as one that is this many purchases newer."""
    sharpness: float = 2.0
    popular_share: float = 0.01
    similar_damping: float = 0.5
    """The last three: see `shop.recommendation.model.Rules`."""


DEFAULT = Tuning()


def train(purchases: Purchases, product_ids: Sequence[UUID], now: float, tuning: Tuning = DEFAULT) -> Model:
    """The model at `now`; ValueError for arrays of different lengths, unknown positions, times that are no numbers."""
    check(purchases, len(product_ids))
    ids, rows = canonical(purchases, product_ids)
    customers = only_newest(newest(rows, rows.users, len(ids)), MAX_PRODUCTS_PER_CUSTOMER)
    recent = np.bincount(customers.products, decay(customers, now, tuning.popularity_half_life_days), len(ids))
    popularity = recent / max(recent.sum(), 1.0 / STEPS)
    orders = newest(rows, rows.orders, len(ids))
    by_order, strongest, pair_count = _by_order(orders, len(ids), now, tuning)
    return Model(
        trained_at=now,
        order_count=len(np.unique(purchases.orders)),
        pair_count=pair_count,
        rules=Rules(tuning.sharpness, tuning.popular_share, tuning.similar_damping),
        product_ids=ids,
        history_weights=0.5 ** (np.arange(MAX_HISTORY_PRODUCTS) / tuning.history_half_life),
        popularity=popularity.astype(np.float32),
        by_customer=_by_customer(customers, popularity, now, tuning),
        by_order=by_order,
        strongest=strongest,
    )


def _by_customer(bought: Bought, popularity: Floats, now: float, tuning: Tuning) -> Neighbours:
    """By how much customers in common exceed chance, as a share of chance.

    By chance is in proportion to what each product shares with all others. Both counts are increased by the shrinkage,
    so that a coincidence of few customers says little. What would rank first is kept.
    """
    weights = decay(bought, now, tuning.customer_half_life_days)
    weights = steps(weights * bought.sizes[bought.groups] ** (-tuning.customer_exponent / 2))
    weighted = bought.matrix(weights, len(popularity))
    totals = weighted.T @ weighted.sum(axis=1) - (weighted * weighted).sum(axis=0)
    overall = totals.sum()
    found = _Found()
    for position, products, together in _rows_of_product(weighted, weighted):
        expected = totals[position] * totals[products] / overall
        excess = (together - expected) / (expected + tuning.shrinkage)
        found.add(products, excess, np.maximum(excess, 0) ** tuning.sharpness * popularity[products])
    return found.neighbours()


def _by_order(bought: Bought, product_count: int, now: float, tuning: Tuning) -> tuple[Neighbours, Positions, int]:
    """Neighbours, the strongest pairs with their numbers of orders, and the number of pairs."""
    weights = decay(bought, now, tuning.order_half_life_days) * _share_of_customer(bought)[bought.groups]
    weights = steps(weights / np.maximum(bought.sizes[bought.groups] - 1, 1))
    small = bought.sizes[bought.groups] <= MAX_PRODUCTS_PER_ORDER
    bought, weights = bought.kept(small), weights[small]
    given = bought.matrix(np.ones(len(weights)), product_count)
    found, pairs = _Found(), _Pairs()
    weighted = _rows_of_product(given, bought.matrix(weights, product_count))
    for (position, products, together), (_, others, orders) in zip(
        weighted, _rows_of_product(given, given), strict=True
    ):
        likely = together / (together.sum() + tuning.order_shrinkage)
        found.add(products, likely, likely)
        pairs.add(position, others, orders)
    return found.neighbours(), pairs.strongest(), pairs.count


def _share_of_customer(orders: Bought) -> Floats:
    """By order: 1, or less where the customer has more than MAX_ORDERS_PER_CUSTOMER, so that they add up to that."""
    users = orders.users[np.cumsum(orders.sizes) - 1]
    _, customer, counts = np.unique(users, return_inverse=True, return_counts=True)
    return np.minimum(1.0, MAX_ORDERS_PER_CUSTOMER / np.maximum(counts, 1))[customer]


def _rows_of_product(
    given: csr_array[np.float64], then: csr_array[np.float64]
) -> Iterator[tuple[int, Positions, Floats]]:
    """The rows of given.T @ then without its diagonal, block by block: position, the products and the sums."""
    product_count = given.shape[1]
    step = max(1, MAX_BLOCK_CELLS // max(product_count, 1))
    by_product = given.T.tocsr()
    for first in range(0, product_count, step):
        block = by_product[first : first + step] @ then
        for row, (start, end) in enumerate(pairwise(block.indptr.tolist())):
            products, sums = block.indices[start:end], block.data[start:end]
            others = products != first + row
            yield first + row, products[others], sums[others]


class _Found:
    """Collects the neighbours of one product after the other."""

    def __init__(self) -> None:
        self._ends = [0]
        self._products: list[Positions] = []
        self._scores: list[NDArray[np.float32]] = []

    def add(self, products: Positions, scores: Floats, ranks: Floats) -> None:
        """The next product's: of those whose rank is above 0 the highest, equal ones by position."""
        above = ranks > 0
        products, scores, ranks = products[above], scores[above], ranks[above]
        order = _best(products, ranks, MAX_NEIGHBOURS)
        self._ends.append(self._ends[-1] + len(order))
        self._products.append(products[order])
        self._scores.append(scores[order].astype(np.float32))

    def neighbours(self) -> Neighbours:
        products = np.concatenate([np.zeros(0, np.int32), *self._products])
        scores = np.concatenate([np.zeros(0, np.float32), *self._scores])
        return Neighbours(np.array(self._ends, np.int64), products.astype(np.int32), scores)


class _Pairs:
    """Counts the pairs of products that orders hold, and keeps those that most orders hold."""

    def __init__(self) -> None:
        self.count = 0
        self._rows: list[NDArray[np.int32]] = []

    def add(self, position: int, products: Positions, orders: Floats) -> None:
        """Those of the next product with products after it."""
        after = products > position
        products, orders = products[after], orders[after]
        self.count += len(products)
        kept = _best(products, orders, MAX_PAIRS)
        rows = np.column_stack([np.full(len(kept), position), products[kept], orders[kept]])
        self._rows.append(rows.astype(np.int32))

    def strongest(self) -> Positions:
        rows = np.concatenate([np.zeros((0, 3), np.int32), *self._rows])
        order = np.lexsort((rows[:, 1], rows[:, 0], -rows[:, 2]))
        return rows[order[:MAX_PAIRS]]


def _best(products: Positions, scores: Floats, limit: int) -> NDArray[np.int64]:
    """Where the highest scores are, highest first, equal ones by product; at most `limit`."""
    found = np.arange(len(scores))
    if len(found) > limit:
        found = np.flatnonzero(scores >= np.partition(scores, -limit)[-limit])
    return found[np.lexsort((products[found], -scores[found]))][:limit]
