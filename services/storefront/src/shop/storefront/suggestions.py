"""The recommendations of a page: what the recommendation service answers, joined with the catalogue.

Titles, prices and stock are the product service's. What it says is sold out is left out, as is what it does not know.
Without an answer a page shows the popular products that are known from the last answer, and is otherwise as in a shop
without that service.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

import cachetools

from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.money import Money
from shop.kit.errors import Problem, Unavailable
from shop.storefront.backends import Catalogue
from shop.storefront.carts import Carts
from shop.storefront.recommender import Recommended, Recommender
from shop.storefront.refreshing import RefreshingValue
from shop.storefront.schemas import Product
from shop.storefront.sessions import Visitor

SHOWN = 6
"""Products of one section: one row of a wide page."""
SPARE = 6
"""Asked for beyond that, because some may have sold out since the service looked."""
POPULAR_ASKED = 30
"""Enough for a visitor who has many of them in the cart."""
MAX_BUNDLED = 2
"""Products that are offered together with the one whose page it is."""

POPULAR_TTL_S = 5.0
POPULAR_MAX_AGE_S = 600.0
"""How long the last answer is shown while the service does not answer."""
STOCK_TTL_S = 1.0
STOCK_MAX_AGE_S = 15.0
"""How old prices and stock of popular products may be while the product service does not answer."""
MAX_CATEGORIES = 64
"""Categories whose popular products are kept."""


@dataclass(frozen=True)
class Suggestion:
    product: Product
    reason: str
    kind: messages.ReasonKind.ValueType


@dataclass(frozen=True)
class Bundle:
    """A product and what is often bought in the same order, with the sum of their prices."""

    product: Product
    others: Sequence[Suggestion]

    @property
    def products(self) -> list[Product]:
        return [self.product, *(other.product for other in self.others)]

    @property
    def ids(self) -> str:
        return ",".join(str(product.id) for product in self.products)

    @property
    def total(self) -> Money:
        amounts = [product.price.amount for product in self.products]
        return Money(amount=sum(amounts), currency=self.product.price.currency)


@dataclass(frozen=True)
class ForProduct:
    """`popular` is there while the service does not answer, in place of the others."""

    together: Sequence[Suggestion] = ()
    similar: Sequence[Suggestion] = ()
    popular: Sequence[Suggestion] = ()

    def bundle(self, product: Product) -> Bundle | None:
        """None when the product cannot be bought now, or nothing was bought together with it."""
        fitting = [other for other in self.together if other.product.price.currency == product.price.currency]
        return Bundle(product, fitting[:MAX_BUNDLED]) if fitting and product.stock > 0 else None


class Suggestions:
    """What each page shows. No method raises because the recommendation service is away."""

    def __init__(self, recommender: Recommender, catalogue: Catalogue, carts: Carts) -> None:
        self._recommender = recommender
        self._catalogue = catalogue
        self._carts = carts
        self._popular: cachetools.LRUCache[str, Popular] = cachetools.LRUCache(MAX_CATEGORIES)

    async def for_visitor(self, visitor: Visitor, category: str = "") -> Sequence[Suggestion]:
        """For a signed-in customer by their purchases, for others what sells well; nothing that is in the cart."""
        if not self._recommender.on:
            return []
        in_cart = (await self._carts.shown(visitor)).keys()
        if visitor.session is None:
            return await self.popular(category, in_cart)
        asked = self._recommender.recommend(visitor.session.user_id, category, SHOWN + SPARE, in_cart)
        try:
            found = await self._joined(await asked)
        except Unavailable:
            return await self.popular(category, in_cart)
        return worth_showing(found, in_cart)

    async def popular(self, category: str, in_cart: Collection[UUID] = ()) -> Sequence[Suggestion]:
        """What sells well, which is the same for everybody, STOCK_TTL_S old at most while the services answer."""
        popular = self._popular.get(category)
        if popular is None:
            popular = self._popular[category] = Popular(self._recommender, self._catalogue, category)
        return worth_showing(await popular.suggestions(), in_cart)

    async def for_product(self, product_id: UUID, visitor: Visitor) -> ForProduct:
        """The service fills its answers up with popular products, which alone are neither bundle nor similar."""
        if not self._recommender.on:
            return ForProduct()
        in_cart, user_id = (await self._carts.shown(visitor)).keys(), _user_id(visitor)
        together, similar = await asyncio.gather(
            _or_none(self._recommender.bought_together([product_id], MAX_BUNDLED + SPARE, in_cart, user_id)),
            _or_none(self._recommender.similar_to(product_id, SHOWN + SPARE, in_cart, user_id)),
        )
        unwanted = {product_id, *in_cart}
        if together is None or similar is None:
            return ForProduct(popular=await self.popular("", unwanted))
        together = [one for one in together if one.kind == messages.REASON_KIND_BOUGHT_TOGETHER]
        products = await self._in_stock([*together, *similar])
        bundled = joined(together, products, unwanted)[:MAX_BUNDLED]
        unwanted.update(one.product.id for one in bundled)
        alike = joined(similar, products, unwanted)[:SHOWN]
        known = any(one.kind == messages.REASON_KIND_OTHERS_ALSO_BOUGHT for one in alike)
        return ForProduct(bundled, alike if known else ())

    async def for_cart(self, product_ids: Collection[UUID], visitor: Visitor) -> Sequence[Suggestion]:
        if not product_ids:
            return []
        asked = self._recommender.bought_together(product_ids, SHOWN + SPARE, product_ids, _user_id(visitor))
        found = await _or_none(asked)
        if found is None:
            return await self.popular("", product_ids) if self._recommender.on else []
        return worth_showing(await self._joined(found), product_ids)

    async def _joined(self, found: Sequence[Recommended]) -> list[Suggestion]:
        return joined(found, await self._in_stock(found))

    async def _in_stock(self, found: Sequence[Recommended]) -> Mapping[UUID, Product]:
        try:
            return await in_stock(self._catalogue, found)
        except (Unavailable, Problem):
            return {}

    async def close(self) -> None:
        for popular in self._popular.values():
            await popular.close()
        await self._recommender.close()


class Popular:
    """The popular products of one category, or with an empty name of all. Its answer is shared by all visitors."""

    def __init__(self, recommender: Recommender, catalogue: Catalogue, category: str) -> None:
        self._recommender = recommender
        self._catalogue = catalogue
        self._category = category
        self._asked = RefreshingValue(self._ask, POPULAR_TTL_S)
        self._shown = RefreshingValue(self._join, STOCK_TTL_S)

    async def suggestions(self) -> Sequence[Suggestion]:
        try:
            return (await self._shown.get()).within(STOCK_MAX_AGE_S)
        except (Unavailable, Problem, TimeoutError):
            return []

    async def _ask(self) -> Dated[Recommended]:
        return Dated(await self._recommender.recommend("", self._category, POPULAR_ASKED), time.monotonic())

    async def _join(self) -> Dated[Suggestion]:
        found = (await self._asked.get()).within(POPULAR_MAX_AGE_S)
        return Dated(joined(found, await in_stock(self._catalogue, found)), time.monotonic())

    async def close(self) -> None:
        await self._shown.close()
        await self._asked.close()


@dataclass(frozen=True)
class Dated[T]:
    """What was known at `at`, a reading of the monotonic clock in seconds."""

    items: Sequence[T]
    at: float

    def within(self, max_age_s: float) -> Sequence[T]:
        """The items; none when they are older than `max_age_s`."""
        return self.items if time.monotonic() - self.at <= max_age_s else ()


async def in_stock(catalogue: Catalogue, found: Iterable[Recommended]) -> Mapping[UUID, Product]:
    products = await catalogue.by_ids({one.product_id for one in found})
    return {product.id: product for product in products.values() if product.stock > 0}


def joined(
    found: Sequence[Recommended], products: Mapping[UUID, Product], unwanted: Collection[UUID] = ()
) -> list[Suggestion]:
    """Those that are among `products` and not unwanted, in the order in which they were recommended."""
    return [
        Suggestion(products[one.product_id], one.reason, one.kind)
        for one in found
        if one.product_id in products and one.product_id not in unwanted
    ]


def worth_showing(found: Sequence[Suggestion], in_cart: Collection[UUID]) -> Sequence[Suggestion]:
    """The best ones that are not in the cart. Products about which nothing is known are shown only beside popular ones:
    never among those chosen for a customer or a cart, and not alone."""
    left = [one for one in found if one.product.id not in in_cart]
    kinds = {one.kind for one in left}
    if kinds != {messages.REASON_KIND_POPULAR, messages.REASON_KIND_IN_CATALOGUE}:
        left = [one for one in left if one.kind != messages.REASON_KIND_IN_CATALOGUE]
    return left[:SHOWN]


def _user_id(visitor: Visitor) -> str:
    """Empty for a visitor who is not signed in."""
    return visitor.session.user_id if visitor.session else ""


async def no_suggestions() -> Sequence[Suggestion]:
    """In place of a request, for pages that have no room for recommendations."""
    return ()


async def _or_none(asked: Awaitable[list[Recommended]]) -> list[Recommended] | None:
    """None while the service does not answer."""
    try:
        return await asked
    except Unavailable:
        return None


def heading(found: Sequence[Suggestion], *, for_cart: bool = False) -> str:
    """The section's heading, by what the reasons are."""
    kinds = {one.kind for one in found}
    if messages.REASON_KIND_BECAUSE_YOU_BOUGHT in kinds:
        return "Recommended for you"
    if for_cart and kinds & {messages.REASON_KIND_BOUGHT_TOGETHER, messages.REASON_KIND_OTHERS_ALSO_BOUGHT}:
        return "Goes well with your cart"
    return "Popular and more" if messages.REASON_KIND_IN_CATALOGUE in kinds else "Popular right now"
