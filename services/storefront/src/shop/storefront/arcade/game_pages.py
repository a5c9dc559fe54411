"""The arcade: the game beside its boards, the player's level and achievements; and the rounds that it plays."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Depends, Query, Request
from jinja2 import Environment
from starlette.responses import HTMLResponse, JSONResponse, Response

from shop.games import rules
from shop.kit.errors import Problem, Unavailable
from shop.kit.sessions import Session
from shop.storefront.arcade.service import Arcade, ArcadeShop, arcade_of
from shop.storefront.arcade.standings import standings
from shop.storefront.arcade.texts import (
    ACHIEVEMENTS_AWAY,
    BOARD_AWAY,
    GAME_TITLE,
    PLAYER_AWAY,
    ROUND_AWAY,
    ROUND_REFUSALS,
    SESSION_AWAY,
)
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.storefront.web import CurrentVisitor, PostedForm, Shop, SignedIn, page, visitor_of

router = APIRouter(prefix="/arcade", include_in_schema=False, dependencies=[Depends(arcade_of)])

GAME = "stack"
MAX_BOARD_CHARACTERS = 64
MAX_MOVES = 1_000
"""More than a round can have."""
MAX_TICK_DIGITS = 6
SHOWN_ACHIEVEMENTS = 6
MAX_TITLES = 24

BoardName = Annotated[str, Query(max_length=MAX_BOARD_CHARACTERS, pattern=r"^[a-z0-9_-]+$")]


@router.get("")
async def arcade_page(request: Request, shop: Shop, arcade: ArcadeShop, board: BoardName = GAME) -> Response:
    session = await shop.valid_session(visitor_of(request))
    shown, progress, titles = await asyncio.gather(
        standings(arcade, GAME, board, session),
        _progress(arcade, session.access_token if session else None),
        book_titles(shop),
    )
    return await page(
        request,
        "arcade/arcade.html",
        game=GAME,
        rules=rules(GAME),
        titles=titles,
        theme="books" if titles else "parcels",
        standings=shown,
        title=GAME_TITLE,
        board_away=BOARD_AWAY,
        player_away=PLAYER_AWAY,
        achievements_away=ACHIEVEMENTS_AWAY,
        shown_achievements=SHOWN_ACHIEVEMENTS,
        **progress,
    )


async def book_titles(shop: Storefront) -> list[str]:
    """For the spines of the pieces; none in a shop that sells no books, and while the catalogue is away."""
    try:
        async with asyncio.timeout(shop.settings.arcade_timeout_s):
            featured = await shop.featured.categories()
    except (Unavailable, Problem, TimeoutError):
        return []
    return [product.name for category in featured for product in category.products if product.author][:MAX_TITLES]


async def _progress(arcade: Arcade, token: str | None) -> dict[str, Any]:
    """The player and what is unlocked; without a token what can be unlocked. None for what is not known."""
    if token is None:
        return {"player": None, "achievements": await arcade.ask_achievement.maybe(arcade.achievements.all)}
    player, achievements = await asyncio.gather(
        arcade.ask_player.maybe(lambda: arcade.players.own(token)),
        arcade.ask_achievement.maybe(lambda: arcade.achievements.own(token)),
    )
    return {"player": player, "achievements": achievements}


@router.get("/standings")
async def standings_part(request: Request, shop: Shop, arcade: ArcadeShop, board: BoardName = GAME) -> Response:
    """The board alone, which the page fetches again while a game is played beside it."""
    session = await shop.valid_session(visitor_of(request))
    shown = await standings(arcade, GAME, board, session)
    environment: Environment = request.app.state.templates
    template = environment.get_template("arcade/standings.html")
    return HTMLResponse(template.render(standings=shown, session=session, board_away=BOARD_AWAY))


@router.get("/events")
async def events(request: Request, shop: Shop, session: SignedIn, after: str = "") -> Response:
    """The player's achievements as server-sent events."""
    seen = request.headers.get("last-event-id", "") or after
    return await shop.streams.open("achievement", "/api/v1/achievements/events", session.access_token, seen)


@router.post("/{game}/sessions")
async def open_session(
    game: str, shop: Shop, arcade: ArcadeShop, visitor: CurrentVisitor, form: PostedForm
) -> Response:
    session = await shop.valid_session(visitor)
    if session is None:
        return refusal(401, "signed_out", "")
    try:
        opened = await arcade.games.open_session(session.access_token, game)
    except Problem as problem:
        return _refused(visitor, problem)
    except Unavailable:
        return refusal(503, "unavailable", SESSION_AWAY)
    return JSONResponse(opened.model_dump(mode="json"), 201)


@router.post("/{game}/sessions/{session_id}/result")
async def post_result(
    game: str, session_id: UUID, shop: Shop, arcade: ArcadeShop, visitor: CurrentVisitor, form: PostedForm
) -> Response:
    """A round's result; it may be posted again when the answer was lost."""
    session = await shop.valid_session(visitor)
    moves = moves_of(form.get("moves", ""))
    if session is None or moves is None:
        return refusal(401, "signed_out", "") if session is None else refusal(422, "moves_impossible", "")
    return await _posted(arcade, visitor, session, (game, session_id, form.get("token", ""), moves))


async def _posted(
    arcade: Arcade, visitor: Visitor, session: Session, played: tuple[str, UUID, str, Sequence[int]]
) -> Response:
    try:
        result = await arcade.games.post_result(session.access_token, *played)
    except Problem as problem:
        return _refused(visitor, problem)
    except Unavailable:
        return refusal(503, "unavailable", ROUND_AWAY)
    return JSONResponse(result.model_dump(mode="json"))


def _refused(visitor: Visitor, problem: Problem) -> Response:
    """A token that the services no longer accept ends the session, as on pages."""
    if problem.status == 401:
        visitor.session = None
        return refusal(401, "signed_out", "")
    return refusal(problem.status, problem.code, problem.detail, problem.headers.get("Retry-After"))


def refusal(status: int, code: str, detail: str, retry_after: str | None = None) -> Response:
    """What the game shows in place of a result; ``retryable``: whether the same may be sent again."""
    message = ROUND_REFUSALS.get(code, detail)
    headers = {"Retry-After": retry_after} if retry_after else None
    body = {"code": code, "message": message, "retryable": status in {401, 429, 503}}
    return JSONResponse(body, status, headers=headers)


def moves_of(text: str) -> list[int] | None:
    """Ticks separated by commas; None if they are not such a list. The player service checks them by the rules."""
    words = text.split(",") if text else []
    if len(words) > MAX_MOVES or not all(_is_tick(word) for word in words):
        return None
    return [int(word) for word in words]


def _is_tick(word: str) -> bool:
    return word.isascii() and word.isdigit() and len(word) <= MAX_TICK_DIGITS
