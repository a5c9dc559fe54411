"""The page of a restaurant's staff: orders to accept, prepare and hand over, and what is sold at the moment."""

from __future__ import annotations

import asyncio
from typing import Any, Literal
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.kit.errors import Problem
from shop.storefront.food.opening_hours import today_in
from shop.storefront.food.schemas import Menu, Ticket
from shop.storefront.food.service import FoodShop, food_of
from shop.storefront.forms import SHOWN_IN_FORM
from shop.storefront.web import PostedForm, Shop, SignedIn, page, redirect

router = APIRouter(prefix="/kitchen", include_in_schema=False, dependencies=[Depends(food_of)])

TicketAction = Literal["accept", "reject", "begin", "ready", "cancel"]
Setting = Literal["pause", "resume", "close-today", "reopen", "automatic", "manual"]

ACTIONS = {"waiting": ("accept", "reject"), "accepted": ("begin",), "preparing": ("ready",)}
"""What the staff can do with a ticket in each state, besides cancelling it."""
SETTINGS: dict[str, dict[str, Any]] = {
    "pause": {"paused": True},
    "resume": {"paused": False},
    "automatic": {"acceptance": "automatic"},
    "manual": {"acceptance": "manual"},
}
COLUMNS = (("New", ("waiting", "accepted")), ("Being prepared", ("preparing",)), ("Ready", ("ready",)))


@router.get("")
async def workplaces(request: Request, food: FoodShop, session: SignedIn) -> Response:
    """The kitchen of the one restaurant where the user works, or a choice of several."""
    found = await food.kitchens.mine(session.access_token)
    if len(found) == 1:
        return redirect(request, f"/kitchen/{found[0].id}")
    return await page(request, "food/workplaces.html", workplaces=found)


@router.get("/{restaurant_id}")
async def kitchen(request: Request, restaurant_id: UUID, food: FoodShop, session: SignedIn) -> Response:
    token = session.access_token
    mine, tickets = await asyncio.gather(food.kitchens.mine(token), food.kitchens.tickets(token, restaurant_id))
    workplace = next((one for one in mine if one.id == restaurant_id), None)
    if workplace is None:
        raise Problem(403, "staff_only", "This page is for the restaurant's staff only.")
    try:
        menu = await food.backends.restaurants.menu(restaurant_id, token)
    except Problem:
        menu = Menu()
    columns = [(title, [ticket for ticket in tickets if ticket.state in states]) for title, states in COLUMNS]
    return await page(
        request,
        "food/kitchen.html",
        workplace=workplace,
        several=len(mine) > 1,
        columns=columns,
        new_count=len(columns[0][1]),
        actions=_actions,
        menu=menu,
        closed_today=today_in(workplace.time_zone) in workplace.closures,
    )


def _actions(ticket: Ticket) -> tuple[str, ...]:
    """A ticket is prepared only once it is paid."""
    return () if ticket.state == "accepted" and not ticket.paid else ACTIONS.get(ticket.state, ())


@router.get("/{restaurant_id}/events")
async def events(request: Request, restaurant_id: UUID, shop: Shop, session: SignedIn, after: str = "") -> Response:
    """The changes of the restaurant's tickets as server-sent events."""
    seen = request.headers.get("last-event-id", "") or after
    path = f"/api/v1/restaurants/{restaurant_id}/tickets/events"
    return await shop.streams.open("restaurant", path, session.access_token, seen)


@router.post("/{restaurant_id}/tickets/{order_id}/{action}")
async def act(
    request: Request,
    restaurant_id: UUID,
    order_id: UUID,
    action: TicketAction,
    food: FoodShop,
    session: SignedIn,
    form: PostedForm,
) -> Response:
    try:
        await food.kitchens.act(session.access_token, restaurant_id, order_id, action)
    except Problem as problem:
        if problem.status not in SHOWN_IN_FORM:
            raise
        return redirect(request, f"/kitchen/{restaurant_id}", problem.detail)
    return redirect(request, f"/kitchen/{restaurant_id}")


@router.post("/{restaurant_id}/settings/{setting}")
async def change(
    request: Request, restaurant_id: UUID, setting: Setting, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """Pause, close today, or accept by hand; and back."""
    token = session.access_token
    if setting == "close-today":
        await food.kitchens.close_on(token, restaurant_id)
    elif setting == "reopen":
        workplace = await food.kitchens.workplace(token, restaurant_id)
        await food.kitchens.reopen(token, restaurant_id, today_in(workplace.time_zone))
    else:
        await food.kitchens.change(token, restaurant_id, SETTINGS[setting])
    return redirect(request, f"/kitchen/{restaurant_id}")


@router.post("/{restaurant_id}/items/{item_id}")
async def sold_out(
    request: Request, restaurant_id: UUID, item_id: UUID, food: FoodShop, session: SignedIn, form: PostedForm
) -> Response:
    """Say that an item is sold out (`sold_out` is 1), or that it is there again."""
    await food.kitchens.set_sold_out(session.access_token, restaurant_id, item_id, form.get("sold_out") == "1")
    return redirect(request, f"/kitchen/{restaurant_id}#item-{item_id}")
