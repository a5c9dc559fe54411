"""What the order service reads and writes as JSON. Amounts are integers of minor units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator

from shop.contracts.money import MAX_AMOUNT
from shop.kit.bodies import RequestBody, example
from shop.kit.postal import PostalAddress
from shop.kit.text import Typed, code
from shop.order.domain import MAX_LINES, MAX_QUANTITY, Food, Item, Kind, Line, Order, State, Totals, merge

Text = Annotated[str, Typed(200)]
PaymentToken = Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]{1,255}$")]
Coupon = Annotated[str, Typed(64, 0, code), StringConstraints(pattern=r"^[\x20-\x7e]*$")]


class OrderItem(RequestBody):
    product_id: UUID
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, strict=True)]


class Address(PostalAddress, RequestBody):
    """Where an order is shipped to; the country decides which fields are required."""

    model_config = ConfigDict(json_schema_extra={"example": {
        "name": "Ada Lovelace", "street": "12 St James's Square", "city": "London", "postal_code": "SW1Y 4JH",
        "country": "GB",
    }})  # fmt: skip

    name: Text
    street: Text

    def document(self) -> dict[str, str]:
        """As it is stored and hashed. A region is part of it only when there is one, so that a request that was first
        sent to the previous version is still the same when it is repeated."""
        return {name: text for name in ADDRESS_FIELDS if (text := getattr(self, name)) or name != "region"}


ADDRESS_FIELDS = ("name", "street", "city", "region", "postal_code", "country")
"""In the order in which they are shown; the database has another one."""


class AddressView(BaseModel):
    """An order's address as it was entered, which may have been under other rules."""

    name: str
    street: str
    city: str
    region: str
    postal_code: str
    country: str


class Payment(RequestBody):
    """``token`` stands for a card at the payment provider; the shop never sees a card's number."""

    token: PaymentToken = Field(examples=["tok_visa"])


class ExpectedTotal(RequestBody):
    """What the customer was shown, in minor units of the shop's currency."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class OrderRequest(RequestBody):
    """An order to place. A product named twice counts once with both quantities, at most 999 together.

    With ``expected_total`` nothing is ordered at any other total: 409 ``price_changed`` names both.
    """

    model_config = example(
        items=[{"product_id": "0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0b11", "quantity": 1}],
        address={
            "name": "Ada Lovelace",
            "street": "Invalidenstraße 117",
            "city": "Berlin",
            "postal_code": "10115",
            "country": "DE",
        },
        payment={"token": "tok_visa"},
    )

    kind: Literal["retail"] = "retail"
    items: Annotated[list[OrderItem], Field(min_length=1, max_length=MAX_LINES)]
    address: Address
    payment: Payment
    coupon: Coupon | None = None
    expected_total: ExpectedTotal | None = None

    @field_validator("items")
    @classmethod
    def _addable(cls, items: list[OrderItem]) -> list[OrderItem]:
        merge(Item(item.product_id, item.quantity) for item in items)
        return items

    def wanted(self) -> list[Item]:
        """One item per product."""
        return merge(Item(item.product_id, item.quantity) for item in self.items)


class Money(BaseModel):
    amount: int
    currency: str


class LineView(BaseModel):
    """A line; ``item_id`` and ``choices`` are those of food."""

    product_id: UUID
    quantity: int
    sku: str | None = None
    name: str | None = None
    category: str | None = None
    unit_price: Money | None = None
    line_total: Money | None = None
    item_id: UUID | None = None
    choices: list[UUID] | None = None


class RestaurantSummary(BaseModel):
    """``name`` is null until the order is confirmed. ``state`` is the ticket's, as the restaurant said last."""

    id: UUID
    name: str | None
    state: str | None
    ready_at: datetime | None


class CourierView(BaseModel):
    name: str
    vehicle: str | None


class DeliverySummary(BaseModel):
    """``state`` and ``courier`` are what delivery said last, null before; ``eta`` is null until the order is confirmed.
    The delivery itself, with its position, is at ``GET /api/v1/deliveries/{order_id}``."""

    state: str | None
    courier: CourierView | None
    eta: datetime | None


class OrderView(BaseModel):
    """An order; names, prices and amounts are null until it is confirmed. ``version`` grows with each state.

    ``refunded`` is what was refunded to the customer, null when nothing was. It follows the refund within moments.
    ``tip``, ``restaurant``, ``delivery``, ``phone`` and ``note`` are those of food.
    """

    id: UUID
    user_id: UUID
    kind: Kind
    state: State
    version: int
    reason: str | None = None
    lines: list[LineView]
    subtotal: Money | None
    discount: Money | None
    tax: Money | None
    shipping: Money | None
    total: Money | None
    refunded: Money | None = None
    tip: Money | None = None
    restaurant: RestaurantSummary | None = None
    delivery: DeliverySummary | None = None
    phone: str | None = None
    note: str | None = None
    address: AddressView
    coupon: str | None = None
    cancel_requested_at: datetime | None = None
    created_at: datetime
    updated_at: datetime


