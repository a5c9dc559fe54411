"""Levers: what runs on this machine, and forms that change it. Each asks first, and needs a password of minutes ago.

In a cluster the page says what is offered there.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Request
from starlette.responses import RedirectResponse, Response

from shop.kit.errors import Problem
from shop.ops.access import FRESH_S, Admin, Fresh, PostedForm, visitor_of
from shop.ops.levers import Action, Levers, actions
from shop.ops.logs import Wanted
from shop.ops.services import ABOUT, CALLS, SINGLE
from shop.ops.supervisor import LATE_STATUS, Component
from shop.ops.web import PREFIX, Room, confirmation, page

PAGE = f"{PREFIX}/levers"
router = APIRouter(prefix=PAGE, include_in_schema=False)

USES_SHOWN = 20
MAX_COUNT = 16
"""Processes of one service; the supervisor has the same limit."""
SCALED = "Processes are added or stopped; each that stops finishes the requests that it has."
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
async def levers(request: Request, room: Room, session: Admin) -> Response:
    frame: dict[str, Any] = {
        "fresh": session.is_fresh(time.time(), FRESH_S),
        "fresh_minutes": FRESH_S / 60,
        "callers": [noun for noun in room.services if CALLS[noun]],
    }
    if room.levers is None:
        return page(request, "levers.html", **frame)
    components = await room.levers.supervisor.components()
    uses = await room.log_lines(Wanted(text='"lever_used"', limit=USES_SHOWN), ["ops"])
    return page(
        request, "levers.html", **frame, rows=[(component, actions(component)) for component in components],
        scalable=_scalable(components), max_count=MAX_COUNT, uses=list(reversed(uses)), audit=room.levers.audit,
        auditing=room.levers.auditing,
    )  # fmt: skip


def _scalable(components: Sequence[Component]) -> dict[str, int]:
    """How many processes the services have that may have several."""
    nouns = [one.noun for one in components if one.kind == "service"]
    return dict(Counter(noun for noun in nouns if noun in ABOUT and noun not in SINGLE))


@router.post("/scale")
async def scale(request: Request, session: Fresh, local: Local, form: PostedForm) -> Response:
    """Ask, and with the answer do it."""
    noun, number = str(form.get("service", "")), str(form.get("count", ""))
    count = int(number) if number.isascii() and number.isdigit() and len(number) <= len(str(MAX_COUNT)) else 0
    if noun not in _scalable(await local.supervisor.components()) or not 1 <= count <= MAX_COUNT:
        raise Problem(422, "not_scalable", f"Choose a service and 1 to {MAX_COUNT} processes.")
    if "confirmed" not in form:
        hidden = {"service": noun, "count": str(count)}
        return confirmation(request, f"Scale {noun} to {count}", SCALED, PAGE, hidden=hidden)
    try:
        done = await local.scale(noun, count, session.user_id)
    except Problem as problem:
        done = _not_done(f"{noun} was not scaled", problem)
    return _back(request, done)


@router.post("/audit")
async def audit(request: Request, session: Fresh, local: Local, form: PostedForm) -> Response:
    begun = local.start_audit(session.user_id)
    return _back(request, "The audit runs; its result appears here." if begun else "An audit is running already.")


def _not_done(what: str, problem: Problem) -> str:
    return f"{what}{' yet' if problem.status == LATE_STATUS else ''}: {problem.detail}"


@router.post("/{name}/{action}")
async def change(
    request: Request, name: str, action: Action, session: Fresh, local: Local, form: PostedForm
) -> Response:
    """Ask, and with the answer do it."""
    if "confirmed" not in form:
        return confirmation(request, f"{action.capitalize()} {name}", ASKED[action], PAGE)
    try:
        done = await local.change(name, action, session.user_id)
    except Problem as problem:
        done = _not_done(f"{name} was not changed", problem)
    return _back(request, done)


def _back(request: Request, said: str) -> Response:
    visitor_of(request).flash = said
    return RedirectResponse(PAGE, 303)
