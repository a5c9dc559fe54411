"""Simulated shoppers, whose purchases the offline evaluation of the recommender is made of.

What is assumed, and none of it is in the recommender's model:

- A customer has INTERESTS topics, of unequal weight. At a rate of ``drift_per_day`` one of them is replaced by another.
- A product belongs to several topics in proportions of its own (Dirichlet). Its attraction is Zipf distributed, times a
  fashion (the exponential of an Ornstein-Uhlenbeck process), times a boost after its launch that halves every month.
  ``launched_later`` of the products appear in the course of the simulation.
- Customers order at rates of their own (log-normal); a basket has a topic and 1 + Poisson products. A product is chosen
  by attraction within the basket's topic, another of the customer's topics, or (1 - ``taste``) by attraction alone.
- A product that the customer has is hardly ever bought again, as with books.

With ``taste`` 0 there is nothing to know about a customer, and popularity of late is the best possible ranking.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_S = 86_400.0
START_S = 1_700_000_000.0
INTERESTS = np.array([0.55, 0.3, 0.15])
ZIPF_EXPONENT = 0.87
"""Of book sales at Amazon: Brynjolfsson, Hu and Smith, 2003."""
TOPIC_CONCENTRATION = 0.02
"""Of the Dirichlet distribution: most products have one main topic."""
FASHION_DAYS = 45.0
LAUNCH_BOOST = 3.0
LAUNCH_HALF_LIFE_DAYS = 30.0
BASKET_FOLLOWS_ITS_TOPIC = 0.7
DRAWS_OF_SOMETHING_NEW = 3
"""Then the customer buys nothing in its place."""
BUYS_AGAIN = 0.02


@dataclass(frozen=True)
class Scenario:
    name: str
    taste: float = 0.8
    drift_per_day: float = 3 / 730
    fashion: float = 0.8
    launched_later: float = 0.5
    products: int = 2000
    customers: int = 8000
    topics: int = 100
    days: int = 450
    days_between_orders: float = 45.0
    basket: float = 2.2


@dataclass
class World:
    """Purchases in the order of their times, by position of product and customer, and what only the simulator knows."""

    scenario: Scenario
    products: Ints
    users: Ints
    orders: Ints
    days: Floats
    launched: Floats
    """By product: the day."""
    chances: dict[int, Floats] = field(default_factory=dict)
    """By day, for those that were asked for: customers by products, in proportion to the next choice's chance."""

    def before(self, day: float) -> int:
        """The number of purchases before `day`."""
        return int(np.searchsorted(self.days, day))


def simulate(scenario: Scenario, seed: int, moments: Sequence[int] = ()) -> World:
    """The same arguments give the same world. `moments`: days at whose start the true chances are kept."""
    return _Simulation(scenario, np.random.default_rng(seed)).run(frozenset(moments))


