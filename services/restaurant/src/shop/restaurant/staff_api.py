"""HTTP for a restaurant's staff and for administrators: parse, call the service, answer."""

from __future__ import annotations

from datetime import date
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Header, Query, Response
from fastapi.responses import StreamingResponse

from shop.contracts.events import TicketState
from shop.kit.app import service_of
from shop.kit.auth import CurrentAdmin, CurrentUser
from shop.kit.errors import invalid_field
from shop.kit.pages import Cursor, Limit, Page, cut_page, decode_cursor
from shop.kit.routing import router as make_router
from shop.restaurant import errors, schemas, views
from shop.restaurant.domain import OPEN
from shop.restaurant.kitchen import Action
from shop.restaurant.service import RestaurantService

Service = Annotated[RestaurantService, Depends(service_of)]
IfMatch = Annotated[
    str | None, Header(alias="If-Match", max_length=40, description="The ETag of what was read; * overwrites")
]

router = make_router(prefix="/api/v1/restaurants", tags=["restaurants"])


@router.post("", status_code=201)
async def create_restaurant(
    new: schemas.NewRestaurant, admin: CurrentAdmin, service: Service
) -> views.RestaurantDetail:
    """Add a restaurant, for administrators."""
    return service.detail(await service.create(new, admin))


@router.get("/mine")
async def list_my_restaurants(person: CurrentUser, service: Service) -> Page[views.RestaurantDetail]:
    """Where the user works."""
    return Page(items=await service.mine(person))


@router.patch("/{restaurant_id}")
async def change_restaurant(
    restaurant_id: UUID, change: schemas.RestaurantChange, person: CurrentUser, service: Service
) -> views.RestaurantDetail:
    """Change what is named. Orders that the kitchen has are not touched."""
    return service.detail(await service.change(restaurant_id, change, person))


@router.put("/{restaurant_id}/hours")
async def set_restaurant_hours(
    restaurant_id: UUID,
    hours: schemas.HoursBody,
    person: CurrentUser,
    service: Service,
    response: Response,
    if_match: IfMatch = None,
) -> views.RestaurantDetail:
    """Replace the opening hours that were read: 412 `changed_meanwhile` when somebody else has changed them."""
    changed = await service.put_hours(restaurant_id, hours, _version(if_match), person)
    response.headers["ETag"] = f'"{changed.hours_version}"'
    return service.detail(changed)


@router.post("/{restaurant_id}/closures")
async def add_restaurant_closure(
    restaurant_id: UUID, closure: schemas.ClosureBody, person: CurrentUser, service: Service
) -> views.RestaurantDetail:
    """Close on one local date, today's if none is named: no opening begins on it."""
    return service.detail(await service.close_on(restaurant_id, closure.date, person))


@router.delete("/{restaurant_id}/closures/{day}")
async def delete_restaurant_closure(
    restaurant_id: UUID, day: date, person: CurrentUser, service: Service
) -> views.RestaurantDetail:
    """Take a closure back."""
    return service.detail(await service.close_on(restaurant_id, day, person, reopen=True))


@router.put("/{restaurant_id}/menu")
async def set_restaurant_menu(
    restaurant_id: UUID,
    menu: schemas.MenuBody,
    person: CurrentUser,
    service: Service,
    response: Response,
    if_match: IfMatch = None,
) -> views.MenuView:
    """Replace the menu that was read. Orders that were placed keep their lines and prices."""
    changed, version = await service.put_menu(restaurant_id, menu, _version(if_match), person)
    response.headers["ETag"] = f'"{version}"'
    return changed


@router.patch("/{restaurant_id}/items/{item_id}", status_code=204)
async def change_menu_item(
    restaurant_id: UUID, item_id: UUID, change: schemas.ItemChange, person: CurrentUser, service: Service
) -> None:
    """Say that an item is sold out, or that it is there again."""
    await service.set_sold_out(restaurant_id, item_id, change.sold_out, person)


