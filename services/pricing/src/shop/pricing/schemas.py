"""What pricing reads and writes as JSON. Amounts are integers of minor units."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import AwareDatetime, BaseModel, Field, StringConstraints, model_validator

from shop.contracts import restaurant
from shop.contracts.money import Address, Price
from shop.contracts.pricing import Quoted
from shop.contracts.pricing import QuotedLine as ContractLine
from shop.kit.bodies import RequestBody, by_kind, example
from shop.kit.countries import Country
from shop.kit.postal import PostalAddress
from shop.kit.text import Typed, code
from shop.pricing.domain import Discount, Kind, Promotion, Quote
from shop.pricing.repository import StoredPromotion
from shop.pricing.settings import MAX_AMOUNT

MAX_LINES = 100
MAX_QUANTITY = 999
MAX_USAGE_LIMIT = 10**9

Code = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_-]{3,32}$", to_upper=True)]
Coupon = Annotated[str, Typed(64, 0, code)]
Moment = Annotated[AwareDatetime, Field(ge=datetime(2000, 1, 1, tzinfo=UTC), lt=datetime(2200, 1, 1, tzinfo=UTC))]
Quantity = Annotated[int, Field(ge=1, le=MAX_QUANTITY, strict=True)]
Amount = Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]


class Money(BaseModel):
    amount: Amount
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class QuoteItem(RequestBody):
    product_id: UUID
    quantity: Quantity


class RetailQuoteRequest(RequestBody):
    """Products to price for delivery to ``country`` (ISO 3166-1 alpha-2); an empty coupon is none."""

    model_config = example(
        items=[{"product_id": "0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0b11", "quantity": 2}], country="DE", coupon="SUMMER10"
    )

    kind: Literal["retail"] = "retail"
    items: Annotated[list[QuoteItem], Field(min_length=1, max_length=MAX_LINES)]
    country: Country
    coupon: Coupon | None = None


class FoodItem(RequestBody):
    """An item of the restaurant's menu with the ids of the chosen options."""

    item_id: UUID
    quantity: Annotated[int, Field(ge=1, le=restaurant.MAX_QUANTITY, strict=True)]
    choices: Annotated[list[UUID], Field(max_length=restaurant.MAX_CHOICES)] = Field(default=[])


class Tip(RequestBody):
    """For the courier, in minor units of the shop's currency."""

    amount: Amount
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class Destination(PostalAddress, RequestBody):
    """Where food is brought to; the street decides how far that is."""

    name: Annotated[str, Typed(200, 0)] = ""
    street: Annotated[str, Typed(200)]

    def address(self) -> Address:
        return Address(**self.model_dump())


class FoodQuoteRequest(RequestBody):
    """Food of one restaurant to price for delivery to ``address``; an empty coupon is none."""

    model_config = example(
        kind="food",
        restaurant_id="0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0c01",
        items=[{"item_id": "0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0c02", "quantity": 1, "choices": []}],
        address={"street": "12 Mill Lane", "city": "Millbridge", "postal_code": "10115", "country": "DE"},
        tip={"amount": 200, "currency": "EUR"},
    )

    kind: Literal["food"]
    restaurant_id: UUID
    items: Annotated[list[FoodItem], Field(min_length=1, max_length=restaurant.MAX_LINES)]
    address: Destination
    tip: Tip | None = None
    coupon: Coupon | None = None


AnyQuoteRequest = Annotated[
    RetailQuoteRequest | FoodQuoteRequest, by_kind(retail=RetailQuoteRequest, food=FoodQuoteRequest)
]


class QuoteLineView(BaseModel):
    product_id: UUID
    quantity: int
    unit_price: Money
    line_total: Money
    discount: Money
    tax: Money
    item_id: UUID | None = None
    name: str | None = None
    choices: list[UUID] | None = None


class QuoteView(BaseModel):
    """``total`` is subtotal - discount + tax + shipping + tip; the lines' discounts and taxes add up to the quote's.

    ``free_shipping_from`` is what items must cost after the discount to be sent for nothing, null where nothing is;
    ``free_shipping_lost`` says that they would without the coupon.

    Only food has the other members: the way in metres, when the kitchen and the courier would be ready if it was
    ordered now, and the restaurant's minimum order. Its ``shipping`` is the delivery fee.
    """

    lines: list[QuoteLineView]
    subtotal: Money
    discount: Money
    tax: Money
    shipping: Money
    total: Money
    free_shipping_from: Money | None = None
    free_shipping_lost: bool = False
    tip: Money | None = None
    distance_m: int | None = None
    ready_at: AwareDatetime | None = None
    eta: AwareDatetime | None = None
    minimum_order: Money | None = None
    restaurant_name: str | None = None


