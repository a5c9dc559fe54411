"""The request for an order of food, and which of the two kinds of request a body is."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self
from uuid import UUID

from pydantic import BeforeValidator, Field, StringConstraints, model_validator

from shop.contracts.restaurant import MAX_CHOICES, MAX_LINES, MAX_QUANTITY
from shop.kit.bodies import RequestBody, by_kind, example
from shop.kit.text import Typed
from shop.order.domain import FoodItem, merge_food
from shop.order.schemas import Address, Coupon, ExpectedTotal, OrderRequest, Payment

MAX_TIP = 10_000_000
"""Minor units."""
MAX_NOTE_CHARACTERS = 300
PHONE_SEPARATORS = re.compile(r"[\s().\-/]")


def _without_separators(value: Any) -> Any:
    return PHONE_SEPARATORS.sub("", value) if isinstance(value, str) else value


Phone = Annotated[
    str,
    BeforeValidator(_without_separators),
    StringConstraints(pattern=r"^\+[1-9][0-9]{6,14}$"),
    Field(description="E.164: + and the country's code, for text messages about the delivery"),
]


class OrderedItem(RequestBody):
    """An item of the restaurant's menu with the ids of the chosen options, each once."""

    item_id: UUID
    quantity: Annotated[int, Field(ge=1, le=MAX_QUANTITY, strict=True)]
    choices: Annotated[list[UUID], Field(max_length=MAX_CHOICES)] = Field(default=[])

    @model_validator(mode="after")
    def _chosen_once(self) -> Self:
        if len(set(self.choices)) != len(self.choices):
            raise ValueError("a choice is named twice")
        return self

    def item(self) -> FoodItem:
        return FoodItem(self.item_id, self.quantity, tuple(self.choices))


class Tip(RequestBody):
    """For the courier, in minor units of the shop's currency; no tax is added to it."""

    amount: Annotated[int, Field(ge=0, le=MAX_TIP, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class FoodOrderRequest(RequestBody):
    """Food to order from one restaurant. An item that is named twice with the same choices counts once.

    ``phone`` is for text messages about the delivery, ``note`` is for the kitchen. With ``expected_total``, which
    includes the tip, nothing is ordered at any other total: 409 ``price_changed`` names both.
    """

    model_config = example(
        kind="food",
        restaurant_id="0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0c01",
        items=[{"item_id": "0197d0a0-5b1c-7c3e-9f43-2f1f6a1c0c02", "quantity": 1, "choices": []}],
        address={
            "name": "Ada Lovelace",
            "street": "12 Mill Lane",
            "city": "Millbridge",
            "postal_code": "10115",
            "country": "DE",
        },
        payment={"token": "tok_visa"},
        tip={"amount": 200, "currency": "EUR"},
    )

    kind: Literal["food"]
    restaurant_id: UUID
    items: Annotated[list[OrderedItem], Field(min_length=1, max_length=MAX_LINES)]
    address: Address
    payment: Payment
    tip: Tip | None = None
    phone: Phone | None = None
    note: Annotated[str, Typed(MAX_NOTE_CHARACTERS, 0)] = ""
    coupon: Coupon | None = None
    expected_total: ExpectedTotal | None = None

    @model_validator(mode="after")
    def _addable(self) -> Self:
        self.wanted()
        return self

    def wanted(self) -> list[FoodItem]:
        """One item per menu item and set of choices."""
        return merge_food(item.item() for item in self.items)


AnyOrderRequest = Annotated[OrderRequest | FoodOrderRequest, by_kind(retail=OrderRequest, food=FoodOrderRequest)]
