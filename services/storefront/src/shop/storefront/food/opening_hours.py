"""Opening hours as staff types them, "11:30-14:30, 18:00-01:00", and as the restaurant service has them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime

from pydantic_core import PydanticCustomError

from shop.kit.formatting import find_zone
from shop.storefront.food.schemas import OpeningHours, Span

WEEKDAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
MAX_SPANS = 6
"""Of one day."""
CLOSED = "closed"
WRONG_TIMES = "Enter times such as 11:30-14:30, 18:00-01:00, or leave it empty for closed."

TIMES = re.compile(
    r"([01]?[0-9]|2[0-3])(?:[:.]([0-5][0-9]))?\s*[-\u2010-\u2015]\s*(24|[01]?[0-9]|2[0-3])(?:[:.]([0-5][0-9]))?"
)
SEPARATOR = re.compile(r"[,;]")


def parse_spans(text: str) -> list[Span]:
    """The spans of a day; none for "" and "closed". Raises ValueError with a text for the form."""
    if text.strip().casefold() in {"", CLOSED}:
        return []
    parts = [part.strip() for part in SEPARATOR.split(text) if part.strip()]
    if len(parts) > MAX_SPANS:
        raise ValueError(f"At most {MAX_SPANS} times a day.")
    return [_span(part) for part in parts]


def _span(text: str) -> Span:
    found = TIMES.fullmatch(text)
    if found is None:
        raise ValueError(WRONG_TIMES)
    hour, minute, to_hour, to_minute = (int(part or 0) for part in found.groups())
    opens, closes = f"{hour:02}:{minute:02}", f"{to_hour:02}:{to_minute:02}"
    if closes > "24:00":
        raise ValueError(WRONG_TIMES)
    if opens == closes:
        raise ValueError("Opening and closing time are the same. For the whole day enter 00:00-24:00.")
    return Span(opens=opens, closes=closes)


def spans_text(spans: Sequence[Span]) -> str:
    """As `parse_spans` reads it; "" for none."""
    return ", ".join(f"{span.opens}-{span.closes}" for span in spans)


def typed_spans(text: str) -> list[Span]:
    """`parse_spans` for a form's field: its error is a PydanticCustomError ``opening_hours``."""
    try:
        return parse_spans(text)
    except ValueError as error:
        raise PydanticCustomError("opening_hours", "{text}", {"text": str(error)}) from None


def day_texts(hours: OpeningHours) -> dict[str, str]:
    """The text of each weekday."""
    return {day: spans_text([span for span in hours.weekly if span.day == day]) for day in WEEKDAYS}


def today_in(zone: str, now: datetime | None = None) -> date:
    """The local date of a restaurant; in UTC for an unknown time zone."""
    moment = now or datetime.now(UTC)
    try:
        return moment.astimezone(find_zone(zone) if zone else UTC).date()
    except ValueError:
        return moment.date()
