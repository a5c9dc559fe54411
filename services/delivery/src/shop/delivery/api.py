"""HTTP: parse, call the service, answer."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from shop.delivery import schemas
from shop.delivery.documents import step_document
from shop.delivery.domain import Action, State
from shop.delivery.service import DeliveryService
from shop.delivery.tracking import Viewer
from shop.delivery.work import Step
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser, Principal
from shop.kit.errors import Problem, invalid_field
from shop.kit.lean import lean
from shop.kit.pages import Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.town import Position

STREAM_HEADERS = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
MAX_REVISION = 2**31 - 1

Service = Annotated[DeliveryService, Depends(service_of)]
LastEventId = Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=MAX_REVISION)]

couriers = make_router(prefix="/api/v1/couriers", tags=["couriers"])
deliveries = make_router(prefix="/api/v1/deliveries", tags=["deliveries"])


@couriers.get("", response_model=Page[schemas.CourierView])
async def list_couriers(_: CurrentAdmin, service: Service, limit: Limit = 50, cursor: Cursor = None) -> Response:
    """All couriers with their positions and loads, for administrators."""
    after = decode_cursor(cursor, UUID)[0] if cursor else None
    found = await service.couriers(after, limit + 1)
    shown, next_cursor = cut_page(found, limit, lambda courier: (courier.user_id,))
    return _json({"items": [service.courier_document(one) for one in shown], "next_cursor": next_cursor})


@couriers.get("/me", response_model=schemas.CourierView)
async def get_courier_me(person: CurrentUser, service: Service) -> Response:
    """The courier that the caller is."""
    return _json(service.courier_document(await service.courier(person.user_id)))


@couriers.patch("/me", response_model=schemas.CourierView)
async def change_courier_shift(shift: schemas.Shift, person: CurrentUser, service: Service) -> Response:
    """Begin or end the shift. At its end, what is not picked up goes to other couriers."""
    await service.courier(person.user_id)
    return _json(service.courier_document(await service.work.set_shift(person.user_id, shift.on_shift)))


@couriers.post("/me/positions", status_code=204)
@lean
async def add_courier_position(new: schemas.NewPosition, person: CurrentUser, service: Service) -> Response:
    """Report where the caller is, at most once a second; fixes that are not newer are dropped."""
    await service.add_position(person.user_id, Position(new.lat, new.lon), new.time(service.now()))
    return Response(status_code=204)


@couriers.get("/me/jobs", response_model=schemas.JobsView)
async def list_courier_jobs(person: CurrentUser, service: Service) -> Response:
    """The deliveries of the caller, in the order of doing them."""
    return _json(await service.tracking.jobs(await service.courier(person.user_id)))


@couriers.get("/me/events", response_class=StreamingResponse, responses={200: {"content": {"text/event-stream": {}}}})
async def watch_courier_jobs(person: CurrentUser, service: Service) -> Response:
    """A `jobs` event with all jobs now, and whenever they change."""
    courier = await service.courier(person.user_id)
    service.tracking.job_watchers.check_capacity()
    return StreamingResponse(
        service.tracking.job_events(courier), media_type="text/event-stream", headers=STREAM_HEADERS
    )


@couriers.put("/{user_id}", response_model=schemas.CourierView)
async def set_courier(user_id: UUID, new: schemas.NewCourier, _: CurrentAdmin, service: Service) -> Response:
    """Make a user a courier or change one, for administrators."""
    return _json(service.courier_document(await service.work.put_courier(user_id, new.name, new.vehicle)))


@deliveries.get("", response_model=Page[schemas.DeliveryView])
async def list_deliveries(
    _: CurrentAdmin,
    service: Service,
    state: Annotated[State | None, Query()] = None,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """All deliveries, the newest first, for administrators."""
    before = _before(cursor) if cursor else None
    found = await service.tracking.page(state, before, limit + 1)
    shown, next_cursor = cut_page(found, limit, lambda seen: (seen.delivery.created_at, seen.delivery.order_id))
    items = [service.tracking.document(seen, Viewer.ADMIN) for seen in shown]
    return _json({"items": items, "next_cursor": next_cursor})


@deliveries.get("/demand", response_model=schemas.DemandView)
async def get_demand(_: CurrentAdmin, service: Service) -> Response:
    """Where the orders of the last hour went, for administrators."""
    return _json(await service.demand())


@deliveries.get("/{order_id}", response_model=schemas.DeliveryView)
async def get_delivery(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """A delivery, for its customer, its courier, the restaurant's staff and administrators."""
    return _json(service.tracking.document(*await service.tracking.delivery(order_id, person)))


@deliveries.get(
    "/{order_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "`state` events (DeliveryView) and `position`"},
        204: {"description": "Nothing can follow what the client has seen: do not connect again"},
    },
)
async def watch_delivery(
    order_id: UUID, person: CurrentUser, service: Service, last_event_id: LastEventId = None
) -> Response:
    """The delivery as it changes, until it ends, and its courier's positions. Last-Event-ID resumes."""
    seen, viewer = await service.tracking.delivery(order_id, person)
    if seen.delivery.state.final and last_event_id is not None and last_event_id >= seen.delivery.revision:
        return Response(status_code=204)
    service.tracking.watchers.check_capacity()
    events = service.tracking.events(seen, viewer, last_event_id)
    return StreamingResponse(events, media_type="text/event-stream", headers=STREAM_HEADERS)


@deliveries.post("/{order_id}/reject", response_model=schemas.StepView)
async def reject_delivery(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """The courier does not want the delivery: another one gets it."""
    return await _act(service, order_id, person, Action.REJECT)


@deliveries.post("/{order_id}/arrive", response_model=schemas.StepView)
async def reach_restaurant(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """The courier is at the restaurant."""
    return await _act(service, order_id, person, Action.ARRIVE)


@deliveries.post("/{order_id}/pick-up", response_model=schemas.StepView)
async def collect_delivery(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """The courier has the food. Problem 409 `not_ready` until the kitchen is."""
    return await _act(service, order_id, person, Action.PICK_UP)


@deliveries.post("/{order_id}/depart", response_model=schemas.StepView)
async def start_delivery_trip(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """The courier is on the way to the customer."""
    return await _act(service, order_id, person, Action.DEPART)


@deliveries.post("/{order_id}/deliver", response_model=schemas.StepView)
async def deliver_food(order_id: UUID, handover: schemas.Handover, person: CurrentUser, service: Service) -> Response:
    """The customer has the food and told the code. After five wrong codes in ten minutes: 429.

    As every step, an administrator may take it in place of the courier, and without the code.
    """
    if handover.code is None and person.role != "admin":
        raise invalid_field("code", "Send the four digits that the customer tells.")
    return await _act(service, order_id, person, Action.DELIVER, handover.code)


@deliveries.post("/{order_id}/drop", response_model=schemas.StepView)
async def drop_delivery(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """The courier cannot go on: another one gets the delivery, which is not picked up yet."""
    return await _act(service, order_id, person, Action.DROP)


async def _act(
    service: DeliveryService, order_id: UUID, person: Principal, action: Action, code: str | None = ""
) -> Response:
    step = Step(order_id, person.user_id, action, code, by_admin=person.role == "admin")
    return _json(step_document(await service.work.act(step)))


def _before(cursor: str) -> tuple[datetime, UUID]:
    at, order_id = decode_cursor(cursor, str, UUID)
    try:
        return datetime.fromisoformat(at), order_id
    except ValueError:
        raise Problem(400, "invalid_cursor", "The cursor is not one of this service.") from None


def _json(document: Any) -> Response:
    return Response(orjson.dumps(document, default=str), media_type="application/json")
