"""The problems that restaurant answers with; their codes are part of the API."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from shop.kit.errors import INVALID_REQUEST, Problem, invalid_field
from shop.restaurant.domain import IllegalTransition, closed


def unknown_restaurant() -> Problem:
    return Problem(404, "unknown_restaurant", "There is no such restaurant.")


def restaurant_closed(opens_at: datetime | None) -> Problem:
    refusal = closed(opens_at)
    return Problem(404, refusal.code, refusal.detail, extra=refusal.extra)


def restaurant_paused() -> Problem:
    return Problem(404, "restaurant_paused", "The restaurant takes no orders at the moment.")


def unknown_item(item_id: UUID) -> Problem:
    return Problem(404, "unknown_item", "The menu has no such item.", extra={"item_id": str(item_id)})


def unknown_ticket(order_id: UUID) -> Problem:
    return Problem(404, "unknown_ticket", "The restaurant has no such order.", extra={"order_id": str(order_id)})


def unknown_user() -> Problem:
    return Problem(404, "unknown_user", "This user's account was deleted.")


def staff_only() -> Problem:
    return Problem(403, "staff_only", "Only the restaurant's staff may do this.")


def illegal_transition(error: IllegalTransition) -> Problem:
    return Problem(409, "illegal_transition", str(error), extra={"state": error.before})


def not_paid() -> Problem:
    return Problem(409, "not_paid", "The order is not confirmed yet.")


def decided_too_late() -> Problem:
    return Problem(409, "not_accepted_in_time", "The time to accept this order is over.")


def precondition_required() -> Problem:
    return Problem(428, "precondition_required", "Send If-Match with the ETag of what you read, or * to overwrite.")


def changed_meanwhile() -> Problem:
    return Problem(412, "changed_meanwhile", "Somebody has changed this meanwhile. Read it again first.")


def too_many_restaurants(limit: int) -> Problem:
    return Problem(409, "too_many_restaurants", f"A user works at {limit} restaurants at most.")


def too_many_closures(limit: int) -> Problem:
    return Problem(409, "too_many_closures", f"A restaurant has {limit} closures at most.")


def wrong_currency(currency: str) -> Problem:
    return Problem(422, "invalid_request", INVALID_REQUEST, errors=[
        {"field": "price.currency", "message": f"This shop sells in {currency}."}
    ])  # fmt: skip


def invalid_menu(messages: Sequence[str]) -> Problem:
    return Problem(
        422, "invalid_request", INVALID_REQUEST, errors=[{"field": "sections", "message": one} for one in messages]
    )


def address_not_found() -> Problem:
    return invalid_field("address.street", "The town has no such address; send a position.")
