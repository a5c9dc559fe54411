"""Opening hours: against the wall clock minute by minute, and the cases that other systems got wrong."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.restaurant.hours import DAY_MIN, DAYS, Closed, Hours, Open, Span, availability, minutes, read_hours

LONDON = ZoneInfo("Europe/London")
ZONES = [
    ZoneInfo(name)
    for name in ("Europe/London", "America/New_York", "America/Havana", "Africa/Cairo", "Australia/Lord_Howe", "UTC")
]
"""Havana and Cairo change at midnight, Lord Howe by half an hour."""
EVERY_DAY = tuple(range(7))

spans = st.builds(
    lambda opens, length: Span(opens, opens + length), st.integers(0, DAY_MIN - 1), st.integers(1, DAY_MIN)
)
days = st.lists(spans, max_size=3).map(tuple)
dates = st.dates(date(2026, 1, 1), date(2026, 12, 31))
some_hours = st.builds(
    Hours,
    st.sampled_from(ZONES),
    st.tuples(*[days] * 7),
    st.dictionaries(dates, days, max_size=3),
    st.frozensets(dates, max_size=3),
)
first, last = (datetime.combine(date(2026, month, day), time()) for month, day in ((1, 2), (12, 30)))
moments = st.datetimes(first, last).map(lambda at: at.replace(second=0, microsecond=0, tzinfo=UTC))


def weekly(*spans: Span, on: Sequence[int] = EVERY_DAY, zone: ZoneInfo = LONDON, **more: object) -> Hours:
    fields: dict[str, object] = {"special": {}, "closures": frozenset()} | more
    return Hours(zone, tuple(spans if day in on else () for day in EVERY_DAY), **fields)  # type: ignore[arg-type]


def local(text: str, zone: ZoneInfo = LONDON, fold: int = 0) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone, fold=fold).astimezone(UTC)


def open_by_the_wall_clock(hours: Hours, at: datetime) -> bool:
    """Whether the local time at ``at`` lies in a span, as a person with a watch decides."""
    wall = at.astimezone(hours.zone)
    return any(
        span.opens <= wall.hour * 60 + wall.minute + DAY_MIN * back < span.closes
        for back in (0, 1)
        for span in hours.spans_on(wall.date() - timedelta(days=back))
    )


def clocks_change_near(zone: ZoneInfo, at: datetime) -> bool:
    offsets = {(at + timedelta(hours=hours)).astimezone(zone).utcoffset() for hours in (-26, -2, 2, 26)}
    return len(offsets) > 1


@given(some_hours, moments)
def test_a_restaurant_is_open_when_the_wall_clock_says_so(hours: Hours, at: datetime) -> None:
    is_open = hours.interval_at(at) is not None
    if clocks_change_near(hours.zone, at):
        assert is_open or not open_by_the_wall_clock(hours, at)
    else:
        assert is_open == open_by_the_wall_clock(hours, at)


@given(some_hours, moments, st.integers(0, 7_200))
def test_list_and_order_agree_and_the_next_opening_is_one(hours: Hours, at: datetime, preparation_s: int) -> None:
    found = availability(hours, at, preparation_s)
    if isinstance(found, Open):
        assert at + timedelta(seconds=preparation_s) <= found.until
        assert hours.interval_at(found.until - timedelta(seconds=1)) is not None
    elif found.opens_at is not None:
        assert found.opens_at > at or hours.interval_at(at) is None
        assert isinstance(availability(hours, found.opens_at, preparation_s), Open)


@given(some_hours, moments)
@settings(max_examples=50)
def test_nothing_opens_before_the_next_opening(hours: Hours, at: datetime) -> None:
    found = availability(hours, at, 0)
    if isinstance(found, Closed):
        until = min(found.opens_at or at + timedelta(days=3), at + timedelta(days=3))
        while at < until:
            assert hours.interval_at(at) is None
            at += timedelta(minutes=7)


@given(some_hours, dates)
@settings(max_examples=50)
def test_a_closure_takes_away_the_openings_of_one_day_alone(hours: Hours, day: date) -> None:
    closed = Hours(hours.zone, hours.weekly, hours.special, hours.closures | {day})
    for offset in range(-3, 4):
        other = day + timedelta(days=offset)
        assert closed.spans_on(other) == (() if other == day else hours.spans_on(other))


def test_midnight_is_crossed() -> None:
    hours = weekly(Span.of("18:00", "02:00"), on=[4])
    for text, is_open in [
        ("2026-06-05T17:59", False), ("2026-06-05T18:00", True), ("2026-06-06T00:00", True),
        ("2026-06-06T01:59", True), ("2026-06-06T02:00", False), ("2026-06-05T01:00", False),
    ]:  # fmt: skip
        assert (hours.interval_at(local(text)) is not None) == is_open, text


def test_24_hours_have_no_gap_at_midnight_and_no_closing_time() -> None:
    hours = weekly(Span.of("00:00", "24:00"))
    for text in ("2026-06-05T23:59", "2026-06-06T00:00", "2026-06-06T03:00"):
        found = availability(hours, local(text), 3_600)
        assert isinstance(found, Open)
        assert found.closes_at is None


def test_two_openings_a_day_with_a_break() -> None:
    hours = weekly(Span.of("11:30", "14:30"), Span.of("17:00", "22:00"))
    assert availability(hours, local("2026-06-05T15:00"), 600) == Closed(local("2026-06-05T17:00"))
    assert availability(hours, local("2026-06-05T09:00"), 600) == Closed(local("2026-06-05T11:30"))
    assert availability(hours, local("2026-06-05T22:00"), 600) == Closed(local("2026-06-06T11:30"))


def test_the_last_order_is_ready_at_closing_time() -> None:
    hours = weekly(Span.of("18:00", "22:00"))
    last = local("2026-06-05T21:40")
    assert availability(hours, last, 1_200) == Open(local("2026-06-05T22:00"), local("2026-06-05T22:00"))
    later = availability(hours, last + timedelta(seconds=1), 1_200)
    assert later == Closed(local("2026-06-06T18:00")), "not this evening, though it is still open"


def test_an_opening_that_is_too_short_to_cook_is_skipped() -> None:
    hours = weekly(Span.of("09:00", "09:10"), Span.of("18:00", "22:00"))
    assert availability(hours, local("2026-06-05T08:00"), 1_200) == Closed(local("2026-06-05T18:00"))


def test_adjoining_and_overlapping_spans_are_one_opening() -> None:
    hours = weekly(Span.of("18:00", "01:00"), Span.of("00:30", "02:00"), Span.of("17:00", "18:00"))
    found = availability(hours, local("2026-06-05T17:30"), 600)
    assert isinstance(found, Open)
    assert found.closes_at == local("2026-06-06T02:00")


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_closed_today_closes_exactly_one_local_day(zone: ZoneInfo) -> None:
    """Not two: neither by the difference to UTC, nor by the hours after midnight."""
    around_the_clock = weekly(Span.of("00:00", "24:00"), zone=zone, closures=frozenset([date(2026, 6, 5)]))
    assert around_the_clock.interval_at(local("2026-06-04T23:59", zone)) is not None
    for hour in range(24):
        assert around_the_clock.interval_at(local(f"2026-06-05T{hour:02}:30", zone)) is None
    assert around_the_clock.interval_at(local("2026-06-06T00:00", zone)) is not None
    evening = weekly(Span.of("18:00", "02:00"), zone=zone, closures=frozenset([date(2026, 6, 5)]))
    assert evening.interval_at(local("2026-06-05T01:00", zone)) is not None, "Thursday's evening goes on"
    assert evening.interval_at(local("2026-06-05T19:00", zone)) is None
    assert evening.interval_at(local("2026-06-06T01:00", zone)) is None, "Friday's evening did not begin"
    assert evening.interval_at(local("2026-06-06T19:00", zone)) is not None


def test_special_dates_replace_the_week() -> None:
    special: Mapping[date, tuple[Span, ...]] = {
        date(2026, 12, 25): (),
        date(2026, 12, 31): (Span.of("17:00", "02:00"),),
    }
    hours = weekly(Span.of("12:00", "22:00"), special=special)
    assert availability(hours, local("2026-12-25T13:00"), 600) == Closed(local("2026-12-26T12:00"))
    assert hours.interval_at(local("2026-12-31T13:00")) is None
    assert hours.interval_at(local("2027-01-01T01:00")) is not None


def test_a_restaurant_that_never_opens_has_no_next_opening() -> None:
    assert availability(weekly(), local("2026-06-05T12:00"), 0) == Closed(None)


def test_a_skipped_hour_is_no_opening() -> None:
    """In London 01:00 to 02:00 does not exist on 29 March 2026."""
    inside = weekly(Span.of("01:10", "01:50"), on=[6])
    assert inside.interval_at(local("2026-03-29T02:10")) is None
    opens = weekly(Span.of("01:30", "05:00"), on=[6])
    interval = opens.interval_at(local("2026-03-29T03:00"))
    assert interval is not None
    assert (interval.start, interval.end - interval.start) == (local("2026-03-29T02:00"), timedelta(hours=3))
    closes = weekly(Span.of("22:00", "01:30"), on=[5])
    interval = closes.interval_at(local("2026-03-29T00:30"))
    assert interval is not None
    assert interval.end == local("2026-03-29T02:00"), "when the clocks change, not half an hour later"


def test_a_repeated_hour_is_open_both_times() -> None:
    """In London 01:00 to 02:00 happens twice on 25 October 2026."""
    hours = weekly(Span.of("22:00", "01:30"), on=[5])
    interval = hours.interval_at(local("2026-10-25T00:30"))
    assert interval is not None
    assert interval.end == local("2026-10-25T01:30", fold=1)
    assert interval.end - interval.start == timedelta(hours=4, minutes=30)
    opens = weekly(Span.of("01:30", "03:00"), on=[6])
    assert opens.next_opening(local("2026-10-24T12:00"), 0) == local("2026-10-25T01:30", fold=0)


def test_the_day_of_23_hours_and_the_one_of_25_are_whole() -> None:
    hours = weekly(Span.of("00:00", "24:00"), on=[6])
    for day, length_h in (("2026-03-29", 23), ("2026-10-25", 25)):
        interval = hours.interval_at(local(f"{day}T12:00"))
        assert interval is not None
        assert interval.end - interval.start == timedelta(hours=length_h)


@pytest.mark.parametrize("text", ["", "9:00", "09:60", "24:01", "25:00", "09.00", "0900", "-1:00", "٠٩:٠٠", "09:00:00"])
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no time"):
        minutes(text)


def test_equal_times_are_refused_because_they_are_ambiguous() -> None:
    with pytest.raises(ValueError, match="24 hours are 00:00 to 24:00"):
        Span.of("10:00", "10:00")
    assert Span.of("00:00", "24:00") == Span(0, DAY_MIN)
    assert Span.of("18:00", "00:00") == Span(18 * 60, DAY_MIN)


def test_stored_hours_are_read() -> None:
    document = {
        "weekly": [{"day": DAYS[0], "opens": "18:00", "closes": "02:00"}],
        "special": [{"date": "2026-12-25", "spans": []}],
    }
    hours = read_hours("Europe/London", document, [date(2026, 6, 1)])
    assert hours.spans_on(date(2026, 6, 8)) == (Span(18 * 60, 26 * 60),)
    assert hours.spans_on(date(2026, 6, 1)) == hours.spans_on(date(2026, 12, 25)) == ()


@pytest.mark.parametrize("zone", ZONES, ids=str)
def test_24_hours_have_no_closing_time_when_clocks_change_either(zone: ZoneInfo) -> None:
    hours = weekly(Span.of("00:00", "24:00"), zone=zone)
    for number in range(365):
        day = datetime(2026, 1, 1, 0, 30, tzinfo=UTC) + timedelta(days=number)
        if len({(day + timedelta(days=days)).astimezone(zone).utcoffset() for days in (-1, 0, 4)}) > 1:
            for hour in range(24):
                found = availability(hours, day + timedelta(hours=hour), 600)
                assert isinstance(found, Open)
                assert found.closes_at is None


def test_openings_that_are_too_short_are_not_looked_at_for_ever() -> None:
    """Six short spans on each day of a year are many, and whoever lists restaurants waits for it."""
    hours = weekly(*(Span(hour * 60, hour * 60 + 30) for hour in range(1, 24, 4)))
    assert availability(hours, local("2026-06-05T12:00"), 7_200) == Closed(None)
    long = Span.of("10:00", "16:00")
    later = weekly(*hours.weekly[0], special={date(2026, 6, 12): (long,)})
    assert availability(later, local("2026-06-05T12:00"), 7_200) == Closed(local("2026-06-12T10:00"))
    too_late = weekly(*hours.weekly[0], special={date(2026, 7, 12): (long,)})
    assert availability(too_late, local("2026-06-05T12:00"), 7_200) == Closed(None)
