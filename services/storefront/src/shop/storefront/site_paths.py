"""The paths that the sitemap lists."""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from shop.kit.errors import Problem, Unavailable
from shop.storefront.backends import Catalogue
from shop.storefront.food.backends import Restaurants
from shop.storefront.refreshing import RefreshingValue

MAX_URLS = 50_000
"""Of one sitemap, by its protocol."""
PAGE_PRODUCTS = 100
"""The most that the product service returns in one response."""
PATHS_TTL_S = 3_600.0
"""How old the list may be: loading a large catalogue takes hundreds of requests."""
SITEMAP_WAIT_S = 10.0
"""How long a request waits for the list; crawlers retry, and the load continues meanwhile."""
SITEMAP_RETRY_AFTER_S = 60


def category_url(name: str) -> str:
    return f"/category/{quote(name, safe='')}"


class SitePaths:
    """The paths of the front page, the categories, the restaurants and the products."""

    def __init__(
        self,
        catalogue: Catalogue,
        restaurants: Restaurants | None = None,
        max_urls: int = MAX_URLS,
        max_wait_s: float = SITEMAP_WAIT_S,
    ) -> None:
        self._catalogue = catalogue
        self._restaurants = restaurants
        self._max_urls = max_urls
        self._paths = RefreshingValue[Sequence[str]](self._load, PATHS_TTL_S, max_wait_s)

    async def paths(self) -> Sequence[str]:
        """At most ``max_urls``. Before the first load: Problem 503 ``sitemap_not_ready`` when it takes too long,
        Unavailable while the catalogue cannot be reached."""
        try:
            return await self._paths.get()
        except TimeoutError:
            headers = {"Retry-After": str(SITEMAP_RETRY_AFTER_S)}
            detail = "The sitemap is being prepared. Please try again later."
            raise Problem(503, "sitemap_not_ready", detail, headers=headers) from None

    async def close(self) -> None:
        await self._paths.close()

    async def _load(self) -> Sequence[str]:
        paths = ["/", *(category_url(category.name) for category in await self._catalogue.categories())]
        if self._restaurants:
            paths += ["/eat", *await self._restaurant_paths(self._restaurants)]
        cursor: str | None = ""
        while cursor is not None and len(paths) < self._max_urls:
            found = await self._catalogue.products(limit=PAGE_PRODUCTS, cursor=cursor)
            paths += [f"/products/{product.id}" for product in found.items]
            cursor = found.next_cursor or None
        return paths[: self._max_urls]

    async def _restaurant_paths(self, restaurants: Restaurants) -> Sequence[str]:
        """Those before a failure of the restaurant service: the shop's other pages are listed all the same."""
        paths: list[str] = []
        cursor: str | None = ""
        while cursor is not None and len(paths) < self._max_urls:
            try:
                found = await restaurants.list(cursor=cursor)
            except (Problem, Unavailable):
                break
            paths += [f"/eat/{restaurant.id}" for restaurant in found.items]
            cursor = found.next_cursor or None
        return paths
