"""Leaderboards: the list of them, and the places of one, by season and among friends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Path, Query, Request
from starlette.responses import Response

from shop.kit.sessions import Session
from shop.storefront.arcade.backends import MAX_SELECTED_PLAYERS
from shop.storefront.arcade.game_pages import MAX_BOARD_CHARACTERS
from shop.storefront.arcade.schemas import PlayerName, Ranking
from shop.storefront.arcade.service import Arcade, ArcadeShop, arcade_of
from shop.storefront.arcade.standings import known_boards, near_places, own_place
from shop.storefront.arcade.texts import reset_text
from shop.storefront.catalogue_pages import CursorText
from shop.storefront.web import Shop, SignInRequired, page, visitor_of, with_query

router = APIRouter(prefix="/leaderboards", include_in_schema=False, dependencies=[Depends(arcade_of)])

PLACES = 50
"""On one page."""
PREVIEWED = 6
"""Boards of the list whose first places are shown."""
PREVIEW_PLACES = 3
MAX_SEASONS = 12
"""That ended and are offered."""
FRIENDS_RANKED = MAX_SELECTED_PLAYERS - 1
"""Beside the player."""

BoardPath = Annotated[str, Path(max_length=MAX_BOARD_CHARACTERS, pattern=r"^[a-z0-9_-]+$")]
SeasonText = Annotated[str, Query(max_length=40)]


@router.get("")
async def boards(request: Request, arcade: ArcadeShop) -> Response:
    found = await arcade.boards.all()
    previewed = await asyncio.gather(*(_preview(arcade, board.board) for board in found[:PREVIEWED]))
    cards = [(board, previewed[number] if number < PREVIEWED else None) for number, board in enumerate(found)]
    return await page(request, "arcade/boards.html", cards=cards, reset_text=reset_text)


async def _preview(arcade: Arcade, board: str) -> Ranking | None:
    return await arcade.ask_leaderboard.maybe(lambda: arcade.boards.ranking(board, top=PREVIEW_PLACES))


@router.get("/{board}")
async def board_page(
    request: Request,
    board: BoardPath,
    shop: Shop,
    arcade: ArcadeShop,
    season: SeasonText = "",
    cursor: CursorText = "",
    who: Literal["all", "friends"] = "all",
) -> Response:
    session = await shop.valid_session(visitor_of(request))
    if who == "friends":
        return await _friends_page(request, arcade, board, season, session)
    ranking, own, around = await asyncio.gather(
        arcade.boards.ranking(board, top=PLACES, season=season, cursor=cursor),
        own_place(arcade, board, None if season or cursor else session),
        _around(arcade, board),
    )
    near = near_places(ranking, own, session)
    next_url = with_query(f"/leaderboards/{board}", season=season, cursor=ranking.next_cursor)
    frame: dict[str, Any] = {
        "next_url": next_url if ranking.next_cursor else None,
        "own": own,
        "near": near,
        "cursor": cursor,
    }
    return await page(request, "arcade/board.html", ranking=ranking, who=who, season=season, **around, **frame)


async def _around(arcade: Arcade, board: str) -> dict[str, Any]:
    """What else is shown beside the places: the board's kind and the seasons that ended, if they are known."""
    known, seasons = await asyncio.gather(
        known_boards(arcade), arcade.ask_leaderboard.maybe(lambda: arcade.boards.seasons(board))
    )
    described = next((one for one in known if one.board == board), None)
    ended = [one.season for one in seasons or () if described and one.season != described.season]
    reset = reset_text(described.reset) if described else ""
    return {"described": described, "ended": ended[:MAX_SEASONS], "reset": reset}


async def _friends_page(request: Request, arcade: Arcade, board: str, season: str, session: Session | None) -> Response:
    if session is None:
        raise SignInRequired
    friends, around = await asyncio.gather(
        arcade.ask_player.maybe(lambda: arcade.players.friends(session.access_token)), _around(arcade, board)
    )
    chosen = [UUID(session.user_id), *_ids(friends or [])]
    ranking = await arcade.boards.ranking(board, top=MAX_SELECTED_PLAYERS, season=season, players=chosen)
    frame: dict[str, Any] = {"next_url": None, "own": None, "near": (), "cursor": "", "friends": friends}
    frame["left_out"] = max(0, len(friends or []) - FRIENDS_RANKED)
    return await page(request, "arcade/board.html", ranking=ranking, who="friends", season=season, **around, **frame)


def _ids(friends: Sequence[PlayerName]) -> list[UUID]:
    return [friend.id for friend in friends[:FRIENDS_RANKED]]
