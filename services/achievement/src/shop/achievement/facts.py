"""What is known of a player, by the name of the fact. Pure: no input or output.

Whatever order events come in, the values are the same: a fact is a sum or a maximum.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Self
from uuid import UUID

from shop.contracts.events import OrderConfirmed, PlayerGained, PlayerScored

MAX_AMOUNT = 2**63 - 1
MAX_STATISTICS = 16
"""Of one round; further ones are not kept."""
STATISTIC_NAME = re.compile(r"[a-z][a-z0-9_]{0,31}")
MAX_WITHIN_S = 600
"""Rounds that took longer count for no rule about speed."""
MAX_SOURCE_CHARACTERS = 64
MAX_CATEGORIES = 100
"""Different ones of one order."""
MAX_CATEGORY_CHARACTERS = 100
STREAK = "streak"
LEVEL = "level"
ORDERS = "orders"
CATEGORIES = "categories"
CATEGORY_PREFIX = "category:"


def best(source: str) -> str:
    return f"score:{source}"


def total(source: str) -> str:
    return f"score_sum:{source}"


def rounds(source: str) -> str:
    return f"rounds:{source}"


def best_within(source: str, seconds: int) -> str:
    """The best score of those rounds that took up to ``seconds`` and more than a second less."""
    return f"score_within:{source}:{seconds}"


def best_statistic(source: str, name: str) -> str:
    return f"statistic:{source}:{name}"


def statistic_total(source: str, name: str) -> str:
    return f"statistic_sum:{source}:{name}"


def spent(currency: str) -> str:
    """In minor units."""
    return f"spent:{currency}"


def category(name: str) -> str:
    """The number of orders with it."""
    return f"{CATEGORY_PREFIX}{name}"


@dataclass(frozen=True, slots=True)
class Order:
    """What counts of an order; ``total`` is in minor units. A cancellation may come before the confirmation."""

    order_id: UUID
    player_id: UUID
    confirmed: bool = False
    cancelled: bool = False
    total: int = 0
    currency: str = ""
    categories: tuple[str, ...] = ()

    @property
    def counts(self) -> bool:
        return self.confirmed and not self.cancelled

    def confirm(self, event: OrderConfirmed) -> Self:
        names = dict.fromkeys(line.category[:MAX_CATEGORY_CHARACTERS] for line in event.lines)
        return replace(
            self,
            confirmed=True,
            total=_amount(event.total.amount),
            currency=event.total.currency,
            categories=tuple(name for name in names if name)[:MAX_CATEGORIES],
        )

    def cancel(self) -> Self:
        return replace(self, cancelled=True)


class Facts:
    """Values by name, 0 for a fact that is not there, and the greatest value that each ever had."""

    def __init__(self, stored: Mapping[str, tuple[int, int]] | None = None) -> None:
        self._values = dict(stored or {})
        self._changed: set[str] = set()

    def value(self, name: str) -> int:
        return self._values.get(name, (0, 0))[0]

    def values(self) -> dict[str, int]:
        """All values that are not 0."""
        return {name: value for name, (value, _) in self._values.items() if value}

    def changed(self) -> dict[str, tuple[int, int]]:
        """Values and greatest values of the facts that are not as they were stored."""
        return {name: self._values[name] for name in sorted(self._changed)}

    def _set(self, name: str, value: int) -> None:
        known = self._values.get(name, (0, 0))
        if value != known[0]:
            self._values[name] = value, max(value, known[1])
            self._changed.add(name)

    def _add(self, name: str, by: int) -> None:
        self._set(name, self.value(name) + by)

    def _raise(self, name: str, to: int) -> None:
        self._set(name, max(self.value(name), to))

    def scored(self, event: PlayerScored) -> None:
        source, score = event.source[:MAX_SOURCE_CHARACTERS], _amount(event.score)
        self._add(rounds(source), 1)
        self._add(total(source), score)
        self._raise(best(source), score)
        if event.duration_ms is not None and (seconds := _seconds(event.duration_ms)) <= MAX_WITHIN_S:
            self._raise(best_within(source, seconds), score)
        known = sorted(name for name in event.statistics if STATISTIC_NAME.fullmatch(name))
        for name in known[:MAX_STATISTICS]:
            count = _amount(event.statistics[name])
            self._raise(best_statistic(source, name), count)
            self._add(statistic_total(source, name), count)

    def gained(self, event: PlayerGained) -> None:
        self._raise(STREAK, _amount(event.streak_days))
        self._raise(LEVEL, _amount(event.level))

    def ordered(self, before: Order, after: Order) -> None:
        """An order has become ``after``."""
        if before.counts != after.counts:
            by = 1 if after.counts else -1
            self._add(ORDERS, by)
            self._add(spent(after.currency), by * after.total)
            for name in after.categories:
                old = self.value(category(name))
                self._add(category(name), by)
                self._add(CATEGORIES, (old + by > 0) - (old > 0))


def _amount(number: int) -> int:
    return min(max(number, 0), MAX_AMOUNT)


def _seconds(duration_ms: int) -> int:
    return max(1, -(-duration_ms // 1_000))
