"""Events that consumers gave up: which, why, and a lever that lets a service process its own again."""

from __future__ import annotations

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from shop.kit.errors import Problem
from shop.ops.access import Admin, Fresh, PostedForm, visitor_of
from shop.ops.control_room import CONSUMING
from shop.ops.levers import audited
from shop.ops.web import PREFIX, Room, confirmation, page

PAGE = f"{PREFIX}/letters"
router = APIRouter(prefix=PAGE, include_in_schema=False)

REPLAY = "Its oldest dead letters are processed again. Each takes effect once; what fails again stays here."


@router.get("")
async def letters(request: Request, room: Room, session: Admin) -> Response:
    found = await room.dead_letters()
    return page(request, "letters.html", letters=found, nouns=sorted({one.noun for one in found}))


@router.post("/{noun}/replay")
async def replay(request: Request, room: Room, session: Fresh, form: PostedForm, noun: str) -> Response:
    """Ask, and with the answer do it."""
    if noun not in CONSUMING:
        raise Problem(404, "unknown_service", "No service of this name consumes events.")
    if "confirmed" not in form:
        return confirmation(request, f"Replay {noun}", REPLAY, PAGE)
    found = await room.replay(noun)
    audited("replay", noun, session.user_id, "failed" if found is None else "done")
    said = (
        f"{noun} does not answer." if found is None else f"{found['replayed']} took effect, {found['failed']} failed."
    )
    visitor_of(request).flash = said
    return RedirectResponse(PAGE, 303)
