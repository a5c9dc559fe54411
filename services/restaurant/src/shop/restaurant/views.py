"""What customers and kitchens read of restaurants, menus and tickets."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shop.contracts.events import DeliveryState, TicketState
from shop.contracts.geography import Position
from shop.contracts.money import Address, Money
from shop.restaurant.domain import Restaurant, Ticket
from shop.restaurant.hours import Closed, Open
from shop.restaurant.schemas import Acceptance, Category, HoursBody


class RestaurantView(BaseModel):
    """``open``: whether an order is possible now; if not, ``opens_at`` says when it is again. ``full``: the kitchen has
    as many orders as it takes, so that an order is refused until one is ready. ``preparation_s`` is how long an order
    takes now. ``distance_m`` is in a straight line."""

    id: UUID
    name: str
    cuisine: str
    description: str
    open: bool
    full: bool = False
    paused: bool
    opens_at: datetime | None = None
    closes_at: datetime | None = None
    position: Position
    address: Address
    minimum_order: Money
    preparation_s: int
    distance_m: int | None = None


class RestaurantDetail(RestaurantView):
    """With what its staff may change; ``closures`` are the dates on which it is closed out of turn."""

    time_zone: str
    hours: HoursBody
    closures: list[date]
    acceptance: Acceptance
    acceptance_deadline_s: int
    kitchen_capacity: int
    orders_in_work: int
    auto_progress: bool
    base_preparation_s: int


class ChoiceView(BaseModel):
    id: UUID
    name: str
    price: Money


class OptionView(BaseModel):
    name: str
    min: int
    max: int
    choices: list[ChoiceView]


class ItemView(BaseModel):
    id: UUID
    name: str
    description: str
    category: Category
    price: Money
    available: bool
    allergens: list[str]
    options: list[OptionView]


class SectionView(BaseModel):
    name: str
    items: list[ItemView]


class MenuView(BaseModel):
    restaurant: RestaurantView
    sections: list[SectionView]


class StaffView(BaseModel):
    user_id: UUID
    added_at: datetime


class ChangeView(BaseModel):
    """``kind``: created, settings, hours, closures, sold_out or menu; ``change`` is what was sent."""

    id: int
    user_id: UUID | None
    kind: str
    change: dict[str, Any]
    at: datetime


class CourierView(BaseModel):
    name: str
    vehicle: str | None


class TicketLineView(BaseModel):
    name: str
    quantity: int


class TicketView(BaseModel):
    """``until``: by when a waiting ticket has to be accepted. ``version`` grows with each state."""

    order_id: UUID
    state: TicketState
    version: int
    reason: str | None
    customer_name: str
    note: str
    lines: list[TicketLineView]
    ready_at: datetime | None
    until: datetime | None
    paid: bool
    created_at: datetime
    courier: CourierView | None
    delivery_state: str | None


def restaurant_view(of: Restaurant, now: datetime, distance_m: float | None = None) -> RestaurantView:
    return RestaurantView(**_view(of, now, distance_m))


def restaurant_detail(of: Restaurant, now: datetime) -> RestaurantDetail:
    return RestaurantDetail(
        **_view(of, now, None),
        time_zone=of.time_zone,
        hours=HoursBody.model_validate(of.hours),
        closures=of.closures,
        acceptance="automatic" if of.kitchen.automatic else "manual",
        acceptance_deadline_s=of.acceptance_deadline_s,
        kitchen_capacity=of.kitchen_capacity,
        orders_in_work=of.held,
        auto_progress=of.auto_progress,
        base_preparation_s=of.preparation_s,
    )


def _view(of: Restaurant, now: datetime, distance_m: float | None) -> dict[str, Any]:
    available = of.kitchen.availability(now)
    return {
        "id": of.id,
        "name": of.name,
        "cuisine": of.cuisine,
        "description": of.description,
        "open": not of.paused and isinstance(available, Open),
        "full": of.kitchen.full,
        "paused": of.paused,
        "opens_at": available.opens_at if isinstance(available, Closed) else None,
        "closes_at": available.closes_at if isinstance(available, Open) else None,
        "position": Position(lat=of.lat, lon=of.lon),
        "address": Address(name=of.name, **of.address),
        "minimum_order": Money(amount=of.minimum_order, currency=of.currency),
        "preparation_s": of.kitchen.preparation_s,
        "distance_m": None if distance_m is None else round(distance_m),
    }


def menu_view(of: Restaurant, document: dict[str, Any], now: datetime) -> MenuView:
    sections = [
        {
            "name": section["name"],
            "items": [_item_view(item, of) for item in section["items"]],
        }
        for section in document["sections"]
    ]
    return MenuView.model_validate({"restaurant": restaurant_view(of, now), "sections": sections})


def _item_view(item: dict[str, Any], of: Restaurant) -> dict[str, Any]:
    options = [
        option | {"choices": [choice | {"price": _money(choice["price"], of)} for choice in option["choices"]]}
        for option in item["options"]
    ]
    available = UUID(item["id"]) not in of.sold_out
    return item | {"price": _money(item["price"], of), "available": available, "options": options}


def _money(amount: int, of: Restaurant) -> dict[str, Any]:
    return {"amount": amount, "currency": of.currency}


def ticket_view(ticket: Ticket) -> TicketView:
    courier = CourierView(name=ticket.courier_name, vehicle=ticket.vehicle) if ticket.courier_name else None
    return TicketView(
        order_id=ticket.order_id,
        state=ticket.state,
        version=ticket.version,
        reason=ticket.reason,
        customer_name=ticket.customer_name,
        note=ticket.note,
        lines=[TicketLineView(name=line["name"], quantity=line["quantity"]) for line in ticket.lines],
        ready_at=ticket.ready_at,
        until=ticket.decide_by if ticket.state is TicketState.WAITING else None,
        paid=ticket.paid_at is not None,
        created_at=ticket.created_at,
        courier=courier,
        delivery_state=ticket.delivery_state
        or (DeliveryState.WAITING if ticket.paid_at and not ticket.ended else None),
    )
