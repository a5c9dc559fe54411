"""Request and response bodies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Self
from uuid import UUID

from pydantic import AfterValidator, BaseModel, Field, StrictBool, StrictInt

from shop.contracts.achievement import Achievement
from shop.contracts.leaderboard import Standing
from shop.kit.bodies import RequestBody, example
from shop.kit.formatting import find_zone
from shop.kit.text import Typed
from shop.player.domain import MAX_NAME_CHARACTERS, MIN_NAME_CHARACTERS, PRIVATE_NAME, Player, Reward
from shop.player.game_servers import Posted
from shop.player.profiles import Profile
from shop.player.rounds import Finished
from shop.player.server_repository import GameServer
from shop.player.sessions import MAX_TOKEN_CHARACTERS, Session

MAX_MOVES = 1_000
"""Of any game; its rules have their own limit."""
MAX_TICK = 1_000_000
MAX_SCORE = 2**63 - 1
MAX_SOURCES = 32


def _known_zone(name: str) -> str:
    find_zone(name)
    return name


Name = Annotated[str, Typed(MAX_NAME_CHARACTERS, MIN_NAME_CHARACTERS)]
Zone = Annotated[str, Field(min_length=1, max_length=64), AfterValidator(_known_zone)]
Code = Annotated[str, Field(min_length=1, max_length=64, pattern=r"^[a-z0-9][a-z0-9_-]*$")]
"""Of a board, a source or an achievement."""


class PlayerChange(RequestBody):
    """What is missing stays. ``time_zone`` null is the store's."""

    model_config = example(name="Quick Otter", private=False, mails=True, time_zone="Europe/Berlin")

    name: Name = ""
    private: StrictBool = False
    mails: StrictBool = False
    time_zone: Zone | None = None

    def fields(self) -> dict[str, Any]:
        return self.model_dump(include=self.model_fields_set)


class ProfileView(BaseModel):
    """Of a private player others see neither name nor progress."""

    id: UUID
    name: str
    private: bool
    avatar_url: str
    level: int | None = None
    level_xp: int | None = None
    next_level_xp: int | None = None
    xp: int | None = None
    streak: int | None = None
    statistics: dict[str, int] = {}

    @classmethod
    def of(cls, profile: Profile) -> Self:
        return cls(**_profile_fields(profile))

    @classmethod
    def for_others(cls, profile: Profile) -> Self:
        if profile.private:
            return cls(id=profile.id, name=PRIVATE_NAME, private=True, avatar_url=avatar_url(profile.id))
        return cls.of(profile)


class CouponView(BaseModel):
    level: int
    code: str
    percent: int
    expires_at: datetime

    @classmethod
    def of(cls, reward: Reward) -> Self:
        return cls(level=reward.level, code=reward.code, percent=reward.percent, expires_at=reward.expires_at)


class OwnProfileView(ProfileView):
    mails: bool
    time_zone: str | None
    best_streak: int
    coupons: list[CouponView]

    @classmethod
    def own(cls, profile: Profile, player: Player, rewards: Sequence[Reward]) -> Self:
        return cls(
            **_profile_fields(profile),
            mails=player.mails,
            time_zone=player.time_zone,
            best_streak=profile.best_streak,
            coupons=[CouponView.of(reward) for reward in rewards],
        )


class EntryView(BaseModel):
    cause: str
    xp: int
    at: datetime


class ProfilesView(BaseModel):
    items: list[ProfileView]


class AchievementsView(BaseModel):
    items: Sequence[Achievement]


class GameView(BaseModel):
    """``board`` is where its scores are listed; null while leaderboard is away."""

    game: str
    title: str
    board: str | None


class GameDetail(GameView):
    rules: dict[str, Any]


class GamesView(BaseModel):
    items: list[GameView]


class SessionView(BaseModel):
    """``seed`` decides what the game draws; ``token`` is posted with the moves."""

    id: UUID
    seed: int
    token: str
    expires_at: datetime

    @classmethod
    def of(cls, session: Session, token: str) -> Self:
        return cls(id=session.id, seed=session.seed, token=token, expires_at=session.expires_at)


class NewResult(RequestBody):
    """``moves`` are the ticks (1/60 s) at which the button was pressed."""

    model_config = example(token="eyJ...", moves=[52, 171, 290])

    token: Annotated[str, Field(min_length=1, max_length=MAX_TOKEN_CHARACTERS)]
    moves: Annotated[list[Annotated[StrictInt, Field(ge=0, le=MAX_TICK)]], Field(max_length=MAX_MOVES)]


class ResultView(BaseModel):
    """``xp`` is what the round gave, ``level`` the player's after it.

    ``rank`` is null and ``unlocked`` empty where a service was not reached in time: they follow.
    """

    result_id: UUID
    score: int
    rank: int | None
    standings: Sequence[Standing]
    xp: int
    level: int
    unlocked: Sequence[Achievement]
    coupon: CouponView | None

    @classmethod
    def of(cls, finished: Finished) -> Self:
        result, effects = finished.result, finished.effects
        return cls(
            result_id=result.id,
            score=result.score,
            rank=effects.rank,
            standings=effects.standings,
            xp=result.xp,
            level=result.level,
            unlocked=effects.unlocked,
            coupon=CouponView.of(finished.reward) if finished.reward else None,
        )


class NewServer(RequestBody):
    model_config = example(name="Quiz night", sources=["quiz"])

    name: Annotated[str, Typed(80)]
    sources: Annotated[list[Code], Field(min_length=1, max_length=MAX_SOURCES)]


class ServerView(BaseModel):
    id: UUID
    name: str
    sources: list[str]
    created_at: datetime

    @classmethod
    def of(cls, server: GameServer) -> Self:
        return cls(**_server_fields(server))


class NewServerView(ServerView):
    """``token`` is shown once."""

    token: str

    @classmethod
    def with_token(cls, server: GameServer, token: str) -> Self:
        return cls(**_server_fields(server), token=token)


class ServersView(BaseModel):
    items: list[ServerView]


class NewScore(RequestBody):
    model_config = example(board="quiz", score=1_200)

    board: Annotated[str, Field(min_length=1, max_length=64)]
    score: Annotated[StrictInt, Field(ge=0, le=MAX_SCORE)]


class ScoreView(BaseModel):
    result_id: UUID
    board: str
    score: int
    rank: int | None
    standings: Sequence[Standing]

    @classmethod
    def of(cls, posted: Posted) -> Self:
        score, effects = posted
        rank = next((one.rank for one in effects.standings if one.board == score.board), None)
        return cls(result_id=score.id, board=score.board, score=score.score, rank=rank, standings=effects.standings)


class NewUnlock(RequestBody):
    model_config = example(code="quiz-champion")

    code: Annotated[str, Field(min_length=1, max_length=64)]


def avatar_url(player_id: UUID) -> str:
    return f"/api/v1/players/{player_id}/avatar.svg"


def _profile_fields(profile: Profile) -> Mapping[str, Any]:
    return {
        "id": profile.id,
        "name": profile.name,
        "private": profile.private,
        "avatar_url": avatar_url(profile.id),
        "level": profile.level,
        "level_xp": profile.level_xp,
        "next_level_xp": profile.next_level_xp,
        "xp": profile.xp,
        "streak": profile.streak,
        "statistics": dict(profile.statistics),
    }


def _server_fields(server: GameServer) -> Mapping[str, Any]:
    return {
        "id": server.id,
        "name": server.name,
        "sources": list(server.sources),
        "created_at": server.created_at,
    }
