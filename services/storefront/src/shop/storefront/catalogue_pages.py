"""The front page, category pages, search and product pages."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import zip_longest
from random import Random
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from pydantic import AfterValidator
from starlette.responses import Response

from shop.kit.currencies import major_units
from shop.kit.errors import Problem
from shop.kit.text import printable
from shop.storefront import metrics
from shop.storefront.featured import FeaturedCategory
from shop.storefront.labels import label
from shop.storefront.schemas import Page, Product
from shop.storefront.service import Storefront
from shop.storefront.site_paths import category_url
from shop.storefront.suggestions import Suggestion, heading, no_suggestions
from shop.storefront.web import CurrentVisitor, Shop, page, public_url, with_query

router = APIRouter(include_in_schema=False)

PAGE_PRODUCTS = 24
FEATURED_PRODUCTS = 12
PRODUCTS_PER_CATEGORY = 6
FRONT_CATEGORIES = 3
RELATED_PRODUCTS = 6
MAX_QUERY_CHARACTERS = 100

SORTS = {"name": "Name", "newest": "Newest", "price": "Price: low to high", "-price": "Price: high to low"}


def search_text(text: str) -> str:
    """The query as it is searched for: printable characters in one line, at most MAX_QUERY_CHARACTERS."""
    return printable(text)[:MAX_QUERY_CHARACTERS].strip()


def sort_order(text: str) -> str:
    return text if text in SORTS else "name"


Words = Annotated[str, AfterValidator(search_text)]
CursorText = Annotated[str, Query(max_length=512)]
Sort = Annotated[str, AfterValidator(sort_order)]


@router.get("/")
async def front(request: Request, shop: Shop, visitor: CurrentVisitor) -> Response:
    """Recommendations, featured products, the pick of the day, and a few categories that change with the date.

    Each product is shown once.
    """
    categories, suggested = await asyncio.gather(shop.featured.categories(), shop.suggestions.for_visitor(visitor))
    day = datetime.now(UTC).date().toordinal()
    shown = {one.product.id for one in suggested}
    featured = featured_products(categories, day, shown)
    shown.update(product.id for product in featured)
    return await page(
        request,
        "front.html",
        canonical=public_url(request, "/"),
        pick=featured[0] if featured else None,
        products=featured[1:],
        featured=featured_categories(categories, day, shown),
        suggested=suggested,
        suggested_heading=heading(suggested),
    )


def featured_products(categories: Sequence[FeaturedCategory], day: int, shown: Collection[UUID]) -> list[Product]:
    """FEATURED_PRODUCTS and a pick of the day: products of every category in turn, others each day, that are not
    among those that are `shown` already; products in stock come first."""
    shuffled = [Random(f"{each.name} {day}").sample(each.products, len(each.products)) for each in categories]
    in_turn = [product for row in zip_longest(*shuffled) for product in row if product and product.id not in shown]
    start = day % len(categories) if categories else 0
    chosen = in_turn[start : start + FEATURED_PRODUCTS + 1] + in_turn[:start]
    return sorted(chosen, key=lambda product: product.stock <= 0)[: FEATURED_PRODUCTS + 1]


def featured_categories(
    categories: Sequence[FeaturedCategory], day: int, shown: Collection[UUID]
) -> list[FeaturedCategory]:
    """FRONT_CATEGORIES adjacent categories, shifted by one each day, with a few products of each that are not among
    those that are `shown` already."""
    start = day % len(categories) if categories else 0
    others = [
        FeaturedCategory(each.name, [product for product in each.products if product.id not in shown])
        for each in [*categories[start:], *categories[:start]]
    ]
    left = [each for each in others if each.products][:FRONT_CATEGORIES]
    return [FeaturedCategory(each.name, each.products[:PRODUCTS_PER_CATEGORY]) for each in left]


@router.get("/category/{name}")
async def category(
    request: Request, name: str, shop: Shop, visitor: CurrentVisitor, sort: Sort = "name", cursor: CursorText = ""
) -> Response:
    """The products of a category. What is recommended of it is on the first page, if there are more pages."""
    categories = await shop.backends.catalogue.known_categories()
    if categories and name not in {each.name for each in categories}:
        raise Problem(404, "not_found", "There is no such category.")
    count = next((each.count for each in categories if each.name == name), None)
    recommends = not cursor and count is not None and count > PAGE_PRODUCTS
    found, suggested = await asyncio.gather(
        shop.backends.catalogue.products(category=name, limit=PAGE_PRODUCTS, cursor=cursor, sort=sort),
        shop.suggestions.for_visitor(visitor, name) if recommends else no_suggestions(),
    )
    note = f"{count} product{'' if count == 1 else 's'}" if count is not None else ""
    canonical = None if cursor else public_url(request, category_url(name))
    frame: dict[str, Any] = {"note": note, "category": name, "canonical": canonical, "suggested": suggested}
    return await _listing(request, found, label(name), Listed(category_url(name), sort), **frame)


@router.get("/search")
async def search(
    request: Request, shop: Shop, query: Words = "", sort: Sort = "name", cursor: CursorText = ""
) -> Response:
    """All products, or those that match every word of the query."""
    found = await shop.backends.catalogue.products(query=query, limit=PAGE_PRODUCTS, cursor=cursor, sort=sort)
    title = f"Results for “{query}”" if query else "All products"
    cut = len(printable(request.query_params.get("query", ""))) > MAX_QUERY_CHARACTERS
    note = f"Your search was shortened to the first {MAX_QUERY_CHARACTERS} characters." if cut else ""
    return await _listing(request, found, title, Listed("/search", sort, query), note=note, query=query)


@dataclass(frozen=True)
class Listed:
    """The path, order and query of a list, from which the URLs of its other pages follow."""

    path: str
    sort: str
    query: str = ""

    def url(self, *, sort: str = "", cursor: str | None = None) -> str:
        sort = sort or self.sort
        return with_query(self.path, query=self.query, sort=sort if sort != "name" else "", cursor=cursor)

    def sorts(self) -> list[tuple[str, str, bool]]:
        """Label, URL and whether it is the current one, for each order."""
        return [(text, self.url(sort=sort), sort == self.sort) for sort, text in SORTS.items()]


async def _listing(
    request: Request,
    found: Page[Product],
    title: str,
    listed: Listed,
    *,
    suggested: Sequence[Suggestion] = (),
    **values: Any,
) -> Response:
    next_url = listed.url(cursor=found.next_cursor) if found.next_cursor else None
    frame = {"products": found.items, "heading": title, "sorts": listed.sorts(), "next_url": next_url, **values}
    return await page(request, "listing.html", suggested=suggested, suggested_heading=heading(suggested), **frame)


@router.get("/products/{product_id}")
async def product(request: Request, product_id: UUID, shop: Shop, visitor: CurrentVisitor) -> Response:
    found, suggested = await asyncio.gather(
        shop.backends.catalogue.product(product_id), shop.suggestions.for_product(product_id, visitor)
    )
    metrics.VIEW.inc()
    return await page(
        request,
        "product.html",
        product=found,
        bundle=suggested.bundle(found),
        similar=suggested.similar,
        popular=suggested.popular,
        popular_heading=heading(suggested.popular),
        related=[] if suggested.similar else await _related(shop, found),
        facts=_facts(found),
        canonical=(canonical := public_url(request, f"/products/{found.id}")),
        site_url=public_url(request, ""),
        json_ld=_json_ld(found, canonical),
        category=found.category,
    )


async def _related(shop: Storefront, product: Product) -> list[Product]:
    """Other products of the category, where nothing is known about similar ones."""
    if not product.category:
        return []
    found = await shop.backends.catalogue.products(category=product.category, limit=RELATED_PRODUCTS + 1)
    return [other for other in found.items if other.id != product.id][:RELATED_PRODUCTS]


def _facts(product: Product) -> list[tuple[str, str]]:
    """Attributes that are text or numbers, except those shown elsewhere on the page."""
    return [
        (label(name), f"{-value} BCE" if name == "year" and isinstance(value, int) and value < 0 else str(value))
        for name, value in product.attributes.items()
        if name not in {"author", "title"} and isinstance(value, str | int | float) and value != ""
    ]


def _json_ld(product: Product, url: str) -> dict[str, Any]:
    """schema.org's Product, for search engines."""
    document: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": ["Product", "Book"] if product.author else "Product",
        "name": product.name,
        "description": product.description,
        "sku": product.sku,
        "offers": {
            "@type": "Offer",
            "price": str(major_units(product.price.amount, product.price.currency)),
            "priceCurrency": product.price.currency,
            "availability": f"https://schema.org/{'InStock' if product.stock > 0 else 'OutOfStock'}",
            "url": url,
        },
    }
    return document | ({"author": {"@type": "Person", "name": product.author}} if product.author else {})