class PromotionRule(RequestBody):
    """``value`` is whole percent for a percentage and minor units for a fixed discount; times carry a zone."""

    model_config = example(
        kind="percentage",
        value=10,
        minimum_subtotal=0,
        starts_at="2026-06-01T00:00:00+02:00",
        expires_at="2099-09-01T00:00:00+02:00",
        usage_limit=1000,
        once_per_user=False,
        active=True,
    )

    kind: Kind
    value: Annotated[int, Field(ge=1, le=MAX_AMOUNT, strict=True)]
    minimum_subtotal: Amount = 0
    starts_at: Moment | None = None
    expires_at: Moment | None = None
    usage_limit: Annotated[int, Field(ge=1, le=MAX_USAGE_LIMIT, strict=True)] | None = None
    once_per_user: bool = False
    active: bool = True

    @model_validator(mode="after")
    def _consistent(self) -> PromotionRule:
        if self.kind == "percentage" and self.value > 100:
            raise ValueError("a percentage is at most 100")
        if self.starts_at and self.expires_at and self.starts_at >= self.expires_at:
            raise ValueError("expires_at must be later than starts_at")
        return self

    def promotion(self, code: str) -> Promotion:
        rule = self.model_dump(exclude={"kind", "value"})
        return Promotion(code=code, discount=Discount(self.kind, self.value), **rule)


class PromotionView(BaseModel):
    """``only_for`` is the user who alone can use it, null for a promotion of everybody's."""

    code: str
    kind: Kind
    value: int
    minimum_subtotal: int
    currency: str
    starts_at: AwareDatetime | None
    expires_at: AwareDatetime | None
    usage_limit: int | None
    once_per_user: bool
    active: bool
    used: int
    only_for: UUID | None
    created_at: AwareDatetime | None
    updated_at: AwareDatetime | None


def promotion_view(promotion: StoredPromotion, currency: str) -> PromotionView:
    return PromotionView(
        code=promotion.code,
        kind=promotion.discount.kind,
        value=promotion.discount.value,
        minimum_subtotal=promotion.minimum_subtotal,
        currency=currency,
        starts_at=promotion.starts_at,
        expires_at=promotion.expires_at,
        usage_limit=promotion.usage_limit,
        once_per_user=promotion.once_per_user,
        active=promotion.active,
        used=promotion.used,
        only_for=promotion.only_for,
        created_at=promotion.created_at,
        updated_at=promotion.updated_at,
    )


def quote_document(quote: Quote, currency: str) -> dict[str, Any]:
    """The quote of a cart as QuoteView's members."""

    def money(amount: int) -> dict[str, Any]:
        return {"amount": amount, "currency": currency}

    return {
        "lines": [
            {
                "product_id": priced.line.product_id,
                "quantity": priced.line.quantity,
                "unit_price": money(priced.line.unit_price),
                "line_total": money(priced.line.total),
                "discount": money(priced.discount),
                "tax": money(priced.tax),
            }
            for priced in quote.lines
        ],
        "subtotal": money(quote.subtotal),
        "discount": money(quote.discount),
        "tax": money(quote.tax),
        "shipping": money(quote.shipping),
        "total": money(quote.total),
        "free_shipping_from": None if quote.free_shipping_from is None else money(quote.free_shipping_from),
        "free_shipping_lost": quote.free_shipping_lost,
    }


def quoted(order_id: UUID, quote: Quote, currency: str) -> Quoted:
    """The quote as order reads it; ValidationError if it did not add up."""

    def price(amount: int) -> Price:
        return Price(amount=amount, currency=currency)

    lines = [
        ContractLine(
            product_id=priced.line.product_id,
            quantity=priced.line.quantity,
            unit_price=price(priced.line.unit_price),
            line_total=price(priced.line.total),
            discount=price(priced.discount),
            tax=price(priced.tax),
        )
        for priced in quote.lines
    ]
    return Quoted(
        order_id=order_id,
        lines=lines,
        subtotal=price(quote.subtotal),
        discount=price(quote.discount),
        tax=price(quote.tax),
        shipping=price(quote.shipping),
        total=price(quote.total),
        tip=None if quote.tip is None else price(quote.tip),
    )
