"""Levels, points, streaks, names, avatars and session tokens."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from uuid import UUID
from xml.etree import ElementTree
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.text import one_line
from shop.player import domain
from shop.player.avatar import avatar
from shop.player.sessions import SESSION_LIFETIME, Session, SessionTokens, new_session

XP = st.integers(min_value=0, max_value=2**63 - 1)
NOW = datetime(2026, 6, 5, 12, 0, 0, 123_456, tzinfo=UTC)


def test_levels_are_at_their_stated_points() -> None:
    assert [domain.level_xp(level) for level in range(1, 6)] == [0, 100, 300, 600, 1_000]
    assert [domain.level_of(xp) for xp in (-50, 0, 99, 100, 299, 300, 999, 1_000)] == [1, 1, 1, 2, 2, 3, 4, 5]


@given(XP)
def test_a_level_is_the_highest_that_the_points_suffice_for(xp: int) -> None:
    level = domain.level_of(xp)
    assert domain.level_xp(level) <= xp < domain.level_xp(level + 1)


@given(st.integers(-(2**70), 2**70))
def test_an_order_gives_between_20_and_520_points(whole_units: int) -> None:
    assert domain.order_xp(whole_units) == 20 + sorted([0, whole_units, 500])[1]


@given(st.integers(0, 2**63 - 1), st.integers(0, 2_000))
def test_results_of_a_day_never_exceed_its_limit(score: int, earned: int) -> None:
    xp = domain.result_xp(score, earned)
    assert 0 <= xp <= 100
    assert xp == 0 or earned + xp <= 1_000
    assert xp <= score // 10


@given(st.uuids(), st.uuids())
def test_a_default_name_follows_from_the_id_and_is_a_legal_name(one: UUID, other: UUID) -> None:
    name = domain.default_name(one)
    assert name == domain.default_name(UUID(str(one))) == one_line(name)
    assert domain.MIN_NAME_CHARACTERS <= len(name) <= domain.MAX_NAME_CHARACTERS
    assert name != domain.PRIVATE_NAME


@given(st.uuids())
def test_an_avatar_is_a_symmetric_drawing_without_anything_active(player: UUID) -> None:
    root = ElementTree.fromstring(avatar(player))
    assert {element.tag.rpartition("}")[2] for element in root.iter()} == {"svg", "rect", "g"}
    cells = {(element.get("x"), element.get("y")) for group in root if group.get("fill") for element in group}
    mirrored = {(str(96 - 16 - int(x or 0)), y) for x, y in cells}
    assert cells == mirrored
    assert cells


@pytest.mark.parametrize(
    ("days", "last", "today", "shown"),
    [
        (3, "2026-06-05", "2026-06-05", 3),
        (3, "2026-06-04", "2026-06-05", 3),
        (3, "2026-06-03", "2026-06-05", 0),
        (3, "2026-06-06", "2026-06-05", 3),
        (0, None, "2026-06-05", 0),
    ],
)
def test_a_streak_is_over_after_a_day_without(days: int, last: str | None, today: str, shown: int) -> None:
    assert domain.streak_on(date.fromisoformat(today), days, date.fromisoformat(last) if last else None) == shown


@given(st.uuids(), st.text(max_size=40))
def test_a_session_is_read_back_with_the_same_secret_alone(player: UUID, game: str) -> None:
    session = new_session(player, game, NOW)
    token = SessionTokens("secret").write(session)
    assert SessionTokens("secret").read(token) == session
    assert session.expires_at - session.issued_at == SESSION_LIFETIME == timedelta(minutes=10)
    assert 0 <= session.seed < 2**32
    for other in ("secret ", ""):
        with pytest.raises(ValueError, match="not signed"):
            SessionTokens(other).read(token)


def test_without_a_secret_no_other_process_can_sign() -> None:
    session = new_session(UUID(int=1), "stack", NOW)
    with pytest.raises(ValueError, match="not signed"):
        SessionTokens("").read(SessionTokens("").write(session))


TOKENS = SessionTokens("secret")
GOOD = TOKENS.write(new_session(UUID(int=1), "stack", NOW))


@given(st.text(max_size=80) | st.builds(lambda at, by: GOOD[:at] + by + GOOD[at + 1 :], st.integers(0, 200), st.text()))
def test_any_other_text_is_no_token(text: str) -> None:
    if text == GOOD:
        return
    try:
        session: Session | None = TOKENS.read(text)
    except ValueError:
        session = None
    assert session is None or session == TOKENS.read(GOOD)


@pytest.mark.parametrize(
    ("zone", "at", "expected"),
    [
        ("UTC", "2026-06-05T00:00Z", "2026-06-06T00:00Z"),
        ("Pacific/Kiritimati", "2026-06-05T09:59Z", "2026-06-05T10:00Z"),
        ("Pacific/Kiritimati", "2026-06-05T10:00Z", "2026-06-06T10:00Z"),
        ("Europe/Berlin", "2026-10-24T23:00Z", "2026-10-25T23:00Z"),
        ("America/Santiago", "2026-09-06T02:00Z", "2026-09-06T04:00Z"),
    ],
    ids=["a whole day", "the last minute", "the first moment", "a long day", "midnight is skipped"],
)
def test_a_day_is_over_at_the_players_midnight(zone: str, at: str, expected: str) -> None:
    moment = datetime.fromisoformat(at)
    after = domain.next_day(moment, ZoneInfo(zone))
    assert after == datetime.fromisoformat(expected)
    days = [domain.local_day(one, ZoneInfo(zone)) for one in (moment, after - timedelta(microseconds=1), after)]
    assert days[0] == days[1] == days[2] - timedelta(days=1)


def test_a_zone_holds_from_its_moment_on() -> None:
    zones = domain.Zones("Asia/Tokyo", None, NOW)
    assert [zones.at(NOW - timedelta(microseconds=1)), zones.at(NOW)] == [None, "Asia/Tokyo"]
    assert domain.Zones("Asia/Tokyo").at(NOW) == "Asia/Tokyo"
