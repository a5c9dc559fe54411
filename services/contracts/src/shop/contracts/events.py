"""The events that services publish, one class per type and version.

A field is never removed, renamed or narrowed: a breaking change is a new class with the next version, published
beside the old one until no service consumes it. tests/contracts holds the golden schemas that enforce this. Every type
here has a consumer; one that loses its last consumer is removed.
Money is an integer amount of minor units with an ISO 4217 code; times are UTC.
"""

from __future__ import annotations

from datetime import datetime
from typing import ClassVar, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shop.contracts.money import Address, Money


class OrderLine(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")

    product_id: UUID
    quantity: int
    name: str
    category: str
    unit_price: Money
    line_total: Money


class Event(BaseModel):
    """The data of one CloudEvent; readers ignore fields that they do not know."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    TYPE: ClassVar[str]

    def subject_id(self) -> str:
        """The id of the entity that the event is about; events of one entity keep their order."""
        raise NotImplementedError


class OrderEvent(Event):
    order_id: UUID
    user_id: UUID
    email: str
    customer_name: str
    kind: Literal["retail", "food"]
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.order_id)


class OrderPending(OrderEvent):
    """The order was taken but a participant is unavailable; it is confirmed or rejected later."""

    TYPE = "order.pending.v1"

    reason: str


class OrderConfirmed(OrderEvent):
    TYPE = "order.confirmed.v1"

    lines: list[OrderLine]
    subtotal: Money
    discount: Money
    tax: Money
    shipping: Money
    total: Money
    address: Address


class OrderRejected(OrderEvent):
    TYPE = "order.rejected.v1"

    reason: str
    late: bool


class OrderCancelled(OrderEvent):
    TYPE = "order.cancelled.v1"

    refunded: Money


class OrderFulfilled(OrderEvent):
    TYPE = "order.fulfilled.v1"


class OrderDelivered(OrderEvent):
    TYPE = "order.delivered.v1"


class PaymentRefunded(Event):
    TYPE = "payment.refunded.v1"

    payment_id: UUID
    order_id: UUID
    user_id: UUID
    amount: Money
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.order_id)


class UserRegistered(Event):
    TYPE = "user.registered.v1"

    user_id: UUID
    email: str
    name: str
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.user_id)


class UserDeleted(Event):
    """The account is gone; readers remove what they know about the user. It has no name and no address."""

    TYPE = "user.deleted.v1"

    user_id: UUID
    occurred_at: datetime

    def subject_id(self) -> str:
        return str(self.user_id)


EVENTS: dict[str, type[Event]] = {
    event.TYPE: event
    for event in (
        OrderPending,
        OrderConfirmed,
        OrderRejected,
        OrderCancelled,
        OrderFulfilled,
        OrderDelivered,
        PaymentRefunded,
        UserRegistered,
        UserDeleted,
    )
}
"""Every published type by its name."""
