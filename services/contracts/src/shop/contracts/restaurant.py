"""Calls to restaurant: pricing a cart of food, the kitchen's ticket for an order, and who works where.

A ticket is what the kitchen has of one order. `ACCEPT` makes it and holds a place of the kitchen's capacity; a
restaurant that accepts by hand answers `WAITING` until its staff has decided, and `restaurant.ticket_changed.v1` says
when it has.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import BatchCall, Message, OrderItem, OrderResult, ReadCall, Released, ReleaseRequest
from shop.contracts.geography import Position
from shop.contracts.money import Price

MAX_LINES = 50
MAX_QUANTITY = 50
MAX_CHOICES = 20
MAX_RESTAURANTS_OF_A_USER = 50
MAX_ACCEPTANCE_S = 480
"""How long a restaurant may give itself to accept an order by hand: less than order waits for it."""


class FoodLine(Message):
    """A menu item with the ids of the choices of its options, in any order."""

    item_id: UUID
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]
    choices: Annotated[list[UUID], Field(max_length=MAX_CHOICES)] = Field(default=[])


class FoodRequest(OrderItem):
    """``order_id`` is any fresh id when only a price is asked for."""

    restaurant_id: UUID
    lines: Annotated[list[FoodLine], Field(min_length=1, max_length=MAX_LINES)]


class TicketRequest(FoodRequest):
    """``customer_name`` is what the kitchen writes on the bag."""

    user_id: UUID
    customer_name: str
    note: str = ""


class FoodStatus(StrEnum):
    PRICED = "priced"
    ACCEPTED = "accepted"
    WAITING = "waiting"
    REJECTED = "rejected"


class PricedFood(Message):
    """One line. ``product_id`` stands for the item with exactly these choices (a UUIDv5 of their ids), so that lines of
    one order have different ones; ``name`` has the choices in brackets; ``unit_price`` includes them."""

    product_id: UUID
    item_id: UUID
    quantity: int
    name: str
    category: str
    unit_price: Price
    choices: list[UUID] = Field(default=[])


class FoodOf(OrderResult):
    restaurant_name: str
    position: Position
    minimum_order: Price
    lines: list[PricedFood]


class Priced(FoodOf):
    """``ready_at`` is when the kitchen would be ready if the order came now."""

    status: Literal[FoodStatus.PRICED] = FoodStatus.PRICED
    ready_at: datetime


class Accepted(FoodOf):
    """The kitchen has the ticket; it will be ready at ``ready_at``. Prices are those of the first request."""

    status: Literal[FoodStatus.ACCEPTED] = FoodStatus.ACCEPTED
    ready_at: datetime


class WaitingForStaff(OrderResult):
    """The staff has until ``until`` to accept; then the ticket is rejected."""

    status: Literal[FoodStatus.WAITING] = FoodStatus.WAITING
    until: datetime


class FoodRejected(OrderResult):
    """``code`` is stable: unknown_restaurant, restaurant_closed (``extra.opens_at``), restaurant_paused, unknown_item,
    item_sold_out, invalid_choices, kitchen_full, refused_by_restaurant, not_accepted_in_time, released. ``extra`` has
    JSON values for the problem document."""

    status: Literal[FoodStatus.REJECTED] = FoodStatus.REJECTED
    code: str
    detail: str
    extra: dict[str, Any] = Field(default={})


class WithdrawRequest(OrderItem):
    """Cancel a ticket because its order is being cancelled. ``even_if_begun``: an administrator's request."""

    even_if_begun: bool = False


class WithdrawStatus(StrEnum):
    WITHDRAWN = "withdrawn"
    """The kitchen has not begun, and will not; also the answer for an unknown order, which cannot come any more."""
    BEGUN = "begun"
    """The kitchen has begun: the ticket stays."""
    PICKED_UP = "picked_up"
    """The courier has it: the ticket stays, whoever asks."""


class Withdrawal(OrderResult):
    status: WithdrawStatus


class StaffQuery(Message):
    user_id: UUID


class Staff(Message):
    """The restaurants that the user works for."""

    restaurant_ids: Annotated[list[UUID], Field(max_length=MAX_RESTAURANTS_OF_A_USER)]


PriceResult = Annotated[Priced | FoodRejected, Field(discriminator="status")]
AcceptResult = Annotated[Accepted | WaitingForStaff | FoodRejected, Field(discriminator="status")]

PRICE: BatchCall[FoodRequest, Priced | FoodRejected] = BatchCall(
    "restaurant.price", "/internal/prices", TypeAdapter(FoodRequest), TypeAdapter(PriceResult)
)
ACCEPT: BatchCall[TicketRequest, Accepted | WaitingForStaff | FoodRejected] = BatchCall(
    "restaurant.accept", "/internal/tickets", TypeAdapter(TicketRequest), TypeAdapter(AcceptResult)
)
RELEASE = BatchCall(
    "restaurant.release", "/internal/tickets/release", TypeAdapter(ReleaseRequest), TypeAdapter(Released)
)
"""The compensation of `ACCEPT`: the ticket is gone, whatever its state."""
WITHDRAW = BatchCall(
    "restaurant.withdraw", "/internal/tickets/withdraw", TypeAdapter(WithdrawRequest), TypeAdapter(Withdrawal)
)
"""The question before a confirmed order is cancelled; it decides against a kitchen that begins at the same moment."""
STAFF = ReadCall("restaurant.staff", "/internal/staff", TypeAdapter(StaffQuery), TypeAdapter(Staff))
