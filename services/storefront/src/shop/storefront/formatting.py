"""How states, reasons and names of fields are written for people; shop.kit.formatting does amounts and times."""

from __future__ import annotations

STATE_LABELS = {
    "pending": "Being checked",
    "confirmed": "Confirmed",
    "fulfilled": "On its way",
    "delivered": "Delivered",
    "rejected": "Not possible",
    "cancelled": "Cancelled",
    "refunded": "Refunded",
    "partially_refunded": "Partly refunded",
}

REASONS = {
    "amount_below_minimum": "The total is below the smallest amount that can be paid by card. Nothing was charged.",
    "amount_not_payable": "The total cannot be paid by card in this currency. Nothing was charged.",
    "payment_refused": "The payment could not be made; the card was not declined. Nothing was charged.",
    "country_not_served": "This shop does not ship to that country. Nothing was charged.",
    "payment_declined": "The card was declined. Nothing was charged.",
    "insufficient_stock": "An article sold out while we were packing. Nothing was charged.",
    "deadline_exceeded": "We could not finish the order in time. Nothing was charged.",
}


def state_label(state: str) -> str:
    return STATE_LABELS.get(state, state.replace("_", " ").capitalize())


def reason_text(code: str) -> str:
    """A sentence for a customer; an unknown code is shown in words, never hidden."""
    return REASONS.get(code, f"{code.replace('_', ' ').capitalize()}.")


def label(name: str) -> str:
    """A field or category name as a heading: page_count gives Page count."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
