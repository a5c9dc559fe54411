"""Which products to show: candidates from rankings and from the catalogue, and why. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple
from uuid import UUID

from shop.recommendation.model import Scored

DEFAULT_RESULTS = 10
MAX_RESULTS = 100
MAX_IDS = 100
"""Of excluded products, and of products to find others for."""


class Kind(StrEnum):
    """Why a product is recommended."""

    BECAUSE_YOU_BOUGHT = "because_you_bought"
    OTHERS_ALSO_BOUGHT = "others_also_bought"
    BOUGHT_TOGETHER = "bought_together"
    POPULAR = "popular"
    IN_CATALOGUE = "in_catalogue"


SENTENCES = {
    Kind.BECAUSE_YOU_BOUGHT: ("Because you bought {}", "Because of what you bought"),
    Kind.OTHERS_ALSO_BOUGHT: ("Customers who bought {} also bought this", "Other customers also bought this"),
    Kind.BOUGHT_TOGETHER: ("Often bought together with {}", "Often bought together"),
    Kind.POPULAR: ("Popular in {}", "Popular now"),
    Kind.IN_CATALOGUE: ("More from our shop", "More from our shop"),
}
"""With the title of the product or the category that the reason is about, and without."""


@dataclass(frozen=True, slots=True)
class Product:
    """A product as the product service describes it; ``document`` is that description as JSON."""

    id: UUID
    text_id: str
    title: str
    category: str
    in_stock: bool
    document: bytes


class Candidate(NamedTuple):
    """``about`` is the category of a favourite in a category, otherwise empty."""

    product_id: UUID
    score: float
    kind: Kind
    because: UUID | None
    about: str


@dataclass(frozen=True, slots=True)
class Recommended:
    """``because`` is the product that the reason is about, "" titles are unknown."""

    product: Product
    score: float
    kind: Kind
    because: UUID | None
    because_title: str
    about: str

    @property
    def reason(self) -> str:
        """One English sentence for customers."""
        known, unknown = SENTENCES[self.kind]
        subject = self.because_title or self.about
        return known.format(subject) if subject else unknown


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a request asks for. ``left_out`` are products that are not shown: in the cart, bought, asked about."""

    max_results: int
    category: str = ""
    left_out: Collection[UUID] = field(default=frozenset())


@dataclass(frozen=True)
class Fallback:
    """What follows a ranking: favourites by score, and all products, the newest first; each also by category."""

    popular: Sequence[Scored]
    popular_in: Mapping[str, Sequence[Scored]]
    products: Sequence[UUID]
    products_in: Mapping[str, Sequence[UUID]]

    @classmethod
    def of(cls, popular: Sequence[Scored], products: Mapping[UUID, Product]) -> Fallback:
        """``products`` in their order; a favourite that is not among them is in no category."""
        popular_in: dict[str, list[Scored]] = {}
        products_in: dict[str, list[UUID]] = {}
        for one in popular:
            if (product := products.get(one.product_id)) is not None:
                popular_in.setdefault(product.category, []).append(one)
        for product in products.values():
            products_in.setdefault(product.category, []).append(product.id)
        return cls(popular, popular_in, list(products), products_in)


CATEGORY_SHARE = 0.5
"""Scores of favourites in a category are above this share of the last score in the ranking, those of others below."""


def candidates(
    ranking: Sequence[Scored], kind: Kind, fallback: Fallback, category: str, categories: Iterable[str] = ()
) -> Iterator[Candidate]:
    """Each product once, best first, with scores that never rise: the ranking, favourites, the catalogue.

    Favourites are those of ``category`` if one is asked for; otherwise those of ``categories`` and then all.
    """
    seen: set[UUID] = set()
    for candidate in _in_order(ranking, kind, fallback, category, categories):
        if candidate.product_id not in seen:
            seen.add(candidate.product_id)
            yield candidate


def _in_order(
    ranking: Sequence[Scored], kind: Kind, fallback: Fallback, category: str, categories: Iterable[str]
) -> Iterator[Candidate]:
    for one in ranking:
        yield Candidate(one.product_id, one.score, kind if one.because else Kind.POPULAR, one.because, "")
    limit = ranking[-1].score if ranking else 1.0
    if category:
        yield from _scaled(_favourites_of(fallback, [category]), 0.0, limit)
        products: Sequence[UUID] = fallback.products_in.get(category, ())
    else:
        middle = limit * CATEGORY_SHARE
        yield from _scaled(_favourites_of(fallback, sorted(set(categories))), middle, limit)
        yield from _scaled(((one, "") for one in fallback.popular), 0.0, middle)
        products = fallback.products
    for product_id in products:
        yield Candidate(product_id, 0.0, Kind.IN_CATALOGUE, None, "")


def _favourites_of(fallback: Fallback, categories: Sequence[str]) -> list[tuple[Scored, str]]:
    """The favourites of several categories in one order, each with its category."""
    found = [(one, category) for category in categories for one in fallback.popular_in.get(category, ())]
    if len(categories) > 1:
        found.sort(key=lambda pair: (-pair[0].score, pair[0].product_id))
    return found


def _scaled(favourites: Iterable[tuple[Scored, str]], low: float, high: float) -> Iterator[Candidate]:
    """With scores from ``low`` to ``high``, which the best one has."""
    best = 0.0
    for one, category in favourites:
        best = best or one.score
        share = one.score / best if best > 0 else 0.0
        yield Candidate(one.product_id, low + (high - low) * share, Kind.POPULAR, None, category)


MIN_PAUSE_FACTOR = 2.0
MAX_PAUSE_S = 30.0
RENEW_AFTER_S = 3_600.0
"""Recent popularity fades although nothing is bought."""


def training_is_due(changed: bool, age_s: float | None, training_s: float, pause_s: float) -> bool:
    """Whether to train: at most every ``pause_s`` seconds, and less often if training takes long.

    ``age_s`` is the time since the last training, None if there was none; ``training_s`` how long it took.
    """
    if age_s is None:
        return changed
    pause_s = max(pause_s, min(MIN_PAUSE_FACTOR * training_s, MAX_PAUSE_S))
    return age_s >= (pause_s if changed else RENEW_AFTER_S)
