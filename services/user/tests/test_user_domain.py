from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.ids import new_id
from shop.user import domain
from shop.user.domain import RefreshDecision, RefreshState, SigningKey, User

NOW = datetime(2026, 5, 1, tzinfo=UTC)
ROTATION = timedelta(days=30)


@given(st.integers(min_value=1, max_value=100_000))
def test_locks_grow_and_end(failures: int) -> None:
    lock_s = domain.lock_s(failures)
    assert (lock_s == 0) == (failures < domain.FREE_FAILURES)
    assert lock_s <= domain.lock_s(failures + 1) <= domain.MAX_LOCK_S


def refresh_state(
    *, used_s_ago: float | None = None, successor_used: bool = False, revoked: bool = False, left_s: float = 60
) -> RefreshState:
    user = User(new_id(), "ada@example.com", "Ada", "customer", NOW)
    used_at = None if used_s_ago is None else NOW - timedelta(seconds=used_s_ago)
    return RefreshState(new_id(), NOW + timedelta(seconds=left_s), revoked, used_at, successor_used, user)


@pytest.mark.parametrize(
    ("state", "verdict"),
    [
        (refresh_state(), RefreshDecision.ROTATE),
        (refresh_state(left_s=0), RefreshDecision.INVALID),
        (refresh_state(revoked=True), RefreshDecision.INVALID),
        (refresh_state(used_s_ago=1), RefreshDecision.REPEAT),
        (refresh_state(used_s_ago=1, successor_used=True), RefreshDecision.REUSED),
        (refresh_state(used_s_ago=domain.REFRESH_REPEAT_S + 1), RefreshDecision.REUSED),
        (refresh_state(used_s_ago=1, revoked=True), RefreshDecision.INVALID),
    ],
)
def test_the_decision_about_a_presented_refresh_token(state: RefreshState, verdict: RefreshDecision) -> None:
    assert domain.decide_refresh(state, NOW) is verdict


def key(activates_at: datetime) -> SigningKey:
    return SigningKey(new_id().hex, b"", b"", activates_at, activates_at)


def test_the_first_key_is_active_at_once() -> None:
    assert domain.current_key([], NOW) is None
    assert domain.next_activation([], NOW, ROTATION) == NOW


def test_the_next_key_is_made_ahead_of_its_use_and_once() -> None:
    first = key(NOW)
    lead = timedelta(seconds=domain.KEY_PUBLISH_LEAD_S)
    before = NOW + ROTATION - lead - timedelta(seconds=1)
    assert domain.next_activation([first], before, ROTATION) is None
    due = domain.next_activation([first], before + timedelta(seconds=1), ROTATION)
    assert due == NOW + ROTATION
    assert domain.next_activation([first, key(due)], NOW + ROTATION - timedelta(seconds=1), ROTATION) is None


def test_after_a_long_stop_the_next_key_is_still_published_ahead() -> None:
    late = NOW + ROTATION * 3
    assert domain.next_activation([key(NOW)], late, ROTATION) == late + timedelta(seconds=domain.KEY_PUBLISH_LEAD_S)


@given(st.integers(min_value=1, max_value=60), st.lists(st.integers(min_value=1, max_value=3_000), max_size=40))
def test_every_unexpired_token_has_its_key_published(days: int, pauses_minutes: list[int]) -> None:
    """Whenever replicas look after the keys, a token signed before is verifiable until it expires."""
    rotation, now, keys = timedelta(days=days), NOW, list[SigningKey]()
    signed: list[tuple[str, datetime]] = []
    for pause in pauses_minutes:
        retired = domain.retired_keys(keys, now)
        keys = [known for known in keys if known not in retired]
        activates_at = domain.next_activation(keys, now, rotation)
        keys += [key(activates_at)] if activates_at else []
        current = domain.current_key(keys, now)
        assert current is not None
        signed.append((current.kid, now + timedelta(seconds=domain.ACCESS_TOKEN_TTL_S)))
        published = {known.kid for known in keys}
        assert all(kid in published for kid, expires_at in signed if expires_at >= now)
        assert len(keys) <= 3
        now += timedelta(minutes=pause)
