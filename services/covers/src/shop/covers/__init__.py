"""Drawn product pictures, as SVG. Pure: no database, no network, no other package of the shop."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shop.covers.books import cover_svg
from shop.covers.placeholder import placeholder_svg

__all__ = ["picture_svg"]


def picture_svg(name: str, category: str, attributes: Mapping[str, Any]) -> str:
    """The picture of a product, the same for the same words.

    A product with an ``author`` has a book's cover with its ``year``, which is negative before the common era; any
    other has a neutral picture with its name.
    """
    author, year = str(attributes.get("author") or ""), attributes.get("year")
    if not author:
        return placeholder_svg(name)
    return cover_svg(name, author, year if isinstance(year, int) else None, category)
