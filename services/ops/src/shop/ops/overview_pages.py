"""The shop as a living picture, and what each service does now."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse

from shop.kit.errors import Problem
from shop.kit.watchers import KEEPALIVE, event
from shop.ops.access import Admin
from shop.ops.control_room import ControlRoom
from shop.ops.layout import BOX_HEIGHT, BOX_WIDTH, layout
from shop.ops.logs import LEVELS, Line, Wanted
from shop.ops.services import ABOUT, CALLS, STORES
from shop.ops.web import PREFIX, Room, page

router = APIRouter(prefix=PREFIX, include_in_schema=False)

MAX_STREAM_S = 600.0
"""The browser connects again by itself."""
LINES_ON_A_PAGE = 100
LINES_TO_DOWNLOAD = 5_000
REQUESTS_ON_A_PAGE = 10
BROKER = "nats"
STORES_IN_ORDER = ("postgres", BROKER, "valkey")
"""The broker in the middle: all events go through it."""
STREAM_HEADERS = {"X-Accel-Buffering": "no", "Cache-Control": "no-store"}

Text = Annotated[str, Query(max_length=200)]
Level = Annotated[str, Query(pattern=f"^({'|'.join(LEVELS)})?$")]
TraceText = Annotated[str, Query(pattern="^([0-9a-f]{32})?$")]


@router.get("")
async def overview(request: Request, room: Room, session: Admin) -> Response:
    found = await room.watch.latest()
    nouns = [noun for noun in ABOUT if noun in room.services]
    used = {store for noun in nouns for store in STORES[noun]}
    stores = [store for store in STORES_IN_ORDER if store in used]
    drawing = layout(nouns, stores)
    return page(
        request, "overview.html", nouns=nouns, stores=stores, drawing=drawing, box=(BOX_WIDTH, BOX_HEIGHT),
        arrows=_arrows(nouns), picture=found.document(), about=ABOUT,
    )  # fmt: skip


def _arrows(nouns: list[str]) -> list[tuple[str, str, str]]:
    """Source, target and kind of everything that may flow."""
    calls = [(noun, other, "call") for noun in nouns for other in CALLS[noun] if other in nouns]
    users = [noun for noun in nouns if BROKER in STORES[noun]]
    events = [pair for noun in users for pair in ((noun, BROKER, "event"), (BROKER, noun, "event"))]
    return [*calls, *events]


@router.get("/events")
async def events(room: Room, session: Admin) -> Response:
    """Server-sent events: the picture after each reading."""
    return StreamingResponse(_events(room), headers=STREAM_HEADERS, media_type="text/event-stream")


async def _events(room: ControlRoom) -> AsyncIterator[bytes]:
    loop = asyncio.get_running_loop()
    until = loop.time() + MAX_STREAM_S
    pictures = room.watch.pictures()
    yield KEEPALIVE
    try:
        while loop.time() < until:
            yield event("picture", (await anext(pictures)).document())
    finally:
        await pictures.aclose()


@router.get("/services/{noun}")
async def service(
    request: Request,
    room: Room,
    session: Admin,
    noun: str,
    level: Level = "",
    text: Text = "",
    trace: TraceText = "",
    instance: Annotated[str, Query(pattern="^([a-z]+-[0-9]+)?$", max_length=40)] = "",
) -> Response:
    """One service: instances, settings, slow and failed requests, log lines."""
    if noun not in room.services:
        raise Problem(404, "unknown_service", "This shop has no such service.")
    wanted = Wanted(level, text, trace, LINES_ON_A_PAGE)
    found, calls, settings, lines, slowest, failed = await asyncio.gather(
        room.watch.latest(),
        room.calls.of(noun),
        room.settings_of(noun),
        room.log_lines(wanted, [noun], instance),
        room.spans.requests(noun, failed=False, limit=REQUESTS_ON_A_PAGE),
        room.spans.requests(noun, failed=True, limit=REQUESTS_ON_A_PAGE),
    )
    return page(
        request, "service.html", noun=noun, about=ABOUT[noun], node=found.node(noun), service_settings=settings,
        lines=lines, wanted=wanted, instance=instance, instances=room.instances_of(noun), levels=LEVELS,
        slowest=slowest, failed=failed, has_logs=room.logs is not None, about_calls=CALLS[noun],
        calls=[one for one in calls if one.target in CALLS[noun]], log_link=room.log_link(noun),
    )  # fmt: skip


@router.get("/services/{noun}/log")
async def log_file(
    room: Room, session: Admin, noun: str, level: Level = "", text: Text = "", trace: TraceText = ""
) -> Response:
    """The lines that fit, to be saved."""
    lines: list[Line] = await room.log_lines(Wanted(level, text, trace, LINES_TO_DOWNLOAD), [noun])
    headers = {"Content-Disposition": f'attachment; filename="{noun}.log"'} if noun in ABOUT else {}
    return PlainTextResponse("".join(f"{line.raw}\n" for line in lines), headers=headers)
