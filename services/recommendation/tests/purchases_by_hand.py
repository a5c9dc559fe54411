"""Purchases for tests, written as short rows, and the same model computed without arrays."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

import numpy as np

from shop.recommendation.model import Model
from shop.recommendation.purchases import DAY_S, STEPS, Purchases
from shop.recommendation.training import DEFAULT, train

NOW = 1_800_000_000.0


class Row(NamedTuple):
    """One product of an order, `days` before NOW."""

    product: int
    user: int
    order: int
    days: float = 0.0


def product(number: int) -> UUID:
    return UUID(int=number + 1)


def order(number: int, user: int, products: Sequence[int], days: float = 0.0) -> list[Row]:
    return [Row(one, user, number, days) for one in products]


def purchases(rows: Sequence[Row]) -> Purchases:
    return Purchases(
        np.array([row.product for row in rows], np.int32),
        np.array([row.user for row in rows], np.int32),
        np.array([row.order for row in rows], np.int32),
        np.array([NOW - row.days * DAY_S for row in rows], np.float64),
    )


def trained(rows: Sequence[Row], product_count: int = 400) -> Model:
    return train(purchases(rows), [product(number) for number in range(product_count)], NOW)


def step(weight: float) -> float:
    return max(round(weight * STEPS), 1) / STEPS


def decay(days: float, half_life_days: float) -> float:
    return step(0.5 ** (max(days, 0.0) / half_life_days))


class Reference:
    """The model's numbers by the definitions in `shop.recommendation.training`, in plain Python, without limits."""

    def __init__(self, rows: Sequence[Row]) -> None:
        age: dict[int, dict[int, float]] = defaultdict(dict)
        for row in rows:
            known = age[row.user].get(row.product, row.days)
            age[row.user][row.product] = min(known, row.days)
        recent: Counter[int] = Counter()
        for products in age.values():
            for number, days in products.items():
                recent[number] += decay(days, DEFAULT.popularity_half_life_days)  # type: ignore[assignment]
        total = sum(recent.values())
        self.popularity = {number: weight / total for number, weight in recent.items()}
        self.together: dict[tuple[int, int], float] = defaultdict(float)
        for products in age.values():
            exponent = -DEFAULT.customer_exponent / 2
            weights = {
                number: step(decay(days, DEFAULT.customer_half_life_days) * len(products) ** exponent)
                for number, days in products.items()
            }
            for a, x in weights.items():
                for b, y in weights.items():
                    if a != b:
                        self.together[a, b] += x * y

    def similar(self, number: int) -> dict[int, float]:
        """By product: by how much customers in common exceed chance, where they do."""
        totals: dict[int, float] = defaultdict(float)
        for (a, _), weight in self.together.items():
            totals[a] += weight
        overall = sum(totals.values())
        found = {}
        for (a, b), weight in self.together.items():
            if a == number:
                expected = totals[a] * totals[b] / overall
                excess = (weight - expected) / (expected + DEFAULT.shrinkage)
                if excess > 0:
                    found[b] = excess
        return found

    def for_history(self, history: Sequence[int]) -> dict[int, float]:
        weights = [0.5 ** (place / DEFAULT.history_half_life) for place in range(len(history))]
        affinity: dict[int, float] = defaultdict(float)
        for number, weight in zip(history, weights, strict=True):
            for other, excess in self.similar(number).items():
                affinity[other] += excess * weight / sum(weights)
        return {
            number: (affinity[number] + DEFAULT.popular_share) * share
            for number, share in self.popularity.items()
            if number not in history
        }
