"""Allocation of stock to orders, and the words of a search. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.kit.text import folded


@dataclass(frozen=True, slots=True)
class Request:
    """The quantities to reserve for an order, by product."""

    order_id: UUID
    lines: Mapping[UUID, int]


@dataclass(frozen=True, slots=True)
class Shortage:
    """The first product of the order that is unknown (``available`` None) or not available in that quantity."""

    product_id: UUID
    available: int | None


def merged(lines: Sequence[tuple[UUID, int]]) -> dict[UUID, int]:
    """Quantities by product; those of lines with the same product are added up."""
    wanted: dict[UUID, int] = {}
    for product_id, quantity in lines:
        wanted[product_id] = wanted.get(product_id, 0) + quantity
    return wanted


def allocate(requests: Sequence[Request], stock: MutableMapping[UUID, int]) -> list[Shortage | None]:
    """Serve the requests in order, each in full or not at all; ``stock`` is reduced accordingly."""
    return [_reserve(request, stock) for request in requests]


def _reserve(request: Request, stock: MutableMapping[UUID, int]) -> Shortage | None:
    for product_id, quantity in request.lines.items():
        available = stock.get(product_id)
        if available is None or available < quantity:
            return Shortage(product_id, available)
    for product_id, quantity in request.lines.items():
        stock[product_id] -= quantity
    return None


def search_words(text: str, limit: int = 12) -> list[str]:
    """The words of a query or a title, without case and accents, letters and digits only, at most ``limit`` of them."""
    spaced = "".join(character if character.isalnum() else " " for character in folded(text))
    return spaced.split()[:limit]


def sort_name(name: str) -> str:
    """The key by which titles are sorted: without accents and without a leading English article."""
    words = folded(name).strip()
    for article in ("the ", "a ", "an "):
        if words.startswith(article) and len(words) > len(article):
            return words[len(article) :]
    return words
