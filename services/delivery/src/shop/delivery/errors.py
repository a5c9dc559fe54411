"""The problems that delivery answers with; their codes are part of the API."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from shop.delivery.domain import State
from shop.kit.errors import Problem


def unknown_delivery(order_id: UUID) -> Problem:
    return Problem(404, "unknown_delivery", f"You have no delivery of order {order_id}.")


def not_a_courier() -> Problem:
    return Problem(404, "not_a_courier", "You are not a courier of this shop.")


def courier_busy() -> Problem:
    detail = "The courier carries more than fits into this vehicle."
    return Problem(409, "courier_busy", detail)


def illegal_transition(state: State, allowed: list[str]) -> Problem:
    extra = {"state": state, "actions": allowed}
    return Problem(409, "illegal_transition", f"This is not possible while the delivery is {state}.", extra=extra)


def not_ready() -> Problem:
    return Problem(409, "not_ready", "The kitchen is not ready yet.")


def wrong_code(left: int) -> Problem:
    return Problem(422, "wrong_code", "This is not the customer's code.", extra={"attempts_left": left})


def too_many_wrong_codes(until: datetime, now: datetime) -> Problem:
    wait_s = max(1, round((until - now).total_seconds()))
    detail = f"Too many wrong codes; try again in {wait_s} s."
    return Problem(429, "too_many_wrong_codes", detail, headers={"Retry-After": str(wait_s)})
