"""Opening hours in a restaurant's own time zone. Pure: no input or output.

A span belongs to the local date on which it begins, also when it ends after midnight. Special dates replace the weekly
spans of their date, and a closure removes those of its date: exactly one day's, whatever its length.

Where clocks change, a span is one stretch of time that contains every moment whose local time lies in it: an opening
time that exists twice is the first one, a closing time that exists twice is the second one, and a time that is skipped
is the moment at which the clocks change.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple
from zoneinfo import ZoneInfo

DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
DAY_MIN = 24 * 60
MAX_SPANS_PER_DAY = 6
LOOK_AHEAD_DAYS = 2
"""How far an interval without an end is followed. No preparation takes as long."""
HORIZON_DAYS = 366
"""How far the next opening is looked for."""
MAX_SHORT_OPENINGS = 64
"""Openings that are too short for an order, after which the next one is no longer looked for: more than a week of
them, even with MAX_SPANS_PER_DAY on each day."""


class Interval(NamedTuple):
    """From ``start`` until before ``end``, in UTC."""

    start: datetime
    end: datetime


@dataclass(frozen=True, slots=True)
class Span:
    """In minutes after the local midnight that the day begins with; ``closes`` may lie on the next day."""

    opens: int
    closes: int

    def __post_init__(self) -> None:
        if not 0 <= self.opens < DAY_MIN or not self.opens < self.closes <= self.opens + DAY_MIN:
            raise ValueError("a span begins within its day and lasts at most 24 hours")

    @classmethod
    def of(cls, opens: str, closes: str) -> Span:
        """From local times such as 18:00 and 02:00; ValueError for equal ones: 24 hours are 00:00 to 24:00."""
        begin, end = minutes(opens), minutes(closes)
        if begin == end:
            raise ValueError("opening and closing time are equal; 24 hours are 00:00 to 24:00")
        return cls(begin, end if end > begin else end + DAY_MIN)


def minutes(text: str) -> int:
    """Minutes after midnight of HH:MM, up to 24:00; ValueError for anything else."""
    hour, colon, minute = text.partition(":")
    if len(text) != 5 or not colon or not (hour + minute).isascii() or not (hour + minute).isdigit():
        raise ValueError(f"{text!r} is no time such as 18:30")
    total = int(hour) * 60 + int(minute)
    if int(minute) > 59 or total > DAY_MIN:
        raise ValueError(f"{text!r} is no time of a day")
    return total


@dataclass(frozen=True)
class Hours:
    """``weekly`` has the spans of Monday to Sunday."""

    zone: ZoneInfo
    weekly: tuple[tuple[Span, ...], ...]
    special: Mapping[date, tuple[Span, ...]]
    closures: frozenset[date]

    def spans_on(self, day: date) -> tuple[Span, ...]:
        """The spans that begin on the local date ``day``."""
        if day in self.closures:
            return ()
        return self.special.get(day, self.weekly[day.weekday()])

    def interval_at(self, at: datetime) -> Interval | None:
        """The whole time without a break that the restaurant is open around ``at``; None when it is closed.

        It is followed into the past for a day and into the future for at least LOOK_AHEAD_DAYS, also when a day has 23
        hours.
        """
        today = at.astimezone(self.zone).date()
        days = range(-1, LOOK_AHEAD_DAYS + 2)
        found = sorted(interval for offset in days for interval in self._intervals(today + timedelta(days=offset)))
        around = [interval for interval in found if interval.start <= at < interval.end]
        if not around:
            return None
        start, end = min(one.start for one in around), max(one.end for one in around)
        for interval in found:
            if start < interval.start <= end:
                end = max(end, interval.end)
        return Interval(start, end)

    def next_opening(self, after: datetime, least_s: float) -> datetime | None:
        """The start of the first opening at or after ``after`` that lasts at least ``least_s`` seconds; None when there
        is none within HORIZON_DAYS, or MAX_SHORT_OPENINGS come before it."""
        today = after.astimezone(self.zone).date()
        opening: Interval | None = None
        left = MAX_SHORT_OPENINGS
        for offset in range(-1, HORIZON_DAYS + 1):
            for interval in sorted(self._intervals(today + timedelta(days=offset))):
                if opening is not None and interval.start <= opening.end:
                    opening = Interval(opening.start, max(opening.end, interval.end))
                else:
                    opening, left = interval, left - 1
                if opening.start >= after and (opening.end - opening.start).total_seconds() >= least_s:
                    return opening.start
            if left <= 0:
                return None
        return None

    def _intervals(self, day: date) -> Iterator[Interval]:
        for span in self.spans_on(day):
            start = _moment(day, span.opens, self.zone, closing=False)
            end = _moment(day, span.closes, self.zone, closing=True)
            if start < end:
                yield Interval(start, end)


class Open(NamedTuple):
    """``closes_at``: when the restaurant closes; None when that is not within LOOK_AHEAD_DAYS.

    ``until`` is the same, but never None: when what is ordered now has to be ready.
    """

    until: datetime
    closes_at: datetime | None


class Closed(NamedTuple):
    """``opens_at``: when an order is possible again; None when that is not within HORIZON_DAYS."""

    opens_at: datetime | None


def availability(hours: Hours, at: datetime, preparation_s: float) -> Open | Closed:
    """Whether an order is possible at ``at``: what is ordered has to be ready before the restaurant closes."""
    interval = hours.interval_at(at)
    if interval is not None and at + timedelta(seconds=preparation_s) <= interval.end:
        endless = interval.end > at + timedelta(days=LOOK_AHEAD_DAYS)
        return Open(interval.end, None if endless else interval.end)
    return Closed(hours.next_opening(at if interval is None else interval.end, preparation_s))


def _moment(day: date, minute: int, zone: ZoneInfo, *, closing: bool) -> datetime:
    """The moment of a local time, in UTC."""
    days, rest = divmod(minute, DAY_MIN)
    wall = datetime.combine(day + timedelta(days=days), time(*divmod(rest, 60)), zone)
    moment = wall.astimezone(UTC)
    if moment.astimezone(zone).replace(tzinfo=None) != wall.replace(tzinfo=None):
        return _change_between(wall.replace(fold=1).astimezone(UTC), moment, zone)
    return wall.replace(fold=1).astimezone(UTC) if closing else moment


def _change_between(before: datetime, after: datetime, zone: ZoneInfo) -> datetime:
    """The moment between the two at which the clocks of ``zone`` change, to the second."""
    offset = after.astimezone(zone).utcoffset()
    low, high = 0, int((after - before).total_seconds())
    while high - low > 1:
        middle = (low + high) // 2
        if (before + timedelta(seconds=middle)).astimezone(zone).utcoffset() == offset:
            high = middle
        else:
            low = middle
    return before + timedelta(seconds=high)


def read_hours(time_zone: str, document: Mapping[str, Any], closures: Collection[date]) -> Hours:
    """The hours of a stored document: ``weekly`` spans with their day, ``special`` dates with their spans."""
    weekly = tuple(
        tuple(Span.of(span["opens"], span["closes"]) for span in document["weekly"] if span["day"] == day)
        for day in DAYS
    )
    special = {
        date.fromisoformat(one["date"]): tuple(Span.of(span["opens"], span["closes"]) for span in one["spans"])
        for one in document["special"]
    }
    return Hours(ZoneInfo(time_zone), weekly, special, frozenset(closures))
