"""Calls to achievement: what a round unlocks at once, what a player has, and unlocking by a game server.

The event of the same round arrives by the broker, too; ``event_id`` makes both one.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import Message, PostCall, ReadCall
from shop.contracts.events import PlayerScored

MAX_ACHIEVEMENTS = 256


class EvaluateScore(Message):
    """``event`` was published with the id ``event_id``; ``traceparent`` is its trace."""

    event_id: UUID
    traceparent: str = ""
    event: PlayerScored


class Progress(Message):
    have: int
    need: int


class Achievement(Message):
    """One rule and how far the player is. A hidden one is listed only once it is unlocked."""

    code: str
    name: str
    description: str
    xp: int
    hidden: bool = False
    unlocked_at: datetime | None = None
    progress: Progress


class Unlocked(Message):
    """What the round unlocked, also when it is asked again."""

    unlocked: Annotated[list[Achievement], Field(max_length=MAX_ACHIEVEMENTS)]


class AchievementsQuery(Message):
    player_id: UUID


class Achievements(Message):
    """Unlocked ones first, the newest first, then the others by how near they are."""

    items: Annotated[list[Achievement], Field(max_length=MAX_ACHIEVEMENTS)]


class UnlockRequest(Message):
    """By a game server; a second one for the same player and code changes nothing."""

    player_id: UUID
    code: Annotated[str, Field(min_length=1, max_length=64)]
    occurred_at: datetime


class UnlockResult(Message):
    """``problem`` is a stable code: unknown_achievement, not_external (its rule decides by events alone)."""

    achievement: Achievement | None = None
    problem: str | None = None


EVALUATE = PostCall("achievement.evaluate", "/internal/evaluations", TypeAdapter(EvaluateScore), TypeAdapter(Unlocked))
UNLOCK = PostCall("achievement.unlock", "/internal/unlocks", TypeAdapter(UnlockRequest), TypeAdapter(UnlockResult))
OF_PLAYER = ReadCall(
    "achievement.of_player", "/internal/achievements", TypeAdapter(AchievementsQuery), TypeAdapter(Achievements)
)
