"""Levers on the calls between two services: breakers everywhere, faults on a shop on one machine."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import RedirectResponse, Response

from shop.kit.errors import Problem
from shop.kit.http.faults import MAX_LATENCY_S
from shop.ops.access import Fresh, PostedForm, visitor_of
from shop.ops.calls import FOR_S, Action, Reached
from shop.ops.services import CALLS
from shop.ops.web import PREFIX, Number, Room, confirmation

router = APIRouter(prefix=f"{PREFIX}/services", include_in_schema=False)

MAX_LATENCY_MS = MAX_LATENCY_S * 1_000
FAULT = (
    Number("latency_ms", "Latency to add (ms)", 500, MAX_LATENCY_MS),
    Number("error_percent", "Requests that fail (%)", 0, 100),
)
TITLES: Mapping[Action, str] = {
    "open": "Open the breaker",
    "close": "Close the breaker",
    "inject": "Inject a fault",
    "end": "End the fault",
}
ASKED: Mapping[Action, str] = {
    "open": f"{{source}} sends {{target}} no requests for {FOR_S:g} s. What needs them fails or is tried later.",
    "close": "{source} sends {target} requests at once, whatever opened the breaker. It opens again if they fail.",
    "inject": f"Requests from {{source}} to {{target}} take longer or fail, for {FOR_S:g} s.",
    "end": "Requests from {source} to {target} are sent as before.",
}
DONE: Mapping[Action, str] = {
    "open": f"{{source}} sends {{target}} no requests for {FOR_S:g} s",
    "close": "{source} sends {target} requests again",
    "inject": f"the fault from {{source}} to {{target}} lasts {FOR_S:g} s",
    "end": "the fault from {source} to {target} has ended",
}
LOCAL: frozenset[Action] = frozenset({"inject", "end"})


@router.post("/{source}/calls/{target}/{action}")
async def change(
    request: Request, room: Room, session: Fresh, form: PostedForm, source: str, target: str, action: Action
) -> Response:
    """Ask, and with the answer do it."""
    if source not in room.services or target not in room.services or target not in CALLS[source]:
        raise Problem(404, "unknown_call", "This shop has no such call.")
    if action in LOCAL and room.levers is None:
        raise Problem(404, "not_local", "Faults are injected into a shop on this machine alone.")
    names = {"source": source, "target": target}
    back = f"{PREFIX}/services/{source}#calls"
    if "confirmed" not in form:
        title, numbers = f"{TITLES[action]} from {source} to {target}", FAULT if action == "inject" else ()
        return confirmation(request, title, ASKED[action].format_map(names), back, numbers=numbers)
    fault = _wanted(form) if action == "inject" else {}
    reached = await room.calls.change(source, target, action, session.user_id, **fault)
    visitor_of(request).flash = _said(action, names, reached)
    return RedirectResponse(back, 303)


def _wanted(form: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of the form; Problem 422 for others."""
    try:
        latency_ms, error_percent = float(form.get("latency_ms", 0)), float(form.get("error_percent", 0))
    except (TypeError, ValueError):
        latency_ms = error_percent = -1.0
    if not (0 <= latency_ms <= MAX_LATENCY_MS and 0 <= error_percent <= 100 and latency_ms + error_percent > 0):
        detail = f"A fault has 0 to {MAX_LATENCY_MS:g} ms and 0 to 100 % failures, and not 0 of both."
        raise Problem(422, "no_fault", detail)
    return {"latency_ms": latency_ms, "error_percent": error_percent}


def _said(action: Action, names: Mapping[str, str], reached: Reached) -> str:
    counted = f"{reached.done} of {reached.asked} instances of {names['source']}"
    if not reached.done:
        return f"Nothing was changed: {counted} accepted it."
    done = DONE[action].format_map(names)
    return f"{done[0].upper()}{done[1:]} ({counted})."
