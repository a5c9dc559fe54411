"""The problems that pricing answers with; their codes are part of the API."""

from __future__ import annotations

from collections.abc import Mapping
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


STATUS_BY_CODE = {
    "unknown_restaurant": 404,
    "unknown_item": 404,
    "invalid_choices": 422,
    "address_not_found": 422,
    "address_out_of_reach": 422,
}
"""Of what restaurant and delivery refuse; the other codes are states that pass, 409."""


def refused_by_participant(code: str, detail: str, extra: Mapping[str, Any]) -> Problem:
    return Problem(STATUS_BY_CODE.get(code, 409), code, detail, extra=extra)


def food_not_offered() -> Problem:
    detail = "This shop does not deliver food."
    return Problem(422, "food_not_offered", detail, errors=[{"field": "kind", "message": detail}])


def refused(refusal: Refusal, **extra: Any) -> Problem:
    return Problem(422, refusal, REFUSALS[refusal], extra=extra)
