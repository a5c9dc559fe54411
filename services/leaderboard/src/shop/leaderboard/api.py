"""HTTP: parse, call the service, answer."""

from __future__ import annotations

import hashlib
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Path, Query, Response

from shop.kit.app import service_of
from shop.kit.compression import PUBLIC_NOW, matches
from shop.kit.errors import Problem, invalid_field
from shop.kit.lean import lean
from shop.kit.pages import MAX_LIMIT, Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.leaderboard.bodies import rank_body, standings_body
from shop.leaderboard.domain import MAX_SCORE, Place
from shop.leaderboard.schemas import BoardsView, BoardView, RankView, SeasonView, StandingsView
from shop.leaderboard.service import LeaderboardService

MAX_PLAYERS = 100
UUID_CHARACTERS = 36
DEFAULT_TOP = 10
DEFAULT_NEIGHBOURS = 2
MAX_NEIGHBOURS = 20
MAX_NAME_CHARACTERS = 64

Service = Annotated[LeaderboardService, Depends(service_of)]
BoardName = Annotated[str, Path(max_length=MAX_NAME_CHARACTERS)]
SeasonName = Annotated[
    str | None, Query(max_length=MAX_NAME_CHARACTERS, description="Such as 2026-11-29; default: the present season")
]
Players = Annotated[
    str | None,
    Query(
        max_length=MAX_PLAYERS * (UUID_CHARACTERS + 1),
        description=f"Up to {MAX_PLAYERS} ids, separated by commas: only these, with their ranks on the whole board",
    ),
]
Top = Annotated[int, Query(ge=1, le=MAX_LIMIT, description="Entries per page")]
SameAsTop = Annotated[int | None, Query(ge=1, le=MAX_LIMIT, description="The same as top, by the name of other lists")]
Neighbours = Annotated[int, Query(ge=0, le=MAX_NEIGHBOURS, description="Entries on each side")]
IfNoneMatch = Annotated[str, Header(max_length=1_000, include_in_schema=False)]

router = make_router(prefix="/api/v1/leaderboards", tags=["leaderboards"])


@router.get("", response_model=BoardsView)
async def list_boards(service: Service, if_none_match: IfNoneMatch = "") -> Response:
    """The boards, each with its present season."""
    views = [BoardView.of(board, service.present_season(board)) for board in service.boards]
    return _answer(BoardsView(items=views).model_dump_json().encode(), if_none_match)


@router.get("/{board}", response_model=StandingsView)
@lean
async def get_board(
    board: BoardName,
    service: Service,
    top: Top = DEFAULT_TOP,
    limit: SameAsTop = None,
    season: SeasonName = None,
    players: Players = None,
    cursor: Cursor = None,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """The best of a season; with ``players`` only these, such as somebody's friends."""
    found = service.board(board)
    chosen = await service.season(found, season)
    if players is not None:
        return _answer(standings_body(await service.among(found, chosen, _ids(players))), if_none_match)
    length = limit or top
    standings = await service.top(found, chosen, _read_cursor(cursor), length + 1)
    items, next_cursor = cut_page(standings.items, length, lambda one: (*one.ranked.place, one.ranked.player_id))
    return _answer(standings_body(standings._replace(items=list(items)), next_cursor), if_none_match)


@router.get("/{board}/seasons")
async def list_seasons(
    board: BoardName, service: Service, limit: Limit = 20, cursor: Cursor = None
) -> Page[SeasonView]:
    """The seasons in which somebody scored, the newest first."""
    before = decode_cursor(cursor, str)[0] if cursor else None
    found = await service.seasons(service.board(board), before, limit + 1)
    items, next_cursor = cut_page(found, limit, lambda season: (season.name,))
    return Page(items=[SeasonView.of(one) for one in items], next_cursor=next_cursor)


@router.get("/{board}/players/{player_id}", response_model=RankView)
@lean
async def get_rank(
    board: BoardName,
    player_id: UUID,
    service: Service,
    neighbours: Neighbours = DEFAULT_NEIGHBOURS,
    season: SeasonName = None,
    if_none_match: IfNoneMatch = "",
) -> Response:
    """A player's place and those around it."""
    found = service.board(board)
    rank = await service.rank(found, await service.season(found, season), player_id, neighbours)
    return _answer(rank_body(rank), if_none_match)


def _ids(players: str) -> list[UUID]:
    """Each once; Problem 422 for anything that is no list of ids."""
    parts = [part for part in players.split(",") if part]
    if len(parts) > MAX_PLAYERS:
        raise invalid_field("players", f"at most {MAX_PLAYERS} ids")
    try:
        return list(dict.fromkeys(UUID(part) for part in parts))
    except ValueError:
        raise invalid_field("players", "ids, separated by commas") from None


def _read_cursor(cursor: str | None) -> tuple[Place, UUID] | None:
    if cursor is None:
        return None
    sort_key, at_us, seq, player_id = decode_cursor(cursor, int, int, int, UUID)
    if abs(sort_key) > MAX_SCORE or not 0 <= at_us <= MAX_AT_US or not 0 <= seq <= MAX_SCORE:
        raise Problem(400, "invalid_cursor", "The cursor is not one of this service.")
    return Place(sort_key, at_us, seq), player_id


MAX_AT_US = 2**57
"""Within the calendar of the database: the year 6536."""


def _answer(content: bytes, if_none_match: str) -> Response:
    """With a tag of the content, so that a page that polls gets 304 while nothing has changed."""
    etag = f'"{hashlib.sha256(content).hexdigest()[:32]}"'
    headers = {**PUBLIC_NOW, "ETag": etag}
    if matches(if_none_match, etag):
        return Response(status_code=304, headers=headers)
    return Response(content, media_type="application/json", headers=headers)
