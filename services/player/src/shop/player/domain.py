"""Levels, experience points, streaks and names. Pure: no input or output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from hashlib import sha256
from math import isqrt
from typing import NamedTuple
from uuid import UUID

XP_STEP = 50
"""Level n needs XP_STEP * n * (n - 1) experience points."""
REWARDS: Mapping[int, int] = {5: 10, 10: 15, 15: 20, 20: 25}
"""Percent off one order, by the level that is reached for the first time."""
REWARD_LIFETIME = timedelta(days=90)

ORDER_XP = 20
"""For any confirmed order, beside one per whole currency unit of its total."""
MAX_XP_OF_A_TOTAL = 500
SCORE_PER_XP = 10
MAX_XP_OF_A_RESULT = 100
MAX_RESULT_XP_PER_DAY = 1_000
MAX_XP_OF_AN_ACHIEVEMENT = 10_000

MIN_NAME_CHARACTERS = 2
MAX_NAME_CHARACTERS = 30
ADJECTIVES = (
    "Agile", "Bold", "Brave", "Bright", "Calm", "Clever", "Curious", "Eager", "Fearless", "Friendly", "Gentle", "Happy",
    "Humble", "Jolly", "Keen", "Kind", "Lively", "Lucky", "Merry", "Mighty", "Nimble", "Patient", "Polite", "Quick",
    "Quiet", "Sharp", "Silent", "Steady", "Swift", "Tidy", "Wise", "Witty",
)  # fmt: skip
ANIMALS = (
    "Badger", "Bear", "Beaver", "Crane", "Dolphin", "Eagle", "Falcon", "Ferret", "Fox", "Gecko", "Hare", "Hedgehog",
    "Heron", "Ibex", "Koala", "Lynx", "Magpie", "Marten", "Moose", "Otter", "Owl", "Panda", "Penguin", "Puffin",
    "Raven", "Robin", "Seal", "Squirrel", "Stork", "Turtle", "Walrus", "Wolf",
)  # fmt: skip

PRIVATE_NAME = "Private player"


class Zones(NamedTuple):
    """Where a player's days begin and end: in ``chosen`` from ``since`` on, in ``before`` until then; None is the
    store's zone."""

    chosen: str | None
    before: str | None = None
    since: datetime | None = None

    def at(self, moment: datetime) -> str | None:
        return self.chosen if self.since is None or moment >= self.since else self.before


@dataclass(frozen=True, slots=True)
class Player:
    """``streak_days`` is the length of the run of local days that ends on ``streak_on``; ``time_zone`` is None for the
    store's, and holds from ``zone_since`` on, before which ``zone_before`` did."""

    id: UUID
    name: str
    private: bool
    mails: bool
    time_zone: str | None
    zone_before: str | None
    zone_since: datetime | None
    email: str | None
    xp: int
    level: int
    level_reached: int
    streak_days: int
    streak_on: date | None
    best_streak: int
    orders: int
    version: int
    ledger_version: int

    @property
    def mail_to(self) -> str | None:
        return self.email if self.mails else None

    @property
    def zones(self) -> Zones:
        return Zones(self.time_zone, self.zone_before, self.zone_since)

    def gained(self, xp: int, orders: int) -> Player:
        """The player after one more entry of the ledger."""
        total = max(0, self.xp + xp)
        level = level_of(total)
        return replace(
            self,
            xp=total,
            level=level,
            level_reached=max(level, self.level_reached),
            orders=max(0, self.orders + orders),
            ledger_version=self.ledger_version + 1,
        )


@dataclass(frozen=True, slots=True)
class Gain:
    """An entry of a player's ledger; ``cause`` is its key. ``at`` is when what it is for happened.

    ``active``: its local day counts for the streak. ``orders`` is what it adds to the number of orders.
    """

    player_id: UUID
    cause: str
    xp: int
    at: datetime
    active: bool = False
    orders: int = 0


@dataclass(frozen=True, slots=True)
class Streak:
    """The run of days that ends on ``on``, the last one, and the longest run ever."""

    on: date
    days: int
    best: int


@dataclass(frozen=True, slots=True)
class Reward:
    """A one-time coupon for reaching ``level``."""

    player_id: UUID
    level: int
    cause: str
    code: str
    percent: int
    expires_at: datetime


def level_xp(level: int) -> int:
    """The experience points that ``level`` needs."""
    return XP_STEP * level * (level - 1)


def level_of(xp: int) -> int:
    """The highest level that ``xp`` points suffice for; never below 1."""
    return (1 + isqrt(1 + 4 * (max(0, xp) // XP_STEP))) // 2


def order_xp(whole_units: int) -> int:
    """For a confirmed order of this total, in whole units of its currency."""
    return ORDER_XP + min(MAX_XP_OF_A_TOTAL, max(0, whole_units))


def result_xp(score: int, earned_today: int) -> int:
    """For a round, after ``earned_today`` points for rounds of the same local day."""
    left = max(0, MAX_RESULT_XP_PER_DAY - earned_today)
    return min(score // SCORE_PER_XP, MAX_XP_OF_A_RESULT, left)


def achievement_xp(xp: int) -> int:
    return min(max(0, xp), MAX_XP_OF_AN_ACHIEVEMENT)


def local_day(at: datetime, zone: tzinfo) -> date:
    return at.astimezone(zone).date()


def next_day(at: datetime, zone: tzinfo) -> datetime:
    """When the local day of this moment is over."""
    return datetime.combine(local_day(at, zone) + timedelta(days=1), time(), tzinfo=zone).astimezone(UTC)


def streak_on(today: date, days: int, last: date | None) -> int:
    """The streak as it stands ``today``: a run that ended before yesterday is over."""
    return days if last is not None and last >= today - timedelta(days=1) else 0


def default_name(player_id: UUID) -> str:
    """A name that follows from the id and says nothing of the person."""
    digest = sha256(player_id.bytes).digest()
    adjective = ADJECTIVES[digest[0] % len(ADJECTIVES)]
    animal = ANIMALS[digest[1] % len(ANIMALS)]
    return f"{adjective} {animal} {int.from_bytes(digest[2:4]) % 100:02d}"
