"""spec.store: what a shop sells in, where it sells to, and what it adds to a price."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from shop.operator.resource.fields import Category, Country, Currency, Label, Language, Minor, Percent, TimeZone
from shop.operator.resource.spec_service import Part

MAX_TAX_RULES = 500
MAX_COUNTRIES = 250


class Tax(Part):
    """One rate; without a category it is the country's general rate."""

    country: Country
    """Where the order is sent: a two-letter ISO 3166 code such as DE."""
    category: Category | None = None
    """Category of products that the rate is for."""
    rate_percent: Percent
    """0 to 100, with at most three decimal places."""


class Shipping(Part):
    """Shipping costs, in minor units of the currency."""

    flat: Minor = 0
    """Shipping costs of every order."""
    free_above: Minor | None = None
    """Subtotal from which shipping is free; if left out, it never is."""


class Delivery(Part):
    """The fee for delivering food, in minor units of the currency."""

    base: Minor = 199
    """Fee of every delivery."""
    per_km: Minor = 60
    """Added for each kilometre of the way from the restaurant, in proportion."""
    free_above: Minor | None = None
    """Subtotal from which delivery is free; if left out, it never is."""
    max_distance_m: Annotated[int, Field(ge=100, le=100_000)] = 6_000
    """Longest way from a restaurant to a customer, in metres."""


class Catalog(Part):
    """The initial catalogue. It is loaded once; existing products are not changed."""

    sample: Literal["books"] | None = None
    """An included sample catalogue."""
    config_map: Label | None = None
    """ConfigMap of the Shop's namespace whose key catalog.json lists the products. Cluster only."""

    @model_validator(mode="after")
    def _one_source(self) -> "Catalog":
        if (self.sample is None) == (self.config_map is None):
            raise ValueError("give exactly one of sample and configMap")
        return self


class Store(Part):
    """Title, currency, countries, taxes, shipping, delivery and catalogue."""

    title: Annotated[str, Field(min_length=1, max_length=80)] = "Shopkeeper"
    """Name of the shop, as customers see it."""
    tagline: Annotated[str, Field(max_length=120)] = ""
    """The headline of the front page, such as "Tools for small gardens"; left out, it is the title."""
    currency: Currency = "EUR"
    """ISO 4217 code. It cannot change: every stored amount is in its minor units."""
    country: Country = "DE"
    """Country of the seller: a two-letter ISO 3166 code such as DE."""
    language: Language | None = None
    """How amounts, dates and countries are written: a BCP 47 tag such as de; left out, English as in the country."""
    time_zone: TimeZone | None = None
    """Of times and of the days of promotions: an IANA name such as Europe/Berlin; left out, UTC."""
    ships_to: Annotated[tuple[Country, ...], Field(max_length=MAX_COUNTRIES)] = ()
    """Countries that orders are sent to; left out, those with a tax rate, or without any rate the shop's own."""
    taxes: Annotated[tuple[Tax, ...], Field(max_length=MAX_TAX_RULES)] = ()
    """Tax rates; a country and category without a rate is not taxed."""
    shipping: Shipping = Shipping()
    """Shipping costs."""
    delivery: Delivery = Delivery()
    """Delivery of food; used by the module food."""
    catalog: Catalog | None = None
    """The initial catalogue; if left out, the shop starts empty."""

    @model_validator(mode="after")
    def _one_rate_each(self) -> "Store":
        seen = set()
        for index, tax in enumerate(self.taxes):
            key = (tax.country, tax.category)
            if key in seen:
                raise ValueError(f"taxes[{index}] gives {tax.country} {tax.category or 'general'} a second rate")
            seen.add(key)
        return self
