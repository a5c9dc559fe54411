"""HTTP: parse, call the service, answer."""

from __future__ import annotations

import re
from typing import Annotated, Any
from uuid import UUID

import orjson
from fastapi import Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser
from shop.kit.idempotency import IDEMPOTENCY_KEY, KEY_PATTERN, key_malformed, key_missing
from shop.kit.lean import lean
from shop.kit.pages import Cursor, Limit, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.order import schemas, stream
from shop.order.domain import State
from shop.order.food_schemas import AnyOrderRequest
from shop.order.rows import OrderFilter
from shop.order.schemas import order_document
from shop.order.service import OrderService

Service = Annotated[OrderService, Depends(service_of)]

DEFAULT_LIMIT = 20

router = make_router(prefix="/api/v1/orders", tags=["orders"])


async def idempotency_key(
    value: Annotated[str | None, Header(alias=IDEMPOTENCY_KEY, description="Names this order; 1-255 ASCII.")] = None,
) -> str:
    """The key; a missing and a malformed one have codes of their own."""
    if not value:
        raise key_missing()
    if not re.match(KEY_PATTERN, value):
        raise key_malformed()
    return value


Rejections = Annotated[bool | None, Query(description="false: without attempts that were rejected; true: only these")]
IdempotencyKey = Annotated[str, Depends(idempotency_key)]


@router.post(
    "",
    status_code=201,
    response_model=schemas.OrderView,
    responses={
        202: {
            "model": schemas.OrderView,
            "description": "Accepted; completed when every service is available",
        },
        402: {"description": "payment_declined; decline_code says why"},
        404: {"description": "unknown_product, unknown_restaurant, unknown_item"},
        409: {
            "description": "insufficient_stock, price_changed, idempotency_key_in_flight, deadline_exceeded; of food: "
            "restaurant_closed, restaurant_paused, item_sold_out, kitchen_full, refused_by_restaurant"
        },
        503: {"description": "no_courier: nothing was ordered; try again after Retry-After with a new Idempotency-Key"},
    },
)
@lean
async def place_order(person: CurrentUser, key: IdempotencyKey, request: AnyOrderRequest, service: Service) -> Response:
    """Place an order. The same Idempotency-Key with the same body never orders twice."""
    answer = await service.place(person, request, key)
    headers = {"Location": f"{router.prefix}/{answer.order.id}"}
    return _json(order_document(answer.order), answer.status, headers)


@router.get("", response_model=schemas.OrderPage)
async def list_my_orders(
    person: CurrentUser,
    service: Service,
    state: State | None = None,
    rejected: Rejections = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """The caller's own orders, newest first."""
    return await _page(service, person.user_id, OrderFilter(state, rejected), limit, cursor)


@router.get("/all", response_model=schemas.OrderPage)
async def list_all_orders(
    _: CurrentAdmin,
    service: Service,
    user_id: Annotated[UUID | None, Query(description="Only this customer's")] = None,
    state: State | None = None,
    rejected: Rejections = None,
    limit: Limit = DEFAULT_LIMIT,
    cursor: Cursor = None,
) -> Response:
    """All orders, newest first, for administrators."""
    return await _page(service, user_id, OrderFilter(state, rejected), limit, cursor)


@router.get("/{order_id}", response_model=schemas.OrderView)
async def get_order(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """An order of the caller; an administrator may read every order."""
    return _json(order_document(await service.get(order_id, person)))


@router.get("/{order_id}/history")
async def get_order_history(order_id: UUID, _: CurrentAdmin, service: Service) -> schemas.SagaView:
    """The steps of an order's saga and its changes of state, for administrators."""
    saga, transitions = await service.history(order_id)
    return schemas.SagaView(
        **{name: saga[name] for name in ("order_id", "kind", "status", "attempts", "next_attempt_at", "deadline_at")},
        trace_id=saga["traceparent"][3:35],
        steps=saga["history"],
        transitions=[schemas.TransitionView(**row) for row in transitions],
    )


@router.post(
    "/{order_id}/cancel",
    response_model=schemas.OrderView,
    responses={202: {"model": schemas.OrderView, "description": "The refund or the restock is still to come"}},
)
async def cancel_order(order_id: UUID, person: CurrentUser, service: Service) -> Response:
    """Cancel an order that has not been shipped: the payment is refunded and the stock returned.

    An order that is still pending ends as `rejected` with the reason `cancelled`: it was never sold.
    Food is cancelled until its kitchen begins (409 `kitchen_has_begun`), by administrators until it is picked up
    (409 `already_picked_up`).
    """
    answer = await service.cancel(order_id, person)
    return _json(order_document(answer.order), answer.status)


@router.post("/{order_id}/retry", status_code=204)
async def retry_order(order_id: UUID, _: CurrentAdmin, service: Service) -> None:
    """Try a waiting saga at once instead of at its next attempt, for administrators; 409 `not_waiting` for another."""
    await service.retry(order_id)


@router.post("/{order_id}/fulfil", response_model=schemas.OrderView)
async def fulfil_order(order_id: UUID, person: CurrentAdmin, service: Service) -> Response:
    """Mark a confirmed order as fulfilled, for administrators; one of food is moved by its delivery alone."""
    return _json(order_document(await service.move(order_id, person, State.FULFILLED)))


@router.post("/{order_id}/deliver", response_model=schemas.OrderView)
async def deliver_order(order_id: UUID, person: CurrentAdmin, service: Service) -> Response:
    """Mark a fulfilled order as delivered, for administrators."""
    return _json(order_document(await service.move(order_id, person, State.DELIVERED)))


@router.get(
    "/{order_id}/events",
    response_class=StreamingResponse,
    responses={
        200: {"content": {"text/event-stream": {}}, "description": "One `state` event per change; see StateView"},
        204: {"description": "Nothing can follow what the client has seen: do not connect again"},
    },
)
async def watch_order_events(
    order_id: UUID,
    person: CurrentUser,
    service: Service,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=1_000_000)] = None,
) -> Response:
    """The order's states as they change, until the last one. Last-Event-ID resumes after the version seen."""
    order = await service.get(order_id, person)
    if order.state.final and last_event_id is not None and last_event_id >= order.version:
        return Response(status_code=204)
    service.watchers.check_capacity()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = stream.events(service.watchers, order, await service.resumable(order, last_event_id))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


async def _page(
    service: OrderService, user_id: UUID | None, only: OrderFilter, limit: int, cursor: str | None
) -> Response:
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    found = await service.page(user_id, only, before, limit + 1)
    orders, next_cursor = cut_page(found, limit, lambda order: (order.id,))
    return _json({"items": [order_document(order) for order in orders], "next_cursor": next_cursor})


def _json(document: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    return Response(orjson.dumps(document, default=str), status, headers, media_type="application/json")
