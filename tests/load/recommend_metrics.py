"""How good lists of ten products are: judged by what was bought after the moment at which they were made."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from tests.load.recommend_rankers import RESULTS, Floats, Ints, Past, Rank, Ranker, histories
from tests.load.recommend_simulator import World

RESAMPLES = 1000
CONFIDENCE = (2.5, 97.5)
DAYS_AFTER = 30
DISCOUNTS = 1 / np.log2(np.arange(RESULTS) + 2)
Interval = tuple[float, float, float]
"""The value, and the ends of its 95 % confidence interval."""


@dataclass(frozen=True)
class Question:
    """Asked at a moment about a customer: after `given`, newest first, which products are `wanted`?"""

    customer: int
    given: Ints
    wanted: set[int]


Ask = Callable[[Past], list[Question]]


@dataclass
class Judged:
    """One ranker's lists. The lists' elements belong together: one per question."""

    hits: list[float] = field(default_factory=list)
    gains: list[float] = field(default_factory=list)
    """nDCG@10 of each list."""
    coverage: list[float] = field(default_factory=list)
    """By moment: the share of the products on sale that somebody was shown."""
    novelty: list[float] = field(default_factory=list)
    """By list: the mean of -log2 of the share of customers who have the product."""


@dataclass
class Evaluation:
    """All rankers' lists for the same questions. ``customers``: of each question, numbered across worlds."""

    judged: dict[str, Judged]
    customers: list[int] = field(default_factory=list)
    worlds: int = 0

    @classmethod
    def of(cls, names: Iterable[str]) -> Evaluation:
        return cls({name: Judged() for name in names})

    def add(self, world: World, moments: Sequence[int], ask: Ask, rankers: Mapping[str, Ranker]) -> None:
        for day in moments:
            past = Past(world, day)
            questions = ask(past)
            self.customers += [self.worlds * world.scenario.customers + question.customer for question in questions]
            for name, ranker in rankers.items():
                _judge(self.judged[name], ranker(past), past, questions)
        self.worlds += 1


def next_purchases(past: Past) -> list[Question]:
    """One per customer with a history: what do they buy in the DAYS_AFTER that they do not have?"""
    bought: dict[int, set[int]] = {}
    for product, user, _ in _after(past):
        bought.setdefault(user, set()).add(product)
    known = histories(past, list(bought))
    asked = [Question(user, known[user], products - set(known[user].tolist())) for user, products in bought.items()]
    return [question for question in asked if len(question.given) and question.wanted]


def baskets(past: Past) -> list[Question]:
    """One per order of several products in the DAYS_AFTER: given one of them, what are the others?"""
    orders: dict[int, list[int]] = {}
    customers: dict[int, int] = {}
    for product, user, order in _after(past):
        orders.setdefault(order, []).append(product)
        customers[order] = user
    return [
        Question(customers[order], np.array(products[:1]), set(products[1:]))
        for order, products in orders.items()
        if len(products) > 1
    ]


def _after(past: Past) -> Iterable[tuple[int, int, int]]:
    """Product, customer and order of each purchase in the DAYS_AFTER."""
    world = past.world
    part = slice(past.end, world.before(past.day + DAYS_AFTER))
    return zip(world.products[part].tolist(), world.users[part].tolist(), world.orders[part].tolist(), strict=True)


def _judge(judged: Judged, rank: Rank, past: Past, questions: Sequence[Question]) -> None:
    owners = np.bincount(past.products, minlength=past.world.scenario.products)
    rarity = -np.log2((owners + 1) / (len(np.unique(past.users)) + 1))
    shown: set[int] = set()
    for question in questions:
        ranked = rank(question.customer, question.given)[:RESULTS]
        right = np.isin(ranked, list(question.wanted))
        judged.hits.append(float(right.any()))
        judged.gains.append(float(DISCOUNTS[: len(ranked)][right].sum() / DISCOUNTS[: len(question.wanted)].sum()))
        judged.novelty.append(float(rarity[ranked].mean()) if len(ranked) else 0.0)
        shown.update(ranked.tolist())
    judged.coverage.append(len(shown) / len(past.launched))


@dataclass(frozen=True)
class Figures:
    hit_rate: Interval
    ndcg: Interval
    hit_rate_gain: Interval
    """Against the reference: the difference of the two on the same customers."""
    ndcg_gain: Interval
    coverage: float
    novelty_bits: float


def figures(evaluation: Evaluation, reference: str, seed: int = 0) -> dict[str, Figures]:
    """Means with intervals from resampling customers, with all of their lists, and the same ones for all rankers."""
    _, customer = np.unique(evaluation.customers, return_inverse=True)
    weights = _resampled(customer, np.random.default_rng(seed))
    base = evaluation.judged[reference]
    return {
        name: Figures(
            _interval(np.array(judged.hits), weights),
            _interval(np.array(judged.gains), weights),
            _interval(np.array(judged.hits) - np.array(base.hits), weights),
            _interval(np.array(judged.gains) - np.array(base.gains), weights),
            float(np.mean(judged.coverage)),
            float(np.mean(judged.novelty)),
        )
        for name, judged in evaluation.judged.items()
    }


def _resampled(customer: Ints, rng: np.random.Generator) -> Floats:
    """By resample and list: how often it counts. A customer's lists count together."""
    customers = int(customer.max()) + 1
    drawn = rng.multinomial(customers, np.full(customers, 1 / customers), RESAMPLES)
    return drawn[:, customer].astype(np.float64)


def _interval(values: Floats, weights: Floats) -> Interval:
    means = (weights @ values) / weights.sum(axis=1)
    low, high = np.percentile(means, CONFIDENCE)
    return float(values.mean()), float(low), float(high)
