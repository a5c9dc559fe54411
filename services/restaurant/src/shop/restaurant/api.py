"""HTTP for customers and for services: parse, call the service, answer."""

from __future__ import annotations

from typing import Annotated
from uuid import UUID

from fastapi import Depends, Query, Response

from shop.contracts.calls import Batch, Released, ReleaseRequest, Results
from shop.contracts.restaurant import (
    ACCEPT,
    PRICE,
    RELEASE,
    STAFF,
    WITHDRAW,
    Accepted,
    FoodRejected,
    FoodRequest,
    Priced,
    Staff,
    TicketRequest,
    WaitingForStaff,
    Withdrawal,
    WithdrawRequest,
)
from shop.kit.app import service_of
from shop.kit.auth import MaybeUser, internal_only
from shop.kit.compression import PUBLIC_NOW
from shop.kit.errors import invalid_field
from shop.kit.lean import document, lean
from shop.kit.pages import Cursor, Limit, Page
from shop.kit.routing import router as make_router
from shop.restaurant import views
from shop.restaurant.repository import Near
from shop.restaurant.service import RestaurantService

MAX_NEAR_CHARACTERS = 60

Service = Annotated[RestaurantService, Depends(service_of)]

router = make_router(prefix="/api/v1/restaurants", tags=["restaurants"])
internal = make_router(tags=["internal"], dependencies=[Depends(internal_only)])


@router.get("", response_model=Page[views.RestaurantView])
async def list_restaurants(
    service: Service,
    query: Annotated[str, Query(max_length=200, description="Words of name, cuisine or dishes")] = "",
    cuisine: Annotated[str | None, Query(max_length=30)] = None,
    near: Annotated[str | None, Query(max_length=MAX_NEAR_CHARACTERS, description="lat,lon: the nearest first")] = None,
    open_now: bool = False,
    limit: Limit = 20,
    cursor: Cursor = None,
) -> Response:
    """The restaurants by page: by name, or the nearest first."""
    items, next_cursor = await service.page(
        query=query, cuisine=cuisine, near=_near(near), open_now=open_now, cursor=cursor, limit=limit
    )
    page = Page[views.RestaurantView](items=items, next_cursor=next_cursor)
    return Response(page.model_dump_json(), media_type="application/json", headers=PUBLIC_NOW)


@router.get("/{restaurant_id}")
async def get_restaurant(restaurant_id: UUID, service: Service, response: Response) -> views.RestaurantDetail:
    """One restaurant with its hours; the ETag is the version of the hours."""
    of = await service.get(restaurant_id)
    response.headers["ETag"] = f'"{of.hours_version}"'
    return service.detail(of)


@router.get("/{restaurant_id}/menu")
async def get_restaurant_menu(
    restaurant_id: UUID, service: Service, person: MaybeUser, response: Response
) -> views.MenuView:
    """The menu, while an order is possible: 404 `restaurant_closed` says when that is. The staff reads it always."""
    menu, version = await service.menu(restaurant_id, person)
    response.headers["ETag"] = f'"{version}"'
    return menu


@internal.post(PRICE.path, response_model=Results[Priced | FoodRejected])
@lean
async def price_food(batch: Batch[FoodRequest], service: Service) -> Response:
    """What orders would cost, and when they would be ready."""
    results = Results[Priced | FoodRejected](results=await service.kitchens.price(batch.items))
    return document(results)


@internal.post(ACCEPT.path, response_model=Results[Accepted | WaitingForStaff | FoodRejected])
@lean
async def accept_orders(batch: Batch[TicketRequest], service: Service) -> Response:
    """Bring orders to their kitchens; idempotent by order id."""
    answers = await service.kitchens.accept(batch.items)
    results = Results[Accepted | WaitingForStaff | FoodRejected](results=answers)
    return document(results)


@internal.post(RELEASE.path)
async def release_orders(batch: Batch[ReleaseRequest], service: Service) -> Results[Released]:
    """The orders' tickets are gone; an order without one cannot bring one any more."""
    await service.kitchens.release([item.order_id for item in batch.items])
    return Results(results=[Released(order_id=item.order_id) for item in batch.items])


@internal.post(WITHDRAW.path)
async def withdraw_orders(batch: Batch[WithdrawRequest], service: Service) -> Results[Withdrawal]:
    """Cancel the tickets that their kitchens have not begun."""
    return Results(results=await service.kitchens.withdraw(batch.items))


@internal.get(STAFF.path)
async def get_staff_of(user_id: UUID, service: Service) -> Staff:
    """Where the user works."""
    return Staff(restaurant_ids=await service.works_at(user_id))


def _near(text: str | None) -> Near | None:
    if text is None:
        return None
    try:
        lat, lon = (float(part) for part in text.split(","))
    except ValueError:
        raise invalid_field("near", "Not a latitude and a longitude, such as 51.9,-0.2.") from None
    if not (-90 <= lat <= 90 and -180 <= lon <= 180):
        raise invalid_field("near", "No position on earth.")
    return Near(lat, lon)
