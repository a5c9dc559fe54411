"""Texts for states, reasons and field names; amounts and times are written by shop.kit.formatting."""

from __future__ import annotations

STATE_LABELS = {
    "pending": "Pending",
    "confirmed": "Confirmed",
    "fulfilled": "Shipped",
    "delivered": "Delivered",
    "rejected": "Not completed",
    "cancelled": "Cancelled",
    "refunded": "Refunded",
    "partially_refunded": "Partially refunded",
}

REASONS = {
    "amount_below_minimum": "The total is below the minimum for card payments. You were not charged.",
    "amount_not_payable": "The total cannot be paid by card in this currency. You were not charged.",
    "payment_refused": "The payment could not be processed. Your card was not declined, and you were not charged.",
    "country_not_served": "This shop does not ship to that country. You were not charged.",
    "payment_declined": "Your card was declined. You were not charged.",
    "insufficient_stock": "An item sold out before your order was confirmed. You were not charged.",
    "deadline_exceeded": "The order could not be completed in time. You were not charged.",
}


def state_label(state: str) -> str:
    return STATE_LABELS.get(state, state.replace("_", " ").capitalize())


def reason_text(code: str) -> str:
    """A sentence for customers; an unknown code is shown as words."""
    return REASONS.get(code, f"{code.replace('_', ' ').capitalize()}.")


def label(name: str) -> str:
    """A field or category name as a heading: page_count becomes Page count."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]


def age_text(seconds: float) -> str:
    """An age in its largest unit: 90 becomes 1 min."""
    for unit, length_s in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= length_s:
            return f"{int(seconds // length_s)} {unit}"
    return f"{int(seconds)} s"