@router.get("/{restaurant_id}/changes")
async def list_restaurant_changes(
    restaurant_id: UUID, person: CurrentUser, service: Service, limit: Limit = 20, cursor: Cursor = None
) -> Page[views.ChangeView]:
    """Who changed what of the restaurant, the newest first."""
    await service.check_staff(person, restaurant_id)
    before = decode_cursor(cursor, int)[0] if cursor else None
    found = await service.changes(restaurant_id, before, limit + 1)
    changes, next_cursor = cut_page(found, limit, lambda change: (change["id"],))
    return Page(items=[views.ChangeView.model_validate(change) for change in changes], next_cursor=next_cursor)


@router.get("/{restaurant_id}/tickets")
async def list_tickets(
    restaurant_id: UUID,
    person: CurrentUser,
    service: Service,
    state: Annotated[list[TicketState] | None, Query(max_length=len(TicketState))] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Page[views.TicketView]:
    """The kitchen's tickets, the newest first; without ``state`` those that are open."""
    await service.check_staff(person, restaurant_id)
    before = decode_cursor(cursor, UUID)[0] if cursor else None
    found = await service.kitchens.page(restaurant_id, state or sorted(OPEN), before, limit + 1)
    tickets, next_cursor = cut_page(found, limit, lambda ticket: (ticket.order_id,))
    return Page(items=[views.ticket_view(ticket) for ticket in tickets], next_cursor=next_cursor)


@router.get(
    "/{restaurant_id}/tickets/events",
    response_class=StreamingResponse,
    responses={200: {"content": {"text/event-stream": {}}, "description": "A `ticket` event per change; TicketView"}},
)
async def watch_tickets(
    restaurant_id: UUID,
    person: CurrentUser,
    service: Service,
    last_event_id: Annotated[int | None, Header(alias="Last-Event-ID", ge=0, le=2**53)] = None,
) -> Response:
    """The open tickets, then each as it changes. Last-Event-ID resumes after the change seen."""
    await service.check_staff(person, restaurant_id)
    await service.get(restaurant_id)
    service.streams.check_capacity()
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    events = service.while_staff(person, restaurant_id, service.streams.events(restaurant_id, last_event_id))
    return StreamingResponse(events, media_type="text/event-stream", headers=headers)


@router.post("/{restaurant_id}/tickets/{order_id}/{action}")
async def change_ticket_state(
    restaurant_id: UUID, order_id: UUID, action: Action, person: CurrentUser, service: Service
) -> views.TicketView:
    """Accept or reject a waiting ticket, begin a paid one, say that it is ready, or cancel it."""
    await service.check_staff(person, restaurant_id)
    return views.ticket_view(await service.kitchens.act(restaurant_id, order_id, action, person.user_id))


@router.get("/{restaurant_id}/staff")
async def list_staff(restaurant_id: UUID, _: CurrentAdmin, service: Service) -> Page[views.StaffView]:
    """Who works at the restaurant, for administrators."""
    return Page(items=[views.StaffView.model_validate(row) for row in await service.staff(restaurant_id)])


@router.put("/{restaurant_id}/staff/{user_id}", status_code=204)
async def add_staff(restaurant_id: UUID, user_id: UUID, admin: CurrentAdmin, service: Service) -> None:
    """Let a user work at the restaurant, for administrators."""
    await service.add_staff(restaurant_id, user_id, admin)


@router.delete("/{restaurant_id}/staff/{user_id}", status_code=204)
async def delete_staff(restaurant_id: UUID, user_id: UUID, admin: CurrentAdmin, service: Service) -> None:
    """Let a user no longer work at the restaurant, for administrators."""
    await service.remove_staff(restaurant_id, user_id, admin)


def _version(if_match: str | None) -> int | None:
    """The version of an ETag, or None for any; Problem 428 ``precondition_required`` without one."""
    if if_match is None:
        raise errors.precondition_required()
    text = if_match.strip()
    if text == "*":
        return None
    try:
        return int(text.removeprefix("W/").strip('"'))
    except ValueError:
        raise invalid_field("If-Match", "Not an ETag of this service.") from None
