"""The page of a food order: where it is, on the map and in words, and its stream of changes."""

from __future__ import annotations

import asyncio
import math
from datetime import UTC, datetime
from uuid import UUID

from fastapi import APIRouter, Depends, Request
from starlette.responses import Response

from shop.contracts.geography import Position
from shop.kit.errors import Problem, Unavailable
from shop.kit.sessions import Session
from shop.storefront.arcade.gain_pages import gain_frame
from shop.storefront.food.carts import CartItem
from shop.storefront.food.homes import distance_m, locate
from shop.storefront.food.maps import Marker, TownMap, map_of, marker
from shop.storefront.food.progress import DELIVERED, ON_THE_WAY, Progress
from shop.storefront.food.schemas import Delivery
from shop.storefront.food.service import Food, food_of
from shop.storefront.food.texts import distance_text
from shop.storefront.schemas import Order
from shop.storefront.service import Storefront
from shop.storefront.sessions import Visitor
from shop.storefront.web import Shop, SignedIn, page

router = APIRouter(prefix="/orders", include_in_schema=False, dependencies=[Depends(food_of)])

SECONDS_PER_MINUTE = 60


async def food_order_page(request: Request, shop: Storefront, food: Food, session: Session, order: Order) -> Response:
    token = session.access_token
    delivery, gain = await asyncio.gather(_delivery(food, token, order), gain_frame(shop.arcade, token, order))
    progress = Progress(order, delivery)
    headline, explanation = progress.headline
    return await page(
        request,
        "food/order.html",
        order=order,
        progress=progress,
        delivery=delivery,
        headline=headline,
        explanation=explanation,
        minutes=minutes_left(progress.eta, datetime.now(UTC)),
        town_map=_map(order, progress, delivery),
        map_text=_map_text(order, progress, delivery),
        events_url=_events_url(order, progress, delivery),
        **gain,
    )


async def _delivery(food: Food, token: str, order: Order) -> Delivery | None:
    """None before the order is paid, and while the delivery service is away."""
    if order.state in {"pending", "rejected"}:
        return None
    try:
        return await food.backends.deliveries.one(token, order.id)
    except (Problem, Unavailable):
        return None


def minutes_left(eta: datetime | None, now: datetime) -> int | None:
    """Whole minutes until the food arrives, at least 1."""
    return None if eta is None else max(1, math.ceil((eta - now).total_seconds() / SECONDS_PER_MINUTE))


def _events_url(order: Order, progress: Progress, delivery: Delivery | None) -> str:
    """The stream that the page follows: of the delivery once there is one, before that of the order."""
    if not progress.live:
        return ""
    return f"/orders/{order.id}/tracking" if delivery else f"/orders/{order.id}/events"


def _ends(order: Order, delivery: Delivery | None) -> tuple[Position | None, Position | None]:
    """The positions of the restaurant and of the customer."""
    home = locate(order.address.street) if order.address else None
    if delivery is None:
        return None, home
    return delivery.pickup, delivery.dropoff or home


def _map(order: Order, progress: Progress, delivery: Delivery | None) -> TownMap | None:
    """None for an order that does not move: before it is paid, and after its end."""
    if delivery is None or progress.ended_early:
        return None
    pickup, home = _ends(order, delivery)
    fixed = [("restaurant", pickup), ("home", home)]
    markers: list[Marker] = [marker(kind, position) for kind, position in fixed if position]
    if delivery.position and progress.here != DELIVERED:
        markers.append(marker("courier", delivery.position, "courier"))
    shown = [position for position in (pickup, home, delivery.position, *delivery.route) if position]
    return map_of(shown, markers, delivery.route) if shown else None


def _map_text(order: Order, progress: Progress, delivery: Delivery | None) -> str:
    """What the map shows, in words."""
    restaurant = order.restaurant.name if order.restaurant and order.restaurant.name else "the restaurant"
    parts = [f"Map of the town with {restaurant} and your address."]
    _, home = _ends(order, delivery)
    if delivery and delivery.position and delivery.courier and home and progress.here <= ON_THE_WAY:
        left = distance_text(distance_m(delivery.position, home))
        parts.append(f"{delivery.courier.name} is {left} from your address by the streets.")
    return " ".join(parts)


@router.get("/{order_id}/tracking")
async def tracking(request: Request, order_id: UUID, shop: Shop, session: SignedIn, after: str = "") -> Response:
    """The delivery's states and positions as server-sent events; none for another customer's order.

    A tab that takes over from another one says in `after` what that one saw last.
    """
    seen = request.headers.get("last-event-id", "") or after
    path = f"/api/v1/deliveries/{order_id}/events"
    return await shop.streams.open("delivery", path, session.access_token, seen)


async def order_again(food: Food, visitor: Visitor, order: Order) -> bool:
    """Put the items of a food order into the cart in place of what it has; False if they are not known."""
    items = [(line, line.item_id) for line in order.lines if line.item_id]
    if not order.restaurant or not items:
        return False
    for number, (line, item_id) in enumerate(items):
        item = CartItem.of(item_id, line.choices)
        await food.carts.add(visitor.cart_owner, order.restaurant.id, item, line.quantity, replace=number == 0)
    return True
