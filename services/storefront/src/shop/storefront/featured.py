"""The products of the front page: a few of every category, kept for a short time."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from shop.storefront.backends import Catalogue
from shop.storefront.refreshing import RefreshingValue
from shop.storefront.schemas import Product

FEATURED_TTL_S = 15.0
"""How old prices on the front page may be; a product's own page always shows the product service's answer."""

MAX_FEATURED_CATEGORIES = 16
MAX_PRODUCTS_PER_CATEGORY = 24


@dataclass(frozen=True)
class FeaturedCategory:
    name: str
    products: list[Product]


class FeaturedCache:
    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._categories = RefreshingValue[Sequence[FeaturedCategory]](self._load, FEATURED_TTL_S)

    async def categories(self) -> Sequence[FeaturedCategory]:
        """Categories that have products, by name; Unavailable or a Problem only before the first load."""
        return await self._categories.get()

    async def close(self) -> None:
        await self._categories.close()

    async def _load(self) -> Sequence[FeaturedCategory]:
        names = [category.name for category in await self._catalogue.categories()][:MAX_FEATURED_CATEGORIES]
        categories = await asyncio.gather(*(self._category(name) for name in names))
        return [category for category in categories if category.products]

    async def _category(self, name: str) -> FeaturedCategory:
        found = await self._catalogue.products(category=name, limit=MAX_PRODUCTS_PER_CATEGORY)
        return FeaturedCategory(name, found.items)
