"""A player's own page in the account: name, privacy, mails and time zone; coupons won; and where the XP come from."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from fastapi import APIRouter, Depends, Request
from pydantic import AfterValidator
from pydantic_core import PydanticCustomError
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.kit.formatting import find_zone
from shop.kit.text import Typed
from shop.storefront.arcade.schemas import LedgerEntry, OwnPlayer
from shop.storefront.arcade.service import Arcade, ArcadeShop, arcade_of
from shop.storefront.arcade.texts import ACHIEVEMENT, Gain, gain_of
from shop.storefront.catalogue_pages import CursorText
from shop.storefront.forms import SHOWN_IN_FORM, FormModel, parse_form
from shop.storefront.web import PostedForm, SignedIn, page, redirect, with_query

router = APIRouter(prefix="/account/player", include_in_schema=False, dependencies=[Depends(arcade_of)])

MIN_NAME_CHARACTERS, MAX_NAME_CHARACTERS = 2, 30
MAX_ZONE_CHARACTERS = 64
SAVED = "Your player was saved."


def known_zone(name: str) -> str:
    """Raises PydanticCustomError ``time_zone`` for a name that is not in the IANA data."""
    try:
        if name:
            find_zone(name)
    except ValueError:
        raise PydanticCustomError("time_zone", "Choose a time zone of the list, such as Europe/Berlin.") from None
    return name


class PlayerForm(FormModel):
    name: Annotated[str, Typed(MAX_NAME_CHARACTERS, MIN_NAME_CHARACTERS)]
    time_zone: Annotated[str, Typed(MAX_ZONE_CHARACTERS, 0), AfterValidator(known_zone)] = ""
    private: str = ""
    mails: str = ""

    def changes(self) -> dict[str, Any]:
        """The body of PATCH /players/me; no time zone leaves the present one."""
        zone = {"time_zone": self.time_zone} if self.time_zone else {}
        return {"name": self.name, "private": bool(self.private), "mails": bool(self.mails), **zone}


@lru_cache(maxsize=1)
def zones() -> list[str]:
    """What the field offers."""
    return sorted(name for name in available_timezones() if "/" in name and not name.startswith("Etc/"))


@router.get("")
async def show(request: Request, arcade: ArcadeShop, session: SignedIn, cursor: CursorText = "") -> Response:
    player = await arcade.players.own(session.access_token)
    return await _page(request, arcade, session.access_token, player, _values(player), cursor=cursor)


def _values(player: OwnPlayer) -> dict[str, str]:
    return {
        "name": player.name,
        "time_zone": player.time_zone or "",
        "private": "1" if player.private else "",
        "mails": "1" if player.mails else "",
    }


@router.post("")
async def save(request: Request, arcade: ArcadeShop, session: SignedIn, form: PostedForm) -> Response:
    token = session.access_token
    checked, errors = parse_form(PlayerForm, form)
    problem_text, status = "", 422
    if checked is not None:
        try:
            await arcade.players.change(token, checked.changes())
        except Problem as problem:
            if problem.status not in SHOWN_IN_FORM:
                raise
            errors = {wrong["field"]: wrong["message"] for wrong in problem.errors}
            problem_text, status = "" if errors else problem.detail, problem.status
        else:
            return redirect(request, "/account/player", SAVED)
    player = await arcade.players.own(token)
    return await _page(request, arcade, token, player, form, errors=errors, problem=problem_text, status=status)


async def _page(
    request: Request,
    arcade: Arcade,
    token: str,
    player: OwnPlayer,
    values: Mapping[str, str],
    *,
    cursor: str = "",
    errors: Mapping[str, str] | None = None,
    problem: str = "",
    status: int = 200,
) -> Response:
    ledger, friends = await asyncio.gather(
        arcade.ask_player.maybe(lambda: arcade.players.ledger(token, cursor)),
        arcade.ask_player.maybe(lambda: arcade.players.friends(token)),
    )
    more = ledger.next_cursor if ledger else None
    gains = None if ledger is None else await _gains(arcade, token, ledger.items)
    return await page(
        request,
        "arcade/settings.html",
        status=status,
        tab="player",
        player=player,
        values=values,
        errors=errors or {},
        problem=problem,
        zones=zones(),
        gains=gains,
        friends=friends,
        next_url=with_query("/account/player", cursor=more) if more else None,
    )


async def _gains(arcade: Arcade, token: str, entries: Sequence[LedgerEntry]) -> list[Gain]:
    """With the names of achievements, which are asked for only if there are any."""
    names: dict[str, str] = {}
    if any(entry.cause.startswith(f"{ACHIEVEMENT}:") for entry in entries):
        own = await arcade.ask_achievement.maybe(lambda: arcade.achievements.own(token))
        names = {one.code: one.name for one in own or ()}
    return [gain_of(entry, names) for entry in entries]
