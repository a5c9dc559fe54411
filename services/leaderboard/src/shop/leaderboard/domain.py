"""What a board is: seasons, and the order of its entries. Pure: no input or output."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from struct import Struct
from typing import NamedTuple
from uuid import UUID
from zoneinfo import ZoneInfo

MAX_SCORE = 2**63 - 1
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
FIRST_MOMENT = datetime(2000, 1, 1, tzinfo=UTC)
LAST_MOMENT = datetime(9000, 1, 1, tzinfo=UTC)
"""Scores are made between these; calendars near the limits of the type overflow in some time zones."""
ALWAYS = "all"
"""The only season of a board that never resets."""
ARCHIVED_AFTER = timedelta(days=90)
"""From the end of a season on; a score of it that arrives later is not taken."""


class Operator(StrEnum):
    """Which of a player's scores counts: the best, the newest, or their sum."""

    BEST = "best"
    LAST = "last"
    SUM = "sum"


class Direction(StrEnum):
    """Whether higher scores are better (desc) or lower ones (asc)."""

    DESC = "desc"
    ASC = "asc"


class Reset(StrEnum):
    NEVER = "never"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"


class Season(NamedTuple):
    """From ``starts_at`` to before ``ends_at``; both are None for a board that never resets."""

    name: str
    starts_at: datetime | None
    ends_at: datetime | None


@dataclass(frozen=True)
class Board:
    """``id`` is given when the board is first seen; ``size`` entries of an ended season are kept."""

    board: str
    title: str
    source: str
    operator: Operator
    direction: Direction
    reset: Reset
    zone: ZoneInfo
    size: int
    external: bool
    id: int = 0

    def season(self, at: datetime) -> Season:
        """The season in which a score of this moment was made."""
        return season_of(self.reset, self.zone, at)

    def sort_key(self, score: int) -> int:
        return -score if self.direction is Direction.DESC else score


@dataclass(frozen=True)
class Scored:
    """One score for one board. ``position`` orders the scores of a player on a `last` board."""

    board: Board
    season: Season
    player_id: UUID
    cause: str
    score: int
    at: datetime
    position: int


class Place(NamedTuple):
    """What orders an entry: a smaller sort key, then an earlier moment in microseconds since 1970, then who arrived
    first."""

    sort_key: int
    at_us: int
    seq: int

    @property
    def score(self) -> int:
        return abs(self.sort_key)

    @property
    def at(self) -> datetime:
        return EPOCH + self.at_us * MICROSECOND

    def encode(self) -> bytes:
        """24 bytes that are ordered as places are, exact for every score; see ADR 0053."""
        return PLACE.pack(self.sort_key + 2**63, self.at_us, self.seq)


PLACE = Struct(">QQQ")
MEMBER = Struct(f"{PLACE.format}16s")
"""Place and player."""


class Ranked(NamedTuple):
    """``rank`` begins at 1."""

    rank: int
    player_id: UUID
    place: Place


def member(place: Place, player_id: UUID) -> bytes:
    return place.encode() + player_id.bytes


def read_member(content: bytes) -> tuple[Place, UUID]:
    """Raises ValueError for another length."""
    if len(content) != MEMBER.size:
        raise ValueError(f"a member has {MEMBER.size} bytes, not {len(content)}")
    unsigned, at_us, seq, player = MEMBER.unpack(content)
    return Place(unsigned - 2**63, at_us, seq), UUID(bytes=player)


def microseconds(at: datetime) -> int:
    return (at - EPOCH) // MICROSECOND


def as_utc(at: datetime) -> datetime:
    """A time without a zone is UTC."""
    return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)


def in_range(at: datetime) -> bool:
    """Whether a score may be of this moment."""
    aware = at.replace(tzinfo=UTC) if at.tzinfo is None else at
    return FIRST_MOMENT <= aware < LAST_MOMENT


def season_of(reset: Reset, zone: ZoneInfo, at: datetime) -> Season:
    """Seasons begin at midnight of ``zone``, or where that is skipped, at the first moment of the day."""
    day = at.astimezone(zone).date()
    match reset:
        case Reset.NEVER:
            return Season(ALWAYS, None, None)
        case Reset.DAILY:
            first, after, name = day, day + timedelta(days=1), day.isoformat()
        case Reset.WEEKLY:
            year, week, weekday = day.isocalendar()
            first = day - timedelta(days=weekday - 1)
            after, name = first + timedelta(days=7), f"{year:04}-W{week:02}"
        case Reset.MONTHLY:
            first = day.replace(day=1)
            after, name = (first + timedelta(days=31)).replace(day=1), f"{day:%Y-%m}"
    return Season(name, _midnight(first, zone), _midnight(after, zone))


def _midnight(day: date, zone: ZoneInfo) -> datetime:
    return datetime.combine(day, time(), tzinfo=zone).astimezone(UTC)
