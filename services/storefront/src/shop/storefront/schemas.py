"""What the other services answer, as far as a page shows it. Unknown fields are ignored: they may add more."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shop.contracts.money import Address, Money

SOLD_STATES = frozenset({"confirmed", "fulfilled", "delivered"})
OPEN_STATES = frozenset({"pending", "confirmed", "fulfilled"})
"""States that an order can still leave; its page listens for changes."""


class View(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Product(View):
    id: UUID
    sku: str = ""
    name: str
    description: str = ""
    category: str = ""
    price: Money
    stock: int
    image_url: str | None = None
    attributes: dict[str, Any] = {}

    @property
    def author(self) -> str:
        return str(self.attributes.get("author") or "")


class Category(View):
    name: str
    count: int | None = None


class QuoteLine(View):
    product_id: UUID
    quantity: int
    unit_price: Money
    line_total: Money


class Amounts(View):
    """The sums under a list of lines, in one currency."""

    subtotal: Money
    discount: Money
    tax: Money
    shipping: Money
    total: Money


class Quote(Amounts):
    """``free_shipping_lost``: the items would be sent for nothing without the coupon."""

    lines: list[QuoteLine]
    free_shipping_from: Money | None = None
    free_shipping_lost: bool = False


class OrderLine(View):
    """Name and prices are known once the order is confirmed."""

    product_id: UUID
    quantity: int
    name: str | None = None
    unit_price: Money | None = None
    line_total: Money | None = None


class Order(View):
    """``refunded`` is what went back of an order that was sold; its payment knows it, a list does not."""

    id: UUID
    state: str
    kind: str = "retail"
    reason: str | None = None
    lines: list[OrderLine] = []
    subtotal: Money | None = None
    discount: Money | None = None
    tax: Money | None = None
    shipping: Money | None = None
    total: Money | None = None
    address: Address | None = None
    coupon: str | None = None
    cancel_requested_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    refunded: Money | None = None

    @property
    def refund(self) -> Literal["", "partial", "full"]:
        """How much of what was paid went back."""
        if self.state not in SOLD_STATES or self.total is None or self.refunded is None or not self.refunded.amount:
            return ""
        return "full" if self.refunded.amount >= self.total.amount else "partial"

    @property
    def given_up(self) -> bool:
        """Whether its customer cancelled it before it was confirmed."""
        return (self.state, self.reason) == ("rejected", "cancelled")

    @property
    def shown_state(self) -> str:
        """The state, or what says more to people."""
        if self.given_up:
            return "cancelled"
        return "refunded" if self.refund == "full" else self.state

    @property
    def cancellable(self) -> bool:
        """Whether its customer may still cancel it."""
        return self.state in {"pending", "confirmed"} and not self.cancel_requested_at and self.refund != "full"

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def number(self) -> str:
        """The short form of the id that people read out."""
        return self.id.hex[-8:].upper()


class Payment(View):
    id: UUID
    order_id: UUID
    state: str
    amount: Money
    refunded: Money | None = None

    @property
    def refundable(self) -> int:
        """Minor units that can still go back."""
        if self.state not in {"captured", "partially_refunded"}:
            return 0
        return self.amount.amount - (self.refunded.amount if self.refunded else 0)


class SavedAddress(Address):
    id: UUID


class Message(View):
    id: UUID
    channel: str = "email"
    template: str = ""
    subject: str = ""
    state: str = ""
    recipient: str | None = None
    error: str | None = None
    created_at: datetime


class Promotion(View):
    code: str
    kind: str
    value: int
    minimum_subtotal: int = 0
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    usage_limit: int | None = None
    once_per_user: bool = False
    active: bool = True
    used: int = 0

    def standing(self, now: datetime) -> str:
        """Whether a customer can use it, in one word; the same order of reasons as the pricing service's."""
        if not self.active:
            return "Inactive"
        if self.starts_at and self.starts_at > now:
            return "Scheduled"
        if self.expires_at and self.expires_at <= now:
            return "Expired"
        return "Used up" if self.usage_limit is not None and self.used >= self.usage_limit else "Active"


class SagaStep(View):
    saga: str
    step: str
    phase: str
    outcome: str
    at: datetime
    times: int = 1
    seconds: float = 0.0
    detail: str = ""


class Transition(View):
    from_state: str
    to_state: str
    at: datetime


class History(View):
    """How an order came to be what it is."""

    status: str
    attempts: int
    next_attempt_at: datetime | None = None
    deadline_at: datetime | None = None
    trace_id: str = ""
    steps: list[SagaStep] = []
    transitions: list[Transition] = []


class Page[T](View):
    items: list[T]
    next_cursor: str | None = None
