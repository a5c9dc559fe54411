"""What an order is and how it may change. Pure: no clock, no database, no network.

Amounts are integer minor units of the order's currency.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any, Literal, NamedTuple
from uuid import UUID

import orjson

from shop.contracts.pricing import Quoted, QuotedLine
from shop.contracts.product import ReservedLine
from shop.contracts.restaurant import MAX_QUANTITY as MAX_FOOD_QUANTITY
from shop.contracts.restaurant import Accepted, PricedFood

MAX_LINES = 100
MAX_QUANTITY = 999


class State(StrEnum):
    PENDING = "pending"
    CONFIRMED = "confirmed"
    FULFILLED = "fulfilled"
    DELIVERED = "delivered"
    REJECTED = "rejected"
    CANCELLED = "cancelled"

    @property
    def final(self) -> bool:
        """Whether nothing can follow."""
        return not TRANSITIONS[self]


TRANSITIONS: Mapping[State, frozenset[State]] = {
    State.PENDING: frozenset({State.CONFIRMED, State.REJECTED}),
    State.CONFIRMED: frozenset({State.FULFILLED, State.CANCELLED}),
    State.FULFILLED: frozenset({State.DELIVERED}),
    State.DELIVERED: frozenset(),
    State.REJECTED: frozenset(),
    State.CANCELLED: frozenset(),
}
"""The states that may follow each state; the database refuses the others, too."""


class IllegalTransition(Exception):
    def __init__(self, before: State, after: State) -> None:
        super().__init__(f"An order that is {before} cannot become {after}.")
        self.before = before
        self.after = after


Kind = Literal["retail", "food"]

PLACE = "place"
CANCEL = "cancel"
"""The operations of an order's saga."""


class FoodItem(NamedTuple):
    """A menu item with the ids of its choices, sorted; prices come from the restaurant."""

    item_id: UUID
    quantity: int
    choices: tuple[UUID, ...] = ()


class Item(NamedTuple):
    """What the customer ordered; prices come from the shop, never from the customer."""

    product_id: UUID
    quantity: int


@dataclass(frozen=True, slots=True)
class Line:
    """One product of an order; names and prices are known once it is confirmed.

    A line of food has an ``item_id`` and ``choices``; until it is confirmed its ``product_id`` is the item's id.
    """

    product_id: UUID
    quantity: int
    sku: str | None = None
    name: str | None = None
    category: str | None = None
    unit_price: int | None = None
    line_total: int | None = None
    item_id: UUID | None = None
    choices: tuple[UUID, ...] = ()


@dataclass(frozen=True, slots=True)
class Totals:
    """The amounts of an order as pricing quoted them."""

    subtotal: int
    discount: int
    tax: int
    shipping: int
    total: int


@dataclass(frozen=True, slots=True)
class Food:
    """What an order of food has besides its lines. ``tip`` is in minor units, ``phone`` in E.164.

    ``restaurant_name`` and ``promised_at``, when it was to be delivered as of its confirmation, are known once it is
    confirmed. The members from ``ticket_state`` on are what events said last.
    """

    restaurant_id: UUID
    tip: int = 0
    phone: str | None = None
    note: str = ""
    restaurant_name: str | None = None
    promised_at: datetime | None = None
    ticket_state: str | None = None
    ready_at: datetime | None = None
    delivery_state: str | None = None
    courier_name: str | None = None
    vehicle: str | None = None
    eta: datetime | None = None

    def as_confirmed(self) -> Food:
        """Without what events said since."""
        unknown: dict[str, Any] = dict.fromkeys(EVENT_MEMBERS)
        return replace(self, **unknown)


EVENT_MEMBERS = ("ticket_state", "ready_at", "delivery_state", "courier_name", "vehicle", "eta")
"""Of `Food`."""


@dataclass(frozen=True, slots=True)
class Order:
    id: UUID
    user_id: UUID
    email: str
    customer_name: str
    lines: Sequence[Line]
    currency: str
    address: Mapping[str, str]
    created_at: datetime
    updated_at: datetime
    kind: Kind = "retail"
    state: State = State.PENDING
    version: int = 1
    reason: str | None = None
    totals: Totals | None = None
    coupon: str | None = None
    expected_total: int | None = None
    """What the customer was shown; None: whatever it costs."""
    payment_token: str | None = field(default=None, repr=False)
    cancel_requested_at: datetime | None = None
    refunded: int = 0
    """What was refunded so far, by the events that payment published."""
    food: Food | None = None
    """Of an order of the kind food."""

    @property
    def country(self) -> str:
        """Where it is shipped to, which decides its tax and shipping."""
        return self.address["country"]

    def moved(self, after: State, at: datetime, **changes: Any) -> Order:
        """The order in its next state; IllegalTransition if that cannot follow. An ended order has no token."""
        if after not in TRANSITIONS[self.state]:
            raise IllegalTransition(self.state, after)
        return replace(self, state=after, version=self.version + 1, updated_at=at, payment_token=None, **changes)


@dataclass(slots=True)
class Subject:
    """An order in its saga, with the results of the steps of this attempt."""

    order: Order
    traceparent: str
    reserved: Sequence[ReservedLine] = ()
    priced: tuple[Sequence[Line], Totals] | None = None
    accepted: Accepted | None = None
    waiting_for_staff: bool = False
    distance_m: int = 0
    eta: datetime | None = None

    @property
    def totals(self) -> Totals:
        if self.priced is None:
            raise RuntimeError("the order has not been quoted")
        return self.priced[1]


