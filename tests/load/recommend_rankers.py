"""What the recommender is compared with: simple rankers, each trained on the purchases before one moment."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from uuid import UUID

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from shop.recommendation.model import Model, Scored
from shop.recommendation.purchases import Purchases
from shop.recommendation.training import DEFAULT, Tuning, train
from tests.load.recommend_simulator import DAY_S, START_S, World

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
RESULTS = 10
BM25_K1 = 1.2
BM25_B = 0.75


@dataclass(frozen=True)
class Past:
    """The purchases before a moment, in the order of their times."""

    world: World
    day: int

    @property
    def end(self) -> int:
        return self.world.before(self.day)

    @property
    def products(self) -> Ints:
        return self.world.products[: self.end]

    @property
    def users(self) -> Ints:
        return self.world.users[: self.end]

    @property
    def age_days(self) -> Floats:
        return self.day - self.world.days[: self.end]

    @property
    def launched(self) -> Ints:
        """The products that exist at the moment."""
        return np.flatnonzero(self.world.launched <= self.day)


Rank = Callable[[int, Ints], Ints]
"""From a customer and what they bought, newest first, to at most RESULTS products that they did not buy."""
Ranker = Callable[[Past], Rank]


def by_score(scores: Callable[[int, Ints], Floats]) -> Rank:
    def rank(user: int, history: Ints) -> Ints:
        found = scores(user, history).copy()
        found[history] = 0
        best = np.argsort(-found, kind="stable")[:RESULTS]
        return best[found[best] > 0]

    return rank


def popularity(half_life_days: float) -> Ranker:
    def ranker(past: Past) -> Rank:
        scores = np.bincount(past.products, 0.5 ** (past.age_days / half_life_days), past.world.scenario.products)
        return by_score(lambda _user, _history: scores)

    return ranker


def random(past: Past) -> Rank:
    rng = np.random.default_rng(past.day)

    def rank(_user: int, history: Ints) -> Ints:
        return rng.permutation(np.setdiff1d(past.launched, history))[:RESULTS]

    return rank


def truth(past: Past) -> Rank:
    """The simulator's own chances: no ranker can be better for long."""
    chances = past.world.chances[past.day]
    return by_score(lambda user, _history: chances[user])


def cosine(bm25: bool = False, half_life_days: float | None = None, popular: float = 0.0) -> Ranker:
    """Item-to-item; purchases decay by age when there is a half-life. `popular` mixes in popularity of 14 days."""

    def ranker(past: Past) -> Rank:
        count = past.world.scenario.products
        bought = _customers_by_products(past, half_life_days)
        if bm25:
            bought = _bm25(bought)
        norms = np.sqrt(np.maximum(np.asarray((bought * bought).sum(axis=0)).ravel(), 1e-12))
        similar = (bought.T @ bought).toarray() / np.outer(norms, norms)
        np.fill_diagonal(similar, 0)
        recent = np.bincount(past.products, 0.5 ** (past.age_days / 14), count)
        recent /= recent.sum()

        def scores(_user: int, history: Ints) -> Floats:
            summed: Floats = similar[history].sum(axis=0)
            return summed / max(summed.sum(), 1e-12) + popular * recent

        return by_score(scores)

    return ranker


def conditional(shrinkage: float, half_life_days: float | None = None) -> Ranker:
    """Item-to-item: the share of a product's customers who bought the other one; what few bought counts for less."""

    def ranker(past: Past) -> Rank:
        bought = _customers_by_products(past, half_life_days)
        common = (bought.T @ bought).toarray()
        share = common / (common.diagonal()[:, None] + shrinkage)
        np.fill_diagonal(share, 0)
        return by_score(lambda _user, history: share[history].sum(axis=0))

    return ranker


def _customers_by_products(past: Past, half_life_days: float | None) -> csr_array[np.float64]:
    shape = (past.world.scenario.customers, past.world.scenario.products)
    weights = np.ones(past.end) if half_life_days is None else 0.5 ** (past.age_days / half_life_days)
    dense = np.zeros(shape)
    np.maximum.at(dense, (past.users, past.products), weights)
    return csr_array(dense)


def _bm25(bought: csr_array[np.float64]) -> csr_array[np.float64]:
    """A customer is a document, a product a word."""
    weighted = bought.copy()
    lengths = np.diff(bought.indptr)
    row = np.repeat(np.arange(len(lengths)), lengths)
    counts = np.bincount(bought.indices, minlength=bought.shape[1])
    rarity = np.log1p((len(lengths) - counts + 0.5) / (counts + 0.5))
    norm = BM25_K1 * (1 - BM25_B + BM25_B * lengths[row] / max(lengths.mean(), 1e-12))
    weighted.data = bought.data * (BM25_K1 + 1) / (bought.data + norm) * rarity[bought.indices]
    return weighted


def product_ids(count: int) -> list[UUID]:
    return [UUID(int=position + 1) for position in range(count)]


def purchases_of(past: Past) -> Purchases:
    world, end = past.world, past.end
    return Purchases(
        world.products[:end].astype(np.int32),
        world.users[:end].astype(np.int32),
        world.orders[:end].astype(np.int32),
        START_S + world.days[:end] * DAY_S,
    )


def model(tuning: Tuning = DEFAULT) -> Ranker:
    """The recommender's list for a customer, as the service has it."""
    return _of_the_model(tuning, Model.for_history)


def together(tuning: Tuning = DEFAULT) -> Ranker:
    """The recommender's list for a basket, filled up with what is popular as in the service."""

    def ranking(trained: Model, given: Sequence[UUID]) -> list[Scored]:
        found = trained.bought_together(given)[:RESULTS]
        left_out = {*given, *(one.product_id for one in found)}
        return found + [one for one in trained.popular() if one.product_id not in left_out]

    return _of_the_model(tuning, ranking)


def _of_the_model(tuning: Tuning, ranking: Callable[[Model, Sequence[UUID]], list[Scored]]) -> Ranker:
    def ranker(past: Past) -> Rank:
        ids = product_ids(past.world.scenario.products)
        trained = train(purchases_of(past), ids, START_S + past.day * DAY_S, tuning)

        def rank(_user: int, given: Ints) -> Ints:
            ranked = ranking(trained, [ids[position] for position in given])[:RESULTS]
            return np.array([one.product_id.int - 1 for one in ranked], np.int64)

        return rank

    return ranker


def histories(past: Past, users: Sequence[int]) -> dict[int, Ints]:
    """What each bought before the moment: each product once, newest first."""
    found: dict[int, list[int]] = {user: [] for user in users}
    for user, product in zip(past.users[::-1].tolist(), past.products[::-1].tolist(), strict=True):
        if user in found:
            found[user].append(product)
    return {user: np.array(list(dict.fromkeys(bought)), np.int64) for user, bought in found.items()}
