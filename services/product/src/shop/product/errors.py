"""The problems that the product service answers with; their codes are part of the API."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import Problem, invalid_field

MAX_RECEIVED = 2**31 - 1
"""What an integer of PostgreSQL holds."""


def unknown_product(product_id: UUID) -> Problem:
    return Problem(404, "unknown_product", "There is no such product.", extra={"product_id": str(product_id)})


def sku_taken(sku: str) -> Problem:
    return Problem(409, "sku_taken", f"There is a product with the SKU {sku} already.")


def insufficient_stock(product_id: UUID, available: int) -> Problem:
    extra = {"product_id": str(product_id), "available": available}
    return Problem(409, "insufficient_stock", f"Only {available} left.", extra=extra)


def wrong_currency(currency: str) -> Problem:
    return invalid_field("price.currency", f"This shop sells in {currency}.")


def stock_too_large() -> Problem:
    detail = "The stock would be larger than can be counted."
    message = f"More than {MAX_RECEIVED} pieces would have been received."
    return Problem(409, "stock_too_large", detail, errors=[{"field": "delta", "message": message}])
