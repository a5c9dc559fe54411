"""The problems that pricing answers with; their codes are part of the API."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from shop.kit.errors import Problem
from shop.pricing.domain import REFUSALS, Refusal


def unknown_product(product_id: UUID) -> Problem:
    return Problem(404, "unknown_product", "There is no such product.", extra={"product_id": str(product_id)})


def unknown_promotion(code: str) -> Problem:
    return Problem(404, "unknown_promotion", f"There is no promotion {code}.")


def promotion_exists(code: str) -> Problem:
    return Problem(412, "promotion_exists", f"There is a promotion {code} already.")


def refused(refusal: Refusal, **extra: Any) -> Problem:
    return Problem(422, refusal, REFUSALS[refusal], extra=extra)
