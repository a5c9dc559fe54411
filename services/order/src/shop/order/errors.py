"""The problems that the order service answers with, each with a stable code."""

from __future__ import annotations

from uuid import UUID

from shop.kit.errors import FieldError, Problem
from shop.kit.saga.engine import Rejected
from shop.order.domain import IllegalTransition, State

STATUS_BY_CODE = {  # of whatever step: an order whose history was removed has only the code left
    "unknown_product": 404,
    "insufficient_stock": 409,
    "price_changed": 409,
    "deadline_exceeded": 409,
    "amount_below_minimum": 422,
    "amount_not_payable": 422,
    "payment_refused": 409,
    "payment_declined": 402,
    "unknown_coupon": 422,
    "coupon_expired": 422,
    "coupon_exhausted": 422,
    "coupon_minimum_not_met": 422,
    "coupon_inactive": 422,
    "coupon_not_started": 422,
    "coupon_already_used": 422,
    "currency_mismatch": 422,
    "country_not_served": 422,
    "food_not_offered": 422,
    "unknown_restaurant": 404,
    "unknown_item": 404,
    "invalid_choices": 422,
    "no_courier": 503,
    "address_not_found": 422,
    "address_out_of_reach": 422,
    "minimum_order_not_met": 422,
}
STATUS_BY_STEP = {"reserve": 409, "accept": 409, "reserve_courier": 409, "quote": 422, "charge": 402, "assign": 409}
NO_COURIER_RETRY_AFTER_S = 60
REASONS = frozenset({
    "unknown_restaurant", "restaurant_closed", "restaurant_paused", "unknown_item", "item_sold_out", "invalid_choices",
    "kitchen_full", "refused_by_restaurant", "not_accepted_in_time", "cancelled_by_restaurant", "no_courier",
    "address_not_found", "address_out_of_reach", "minimum_order_not_met",
    "insufficient_stock", "unknown_product", "price_changed", "payment_declined", "deadline_exceeded",
    "amount_below_minimum", "amount_not_payable", "payment_refused",
    "unknown_coupon", "coupon_expired", "coupon_exhausted", "coupon_minimum_not_met", "cancelled",
    "country_not_served", "food_not_offered",
})  # fmt: skip
"""Codes that metrics name; all others of participants count as "other"."""


def rejected(order_id: UUID, refusal: Rejected) -> Problem:
    """The answer to a request whose order was rejected."""
    status = STATUS_BY_CODE.get(refusal.code) or STATUS_BY_STEP.get(refusal.step, 409)
    headers = {}
    if refusal.code == "no_courier":
        headers = {"Retry-After": str(refusal.extra.get("retry_after_s", NO_COURIER_RETRY_AFTER_S))}
    extra = {"order_id": str(order_id), **refusal.extra}
    return Problem(status, refusal.code, refusal.detail, headers=headers, extra=extra)


def not_waiting() -> Problem:
    return Problem(409, "not_waiting", "The order's saga has ended, or is being worked on at this moment.")


def food_not_offered() -> Problem:
    wrong: FieldError = {"field": "kind", "message": "This shop does not deliver food."}
    return Problem(422, "food_not_offered", "This shop does not deliver food.", errors=[wrong])


def kitchen_has_begun() -> Problem:
    return Problem(409, "kitchen_has_begun", "The kitchen has begun; the order cannot be cancelled any more.")


def already_picked_up() -> Problem:
    return Problem(409, "already_picked_up", "The courier has the order; it cannot be cancelled any more.")


def moved_by_delivery() -> Problem:
    return Problem(409, "moved_by_delivery", "Its delivery moves an order of food, nobody else.")


def wrong_currency(currency: str, amount: str = "expected_total") -> Problem:
    wrong: FieldError = {"field": f"{amount}.currency", "message": f"This shop sells in {currency}."}
    return Problem(422, "invalid_request", f"{amount}.currency must be {currency}.", errors=[wrong])


def below_minimum(minimum: int, currency: str) -> Problem:
    detail = "The total is below the smallest amount that can be paid. Nothing was ordered."
    return Problem(422, "amount_below_minimum", detail, extra={"minimum": {"amount": minimum, "currency": currency}})


def country_not_served(country: str) -> Problem:
    wrong: FieldError = {"field": "address.country", "message": f"This shop does not ship to {country}."}
    return Problem(422, "country_not_served", f"This shop does not ship to {country}.", errors=[wrong])


def not_found(order_id: UUID) -> Problem:
    return Problem(404, "unknown_order", f"There is no order {order_id}.")


def illegal_transition(error: IllegalTransition) -> Problem:
    return Problem(409, "illegal_transition", str(error), extra={"state": error.before})


def being_cancelled() -> Problem:
    detail = "The order is being cancelled."
    return Problem(409, "illegal_transition", detail, extra={"state": State.CONFIRMED})


def refunded_in_full() -> Problem:
    detail = "The payment was refunded in full, so there is nothing to fulfil. Cancel the order instead."
    return Problem(409, "order_refunded", detail, extra={"state": State.CONFIRMED})
