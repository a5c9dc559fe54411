"""A board as pages show it: its first places, and the player's own place with its neighbours."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.kit.errors import Problem, Unavailable
from shop.kit.sessions import Session
from shop.storefront.arcade.schemas import Board, OwnPlace, Place, PlayerName, Ranking
from shop.storefront.arcade.service import Arcade

TOP = 10
NEIGHBOURS = 2
"""Places above and below the player's own that are shown."""


@dataclass(frozen=True)
class Standings:
    """``ranking`` is None while the service does not answer; ``near`` are the lines around the player's own place
    that are not among the first."""

    boards: Sequence[Board]
    chosen: str
    ranking: Ranking | None
    own: OwnPlace | None = None
    near: Sequence[Place] = ()


async def standings(arcade: Arcade, source: str, chosen: str, session: Session | None) -> Standings:
    """The boards of a game, and the first places of the chosen one."""
    boards, ranking, own = await asyncio.gather(
        known_boards(arcade), _ranking(arcade, chosen), own_place(arcade, chosen, session)
    )
    boards = [board for board in boards if board.source == source]
    near = near_places(ranking, own, session) if ranking else ()
    return Standings(boards, chosen, ranking, own, near)


async def known_boards(arcade: Arcade) -> Sequence[Board]:
    """None while the service does not answer."""
    return await arcade.ask_leaderboard.maybe(arcade.boards.all) or []


async def _ranking(arcade: Arcade, board: str) -> Ranking | None:
    """Problem 404 for an unknown board."""
    try:
        return await arcade.ask_leaderboard.ask(lambda: arcade.boards.ranking(board, top=TOP))
    except Unavailable:
        return None
    except Problem as problem:
        if problem.status != 404:
            return None
        raise


async def own_place(arcade: Arcade, board: str, session: Session | None) -> OwnPlace | None:
    if session is None:
        return None
    player_id = UUID(session.user_id)
    return await arcade.ask_leaderboard.maybe(lambda: arcade.boards.place(board, player_id, NEIGHBOURS))


def near_places(ranking: Ranking, own: OwnPlace | None, session: Session | None) -> Sequence[Place]:
    """The lines around the player's own place, by rank, without those that ``ranking`` has."""
    if own is None or own.rank is None or own.score is None or session is None:
        return ()
    mine = Place(rank=own.rank, player=PlayerName(id=UUID(session.user_id), name=session.name), score=own.score)
    around = {place.player.id: place for place in (mine, *own.neighbours)}
    for place in ranking.items:
        around.pop(place.player.id, None)
    if mine.player.id not in around:
        return ()
    return sorted(around.values(), key=lambda place: place.rank)
