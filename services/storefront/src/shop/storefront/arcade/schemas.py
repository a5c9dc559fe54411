"""Responses of player, leaderboard and achievement, as far as pages show them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator

from shop.contracts.achievement import Achievement
from shop.kit.text import printable
from shop.storefront.schemas import View

MAX_NAME_CHARACTERS = 60
MAX_STATISTICS = 12
"""Of a profile that are shown."""


def shown_name(text: str) -> str:
    """One line of printable characters, whatever a service has stored."""
    return printable(text)[:MAX_NAME_CHARACTERS] or "Player"


ShownName = Annotated[str, AfterValidator(shown_name)]


class Coupon(View):
    """The reward of a level."""

    level: int
    code: str
    percent: int
    expires_at: datetime | None = None


class Player(View):
    """Of a private player others see the name "Private player" and no numbers."""

    id: UUID
    name: ShownName
    level: int | None = None
    xp: int | None = None
    streak: int | None = None
    best_streak: int | None = None
    private: bool = False
    statistics: Mapping[str, int] = {}
    level_xp: int | None = None
    next_level_xp: int | None = None

    @property
    def avatar_url(self) -> str:
        return avatar_url(self.id)

    @property
    def counted(self) -> list[tuple[str, int]]:
        """The statistics by name, none without a count."""
        return sorted((name, count) for name, count in self.statistics.items() if count)[:MAX_STATISTICS]

    @property
    def level_part(self) -> tuple[int, int]:
        """XP gained within the present level, and how much the level takes."""
        if self.xp is None or self.next_level_xp is None:
            return 0, 1
        begun = self.level_xp or 0
        size = max(1, self.next_level_xp - begun)
        return min(size, max(0, self.xp - begun)), size

    @property
    def xp_missing(self) -> int | None:
        """XP until the next level."""
        return None if self.xp is None or self.next_level_xp is None else max(0, self.next_level_xp - self.xp)


class OwnPlayer(Player):
    """``mails``: whether achievements and rewards are mailed."""

    mails: bool = False
    time_zone: str | None = None
    coupons: Sequence[Coupon] = ()


class PlayerName(View):
    id: UUID
    name: ShownName

    @property
    def avatar_url(self) -> str:
        return avatar_url(self.id)


class LedgerEntry(View):
    """XP that were gained, or taken back, once for ``cause``."""

    cause: str
    xp: int
    at: datetime


class Board(View):
    """``season`` is the present one."""

    board: str
    title: str
    source: str = ""
    operator: str = ""
    reset: str = "never"
    season: str = ""
    external: bool = False


class Place(View):
    """One line of a board."""

    rank: int
    player: PlayerName
    score: int
    at: datetime | None = None


class Ranking(View):
    """A part of a board's season."""

    board: str
    title: str = ""
    season: str | None = None
    ends_at: datetime | None = None
    items: Sequence[Place] = ()
    total: int | None = None
    next_cursor: str | None = None


class OwnPlace(View):
    rank: int | None = None
    score: int | None = None
    at: datetime | None = None
    neighbours: Sequence[Place] = ()


class Season(View):
    season: str
    starts_at: datetime | None = None
    ends_at: datetime | None = None


class GameSession(View):
    """``token`` is what a result is posted with."""

    id: UUID
    seed: int
    token: str
    expires_at: datetime


class Won(View):
    """A coupon that a round brought."""

    code: str
    percent: int
    expires_at: datetime | None = None


class Standing(View):
    board: str
    rank: int | None = None
    score: int | None = None


class RoundResult(View):
    """What a round brought; ``rank`` is None and ``unlocked`` empty while the services that know are away."""

    result_id: UUID
    score: int
    rank: int | None = None
    standings: Sequence[Standing] = ()
    xp: int = 0
    level: int | None = None
    unlocked: Sequence[Achievement] = ()
    coupon: Won | None = None


def avatar_url(player_id: UUID) -> str:
    """The player service's drawing, through the gateway."""
    return f"/api/v1/players/{player_id}/avatar.svg"
