"""What recommendation does: choose products for a customer, for a product and for a cart."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast
from uuid import UUID

import cachetools

from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.errors import Unavailable
from shop.recommendation import errors, metrics
from shop.recommendation.catalogue import Catalogue
from shop.recommendation.domain import (
    Candidate,
    Fallback,
    Kind,
    Product,
    Recommended,
    Wanted,
    candidates,
)
from shop.recommendation.model import Scored
from shop.recommendation.model_repository import ModelRepository
from shop.recommendation.repository import PurchaseRepository
from shop.recommendation.settings import Settings
from shop.recommendation.trainer import Loaded, Models

SPARE_CANDIDATES = 4
"""Looked up at once with those that are needed, in case some of them are sold out."""
MAX_RANKED_HISTORY = 200
"""Of a customer's purchases, the newest ones, by which others are ranked. None of them is shown again."""
MAX_SOLD_OUT_LOOKUPS = 200
"""Products last known as sold out that are looked up again when there are too few others."""
KEPT_S = 1.0
MAX_KEPT_CUSTOMERS = 512
"""Of which purchases and ranking are kept for KEPT_S; a ranking takes up to 60 KB."""
MAX_SHOWN_PURCHASES = 100
SHOWN_PAIRS = 20
SHOWN_CUSTOMERS = 20


@dataclass
class Customer:
    """What a customer bought, the last first, and the ranking that follows, once it is asked for."""

    bought: list[UUID]
    ranking: Sequence[Scored] | None = None


class Preview(NamedTuple):
    """What a customer bought, as far as the catalogue has it, and what is recommended."""

    purchases: list[Product]
    recommended: list[Recommended]


class Pair(NamedTuple):
    """Two products, and the number of orders that have both."""

    product_id: UUID
    title: str
    other_product_id: UUID
    other_title: str
    orders: int


