"""The front page, the shelves, search, and the page of one product."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.storefront.formatting import MINOR_DIGITS, label
from shop.storefront.schemas import Category, Page, Product
from shop.storefront.service import Storefront
from shop.storefront.web import Shop, category_url, page, with_query

router = APIRouter(include_in_schema=False)

PAGE_PRODUCTS = 24
TABLE_PRODUCTS = 12
SHELF_PRODUCTS = 6
FRONT_SHELVES = 3
RELATED_PRODUCTS = 6
MAX_QUERY_CHARACTERS = 100

Words = Annotated[str, Query(max_length=MAX_QUERY_CHARACTERS)]
CursorText = Annotated[str, Query(max_length=512)]


@dataclass(frozen=True)
class Shelf:
    name: str
    products: list[Product]


@router.get("/")
async def front(request: Request, shop: Shop) -> Response:
    """The table by the door, the book of the day, and a few shelves that change with the date."""
    today = datetime.now(UTC).date()
    table, categories = await asyncio.gather(
        shop.backends.catalogue.products(limit=TABLE_PRODUCTS + 1, sort="newest"), shop.backends.catalogue.categories()
    )
    shelves = await asyncio.gather(*(_shelf(shop, category.name) for category in _of_the_day(categories, today)))
    stocked = [product for product in table.items if product.stock > 0]
    pick = stocked[today.toordinal() % len(stocked)] if stocked else None
    newest = [product for product in table.items if product is not pick][:TABLE_PRODUCTS]
    return await page(
        request, "front.html", pick=pick, newest=newest, shelves=[shelf for shelf in shelves if shelf.products]
    )


def _of_the_day(categories: list[Category], today: date) -> list[Category]:
    """FRONT_SHELVES neighbouring categories, moving on by one each day."""
    start = today.toordinal() % len(categories) if categories else 0
    return (categories[start:] + categories[:start])[:FRONT_SHELVES]


async def _shelf(shop: Storefront, name: str) -> Shelf:
    found = await shop.backends.catalogue.products(category=name, limit=SHELF_PRODUCTS)
    return Shelf(name, found.items)


@router.get("/category/{name}")
async def category(request: Request, name: str, shop: Shop, cursor: CursorText = "") -> Response:
    found, shelves = await asyncio.gather(
        shop.backends.catalogue.products(category=name, limit=PAGE_PRODUCTS, cursor=cursor),
        shop.backends.catalogue.categories(),
    )
    if shelves and name not in {shelf.name for shelf in shelves}:
        raise Problem(404, "not_found", "There is no such shelf.")
    next_url = with_query(category_url(name), cursor=found.next_cursor) if found.next_cursor else None
    count = next((shelf.count for shelf in shelves if shelf.name == name), None)
    note = f"{count} titles" if count is not None else ""
    return await _listing(request, found, label(name), note, next_url, category=name)


@router.get("/search")
async def search(request: Request, shop: Shop, query: Words = "", cursor: CursorText = "") -> Response:
    """Everything, or what has the words in its title or author."""
    words = query.strip().replace("\x00", "")
    found = await shop.backends.catalogue.products(query=words, limit=PAGE_PRODUCTS, cursor=cursor)
    next_url = with_query("/search", query=words, cursor=found.next_cursor) if found.next_cursor else None
    heading = f"“{words}”" if words else "Every book"
    return await _listing(request, found, heading, "", next_url, query=words)


async def _listing(
    request: Request, found: Page[Product], heading: str, note: str, next_url: str | None, **values: Any
) -> Response:
    frame = {"products": found.items, "heading": heading, "note": note, "next_url": next_url, **values}
    return await page(request, "listing.html", **frame)


@router.get("/products/{product_id}")
async def product(request: Request, product_id: UUID, shop: Shop) -> Response:
    found = await shop.backends.catalogue.product(product_id)
    shelf = await shop.backends.catalogue.products(category=found.category, limit=RELATED_PRODUCTS + 1)
    related = [other for other in shelf.items if other.id != found.id][:RELATED_PRODUCTS]
    return await page(
        request,
        "product.html",
        product=found,
        related=related if found.category else [],
        facts=_facts(found),
        json_ld=_json_ld(found, str(request.url)),
        category=found.category,
    )


def _facts(product: Product) -> list[tuple[str, str]]:
    """The attributes that are text or numbers, except what the page's head already says."""
    return [
        (label(name), str(value))
        for name, value in product.attributes.items()
        if name not in {"author", "title"} and isinstance(value, str | int | float) and value != ""
    ]


def _json_ld(product: Product, url: str) -> dict[str, Any]:
    """schema.org's Product, for search engines."""
    digits = MINOR_DIGITS.get(product.price.currency, 2)
    document: dict[str, Any] = {
        "@context": "https://schema.org",
        "@type": ["Product", "Book"] if product.author else "Product",
        "name": product.name,
        "description": product.description,
        "sku": product.sku,
        "offers": {
            "@type": "Offer",
            "price": f"{product.price.amount / 10**digits:.{digits}f}",
            "priceCurrency": product.price.currency,
            "availability": f"https://schema.org/{'InStock' if product.stock > 0 else 'OutOfStock'}",
            "url": url,
        },
    }
    return document | ({"author": {"@type": "Person", "name": product.author}} if product.author else {})
