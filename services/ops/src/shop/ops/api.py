"""What programs ask: services export their spans, administrators read traces as JSON."""

from __future__ import annotations

from typing import Annotated, Any
from uuid import UUID

from fastapi import APIRouter, Path, Query, Request
from pydantic import BaseModel, ConfigDict
from starlette.responses import Response

from shop.kit.auth import CurrentAdmin
from shop.kit.errors import Problem
from shop.kit.routing import router as make_router
from shop.ops import otlp
from shop.ops.model import Search
from shop.ops.web import Room

router = make_router(prefix="/api/v1/traces", tags=["traces"])
exports = APIRouter(include_in_schema=False)

MAX_ID_CHARACTERS = 64
TraceId = Annotated[str, Path(max_length=MAX_ID_CHARACTERS)]
"""One that is malformed is one that is not known."""
MAX_TRACES = 200
MAX_MINIMUM_MS = 3_600_000


class TraceView(BaseModel):
    """One trace of a list; times in nanoseconds since 1970."""

    model_config = ConfigDict(from_attributes=True)

    trace_id: str
    name: str
    service: str
    began_ns: int
    duration_ms: float
    spans: int
    errors: int
    services: tuple[str, ...]
    order_id: str
    user_id: str


class SpanView(BaseModel):
    """One span of a trace; ``links`` are trace ids."""

    model_config = ConfigDict(from_attributes=True)

    span_id: str
    parent_id: str
    service: str
    name: str
    kind: str
    layer: str
    began_ns: int
    ended_ns: int
    error: str
    stack: str
    attributes: dict[str, Any]
    links: tuple[str, ...]


class Traces(BaseModel):
    items: list[TraceView]


class WholeTrace(BaseModel):
    """Its spans in the order in which they began."""

    trace_id: str
    spans: list[SpanView]


@exports.post("/v1/traces")
async def export(request: Request, room: Room) -> Response:
    """OTLP over HTTP. Like other collectors it asks for no token: in a cluster a network policy admits the services
    alone, on one machine it listens on 127.0.0.1, and the gateway does not route to it."""
    if request.headers.get("content-type", "").partition(";")[0].strip() != otlp.PROTOBUF:
        raise Problem(415, "unsupported_media_type", f"Spans are exported as {otlp.PROTOBUF}.")
    rejected = await room.spans.add(otlp.read(await request.body()))
    return Response(otlp.answer(rejected), media_type=otlp.PROTOBUF)


@router.get("")
async def list_traces(
    room: Room,
    admin: CurrentAdmin,
    order_id: UUID | None = None,
    user_id: UUID | None = None,
    service: Annotated[str, Query(pattern="^[a-z]*$", max_length=31)] = "",
    name: Annotated[str, Query(max_length=100)] = "",
    min_ms: Annotated[float, Query(ge=0, le=MAX_MINIMUM_MS)] = 0.0,
    failed: bool = False,
    limit: Annotated[int, Query(ge=1, le=MAX_TRACES)] = 50,
) -> Traces:
    """The newest kept traces, of an order, of a user, through a service, slow or failed ones."""
    order, user = (str(one) if one else "" for one in (order_id, user_id))
    found = await room.spans.find(Search(order, user, service, name, min_ms, failed, limit))
    return Traces(items=[TraceView.model_validate(one) for one in found])


@router.get("/{trace_id}")
async def get_trace(room: Room, admin: CurrentAdmin, trace_id: TraceId) -> WholeTrace:
    """All kept spans of a trace; 404 `unknown_trace` when none was sampled or kept."""
    spans = await room.spans.trace(trace_id)
    if not spans:
        raise Problem(404, "unknown_trace", "No span of this trace is kept: it was not sampled, or it is too old.")
    return WholeTrace(trace_id=trace_id, spans=[SpanView.model_validate(one) for one in spans])
