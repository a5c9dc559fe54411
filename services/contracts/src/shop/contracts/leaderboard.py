"""Calls to leaderboard: a score at once, so that the player sees the new rank, and which boards there are.

The event of the same score arrives by the broker, too; ``event_id`` makes both one.
"""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import Message, PostCall, ReadCall
from shop.contracts.events import PlayerScored, Score

MAX_BOARDS = 64


class RecordScore(Message):
    """``event`` was published with the id ``event_id``; ``traceparent`` is its trace."""

    event_id: UUID
    traceparent: str = ""
    event: PlayerScored


class Standing(Message):
    """A player's place on the present season of a board; ``rank`` begins at 1 and is null for a player who is not
    listed."""

    board: str
    season: str
    score: Score
    rank: Annotated[int, Field(ge=1)] | None


class RecordedScore(Message):
    """The boards that the score counts for, the main board of its source first."""

    standings: Annotated[list[Standing], Field(max_length=MAX_BOARDS)]


class BoardsQuery(Message):
    """Every board."""


class BoardSource(Message):
    """A board and what feeds it; game servers may post to it if ``external``."""

    board: str
    source: str
    external: bool


class BoardSources(Message):
    boards: Annotated[list[BoardSource], Field(max_length=MAX_BOARDS)]


RECORD = PostCall("leaderboard.record", "/internal/scores", TypeAdapter(RecordScore), TypeAdapter(RecordedScore))
BOARDS = ReadCall("leaderboard.boards", "/internal/boards", TypeAdapter(BoardsQuery), TypeAdapter(BoardSources))
