"""Seasons, and places as bytes."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from shop.leaderboard.domain import (
    FIRST_MOMENT,
    LAST_MOMENT,
    MAX_SCORE,
    Place,
    Reset,
    as_utc,
    in_range,
    member,
    microseconds,
    read_member,
    season_of,
)

PLAYER = UUID(int=7)
BERLIN = ZoneInfo("Europe/Berlin")
SANTIAGO = ZoneInfo("America/Santiago")
"""Its clocks go from 23:59:59 to 01:00 in spring, and from midnight back to 23:00 in autumn."""
ZONES = st.sampled_from(
    ["UTC", "Europe/Berlin", "America/Santiago", "Pacific/Kiritimati", "America/Havana", "Asia/Kathmandu"]
)
PLACES = st.builds(
    Place,
    st.integers(-MAX_SCORE, MAX_SCORE),
    st.integers(0, microseconds(LAST_MOMENT)),
    st.integers(1, MAX_SCORE),
)
MOMENTS = st.datetimes(
    FIRST_MOMENT.replace(tzinfo=None),
    datetime(2100, 1, 1),  # noqa: DTZ001 - Hypothesis adds the zone
    timezones=st.just(UTC),
)


@given(PLACES, PLACES)
def test_bytes_are_ordered_as_places_are(first: Place, second: Place) -> None:
    assert (first.encode() < second.encode()) == (first < second)
    assert read_member(member(first, PLAYER)) == (first, PLAYER)


@given(PLACES, st.uuids())
def test_a_member_is_read_as_it_was_written(place: Place, player_id: UUID) -> None:
    assert read_member(member(place, player_id)) == (place, player_id)
    assert microseconds(place.at) == place.at_us


@pytest.mark.parametrize("length", [0, 39, 41])
def test_a_member_of_another_length_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="a member has 40 bytes"):
        read_member(b"x" * length)


@pytest.mark.parametrize(
    ("reset", "zone", "at", "name", "starts_at", "ends_at"),
    [
        ("daily", BERLIN, "2026-11-29T22:59:59.999999Z", "2026-11-29", "2026-11-28T23:00Z", "2026-11-29T23:00Z"),
        ("daily", BERLIN, "2026-11-29T23:00:00Z", "2026-11-30", "2026-11-29T23:00Z", "2026-11-30T23:00Z"),
        # A day of 23 hours and one of 25.
        ("daily", BERLIN, "2026-03-29T21:59:59.999Z", "2026-03-29", "2026-03-28T23:00Z", "2026-03-29T22:00Z"),
        ("daily", BERLIN, "2026-10-25T22:59:59.999Z", "2026-10-25", "2026-10-24T22:00Z", "2026-10-25T23:00Z"),
        # A day that begins at one o'clock.
        ("daily", SANTIAGO, "2026-09-06T04:00:00Z", "2026-09-06", "2026-09-06T04:00Z", "2026-09-07T03:00Z"),
        ("daily", SANTIAGO, "2026-09-06T03:59:59.999Z", "2026-09-05", "2026-09-05T04:00Z", "2026-09-06T04:00Z"),
        ("weekly", BERLIN, "2026-01-01T12:00Z", "2026-W01", "2025-12-28T23:00Z", "2026-01-04T23:00Z"),
        ("weekly", BERLIN, "2027-01-03T22:59:59.999Z", "2026-W53", "2026-12-27T23:00Z", "2027-01-03T23:00Z"),
        ("monthly", BERLIN, "2026-12-31T23:00:00Z", "2027-01", "2026-12-31T23:00Z", "2027-01-31T23:00Z"),
        ("monthly", BERLIN, "2028-02-29T22:59:59.999Z", "2028-02", "2028-01-31T23:00Z", "2028-02-29T23:00Z"),
    ],
)
def test_a_score_belongs_to_the_season_of_its_moment(
    reset: str, zone: ZoneInfo, at: str, name: str, starts_at: str, ends_at: str
) -> None:
    season = season_of(Reset(reset), zone, datetime.fromisoformat(at))
    assert season == (name, datetime.fromisoformat(starts_at), datetime.fromisoformat(ends_at))


@settings(max_examples=40)
@given(MOMENTS, ZONES, st.sampled_from([Reset.DAILY, Reset.WEEKLY, Reset.MONTHLY]))
def test_seasons_follow_each_other_without_a_gap(at: datetime, zone: str, reset: Reset) -> None:
    season = season_of(reset, ZoneInfo(zone), at)
    assert season.starts_at is not None
    assert season.ends_at is not None
    assert season.starts_at <= at < season.ends_at
    following = season_of(reset, ZoneInfo(zone), season.ends_at)
    assert following.starts_at == season.ends_at
    assert following.name > season.name
    assert season_of(reset, ZoneInfo(zone), season.ends_at - timedelta(microseconds=1)) == season


def test_a_board_that_never_resets_has_one_season() -> None:
    assert season_of(Reset.NEVER, BERLIN, FIRST_MOMENT) == ("all", None, None)


def test_times_at_the_ends_of_the_calendar_are_out_of_range() -> None:
    for text in ("0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "0001-01-01T00:00:00"):
        assert not in_range(datetime.fromisoformat(text))
    assert in_range(datetime.fromisoformat("2000-01-01T00:00:00"))
    assert as_utc(datetime.fromisoformat("2026-11-29T12:00:00")) == datetime(2026, 11, 29, 12, tzinfo=UTC)
