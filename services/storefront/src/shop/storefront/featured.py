"""What stands in the shop window: a few products of every shelf, asked for now and then and not for every visitor."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass

from shop.kit.errors import Problem, Unavailable
from shop.storefront.backends import Catalogue
from shop.storefront.schemas import Product

WINDOW_TTL_S = 15.0
"""How old the window may be; a product's own page is never older than the product service's answer."""

WINDOW_SHELVES = 16
WINDOW_PRODUCTS = 24


@dataclass(frozen=True)
class Shelf:
    name: str
    products: list[Product]


class Window:
    """Refreshed by one visitor at a time; while the catalogue is away the last window stays."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._shelves: list[Shelf] = []
        self._read_at = float("-inf")
        self._refreshing = asyncio.Lock()

    async def shelves(self) -> Sequence[Shelf]:
        """Shelves that have something on them, by name; Unavailable only while none were ever read."""
        if time.monotonic() - self._read_at < WINDOW_TTL_S or (self._shelves and self._refreshing.locked()):
            return self._shelves
        async with self._refreshing:
            if time.monotonic() - self._read_at >= WINDOW_TTL_S:
                await self._refresh()
        return self._shelves

    async def _refresh(self) -> None:
        try:
            names = [category.name for category in await self._catalogue.categories()][:WINDOW_SHELVES]
            shelves = await asyncio.gather(*(self._shelf(name) for name in names))
        except (Unavailable, Problem):
            if not self._shelves:
                raise
            shelves = self._shelves
        self._shelves = [shelf for shelf in shelves if shelf.products]
        self._read_at = time.monotonic()

    async def _shelf(self, name: str) -> Shelf:
        found = await self._catalogue.products(category=name, limit=WINDOW_PRODUCTS)
        return Shelf(name, found.items)
