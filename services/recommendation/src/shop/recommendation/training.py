"""From purchases to a model: what customers of a product bought besides, and what is popular of late. Pure.

The same purchases give the same bytes, in whatever order they are listed and however customers and orders are numbered.

No customer decides alone. A product counts once per customer; each product of a customer with n of them weighs n to the
power of -Tuning.customer_exponent / 2; only the newest MAX_PRODUCTS_PER_CUSTOMER count. In what is bought together, all
orders of a customer weigh at most as much as MAX_ORDERS_PER_CUSTOMER, an order of n products adds 1 to each, not n - 1,
and an order of more than MAX_PRODUCTS_PER_ORDER adds nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray

from shop.recommendation.model import MAX_HISTORY_PRODUCTS, Floats, Model, Neighbours, Positions, Rules
from shop.recommendation.product_sums import ProductSums
from shop.recommendation.purchases import STEPS, Bought, Purchases, canonical, check, decay, newest, only_newest, steps

MAX_NEIGHBOURS = 200
MAX_PAIRS = 200
MAX_PRODUCTS_PER_CUSTOMER = 200
MAX_ORDERS_PER_CUSTOMER = 20
MAX_PRODUCTS_PER_ORDER = 50


@dataclass(frozen=True)
class Tuning:
    """Chosen by tests/load/recommend_evaluation.py, on other seeds than those that docs/recommendations.md reports."""

    popularity_half_life_days: float = 7.0
    customer_half_life_days: float = 730.0
    """Of what a purchase says about the customer's other purchases, and so of which products are similar."""
    order_half_life_days: float = 180.0
    customer_exponent: float = 0.5
    shrinkage: float = 2.0
    """Customers in common that are added both to what is counted and to what chance would give."""
    order_shrinkage: float = 8.0
    """The same for orders."""
    history_half_life: float = 15.0
    """A purchase weighs half as much as one that is this many purchases newer."""
    popular_share: float = 0.06
    similar_popularity: float = 0.5
    """The last two: see `shop.recommendation.model.Rules`."""


DEFAULT = Tuning()


def train(purchases: Purchases, product_ids: Sequence[UUID], now: float, tuning: Tuning = DEFAULT) -> Model:
    """The model at `now`; ValueError for arrays of different lengths, unknown positions, times that are no numbers."""
    check(purchases, len(product_ids))
    ids, rows = canonical(purchases, product_ids)
    customers = only_newest(newest(rows, rows.users, len(ids)), MAX_PRODUCTS_PER_CUSTOMER)
    recent = np.bincount(customers.products, decay(customers, now, tuning.popularity_half_life_days), len(ids))
    popularity = recent / max(recent.sum(), 1.0 / STEPS)
    orders = newest(rows, rows.orders, len(ids))
    by_order, strongest, pair_count = _by_order(orders, popularity, now, tuning)
    return Model(
        trained_at=now,
        order_count=len(orders.sizes),
        pair_count=pair_count,
        rules=Rules(tuning.popular_share, tuning.similar_popularity),
        product_ids=ids,
        history_weights=_history_weights(tuning),
        popularity=popularity.astype(np.float32),
        by_customer=_by_customer(customers, popularity, now, tuning),
        by_order=by_order,
        strongest=strongest,
    )


def untrained() -> Model:
    """What `train` makes of no purchases at time 0."""
    nothing = _Found(np.zeros(0), np.zeros(0), 0.0).neighbours()
    return Model(
        trained_at=0.0,
        order_count=0,
        pair_count=0,
        rules=Rules(DEFAULT.popular_share, DEFAULT.similar_popularity),
        product_ids=(),
        history_weights=_history_weights(DEFAULT),
        popularity=np.zeros(0, np.float32),
        by_customer=nothing,
        by_order=nothing,
        strongest=_Pairs().strongest(),
    )


def _history_weights(tuning: Tuning) -> Floats:
    weights: Floats = 0.5 ** (np.arange(MAX_HISTORY_PRODUCTS) / tuning.history_half_life)
    return weights


def _by_customer(bought: Bought, popularity: Floats, now: float, tuning: Tuning) -> Neighbours:
    weights = decay(bought, now, tuning.customer_half_life_days)
    weights = steps(weights * bought.sizes[bought.groups] ** (-tuning.customer_exponent / 2))
    shared = ProductSums(bought, len(popularity))
    found = _Found(shared.totals(weights, weights), popularity, tuning.shrinkage)
    for position, products, together in shared.rows(weights, weights):
        found.add(position, products, together)
    return found.neighbours()


def _by_order(bought: Bought, popularity: Floats, now: float, tuning: Tuning) -> tuple[Neighbours, Positions, int]:
    """Neighbours, the strongest pairs with their numbers of orders, and the number of pairs."""
    weights = decay(bought, now, tuning.order_half_life_days) * _share_of_customer(bought)[bought.groups]
    weights = steps(weights / np.maximum(bought.sizes[bought.groups] - 1, 1))
    small = bought.sizes[bought.groups] <= MAX_PRODUCTS_PER_ORDER
    bought, weights = bought.kept(small), weights[small]
    ones, shared = np.ones(len(weights)), ProductSums(bought, len(popularity))
    found, pairs = _Found(shared.totals(ones, weights), popularity, tuning.order_shrinkage), _Pairs()
    rows = zip(shared.rows(ones, weights), shared.rows(ones, ones), strict=True)
    for (position, products, together), (_, others, orders) in rows:
        found.add(position, products, together)
        pairs.add(position, others, orders)
    return found.neighbours(), pairs.strongest(), pairs.count


def _share_of_customer(orders: Bought) -> Floats:
    """By order: 1, or less where the customer has more than MAX_ORDERS_PER_CUSTOMER, so that they add up to that."""
    users = orders.users[np.cumsum(orders.sizes) - 1]
    _, customer, counts = np.unique(users, return_inverse=True, return_counts=True)
    return np.minimum(1.0, MAX_ORDERS_PER_CUSTOMER / np.maximum(counts, 1))[customer]


class _Found:
    """Collects the neighbours of one product after the other: by how much what they share exceeds chance.

    By chance, two products share in proportion to what each shares with all others. The shrinkage is added to what they
    share and to what chance gives, so that a coincidence of few says little. What would rank first is kept.
    """

    def __init__(self, totals: Floats, popularity: Floats, shrinkage: float) -> None:
        """``totals``: by product, what it shares with all others."""
        self._totals = totals
        self._overall = totals.sum()
        self._popularity = popularity
        self._shrinkage = shrinkage
        self._ends = [0]
        self._products: list[Positions] = []
        self._excess: list[NDArray[np.float32]] = []

    def add(self, position: int, products: Positions, together: Floats) -> None:
        """The next product's, at `position`: what it and each of `products` share."""
        chance = self._totals[position] * self._totals[products] / self._overall
        above = together > chance
        products, together, chance = products[above], together[above], chance[above]
        excess = (together - chance) / (chance + self._shrinkage)
        order = _best(products, excess * self._popularity[products], MAX_NEIGHBOURS)
        self._ends.append(self._ends[-1] + len(order))
        self._products.append(products[order])
        self._excess.append(excess[order].astype(np.float32))

    def neighbours(self) -> Neighbours:
        products = np.concatenate([np.zeros(0, np.int32), *self._products])
        excess = np.concatenate([np.zeros(0, np.float32), *self._excess])
        return Neighbours(np.array(self._ends, np.int64), products.astype(np.int32), excess)


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
