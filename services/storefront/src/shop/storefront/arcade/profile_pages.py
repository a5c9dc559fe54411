"""A player's profile: level, streak, statistics and achievements; and adding the player to one's friends."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.contracts.achievement import Achievement
from shop.kit.errors import Problem
from shop.kit.sessions import Session
from shop.storefront.arcade.schemas import PlayerName
from shop.storefront.arcade.service import Arcade, ArcadeShop, arcade_of
from shop.storefront.arcade.texts import ACHIEVEMENTS_AWAY, FRIEND_REFUSALS, statistic_text
from shop.storefront.web import PostedForm, Shop, SignedIn, page, redirect, visitor_of

router = APIRouter(prefix="/players", include_in_schema=False, dependencies=[Depends(arcade_of)])


@router.get("/{player_id}")
async def profile(request: Request, player_id: UUID, shop: Shop, arcade: ArcadeShop) -> Response:
    session = await shop.valid_session(visitor_of(request))
    player, achievements, friends = await asyncio.gather(
        arcade.players.one(player_id, session.access_token if session else None),
        _achievements(arcade, player_id, session),
        _friends(arcade, session),
    )
    own = session is not None and session.user_id == str(player_id)
    return await page(
        request,
        "arcade/profile.html",
        player=player,
        own=own,
        hidden=player.private and not own,
        statistics=[(statistic_text(name), count) for name, count in player.counted],
        achievements=achievements,
        achievements_away=ACHIEVEMENTS_AWAY,
        is_friend=None if friends is None else any(friend.id == player_id for friend in friends),
    )


async def _achievements(arcade: Arcade, player_id: UUID, session: Session | None) -> Sequence[Achievement] | None:
    """None while they are not known, and for a private player."""
    token = session.access_token if session else None
    return await arcade.ask_achievement.maybe(lambda: arcade.players.achievements(player_id, token))


async def _friends(arcade: Arcade, session: Session | None) -> Sequence[PlayerName] | None:
    if session is None:
        return None
    return await arcade.ask_player.maybe(lambda: arcade.players.friends(session.access_token))


@router.post("/{player_id}/{change}")
async def change_friend(
    request: Request,
    player_id: UUID,
    change: Literal["befriend", "unfriend"],
    arcade: ArcadeShop,
    session: SignedIn,
    form: PostedForm,
) -> Response:
    act = arcade.players.befriend if change == "befriend" else arcade.players.unfriend
    try:
        await act(session.access_token, player_id)
    except Problem as problem:
        if problem.code not in FRIEND_REFUSALS:
            raise
        return redirect(request, f"/players/{player_id}", FRIEND_REFUSALS[problem.code])
    done = "Added to your friends." if change == "befriend" else "Removed from your friends."
    return redirect(request, f"/players/{player_id}", done)
