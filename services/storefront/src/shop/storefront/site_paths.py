"""The pages that search engines are to know, kept for a while."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from urllib.parse import quote

from shop.kit.errors import Problem, Unavailable
from shop.storefront.backends import Catalogue

MAX_URLS = 50_000
"""Of one sitemap, by its protocol."""
PAGE_PRODUCTS = 100
"""The most that the product service gives in one answer."""
PATHS_TTL_S = 3_600.0
"""How old the list of products may be: reading a large catalogue takes hundreds of requests."""


def category_url(name: str) -> str:
    return f"/category/{quote(name, safe='')}"


class SitePaths:
    """The paths of the front page, the categories and the products, read by one request at a time."""

    def __init__(self, catalogue: Catalogue, max_urls: int = MAX_URLS) -> None:
        self._catalogue = catalogue
        self._max_urls = max_urls
        self._paths: list[str] = []
        self._read_at = float("-inf")
        self._reading = asyncio.Lock()

    async def paths(self) -> Sequence[str]:
        """At most ``max_urls``; the last known ones while the catalogue is away, Unavailable before the first."""
        async with self._reading:
            if time.monotonic() - self._read_at >= PATHS_TTL_S:
                try:
                    self._paths = await self._read()
                except (Unavailable, Problem):
                    if not self._paths:
                        raise
                else:
                    self._read_at = time.monotonic()
        return self._paths

    async def _read(self) -> list[str]:
        paths = ["/", *(category_url(category.name) for category in await self._catalogue.categories())]
        cursor: str | None = ""
        while cursor is not None and len(paths) < self._max_urls:
            found = await self._catalogue.products(limit=PAGE_PRODUCTS, cursor=cursor)
            paths += [f"/products/{product.id}" for product in found.items]
            cursor = found.next_cursor or None
        return paths[: self._max_urls]
