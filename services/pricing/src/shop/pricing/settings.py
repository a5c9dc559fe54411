"""Settings of pricing: the shop's currency, taxes and shipping, and where the product service is."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, ClassVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from shop.kit.settings import ServiceSettings
from shop.pricing.domain import ShippingRule, Tariff, TaxRule

Country = Annotated[str, StringConstraints(pattern=r"^[A-Za-z]{2}$", to_upper=True)]
MAX_AMOUNT = 10**12
"""Largest amount of minor units in a setting or a rule."""
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A batch of 256 orders with ordinary carts; the gateway keeps customers' bodies far smaller."""


class Tax(BaseModel):
    model_config = ConfigDict(frozen=True)

    country: Country
    category: str | None = None
    rate_percent: Annotated[Decimal, Field(ge=0, le=100)]


class Shipping(BaseModel):
    model_config = ConfigDict(frozen=True)

    flat: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] = 0
    free_above: Annotated[int, Field(ge=0, le=MAX_AMOUNT)] | None = None

    def rule(self) -> ShippingRule:
        return ShippingRule(self.flat, self.free_above)


class Store(BaseModel):
    """The part of SHOP_STORE that prices need; amounts are minor units of ``currency``."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")] = "EUR"
    taxes: tuple[Tax, ...] = ()
    shipping: Shipping = Shipping()


class Settings(ServiceSettings):
    """``shipping_by_country`` replaces the store's shipping for some countries; ``sample_promotions`` adds coupons."""

    service: ClassVar[str] = "pricing"

    max_body_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1_024)
    store: Store = Store()
    shipping_by_country: dict[Country, Shipping] = Field(default={})
    sample_promotions: bool = False
    product_url: str = "http://product:8000"

    def tariff(self) -> Tariff:
        return Tariff(
            [TaxRule(tax.country, tax.category, tax.rate_percent) for tax in self.store.taxes],
            self.store.shipping.rule(),
            {country: shipping.rule() for country, shipping in self.shipping_by_country.items()},
        )
