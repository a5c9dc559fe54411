"""Settings of pricing: the shop's currency, taxes and shipping, and where the services are that it asks."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import ShippingRule as StoreShipping
from shop.contracts.store import StoreSettings
from shop.kit.countries import Country
from shop.kit.settings import ServiceSettings
from shop.pricing.domain import ShippingRule, Tariff, TaxRule

MAX_AMOUNT = 10**12
"""Largest amount of minor units in a setting or a rule."""
MAX_BATCH_BYTES = 4 * 1024 * 1024
"""A batch of 256 orders with ordinary carts; the gateway keeps customers' bodies far smaller."""


class Settings(ServiceSettings):
    """``shipping_by_country`` replaces the store's shipping for some countries; ``sample_promotions`` adds coupons.

    Without ``restaurant_url`` and ``delivery_url`` the shop has no food: 422 ``food_not_offered``. With ``arcade``
    players are given coupons for the levels that they reach.
    """

    service: ClassVar[str] = "pricing"

    max_body_bytes: int = Field(default=MAX_BATCH_BYTES, ge=1_024)
    store: StoreSettings = StoreSettings()
    shipping_by_country: dict[Country, StoreShipping] = Field(default={})
    sample_promotions: bool = False
    arcade: bool = False
    product_url: str = "http://product:8000"
    restaurant_url: str = ""
    delivery_url: str = ""

    def tariff(self) -> Tariff:
        return Tariff(
            [TaxRule(tax.country, tax.category, tax.rate_percent) for tax in self.store.taxes],
            _shipping(self.store.shipping),
            {country: _shipping(rule) for country, rule in self.shipping_by_country.items()},
            self.store.delivery,
        )


def _shipping(rule: StoreShipping) -> ShippingRule:
    return ShippingRule(rule.flat, rule.free_above)
