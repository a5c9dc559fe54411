"""What the product service has: all products every now and then, and the state of some of them at most FRESH_S old."""

from __future__ import annotations

import asyncio
import itertools
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

import cachetools
import orjson

from shop.kit.batch import Batcher
from shop.kit.errors import OutcomeUnknown, Unavailable
from shop.kit.http import ServiceClient
from shop.kit.http.client import TIMEOUT_S
from shop.recommendation.domain import Product

log = logging.getLogger(__name__)

PATH = "/api/v1/products"
FRESH_S = 1.0
LAST_KNOWN_S = 60.0
"""How long the last known state is used while the product service cannot be reached."""
RETRY_AFTER_S = 1.0
"""After a failed lookup, how long the last known state is used without trying."""
MAX_IDS_PER_REQUEST = 100
PAGE_PRODUCTS = 100
MAX_PRODUCTS = 10_000
"""The newest ones of a larger catalogue fill up answers; the others are recommended only for what was bought."""
NEVER = float("-inf")
MAX_ABSENT = 10_000
"""Ids remembered, for FRESH_S, as those of no product."""


class Catalogue:
    """Products as they were at most LAST_KNOWN_S seconds ago."""

    def __init__(
        self, products: ServiceClient, lookup_timeout_s: float, now: Callable[[], float] = time.monotonic
    ) -> None:
        self._service = products
        self._lookup_timeout_s = lookup_timeout_s
        self._now = now
        self._known: dict[UUID, Product] = {}
        self._known_at: dict[UUID, float] = {}
        self._absent: cachetools.TTLCache[UUID, bool] = cachetools.TTLCache(MAX_ABSENT, FRESH_S, now)
        self._failed_at = NEVER
        self._read_at = NEVER
        self._lookups = Batcher[Sequence[UUID], None](self._look_up)
        self.listed: Mapping[UUID, Product] = {}
        """All products at the last reading, the newest first. Replaced, never changed."""
        self.loaded = False
        """Whether there was a reading."""

    def get(self, product_id: UUID) -> Product | None:
        """The product's last known state; None when it is not known to exist."""
        return self._known.get(product_id)

    async def bring_up_to_date(self, product_ids: Iterable[UUID]) -> None:
        """After this, ``get`` returns the state of these products as it was at most FRESH_S ago.

        While the product service cannot be reached, as it was at most LAST_KNOWN_S ago; after that
        Unavailable("product").
        """
        now = self._now()
        known_at, absent = self._known_at, self._absent
        fresh_since = now - FRESH_S
        old = [one for one in product_ids if known_at.get(one, NEVER) < fresh_since and one not in absent]
        if not old:
            return
        if now - self._failed_at >= RETRY_AFTER_S:
            try:
                await self._lookups.submit(old)
                return
            except Unavailable as error:
                self._failed_at = self._now()
                log.warning("the state of products is not known: %s", error, extra={"event": "products_unknown"})
        self._check_known(old, now)

    def _check_known(self, product_ids: Sequence[UUID], now: float) -> None:
        """Unavailable unless the list of products was read, or each of these looked up, within LAST_KNOWN_S."""
        since = now - LAST_KNOWN_S
        if self._read_at < since and any(self._known_at.get(one, NEVER) < since for one in product_ids):
            raise Unavailable("product", "the state of products is not known")

    async def _look_up(self, calls: list[Sequence[UUID]]) -> list[None]:
        """One lookup for all concurrent callers."""
        wanted = list(dict.fromkeys(itertools.chain.from_iterable(calls)))
        groups = [list(group) for group in itertools.batched(wanted, MAX_IDS_PER_REQUEST)]
        await asyncio.gather(*(self._look_up_group(group) for group in groups))
        return [None] * len(calls)

    async def _look_up_group(self, product_ids: Sequence[UUID]) -> None:
        asked_at = self._now()
        params = {"ids": ",".join(map(str, product_ids)), "limit": MAX_IDS_PER_REQUEST}
        items, _ = await self._read(params, self._lookup_timeout_s)
        found = {product.id: product for product in items}
        for product_id in product_ids:
            if product := found.get(product_id):
                self._remember(product, asked_at)
            else:
                self._known.pop(product_id, None)
                self._known_at.pop(product_id, None)
                self._absent[product_id] = True

    def _remember(self, product: Product, at: float) -> None:
        if self._known_at.get(product.id, NEVER) <= at:
            self._known[product.id] = product
            self._known_at[product.id] = at

    async def run(self, interval_s: float, changed: Callable[[], None]) -> None:
        """Read the list of products every ``interval_s`` seconds, and call ``changed`` after it."""
        while True:
            await self.read_all()
            changed()
            await asyncio.sleep(interval_s)

    async def read_all(self) -> None:
        """Read the list of products. What is not in it any more is forgotten unless it was just looked up."""
        began = self._now()
        products: dict[UUID, Product] = {}
        cursor: str | None = ""
        while cursor is not None and len(products) < MAX_PRODUCTS:
            asked_at = self._now()
            params = {"sort": "newest", "limit": PAGE_PRODUCTS, **({"cursor": cursor} if cursor else {})}
            items, cursor = await self._read(params)
            for product in items:
                self._remember(product, asked_at)
                products[product.id] = product
        self.listed = products
        self._read_at = began
        self.loaded = True
        kept_since = began - FRESH_S if cursor is None else began - LAST_KNOWN_S
        for product_id in [one for one, at in self._known_at.items() if one not in products and at < kept_since]:
            del self._known[product_id], self._known_at[product_id]

    async def _read(self, params: Mapping[str, Any], timeout_s: float = TIMEOUT_S) -> tuple[list[Product], str | None]:
        """A page of products, and the cursor of the next one."""
        answer = await self._service.get(PATH, params=params, timeout_s=timeout_s)
        try:
            page = answer.json
            return list(_products(page["items"])), page["next_cursor"]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise OutcomeUnknown("product", f"product: not a page of products: {error!r}") from error

    def close(self) -> Awaitable[None]:
        return self._lookups.close()


def _products(items: Iterable[Mapping[str, Any]]) -> Iterator[Product]:
    for item in items:
        text = str(item["id"])
        yield Product(UUID(text), text, item["name"], item["category"], item["stock"] > 0, orjson.dumps(item))
