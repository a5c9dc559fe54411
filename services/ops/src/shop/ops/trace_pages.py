"""Pages of traces: the list with its search, and one trace as a waterfall with its log lines."""

from __future__ import annotations

import re
from typing import Annotated, Any
from urllib.parse import quote

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.ops.access import Admin
from shop.ops.api import MAX_MINIMUM_MS, TraceId
from shop.ops.logs import Wanted
from shop.ops.model import Search
from shop.ops.waterfall import SCALE, waterfall
from shop.ops.web import PREFIX, Room, page

router = APIRouter(prefix=f"{PREFIX}/traces", include_in_schema=False)

TRACES_ON_A_PAGE = 100
TRACE_LOG_LINES = 300
ID = re.compile(r"[0-9a-f]{8}-([0-9a-f]{4}-){3}[0-9a-f]{12}")
TRACE_ID = re.compile(r"[0-9a-f]{32}")
Text = Annotated[str, Query(max_length=100)]


@router.get("")
async def traces(
    request: Request,
    room: Room,
    session: Admin,
    order: Text = "",
    user: Text = "",
    service: Text = "",
    name: Text = "",
    min_ms: Annotated[float, Query(ge=0, le=MAX_MINIMUM_MS)] = 0.0,
    failed: bool = False,
) -> Response:
    """The newest traces that fit. Ids are searched as they are pasted, with spaces around or in upper case."""
    order, user = order.strip().lower(), user.strip().lower()
    wrong = [field for field, value in (("order", order), ("user", user)) if value and not ID.fullmatch(value)]
    search = Search(order, user, service, name.strip(), min_ms, failed, TRACES_ON_A_PAGE)
    found = [] if wrong else await room.spans.find(search)
    longest = max((one.duration_ms for one in found), default=0.0) or 1.0
    values: dict[str, Any] = {"search": search, "wrong": wrong, "traces": found, "longest": longest, "scale": SCALE}
    return page(request, "traces.html", services=room.services, minutes=room.settings.traces_minutes, **values)


@router.get("/{trace_id}")
async def trace(request: Request, room: Room, session: Admin, trace_id: TraceId) -> Response:
    """The waterfall of one trace with the log lines of its services; 404 when no span of it is kept."""
    spans = await room.spans.trace(trace_id)
    if not spans:
        detail = "No span of this trace is kept: it was not sampled, or it is older than what is kept."
        raise Problem(404, "unknown_trace", detail)
    shown = waterfall(spans)
    lines = await room.log_lines(Wanted(trace_id=trace_id, limit=TRACE_LOG_LINES), shown.services)
    order_id = next((span.order_id for span in spans if span.order_id), "")
    user_id = next((span.user_id for span in spans if span.user_id), "")
    elsewhere = room.settings.trace_link.replace("{trace_id}", quote(trace_id))
    has_logs = room.logs is not None
    return page(
        request, "trace.html", trace_id=trace_id, shown=shown, lines=lines, scale=SCALE, elsewhere=elsewhere,
        has_logs=has_logs, order_id=order_id, user_id=user_id,
    )  # fmt: skip
