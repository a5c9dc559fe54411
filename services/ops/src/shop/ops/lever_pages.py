"""Levers: what runs on this machine, and forms that change it. Each asks first, and needs a password of minutes ago."""

from __future__ import annotations

import time
from typing import Annotated

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from shop.kit.errors import Problem
from shop.ops.access import FRESH_S, Admin, Fresh, PostedForm, visitor_of
from shop.ops.levers import Action, Levers, actions
from shop.ops.logs import Wanted
from shop.ops.web import PREFIX, Room, page

PAGE = f"{PREFIX}/levers"
router = APIRouter(prefix=PAGE, include_in_schema=False)

USES_SHOWN = 20
ASKED: dict[Action, str] = {
    "stop": "It stays away until it is started again. What needs it fails or waits meanwhile.",
    "start": "It is started with the settings that it had.",
    "restart": "It finishes what is under way and is started again. Requests to it wait or fail for a moment.",
}


async def local_levers(room: Room) -> Levers:
    if room.levers is None:
        raise Problem(404, "not_local", "Levers are for a shop on this machine.")
    return room.levers


Local = Annotated[Levers, Depends(local_levers)]


@router.get("")
async def levers(request: Request, room: Room, session: Admin, local: Local) -> Response:
    components = await local.supervisor.components()
    uses = await room.log_lines(Wanted(text='"lever_used"', limit=USES_SHOWN), ["ops"])
    rows = [(component, actions(component)) for component in components]
    return page(
        request, "levers.html", rows=rows, uses=list(reversed(uses)), audit=local.audit, auditing=local.auditing,
        fresh=session.is_fresh(time.time(), FRESH_S), fresh_minutes=FRESH_S / 60,
    )  # fmt: skip


@router.post("/audit")
async def audit(request: Request, session: Fresh, local: Local, form: PostedForm) -> Response:
    begun = local.start_audit(session.user_id)
    return _back(request, "The audit runs; its result appears here." if begun else "An audit is running already.")


@router.post("/{name}/{action}")
async def change(
    request: Request, name: str, action: Action, session: Fresh, local: Local, form: PostedForm
) -> Response:
    """Ask, and with the answer do it."""
    if "confirmed" not in form:
        return page(request, "confirm.html", name=name, action=action, explanation=ASKED[action], back=PAGE)
    try:
        done = await local.change(name, action, session.user_id)
    except Problem as problem:
        done = f"{name} was not changed: {problem.detail}"
    return _back(request, done)


def _back(request: Request, said: str) -> Response:
    visitor_of(request).flash = said
    return RedirectResponse(PAGE, 303)