class _Simulation:
    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        self.scenario, self.rng = scenario, rng
        products, customers, topics = scenario.products, scenario.customers, scenario.topics
        self.belongs = rng.dirichlet(np.full(topics, TOPIC_CONCENTRATION), products)
        self.base = (1.0 + rng.permutation(products)) ** -ZIPF_EXPONENT
        later = rng.random(products) < scenario.launched_later
        self.launched = np.where(later, rng.uniform(0, scenario.days, products), -rng.exponential(120, products))
        self.mood = rng.normal(size=products)
        weights = rng.dirichlet(np.full(topics, 2.0))
        self.topic_weights = weights
        self.interests = rng.choice(topics, (customers, len(INTERESTS)), p=weights)
        rate = rng.lognormal(0.0, 0.8, customers)
        self.rate = rate / rate.mean() / scenario.days_between_orders
        self.joined = np.where(rng.random(customers) < 0.6, 0.0, rng.uniform(0, scenario.days, customers))
        self.owned = np.zeros((customers, products), bool)
        self.rows: list[tuple[Ints, Ints, Ints, Floats]] = []
        self.orders = 0

    def run(self, moments: frozenset[int]) -> World:
        chances = {}
        for day in range(self.scenario.days):
            attraction = self._attraction(day)
            if day in moments:
                chances[day] = self._chances(attraction)
            self._shop(day, attraction)
            self._change()
        products, users, orders, days = (np.concatenate(column) for column in zip(*self.rows, strict=True))
        order = np.argsort(days, kind="stable")
        return World(self.scenario, products[order], users[order], orders[order], days[order], self.launched, chances)

    def _attraction(self, day: float) -> Floats:
        age = day - self.launched
        launch = 1 + LAUNCH_BOOST * 0.5 ** (np.maximum(age, 0) / LAUNCH_HALF_LIFE_DAYS)
        return np.where(age >= 0, self.base * np.exp(self.scenario.fashion * self.mood) * launch, 0.0)

    def _change(self) -> None:
        """One day of fashion and of drifting tastes."""
        keep = np.exp(-1 / FASHION_DAYS)
        self.mood = keep * self.mood + np.sqrt(1 - keep**2) * self.rng.normal(size=len(self.mood))
        changes = self.rng.random(self.scenario.customers) < self.scenario.drift_per_day
        which = self.rng.integers(len(INTERESTS), size=changes.sum())
        fresh = self.rng.choice(self.scenario.topics, changes.sum(), p=self.topic_weights)
        self.interests[np.flatnonzero(changes), which] = fresh

    def _chances(self, attraction: Floats) -> Floats:
        of_topic = self.belongs.T * attraction
        of_topic /= of_topic.sum(axis=1, keepdims=True)
        taste = np.zeros((self.scenario.customers, self.scenario.topics))
        np.add.at(taste, (np.arange(len(taste))[:, None], self.interests), INTERESTS)
        share = self.scenario.taste
        return share * (taste @ of_topic) + (1 - share) * attraction / attraction.sum()

    def _shop(self, day: int, attraction: Floats) -> None:
        rng = self.rng
        buyers = np.repeat(np.arange(self.scenario.customers), rng.poisson(self.rate * (self.joined <= day)))
        sizes = 1 + rng.poisson(self.scenario.basket - 1, len(buyers))
        basket_topic = rng.choice(len(INTERESTS), len(buyers), p=INTERESTS)
        times = day + rng.random(len(buyers))
        order = np.repeat(np.arange(len(buyers)), sizes)
        users = buyers[order]
        own = rng.choice(len(INTERESTS), len(order), p=INTERESTS)
        slot = np.where(rng.random(len(order)) < BASKET_FOLLOWS_ITS_TOPIC, basket_topic[order], own)
        topics = np.where(rng.random(len(order)) < self.scenario.taste, self.interests[users, slot], -1)
        products = self._choose(users, topics, attraction)
        bought = products >= 0
        # One line of an order per product.
        _, first = np.unique(order[bought] * self.scenario.products + products[bought], return_index=True)
        lines = np.flatnonzero(bought)[np.sort(first)]
        self.owned[users[lines], products[lines]] = True
        self.rows.append((products[lines], users[lines], self.orders + order[lines], times[order[lines]]))
        self.orders += len(buyers)

    def _choose(self, users: Ints, topics: Ints, attraction: Floats) -> Ints:
        """A product for each, -1 for none. Topic -1 is all products."""
        by_topic = np.vstack([self.belongs.T * attraction, attraction])
        limits = np.cumsum(by_topic, axis=1)
        products = np.full(len(users), -1)
        for _ in range(DRAWS_OF_SOMETHING_NEW):
            missing = np.flatnonzero(products < 0)
            for topic in np.unique(topics[missing]):
                here = missing[topics[missing] == topic]
                drawn = np.searchsorted(limits[topic], self.rng.random(len(here)) * limits[topic, -1], side="right")
                drawn = np.minimum(drawn, self.scenario.products - 1)
                again = self.rng.random(len(here)) < BUYS_AGAIN
                products[here] = np.where(self.owned[users[here], drawn] & ~again, -1, drawn)
        return products
