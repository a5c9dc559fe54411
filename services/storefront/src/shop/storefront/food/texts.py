"""Texts about food: when a restaurant opens, why an order was refused, and what to do then."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from shop.contracts.money import Money
from shop.kit.errors import Problem
from shop.kit.formatting import Formats, find_zone
from shop.storefront.error_texts import NOT_ORDERED, refusal_text

CART_KEPT = "Your cart is kept."
SECONDS_PER_MINUTE = 60
KM_M = 1_000

NO_COURIER_MINUTES = 5
"""What a customer is asked to wait for when the answer does not say how long."""

REFUSALS = {
    "restaurant_paused": "The restaurant takes no orders at the moment.",
    "kitchen_full": "The kitchen is full at the moment. Please try again in a few minutes.",
    "refused_by_restaurant": "The restaurant could not accept your order.",
    "not_accepted_in_time": "The restaurant did not accept your order in time.",
    "unknown_restaurant": "There is no such restaurant any more.",
    "unknown_item": "An item in your cart is no longer on the menu.",
    "item_sold_out": "An item in your cart is sold out.",
    "invalid_choices": "The options of an item in your cart have changed. Please remove it and add it again.",
    "address_not_found": "There is no such street or number in the town. Please check the address.",
    "address_out_of_reach": "The restaurant does not deliver to this address: it is too far away.",
    "minimum_order_not_met": "Your order is below the restaurant's minimum.",
    "food_not_offered": "This shop sells no food at the moment.",
    "kitchen_has_begun": "The kitchen has begun with your order, so it can no longer be cancelled.",
    "already_picked_up": "The courier has your order, so it can no longer be cancelled.",
}

REASONS = {
    "no_courier": "No courier was free in time. You were not charged, or your payment is refunded.",
    "cancelled_by_restaurant": "The restaurant cancelled your order. Your payment is refunded in full.",
    "restaurant_closed": "The restaurant closed before your order was accepted. You were not charged.",
    **{code: f"{text} You were not charged." for code, text in REFUSALS.items() if "your cart" not in text},
    "food_not_offered": "This shop sells no food any more. Your payment is refunded in full.",
    "item_sold_out": "An item of your order is sold out. You were not charged.",
    "unknown_item": "An item of your order is no longer on the menu. You were not charged.",
}
"""Why an order ended, for its page."""


def distance_text(distance_m: int) -> str:
    """1.2 km, or 340 m."""
    return f"{distance_m / KM_M:.1f} km" if distance_m >= KM_M else f"{round(distance_m, -1)} m"


def minutes_text(seconds: float) -> str:
    """At least 1 min."""
    return f"{max(1, math.ceil(seconds / SECONDS_PER_MINUTE))} min"


def opens_text(written: Formats, opens_at: datetime | None, now: datetime, zone: str = "") -> str:
    """When it opens: "Opens at 18:00", "Opens tomorrow at 11:00", "Opens on Monday at 11:00"."""
    if opens_at is None:
        return "Closed"
    return f"Opens {when_text(written, opens_at, now, zone)}"


def when_text(written: Formats, moment: datetime, now: datetime, zone: str = "") -> str:
    """A time of the days to come: "at 18:00", "tomorrow at 11:00", "on Monday at 11:00", or the whole date."""
    place = _zone(written, zone)
    days = (moment.astimezone(place).date() - now.astimezone(place).date()).days
    at = f"at {written.clock(moment, place.key)}"
    if days <= 0:
        return at
    if days == 1:
        return f"tomorrow {at}"
    return f"on {written.weekday(moment, place.key)} {at}" if days < timedelta(weeks=1).days else written.moment(moment)


def _zone(written: Formats, zone: str) -> ZoneInfo:
    try:
        return find_zone(zone) if zone else written.zone
    except ValueError:
        return written.zone


def refusal(problem: Problem, written: Formats, now: datetime, names: Mapping[str, str]) -> str:
    """Why an order was refused, for the checkout page; `names` are the cart's items by id."""
    extra = problem.extra
    if problem.code == "no_courier":
        return f"No courier is free at the moment. {NOT_ORDERED} Please try again in {retry_minutes(problem)} min."
    if problem.code == "price_changed":
        before, now_total = (_money(written, extra[name]) for name in ("expected_total", "total"))
        return f"The total has changed from {before} to {now_total}. {NOT_ORDERED} Please review it and try again."
    if problem.code == "restaurant_closed":
        opens = _moment(extra.get("opens_at"))
        again = f" It opens {when_text(written, opens, now)}." if opens else ""
        return f"The restaurant is closed now.{again} {NOT_ORDERED}"
    if problem.code == "minimum_order_not_met" and "minimum_order" in extra:
        return f"The restaurant's minimum order is {_money(written, extra['minimum_order'])}. {NOT_ORDERED}"
    named = names.get(str(extra.get("item_id", "")))
    if named and problem.code in {"item_sold_out", "unknown_item"}:
        state = "sold out" if problem.code == "item_sold_out" else "no longer on the menu"
        return f"“{named}” is {state}. {NOT_ORDERED} Please update your cart."
    if problem.code in REFUSALS:
        return f"{REFUSALS[problem.code]} {NOT_ORDERED}"
    return refusal_text(str(extra.get("decline_code", problem.code)), problem.detail)


def retry_minutes(problem: Problem) -> int:
    """How long to wait before the next try, in minutes."""
    given = {name.lower(): value for name, value in problem.headers.items()}.get("retry-after", "")
    seconds = int(given) if given.isdecimal() else NO_COURIER_MINUTES * SECONDS_PER_MINUTE
    return max(1, math.ceil(seconds / SECONDS_PER_MINUTE))


def _money(written: Formats, value: Any) -> str:
    money = Money.model_validate(value)
    return written.money(money.amount, money.currency)


def _moment(value: Any) -> datetime | None:
    try:
        return datetime.fromisoformat(str(value))
    except ValueError:
        return None
