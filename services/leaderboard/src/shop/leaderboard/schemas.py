"""Responses of leaderboard."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from pydantic import BaseModel

from shop.leaderboard.domain import Board, Direction, Operator, Reset, Season


class BoardView(BaseModel):
    """A board and its present season; ``ends_at`` is null for one that never resets."""

    board: str
    title: str
    source: str
    external: bool
    order: Direction
    operator: Operator
    reset: Reset
    season: str
    ends_at: datetime | None

    @classmethod
    def of(cls, board: Board, season: Season) -> BoardView:
        return cls(
            board=board.board,
            title=board.title,
            source=board.source,
            external=board.external,
            order=board.direction,
            operator=board.operator,
            reset=board.reset,
            season=season.name,
            ends_at=season.ends_at,
        )


class BoardsView(BaseModel):
    items: list[BoardView]


class PlayerView(BaseModel):
    id: UUID
    name: str
    avatar_url: str


class EntryView(BaseModel):
    """``at`` is when the score was reached: of equal scores the earlier one has the better rank."""

    rank: int
    player: PlayerView
    score: int
    at: datetime


class StandingsView(BaseModel):
    """A part of a board; ``total`` is how many it lists. `bodies` writes it."""

    board: str
    title: str
    season: str
    ends_at: datetime | None
    items: list[EntryView]
    total: int
    next_cursor: str | None = None


class RankView(BaseModel):
    """A player's place; ``neighbours`` are those around it, the player included, the best first. `bodies` writes it."""

    rank: int
    score: int
    at: datetime
    neighbours: list[EntryView]


class SeasonView(BaseModel):
    """Both times are null for a board that never resets."""

    season: str
    starts_at: datetime | None
    ends_at: datetime | None

    @classmethod
    def of(cls, season: Season) -> SeasonView:
        return cls(season=season.name, starts_at=season.starts_at, ends_at=season.ends_at)
