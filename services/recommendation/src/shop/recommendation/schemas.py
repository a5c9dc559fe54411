"""Responses of recommendation."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from pydantic import BaseModel

from shop.recommendation.domain import Kind


class PriceView(BaseModel):
    """Minor units of an ISO 4217 currency."""

    amount: int
    currency: str


class RecommendationView(BaseModel):
    """A product as the product service shows it, and why it is recommended; higher scores are better."""

    id: UUID
    sku: str
    name: str
    description: str
    category: str
    price: PriceView
    stock: int
    image_url: str
    attributes: dict[str, Any]
    reason: str
    reason_kind: Kind
    reason_product_id: UUID | None
    score: float


class RecommendationsView(BaseModel):
    items: list[RecommendationView]


class TitleView(BaseModel):
    """The title is empty when the catalogue has no such product any more."""

    product_id: UUID
    title: str


class PairView(BaseModel):
    """Two products, and the number of orders that have both."""

    product_id: UUID
    title: str
    other_product_id: UUID
    other_title: str
    orders: int


class ModelView(BaseModel):
    """The model in use. ``coverage`` is the share of the catalogue that somebody bought, ``customers`` some anonymised
    ids."""

    version: int
    trained_at: datetime | None
    age_s: float | None
    orders: int
    products: int
    pairs: int
    coverage: float
    strongest_pairs: list[PairView]
    customers: list[UUID]


class PreviewView(BaseModel):
    """What one customer bought and would be shown."""

    customer: UUID
    purchases: list[TitleView]
    items: list[RecommendationView]
