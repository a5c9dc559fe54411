"""The internal routes that order and pricing call."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Response

from shop.contracts.calls import Batch, Released, ReleaseRequest, Results
from shop.contracts.delivery import (
    ASSIGN,
    RELEASE,
    RESERVE,
    ROUTE,
    Assigned,
    AssignRequest,
    DeliveryRejected,
    Reserved,
    ReserveRequest,
    Routed,
    RouteRequest,
)
from shop.delivery.service import DeliveryService
from shop.kit.app import service_of
from shop.kit.auth import internal_only
from shop.kit.lean import document, lean
from shop.kit.routing import router as make_router

Service = Annotated[DeliveryService, Depends(service_of)]

router = make_router(tags=["internal"], dependencies=[Depends(internal_only)])


@router.post(ROUTE.path, response_model=Results[Routed | DeliveryRejected])
@lean
async def route(batch: Batch[RouteRequest], service: Service) -> Response:
    """How far it is from a restaurant to an address."""
    results = [service.reservations.route(item) for item in batch.items]
    return document(Results[Routed | DeliveryRejected](results=results))


@router.post(RESERVE.path, response_model=Results[Reserved | DeliveryRejected])
@lean
async def reserve(batch: Batch[ReserveRequest], service: Service) -> Response:
    """Hold a courier for each order; idempotent by order id."""
    results = await service.reservations.reserve(batch.items)
    return document(Results[Reserved | DeliveryRejected](results=results))


@router.post(ASSIGN.path, response_model=Results[Assigned | DeliveryRejected])
@lean
async def assign(batch: Batch[AssignRequest], service: Service) -> Response:
    """Make the paid orders' deliveries live; idempotent by order id."""
    results = await service.reservations.assign(batch.items)
    return document(Results[Assigned | DeliveryRejected](results=results))


@router.post(RELEASE.path)
async def release(batch: Batch[ReleaseRequest], service: Service) -> Results[Released]:
    """Give the orders' deliveries up; an order that reserved nothing yet cannot reserve afterwards."""
    await service.reservations.release([item.order_id for item in batch.items])
    return Results(results=[Released(order_id=item.order_id) for item in batch.items])
