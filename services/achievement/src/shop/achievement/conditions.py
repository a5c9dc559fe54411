"""The conditions of rules, as the rules file writes them. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Annotated, ClassVar, NamedTuple, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from shop.achievement import facts as of
from shop.achievement.facts import Facts
from shop.kit.currencies import exponent

MAX_NEED = 2**53 - 1
"""A number that every reader of JSON reads exactly."""
MAX_DEPTH = 3
MAX_PARTS = 8

Need = Annotated[int, Field(strict=True, ge=1, le=MAX_NEED)]
Source = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_.-]*$")]
Statistic = Annotated[str, Field(pattern=f"^{of.STATISTIC_NAME.pattern}$")]
Category = Annotated[str, Field(min_length=1, max_length=of.MAX_CATEGORY_CHARACTERS)]
Evidence = tuple[tuple[str, int], ...]
"""Facts, each with the value that it needs."""


class Measure(NamedTuple):
    """How far a player is. ``evidence`` says by what, once the condition holds."""

    have: int
    need: int
    evidence: Evidence

    @property
    def met(self) -> bool:
        return self.have >= self.need


class Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def measure(self, facts: Facts, currency: str) -> Measure:
        raise NotImplementedError


def _at_least(facts: Facts, fact: str, need: int) -> Measure:
    return Measure(facts.value(fact), need, ((fact, need),))


class Score(Part):
    """In one round of ``source``."""

    source: Source
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.best(self.source), self.at_least)


class Sum(Part):
    """Of the scores of all rounds of ``source``, or of one of their statistics."""

    source: Source
    statistic: Statistic | None = None
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        fact = of.statistic_total(self.source, self.statistic) if self.statistic else of.total(self.source)
        return _at_least(facts, fact, self.at_least)


class StatisticOfRound(Part):
    """In one round of ``source``."""

    source: Source
    name: Statistic
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.best_statistic(self.source, self.name), self.at_least)


class Rounds(Part):
    source: Source
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.rounds(self.source), self.at_least)


class Speed(Part):
    """A score in one round of ``source`` that took at most ``within_s`` seconds."""

    source: Source
    within_s: Annotated[int, Field(strict=True, ge=1, le=of.MAX_WITHIN_S)]
    score_at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        names = [of.best_within(self.source, seconds) for seconds in range(1, self.within_s + 1)]
        return _at_least(facts, max(names, key=facts.value), self.score_at_least)


class Streak(Part):
    days: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.STREAK, self.days)


class Level(Part):
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.LEVEL, self.at_least)


class Orders(Part):
    at_least: Need

    def measure(self, facts: Facts, currency: str) -> Measure:
        return _at_least(facts, of.ORDERS, self.at_least)


class Spent(Part):
    """In whole units of the store's currency; progress is in whole units, too."""

    at_least: Annotated[int, Field(strict=True, ge=1, le=10**12)]

    def measure(self, facts: Facts, currency: str) -> Measure:
        unit, fact = 10 ** exponent(currency), of.spent(currency)
        return Measure(facts.value(fact) // unit, self.at_least, ((fact, self.at_least * unit),))


class Categories(Part):
    """Bought from so many different categories, or from each of ``all``."""

    at_least: Need | None = None
    all: Annotated[tuple[Category, ...], Field(min_length=1, max_length=32)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if (self.at_least is None) == (self.all is None):
            raise ValueError("give either at_least or all")
        if self.all is not None and len(set(self.all)) < len(self.all):
            raise ValueError("all names a category twice")
        return self

    def measure(self, facts: Facts, currency: str) -> Measure:
        if self.at_least is not None:
            return _at_least(facts, of.CATEGORIES, self.at_least)
        evidence = tuple((of.category(name), 1) for name in self.all or ())
        return Measure(sum(facts.value(fact) > 0 for fact, _ in evidence), len(evidence), evidence)


class Condition(Part):
    """Exactly one of its fields is given."""

    KINDS: ClassVar[Sequence[str]] = (
        "score",
        "sum",
        "statistic",
        "rounds",
        "speed",
        "streak",
        "level",
        "orders",
        "spent",
        "categories",
    )

    score: Score | None = None
    sum: Sum | None = None
    statistic: StatisticOfRound | None = None
    rounds: Rounds | None = None
    speed: Speed | None = None
    streak: Streak | None = None
    level: Level | None = None
    orders: Orders | None = None
    spent: Spent | None = None
    categories: Categories | None = None
    all_of: Annotated[tuple[Condition, ...], Field(min_length=2, max_length=MAX_PARTS)] | None = None
    any_of: Annotated[tuple[Condition, ...], Field(min_length=2, max_length=MAX_PARTS)] | None = None

    @model_validator(mode="after")
    def _one(self) -> Self:
        if sum(value is not None for value in dict(self).values()) != 1:
            raise ValueError(f"give exactly one of {', '.join(self.KINDS)}, all_of, any_of")
        if self.depth() > MAX_DEPTH:
            raise ValueError(f"conditions stand in one another at most {MAX_DEPTH} deep")
        return self

    def parts(self) -> Iterator[Condition]:
        yield from self.all_of or self.any_of or ()

    def depth(self) -> int:
        return 1 + max((part.depth() for part in self.parts()), default=0)

    def measure(self, facts: Facts, currency: str) -> Measure:
        if self.all_of is not None:
            found = [part.measure(facts, currency) for part in self.all_of]
            evidence = tuple(dict.fromkeys(needed for one in found for needed in one.evidence))
            return Measure(sum(one.met for one in found), len(found), evidence)
        if self.any_of is not None:
            return max(
                (part.measure(facts, currency) for part in self.any_of), key=lambda one: (one.met, nearness(one))
            )
        [kind] = [kind for kind in self.KINDS if getattr(self, kind) is not None]
        part: Part = getattr(self, kind)
        return part.measure(facts, currency)


def nearness(measure: Measure) -> float:
    """From 0 to 1."""
    return min(measure.have, measure.need) / measure.need
