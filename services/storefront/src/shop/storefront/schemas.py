"""Responses of the other services, as far as pages show them. Unknown fields are ignored."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict

from shop.contracts.money import Address, Money

SOLD_STATES = frozenset({"confirmed", "fulfilled", "delivered"})
OPEN_STATES = frozenset({"pending", "confirmed", "fulfilled"})
"""States that can still change; the order's page listens for changes."""


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
    """The totals of a list of lines, in one currency."""

    subtotal: Money
    discount: Money
    tax: Money
    shipping: Money
    total: Money


class Quote(Amounts):
    """``free_shipping_lost``: shipping would be free without the coupon."""

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
    item_id: UUID | None = None
    choices: tuple[UUID, ...] = ()


class CourierName(View):
    name: str
    vehicle: str = ""


class OrderRestaurant(View):
    """Of a food order; ``state`` is that of the kitchen's ticket."""

    id: UUID
    name: str | None = None
    state: str | None = None
    ready_at: datetime | None = None


class OrderDelivery(View):
    """Of a food order; the delivery service knows more."""

    state: str | None = None
    courier: CourierName | None = None
    eta: datetime | None = None


class Order(View):
    """``refunded`` is set from the order's payments; the order service does not return it."""

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
    tip: Money | None = None
    note: str | None = None
    restaurant: OrderRestaurant | None = None
    delivery: OrderDelivery | None = None
    cancel_requested_at: datetime | None = None
    created_at: datetime
    updated_at: datetime
    refunded: Money | None = None

    @property
    def refund(self) -> Literal["", "partial", "full"]:
        """Whether the payment was refunded in part or in full."""
        if self.state not in SOLD_STATES or self.total is None or self.refunded is None or not self.refunded.amount:
            return ""
        return "full" if self.refunded.amount >= self.total.amount else "partial"

    @property
    def cancelled_while_pending(self) -> bool:
        """Whether the customer cancelled it before it was confirmed."""
        return (self.state, self.reason) == ("rejected", "cancelled")

    @property
    def shown_state(self) -> str:
        """The state as customers see it."""
        if self.cancelled_while_pending:
            return "cancelled"
        if self.kind == "food" and self.state == "fulfilled":
            return "on_the_way"
        return "refunded" if self.refund == "full" else self.state

    @property
    def cancellable(self) -> bool:
        """Whether the customer may still cancel it."""
        return self.state in {"pending", "confirmed"} and not self.cancel_requested_at and self.refund != "full"

    @property
    def open(self) -> bool:
        return self.state in OPEN_STATES

    @property
    def number(self) -> str:
        """The short form of the id for people."""
        return self.id.hex[-8:].upper()


class Payment(View):
    id: UUID
    order_id: UUID
    state: str
    amount: Money
    refunded: Money | None = None

    @property
    def refundable(self) -> int:
        """Minor units that can still be refunded."""
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

    def status(self, now: datetime) -> str:
        """Whether customers can use it; reasons in the same order as in the pricing service."""
        if not self.active:
            return "Inactive"
        if self.starts_at and self.starts_at > now:
            return "Scheduled"
        if self.expires_at and self.expires_at <= now:
            return "Expired"
        return "Used up" if self.usage_limit is not None and self.used >= self.usage_limit else "Active"


class ProductPair(View):
    """Two products that were bought in the same order, and in how many orders."""

    product_id: UUID
    title: str = ""
    other_product_id: UUID
    other_title: str = ""
    orders: int


class RecommendationModel(View):
    """What the recommendation service has learned. `coverage` is the share of the catalogue that it can recommend."""

    version: int | None = None
    trained_at: datetime | None = None
    age_s: float | None = None
    orders: int = 0
    products: int = 0
    pairs: int = 0
    coverage: float = 0.0
    strongest_pairs: list[ProductPair] = []
    customers: list[str] = []


class PurchasedProduct(View):
    """The title is empty when the catalogue has no such product any more."""

    product_id: UUID
    title: str = ""


class RecommendedProduct(Product):
    reason: str = ""
    score: float = 0.0


class RecommendationPreview(View):
    """What one anonymised customer would be shown, and from which purchases."""

    customer: str
    purchases: list[PurchasedProduct] = []
    items: list[RecommendedProduct] = []


class Page[T](View):
    items: list[T]
    next_cursor: str | None = None