class QuantityTooLarge(ValueError):
    def __init__(self, product_id: UUID, limit: int = MAX_QUANTITY) -> None:
        super().__init__(f"more than {limit} of product {product_id}")


def merge(items: Iterable[Item]) -> list[Item]:
    """One item per product, in order of first mention; QuantityTooLarge when they add up to too many."""
    quantities: dict[UUID, int] = {}
    for product_id, quantity in items:
        quantities[product_id] = quantities.get(product_id, 0) + quantity
        if quantities[product_id] > MAX_QUANTITY:
            raise QuantityTooLarge(product_id)
    return [Item(product_id, quantity) for product_id, quantity in quantities.items()]


def request_hash(
    items: Iterable[Item], address: Mapping[str, str], token: str, coupon: str | None, expected_total: int | None = None
) -> bytes:
    """SHA-256 of the request: equal for two bodies that mean the same order."""
    wanted = sorted((str(item.product_id), item.quantity) for item in items)
    document: dict[str, Any] = {"items": wanted, "address": dict(address), "token": token, "coupon": coupon}
    if expected_total is not None:
        document["expected_total"] = expected_total
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


def merge_food(items: Iterable[FoodItem]) -> list[FoodItem]:
    """One item per menu item and set of choices; QuantityTooLarge when they add up to too many."""
    quantities: dict[tuple[UUID, tuple[UUID, ...]], int] = {}
    for item in items:
        key = item.item_id, tuple(sorted(item.choices))
        quantities[key] = quantities.get(key, 0) + item.quantity
        if quantities[key] > MAX_FOOD_QUANTITY:
            raise QuantityTooLarge(item.item_id, MAX_FOOD_QUANTITY)
    return [FoodItem(item_id, quantity, choices) for (item_id, choices), quantity in quantities.items()]


def food_request_hash(order: Order) -> bytes:
    """SHA-256 of a request for food: equal for two bodies that mean the same order."""
    food = order.food
    if food is None:
        raise ValueError("not an order of food")
    lines = sorted((str(line.item_id), line.quantity, list(map(str, line.choices))) for line in order.lines)
    document = {
        "kind": order.kind, "restaurant_id": str(food.restaurant_id), "items": lines, "address": dict(order.address),
        "token": order.payment_token, "tip": food.tip, "phone": food.phone, "note": food.note, "coupon": order.coupon,
        "expected_total": order.expected_total,
    }  # fmt: skip
    return hashlib.sha256(orjson.dumps(document, option=orjson.OPT_SORT_KEYS)).digest()


class PriceMismatch(ValueError):
    """Pricing quoted something else than was ordered and reserved; the order is not charged."""


def priced(order: Order, reserved: Sequence[ReservedLine], quote: Quoted) -> tuple[list[Line], Totals]:
    """The order's lines and totals, as they were quoted. That these add up is the contract's to check.

    PriceMismatch unless the order, its reservation and the quote name the same products, quantities and currency.
    """
    held = {line.product_id: line for line in reserved}
    quoted = {line.product_id: line for line in quote.lines}
    if not _quantities(order.lines) == _quantities(reserved) == _quantities(quote.lines):
        raise PriceMismatch("the products or quantities of order, reservation and quote differ")
    lines = []
    for line in order.lines:
        about, price = held[line.product_id], quoted[line.product_id]
        amounts = (price.unit_price.amount, price.line_total.amount)
        lines.append(Line(line.product_id, line.quantity, about.sku, about.name, about.category, *amounts))
    return lines, _totals(order, quote)


def priced_food(order: Order, accepted: Accepted, quote: Quoted) -> tuple[list[Line], Totals]:
    """The same for food: the restaurant has said which product each item with its choices is.

    PriceMismatch unless order, ticket and quote name the same items, products, quantities, tip and currency.
    """
    found = {(line.item_id, tuple(sorted(line.choices))): line for line in accepted.lines}
    quoted = {line.product_id: line for line in quote.lines}
    if {(line.item_id, line.choices): line.quantity for line in order.lines} != {
        key: line.quantity for key, line in found.items()
    }:
        raise PriceMismatch("the items or quantities of order and ticket differ")
    if _quantities(accepted.lines) != _quantities(quote.lines):
        raise PriceMismatch("the products or quantities of ticket and quote differ")
    if order.food is None or quote.tip is None or quote.tip.amount != order.food.tip:
        raise PriceMismatch("the tips of order and quote differ, or it is the quote of a shop without food")
    lines = []
    for key, about in found.items():
        price = quoted[about.product_id]
        amounts = (price.unit_price.amount, price.line_total.amount)
        lines.append(Line(about.product_id, about.quantity, None, about.name, about.category, *amounts, *key))
    return lines, _totals(order, quote)


def _totals(order: Order, quote: Quoted) -> Totals:
    if quote.total.currency != order.currency:
        raise PriceMismatch(f"the quote is in {quote.total.currency}, the order in {order.currency}")
    names = ("subtotal", "discount", "tax", "shipping", "total")
    return Totals(*(getattr(quote, name).amount for name in names))


def _quantities(
    lines: Sequence[Line] | Sequence[ReservedLine] | Sequence[PricedFood] | Sequence[QuotedLine],
) -> list[tuple[UUID, int]]:
    return sorted((line.product_id, line.quantity) for line in lines)
