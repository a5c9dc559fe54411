"""How amounts, times and states are written for people."""

from __future__ import annotations

from datetime import UTC, datetime

MINOR_DIGITS = {"JPY": 0, "KRW": 0, "CLP": 0, "ISK": 0, "VND": 0, "BHD": 3, "KWD": 3, "OMR": 3, "TND": 3}
"""Digits after the decimal mark where ISO 4217 says other than two."""

SYMBOLS = {"EUR": "€", "USD": "$", "GBP": "£", "JPY": "¥", "INR": "₹", "PLN": "zł", "KRW": "₩"}

COMMA_COUNTRIES = frozenset("AT BE BR CZ DE DK ES FI FR GR HU IT LU NL NO PL PT RO SE SI SK".split())
"""Countries that write 1.234,50 € (amount first); all others write €1,234.50."""

NARROW_SPACE = "\N{NO-BREAK SPACE}"

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
    "payment_declined": "The card was declined. Nothing was charged.",
    "insufficient_stock": "An article sold out while we were packing. Nothing was charged.",
    "deadline_exceeded": "We could not finish the order in time. Nothing was charged.",
}


def format_money(amount: int, currency: str, country: str) -> str:
    """An amount of minor units as the country writes it: 129900, EUR, DE gives 1.299,00 €."""
    digits = MINOR_DIGITS.get(currency, 2)
    text = f"{abs(amount) / 10**digits:,.{digits}f}"
    sign = "−" if amount < 0 else ""
    symbol = SYMBOLS.get(currency)
    if country in COMMA_COUNTRIES:
        return f"{sign}{_swap_marks(text)}{NARROW_SPACE}{symbol or currency}"
    return f"{sign}{symbol}{text}" if symbol else f"{sign}{currency}{NARROW_SPACE}{text}"


def _swap_marks(text: str) -> str:
    return text.translate(str.maketrans(",.", ".,"))


def format_time(moment: datetime) -> str:
    """A UTC time to the minute, as 5 March 2026, 14:07 UTC."""
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y, %H:%M} UTC"


def format_date(moment: datetime) -> str:
    moment = moment.astimezone(UTC)
    return f"{moment.day} {moment:%B %Y}"


def state_label(state: str) -> str:
    return STATE_LABELS.get(state, state.replace("_", " ").capitalize())


def reason_text(code: str) -> str:
    """A sentence for a customer; an unknown code is shown in words, never hidden."""
    return REASONS.get(code, f"{code.replace('_', ' ').capitalize()}.")


def label(name: str) -> str:
    """A field or category name as a heading: page_count gives Page count."""
    words = name.replace("_", " ").replace("-", " ").strip()
    return words[:1].upper() + words[1:]