class RecommendationService:
    """Every method leaves out what is sold out, withdrawn, left out by the caller or bought by the customer."""

    def __init__(
        self, purchases: PurchaseRepository, models: ModelRepository, catalogue: Catalogue, clock: Clock
    ) -> None:
        self.purchases = purchases
        self.clock = clock
        self.catalogue = catalogue
        self.models = Models(models, clock, self._model_changed)
        self._fallback = Fallback.of((), {})
        self._customers: cachetools.TTLCache[UUID, Customer] = cachetools.TTLCache(MAX_KEPT_CUSTOMERS, KEPT_S)

    @classmethod
    async def build(cls, context: Context) -> RecommendationService:
        """With the newest model loaded, training and reading the catalogue in the background."""
        settings = cast(Settings, context.settings)
        catalogue = Catalogue(context.clients.get("product", settings.product_url), settings.lookup_seconds)
        purchases, models = PurchaseRepository(context.database), ModelRepository(context.database)
        service = cls(purchases, models, catalogue, context.clock)
        await service.models.load_newest()
        poll_s, pause_s = settings.model_poll_seconds, settings.training_pause_seconds
        context.tasks.start("model", lambda: service.models.run(poll_s, pause_s))
        context.tasks.start("catalogue", lambda: catalogue.run(settings.catalogue_seconds, service._rebuild_fallback))
        return service

    async def check_catalogue(self) -> None:
        """For readiness: Unavailable("product") until the catalogue was read for the first time."""
        if not self.catalogue.loaded:
            raise Unavailable("product", "the catalogue was not read yet")

    async def close(self) -> None:
        await self.catalogue.close()

    def _model_changed(self) -> None:
        self._customers.clear()
        self._rebuild_fallback()

    def _rebuild_fallback(self) -> None:
        self._fallback = Fallback.of(self.models.current.model.popular(), self.catalogue.listed)

    async def recommend(self, user_id: UUID | None, wanted: Wanted) -> list[Recommended]:
        """For a customer, or without one for everybody."""
        return await self._for_customer(await self._customer(user_id), wanted)

    async def _for_customer(self, customer: Customer, wanted: Wanted) -> list[Recommended]:
        if customer.ranking is None:
            customer.ranking = self._ranking(customer.bought)
        found = candidates(customer.ranking, Kind.BECAUSE_YOU_BOUGHT, self._fallback, wanted.category)
        return await self._choose(found, _without(wanted, customer.bought))

    def _ranking(self, bought: Sequence[UUID]) -> Sequence[Scored]:
        """Empty for a customer who bought nothing, who is shown what follows every ranking."""
        return self.models.current.model.for_history(bought[:MAX_RANKED_HISTORY]) if bought else ()

    async def _customer(self, user_id: UUID | None) -> Customer:
        """What the user bought, at most KEPT_S seconds ago: a page asks for several lists at once."""
        if user_id is None:
            return Customer([])
        customer = self._customers.get(user_id)
        if customer is None:
            version = self.models.current.version
            customer = Customer(await self.purchases.history(user_id))
            if version == self.models.current.version:
                self._customers[user_id] = customer
        return customer

    async def similar_to(self, product_id: UUID, user_id: UUID | None, wanted: Wanted) -> list[Recommended]:
        """Problem 404 ``unknown_product``."""
        await self.catalogue.bring_up_to_date([product_id])
        product = self.catalogue.get(product_id)
        if product is None:
            raise errors.unknown_product(product_id)
        ranking = self.models.current.model.similar_to(product_id)
        categories = [product.category]
        found = candidates(ranking, Kind.OTHERS_ALSO_BOUGHT, self._fallback, wanted.category, categories)
        return await self._choose(found, _without(wanted, [product_id, *(await self._customer(user_id)).bought]))

    async def bought_together(
        self, product_ids: Sequence[UUID], user_id: UUID | None, wanted: Wanted
    ) -> list[Recommended]:
        """For a cart. Products that do not exist are ignored."""
        await self.catalogue.bring_up_to_date(product_ids)
        known = [product for one in product_ids if (product := self.catalogue.get(one)) is not None]
        ranking = self.models.current.model.bought_together([product.id for product in known])
        categories = [product.category for product in known]
        found = candidates(ranking, Kind.BOUGHT_TOGETHER, self._fallback, wanted.category, categories)
        return await self._choose(found, _without(wanted, [*product_ids, *(await self._customer(user_id)).bought]))

    async def preview(self, alias: UUID, wanted: Wanted) -> Preview:
        """For the customer with this anonymised id; Problem 404 ``unknown_customer``."""
        history = await self.purchases.history_of_alias(alias)
        if not history:
            raise errors.unknown_customer()
        shown = history[:MAX_SHOWN_PURCHASES]
        await self.catalogue.bring_up_to_date(shown)
        products = [product for one in shown if (product := self.catalogue.get(one)) is not None]
        return Preview(products, await self._for_customer(Customer(history), wanted))

    async def _choose(self, found: Iterator[Candidate], wanted: Wanted) -> list[Recommended]:
        """The first candidates that may be shown.

        What was sold out when the catalogue was last read comes last, if it is in stock again.
        """
        chosen: list[Recommended] = []
        sold_out: list[Candidate] = []
        expected = self._expected(found, wanted, sold_out)
        await self._take(expected, wanted, chosen)
        if len(chosen) < wanted.max_results and sold_out:
            last = chosen[-1].score if chosen else sold_out[0].score
            again = (one._replace(score=min(one.score, last)) for one in sold_out[:MAX_SOLD_OUT_LOOKUPS])
            await self._take(again, wanted, chosen)
        for kind, count in Counter(one.kind for one in chosen).items():
            metrics.RESULTS_BY_KIND[kind].inc(count)
        (metrics.FULL if len(chosen) == wanted.max_results else metrics.SHORT if chosen else metrics.EMPTY).inc()
        return chosen

    def _expected(self, found: Iterator[Candidate], wanted: Wanted, sold_out: list[Candidate]) -> Iterator[Candidate]:
        """Candidates that can be shown by what was last known of them; those that are sold out go to ``sold_out``."""
        left_out, category = wanted.left_out, wanted.category
        for candidate in found:
            if candidate.product_id in left_out:
                metrics.NOT_WANTED.inc()
                continue
            product = self.catalogue.get(candidate.product_id)
            if product is None:
                yield candidate
            elif category and product.category != category:
                metrics.OTHER_CATEGORY.inc()
            elif product.in_stock:
                yield candidate
            else:
                metrics.UNAVAILABLE.inc()
                sold_out.append(candidate)

    async def _take(self, found: Iterator[Candidate], wanted: Wanted, chosen: list[Recommended]) -> None:
        """Add to ``chosen`` until it has max_results, by what is true now."""
        get = self.catalogue.get
        while (missing := wanted.max_results - len(chosen)) > 0:
            group = list(itertools.islice(found, missing + SPARE_CANDIDATES))
            if not group:
                return
            unknown = {one.because for one in group if one.because and get(one.because) is None}
            await self.catalogue.bring_up_to_date([*(one.product_id for one in group), *unknown])
            for candidate in group:
                product = get(candidate.product_id)
                if product is None or not product.in_stock:
                    metrics.UNAVAILABLE.inc()
                elif wanted.category and product.category != wanted.category:
                    metrics.OTHER_CATEGORY.inc()
                elif len(chosen) < wanted.max_results:
                    chosen.append(self._recommended(candidate, product))

    def _recommended(self, candidate: Candidate, product: Product) -> Recommended:
        title = self._title(candidate.because)
        return Recommended(product, candidate.score, candidate.kind, candidate.because, title, candidate.about)

    @property
    def loaded(self) -> Loaded:
        return self.models.current

    async def strongest_pairs(self) -> list[Pair]:
        """The products that most orders have together, with titles as far as the catalogue has them."""
        pairs = self.loaded.model.pairs(SHOWN_PAIRS)
        await self.catalogue.bring_up_to_date({one for first, second, _ in pairs for one in (first, second)})
        return [Pair(first, self._title(first), second, self._title(second), orders) for first, second, orders in pairs]

    def _title(self, product_id: UUID | None) -> str:
        product = self.catalogue.get(product_id) if product_id else None
        return product.title if product else ""

    def coverage(self) -> float:
        """The share of the catalogue's products that somebody bought."""
        listed = self.catalogue.listed
        bought = sum(one.product_id in listed for one in self._fallback.popular)
        return bought / len(listed) if listed else 0.0

    async def aliases(self) -> list[UUID]:
        return await self.purchases.aliases(SHOWN_CUSTOMERS)


def _without(wanted: Wanted, product_ids: Iterable[UUID]) -> Wanted:
    return Wanted(wanted.max_results, wanted.category, {*wanted.left_out, *product_ids})
