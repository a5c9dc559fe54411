"""Calls to product: reserving stock for an order, and the prices of products."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Literal
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import BatchCall, Message, OrderItem, OrderResult, ReadCall, Released, ReleaseRequest
from shop.contracts.money import Price

MAX_LINES = 100
MAX_QUANTITY = 100 * 999
"""Of one line: lines of an order that name the same product are merged before they are reserved."""


class ReservationLine(Message):
    product_id: UUID
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY)]


class ReservationRequest(OrderItem):
    """Stock to reserve, all of it or nothing."""

    lines: Annotated[list[ReservationLine], Field(min_length=1, max_length=MAX_LINES)]


class ReservationStatus(StrEnum):
    RESERVED = "reserved"
    REJECTED = "rejected"


class ReservedLine(Message):
    """A reserved product with its price at that moment."""

    product_id: UUID
    quantity: int
    sku: str
    name: str
    category: str
    unit_price: Price


class Reserved(OrderResult):
    status: Literal[ReservationStatus.RESERVED] = ReservationStatus.RESERVED
    lines: list[ReservedLine]


class ReservationRejected(OrderResult):
    """``code`` is stable; ``product_id`` is the product in question and ``available`` what is left of it."""

    status: Literal[ReservationStatus.REJECTED] = ReservationStatus.REJECTED
    code: str
    detail: str
    product_id: UUID | None = None
    available: int | None = None


class ProductQuery(Message):
    """``ids``: product ids, comma-separated, at most 100."""

    ids: str
    limit: int


class PricedProduct(Message):
    id: UUID
    category: str
    price: Price


class PricedProducts(Message):
    items: list[PricedProduct]


ReservationResult = Annotated[Reserved | ReservationRejected, Field(discriminator="status")]

RESERVE: BatchCall[ReservationRequest, Reserved | ReservationRejected] = BatchCall(
    "product.reserve", "/internal/reservations", TypeAdapter(ReservationRequest), TypeAdapter(ReservationResult)
)
RELEASE = BatchCall(
    "product.release", "/internal/reservations/release", TypeAdapter(ReleaseRequest), TypeAdapter(Released)
)
PRICES = ReadCall("product.prices", "/api/v1/products", TypeAdapter(ProductQuery), TypeAdapter(PricedProducts))
"""Part of the public catalogue."""
