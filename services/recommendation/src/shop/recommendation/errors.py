"""The problems that recommendation answers with; their codes are part of the API."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import Problem


def unknown_product(product_id: UUID) -> Problem:
    return Problem(404, "unknown_product", f"There is no product {product_id}.")


def unknown_customer() -> Problem:
    return Problem(404, "unknown_customer", "There is no customer with this anonymised id.")