class OrderPage(BaseModel):
    items: list[OrderView]
    next_cursor: str | None


class StepRecord(BaseModel):
    """One kind of outcome of one step; ``times`` attempts saw it, the last of them at ``at`` (UTC)."""

    saga: Literal["place", "cancel"]
    step: str
    phase: Literal["action", "compensation"]
    outcome: Literal["done", "rejected", "unavailable", "unknown"]
    at: datetime
    attempt: int
    times: int
    seconds: float
    trace_id: str
    detail: str


class TransitionView(BaseModel):
    version: int
    from_state: State
    to_state: State
    at: datetime
    trace_id: str


class SagaView(BaseModel):
    """The saga of an order and the order's changes of state. ``kind`` is the saga's operation."""

    order_id: UUID
    kind: Literal["place", "cancel"]
    status: Literal["running", "compensating", "done"]
    attempts: int
    next_attempt_at: datetime | None
    deadline_at: datetime | None
    trace_id: str
    steps: list[StepRecord]
    transitions: list[TransitionView]


class StateView(BaseModel):
    """The data of one server-sent event; its id is the version."""

    order_id: UUID
    state: State
    version: int
    reason: str | None
    at: datetime


def money(amount: int, currency: str) -> dict[str, Any]:
    return {"amount": amount, "currency": currency}


def line_document(line: Line, currency: str) -> dict[str, Any]:
    """A line as it is stored, published and shown."""
    about = {} if line.item_id is None else {"item_id": line.item_id, "choices": list(line.choices)}
    if line.unit_price is None or line.line_total is None:
        return {"product_id": line.product_id, "quantity": line.quantity, **about}
    return {
        "product_id": line.product_id,
        "quantity": line.quantity,
        "sku": line.sku,
        "name": line.name,
        "category": line.category,
        "unit_price": money(line.unit_price, currency),
        "line_total": money(line.line_total, currency),
        **about,
    }


def load_lines(documents: Sequence[Mapping[str, Any]]) -> list[Line]:
    """The inverse of ``line_document``."""
    return [
        Line(
            UUID(document["product_id"]),
            document["quantity"],
            document.get("sku"),
            document.get("name"),
            document.get("category"),
            document["unit_price"]["amount"] if "unit_price" in document else None,
            document["line_total"]["amount"] if "line_total" in document else None,
            UUID(document["item_id"]) if "item_id" in document else None,
            tuple(map(UUID, document.get("choices", ()))),
        )
        for document in documents
    ]


def totals_document(totals: Totals | None, currency: str) -> dict[str, Any]:
    names = ("subtotal", "discount", "tax", "shipping", "total")
    return {name: None if totals is None else money(getattr(totals, name), currency) for name in names}


def order_document(order: Order) -> dict[str, Any]:
    """OrderView's members as plain values: this is made once per request."""
    document: dict[str, Any] = {
        "id": order.id,
        "user_id": order.user_id,
        "kind": order.kind,
        "state": order.state,
        "version": order.version,
        "lines": [line_document(line, order.currency) for line in order.lines],
        **totals_document(order.totals, order.currency),
        "address": {name: order.address.get(name, "") for name in ADDRESS_FIELDS},
        "created_at": order.created_at,
        "updated_at": order.updated_at,
    }
    optional: dict[str, Any] = {
        "reason": order.reason,
        "coupon": order.coupon,
        "cancel_requested_at": order.cancel_requested_at,
        "refunded": money(order.refunded, order.currency) if order.refunded else None,
    }
    if order.food is not None:
        optional |= food_document(order.food, order.currency)
    return document | {name: value for name, value in optional.items() if value is not None}


def food_document(food: Food, currency: str) -> dict[str, Any]:
    """OrderView's members that only an order of food has."""
    courier = {"name": food.courier_name, "vehicle": food.vehicle} if food.courier_name else None
    return {
        "tip": money(food.tip, currency),
        "restaurant": {
            "id": food.restaurant_id,
            "name": food.restaurant_name,
            "state": food.ticket_state,
            "ready_at": food.ready_at,
        },
        "delivery": {"state": food.delivery_state, "courier": courier, "eta": food.eta or food.promised_at},
        "phone": food.phone,
        "note": food.note or None,
    }
