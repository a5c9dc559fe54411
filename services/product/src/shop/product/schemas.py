"""What the product service reads and writes as JSON."""

from __future__ import annotations

from typing import Annotated, Any, Literal
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from shop.kit.bodies import RequestBody, example
from shop.kit.db import Record
from shop.kit.text import Typed, paragraphs

MAX_PRICE = 10**10
MAX_STOCK = 10**9
MAX_ATTRIBUTES = 30

Text = Annotated[str, Typed(300)]
Description = Annotated[str, Typed(5_000, 0, paragraphs)]
Sku = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9._-]{1,100}$")]
Category = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=60)]
Attribute = Annotated[str, Typed(300, 0)] | bool | Annotated[int, Field(ge=-(2**53), le=2**53)] | None
Attributes = Annotated[
    dict[Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,39}$")], Attribute],
    Field(max_length=MAX_ATTRIBUTES),
]
Sort = Literal["name", "newest", "price", "-price"]


class ProductPrice(RequestBody):
    """Minor units of an ISO 4217 currency."""

    amount: Annotated[int, Field(ge=0, le=MAX_PRICE, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class NewProduct(RequestBody):
    model_config = example(
        sku="mug-blue",
        name="Blue mug",
        description="Stoneware, 300 ml.",
        category="kitchen",
        price={"amount": 1290, "currency": "EUR"},
        stock=40,
        attributes={"material": "stoneware"},
    )

    sku: Sku
    name: Text
    description: Description = ""
    category: Category
    price: ProductPrice
    stock: Annotated[int, Field(ge=0, le=MAX_STOCK, strict=True)] = 0
    attributes: Attributes = Field(default_factory=dict)


class ProductChange(RequestBody):
    """Only what is named changes."""

    model_config = example(name="Blue mug, large", price={"amount": 1490, "currency": "EUR"})

    name: Text | None = None
    description: Description | None = None
    category: Category | None = None
    price: ProductPrice | None = None
    attributes: Attributes | None = None


class StockChange(RequestBody):
    """``delta`` pieces were received, or written off when negative."""

    model_config = example(delta=25, reason="delivery")

    delta: Annotated[int, Field(ge=-MAX_STOCK, le=MAX_STOCK, strict=True)]
    reason: Annotated[str, Typed(200)] = "correction"


class ProductView(BaseModel):
    id: UUID
    sku: str
    name: str
    description: str
    category: str
    price: ProductPrice
    stock: int
    image_url: str
    attributes: dict[str, Any]


class CategoryView(BaseModel):
    name: str
    count: int


def product_document(row: Record) -> dict[str, Any]:
    """A product as every answer shows it."""
    return {
        "id": row["id"],
        "sku": row["sku"],
        "name": row["name"],
        "description": row["description"],
        "category": row["category"],
        "price": {"amount": row["price"], "currency": row["currency"]},
        "stock": row["stock"],
        "image_url": f"/api/v1/products/{row['id']}/cover.svg",
        "attributes": row["attributes"],
    }
