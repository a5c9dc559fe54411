"""Accounts, sign-in throttling and the life of signing keys: rules without any input or output."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Literal
from uuid import UUID

MIN_PASSWORD_LENGTH = 10
MAX_PASSWORD_LENGTH = 128
MAX_ADDRESSES = 20

FREE_FAILURES = 5
"""Consecutive failed sign-ins before the address is locked."""
FIRST_LOCK_S = 2.0
MAX_LOCK_S = 60.0
"""Short on purpose: anybody who knows an email address could otherwise lock its owner out."""
FAILURE_MEMORY_S = 900.0

REFRESH_REPEAT_S = 10.0
"""How long a used refresh token may be used again, by a second tab or a retry after a lost response."""

ACCESS_TOKEN_TTL_S = 900
CLOCK_SKEW_S = 60
JWKS_MAX_AGE_S = 300
DELETED_USERS_S = ACCESS_TOKEN_TTL_S + CLOCK_SKEW_S
"""How long the id of a deleted user is kept: until the last access token has expired."""
MAX_DELETED_USERS = 10_000
"""Of the published ones, the latest first."""
KEY_PUBLISH_LEAD_S = 3_600
"""How long a key is in the JWKS before it signs tokens; far longer than the JWKS may be cached."""

Role = Literal["customer", "admin"]


@dataclass(frozen=True, slots=True)
class User:
    id: UUID
    email: str
    name: str
    role: Role
    created_at: datetime


@dataclass(frozen=True, slots=True)
class Account:
    """A user with the password hash."""

    user: User
    password_hash: str


@dataclass(frozen=True, slots=True)
class Address:
    id: UUID
    name: str
    street: str
    city: str
    postal_code: str
    country: str
    region: str = ""


@dataclass(frozen=True, slots=True)
class RefreshState:
    """The stored state of a refresh token."""

    family_id: UUID
    family_expires_at: datetime
    family_revoked: bool
    used_at: datetime | None
    successor_used: bool
    user: User


class RefreshDecision(StrEnum):
    ROTATE = "rotate"
    REPEAT = "repeat"
    REUSED = "reused"
    INVALID = "invalid"


@dataclass(frozen=True, slots=True)
class SigningKey:
    """An Ed25519 key; ``private_key`` is encrypted, ``public_key`` is the raw 32 bytes."""

    kid: str
    private_key: bytes
    public_key: bytes
    created_at: datetime
    activates_at: datetime


def lock_s(failures: int) -> float:
    """Seconds that an address is locked after ``failures`` consecutive failed sign-ins: 0, then doubling, capped."""
    excess = failures - FREE_FAILURES
    return 0.0 if excess < 0 else min(MAX_LOCK_S, FIRST_LOCK_S * 2.0 ** min(excess, 16))


def decide_refresh(token: RefreshState, now: datetime) -> RefreshDecision:
    """What to do with a presented refresh token.

    A used one is a sign of theft, unless it was used within REFRESH_REPEAT_S and its successor was not: then the same
    successor is returned again. The chain never forks, so reuse by a thief within that time is still detected.
    """
    if token.family_revoked or token.family_expires_at <= now:
        return RefreshDecision.INVALID
    if token.used_at is None:
        return RefreshDecision.ROTATE
    recent = (now - token.used_at).total_seconds() <= REFRESH_REPEAT_S
    return RefreshDecision.REPEAT if recent and not token.successor_used else RefreshDecision.REUSED


def by_activation(keys: Sequence[SigningKey]) -> list[SigningKey]:
    return sorted(keys, key=lambda key: (key.activates_at, key.kid))


def current_key(keys: Sequence[SigningKey], now: datetime) -> SigningKey | None:
    """The key that signs at ``now``: the one that was activated last."""
    active = [key for key in by_activation(keys) if key.activates_at <= now]
    return active[-1] if active else None


def retired_keys(keys: Sequence[SigningKey], now: datetime) -> list[SigningKey]:
    """Keys whose last token has expired, with clock skew and cached JWKS taken into account."""
    ordered = by_activation(keys)
    grace = timedelta(seconds=ACCESS_TOKEN_TTL_S + CLOCK_SKEW_S + JWKS_MAX_AGE_S)
    return [key for key, following in itertools.pairwise(ordered) if following.activates_at + grace < now]


def next_activation(keys: Sequence[SigningKey], now: datetime, rotation: timedelta) -> datetime | None:
    """When a key that has to be created at ``now`` becomes active; None while no new key is due.

    Without an active key: at once. Otherwise KEY_PUBLISH_LEAD_S ahead of the end of the current key's term.
    """
    current = current_key(keys, now)
    if current is None:
        return now
    if any(key.activates_at > now for key in keys):
        return None
    lead = min(timedelta(seconds=KEY_PUBLISH_LEAD_S), rotation / 2)
    term_ends = current.activates_at + rotation
    return max(term_ends, now + lead) if now >= term_ends - lead else None
