"""Calls from order to pricing: the quote of a reserved order, and the release of its coupon.

Only pricing knows how a price is calculated. Order uses the amounts as they are quoted; `Quoted` checks the one thing
that holds whatever the rules are: the lines and the amounts add up.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import Field, TypeAdapter, model_validator

from shop.contracts.calls import BatchCall, Message, OrderItem, OrderResult, Released, ReleaseRequest
from shop.contracts.money import Price
from shop.contracts.product import MAX_LINES, MAX_QUANTITY

MAX_COUPON_LENGTH = 64


class LineToPrice(Message):
    """A reserved line; ``unit_price`` is the catalogue's."""

    product_id: UUID
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, strict=True)]
    category: str
    unit_price: Price


class FoodTerms(Message):
    """What the price of a food order depends on besides its lines: the way in metres, the restaurant's least order
    (of the goods before discount), and what the customer gives the courier."""

    distance_m: Annotated[int, Field(ge=0)]
    minimum_order: Price
    tip: Price


class QuoteRequest(OrderItem):
    """A reserved order to price for delivery to ``country`` (ISO 3166-1 alpha-2); its ``coupon`` is redeemed."""

    user_id: UUID
    lines: Annotated[list[LineToPrice], Field(min_length=1, max_length=MAX_LINES)]
    country: Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
    coupon: Annotated[str, Field(max_length=MAX_COUPON_LENGTH)] | None = None
    food: FoodTerms | None = None
    """Of a food order; its ``shipping`` is the delivery fee."""


class QuoteStatus(StrEnum):
    QUOTED = "quoted"
    REJECTED = "rejected"


class QuotedLine(Message):
    """``unit_price`` is what one piece costs in this order, which may differ from the catalogue's price."""

    product_id: UUID
    quantity: int
    unit_price: Price
    line_total: Price
    discount: Price
    tax: Price


class Quoted(OrderResult):
    """The price of an order. With ``tax_included`` the tax is a part of the other amounts and adds nothing to them."""

    status: Literal[QuoteStatus.QUOTED] = QuoteStatus.QUOTED
    lines: list[QuotedLine]
    subtotal: Price
    discount: Price
    tax: Price
    shipping: Price
    total: Price
    tax_included: bool = False
    tip: Price | None = None

    @model_validator(mode="after")
    def _adds_up(self) -> Self:
        amounts = [self.subtotal, self.discount, self.tax, self.shipping, self.total]
        amounts += [self.tip] if self.tip else []
        amounts += [price for line in self.lines for price in (line.unit_price, line.line_total)]
        if any(amount.currency != self.total.currency for amount in amounts):
            raise ValueError("the amounts are in several currencies")
        if any(line.unit_price.amount * line.quantity != line.line_total.amount for line in self.lines):
            raise ValueError("a line's total is not its price times its quantity")
        if sum(line.line_total.amount for line in self.lines) != self.subtotal.amount:
            raise ValueError("the lines do not add up to the subtotal")
        tax = 0 if self.tax_included else self.tax.amount
        tip = self.tip.amount if self.tip else 0
        if self.total.amount != self.subtotal.amount - self.discount.amount + tax + self.shipping.amount + tip:
            raise ValueError("the total is not the sum of the amounts")
        return self


class QuoteRejected(OrderResult):
    """``code`` is stable; ``extra`` has JSON values for the problem document."""

    status: Literal[QuoteStatus.REJECTED] = QuoteStatus.REJECTED
    code: str
    detail: str
    extra: dict[str, Any] = Field(default={})


QuoteResult = Annotated[Quoted | QuoteRejected, Field(discriminator="status")]

QUOTE: BatchCall[QuoteRequest, Quoted | QuoteRejected] = BatchCall(
    "pricing.quote", "/internal/quotes", TypeAdapter(QuoteRequest), TypeAdapter(QuoteResult)
)
RELEASE = BatchCall("pricing.release", "/internal/quotes/release", TypeAdapter(ReleaseRequest), TypeAdapter(Released))
