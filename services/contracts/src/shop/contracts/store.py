"""The part of a Shop resource that its services read: spec.store, handed over as JSON in SHOP_STORE."""

from decimal import Decimal
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Country = Annotated[str, Field(pattern=r"^[A-Z]{2}$")]
Language = Annotated[str, Field(pattern=r"^([a-z]{2,3}(-[A-Z][a-z]{3})?(-[A-Z]{2})?)?$")]
TimeZone = Annotated[str, Field(pattern=r"^([A-Za-z][A-Za-z0-9_+-]*(/[A-Za-z0-9_+-]+){0,2})?$", max_length=64)]
Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]

METRES_PER_KM = 1_000


class TaxRule(BaseModel):
    """A rate in percent; ``category`` None is the country's general rate."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    country: Country
    category: str | None = None
    rate_percent: Decimal = Field(ge=0, le=100, decimal_places=3)


class ShippingRule(BaseModel):
    """Minor units; ``free_above`` is the subtotal from which shipping costs nothing, None is never."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    flat: int = Field(default=0, ge=0, le=10_000_000)
    free_above: int | None = Field(default=None, ge=0, le=1_000_000_000)


class DeliveryRule(BaseModel):
    """The fee for delivering food, in minor units: ``base`` plus ``per_km`` for each kilometre of the way (rounded half
    up once); nothing from the subtotal ``free_above`` on, None is never. Nobody delivers beyond ``max_distance_m``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    base: int = Field(default=199, ge=0, le=10_000_000)
    per_km: int = Field(default=60, ge=0, le=10_000_000)
    free_above: int | None = Field(default=None, ge=0, le=1_000_000_000)
    max_distance_m: int = Field(default=6_000, ge=100, le=100_000)

    def fee(self, distance_m: int, subtotal: int = 0) -> int:
        """For a way of ``distance_m`` and goods of ``subtotal``, both not negative."""
        if self.free_above is not None and subtotal >= self.free_above:
            return 0
        return self.base + (2 * self.per_km * distance_m + METRES_PER_KM) // (2 * METRES_PER_KM)


class StoreSettings(BaseModel):
    """What a shop is called and says of itself, where it sells, and what it adds to a price.

    Amounts, times and countries are written in ``language`` (BCP 47; empty is English) as in ``country``, times in
    ``time_zone`` (IANA; empty is UTC). ``ships_to`` are the countries that orders are sent to; see ``served``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    title: str = Field(default="Shopkeeper", min_length=1, max_length=80)
    tagline: str = Field(default="", max_length=120)
    currency: Currency = "EUR"
    country: Country = "DE"
    language: Language = ""
    time_zone: TimeZone = ""
    taxes: tuple[TaxRule, ...] = ()
    shipping: ShippingRule = ShippingRule()
    delivery: DeliveryRule = DeliveryRule()
    ships_to: tuple[Country, ...] = ()

    @property
    def served(self) -> frozenset[str]:
        """Countries that orders are sent to: ``ships_to``, else those with a tax rate, else the store's own."""
        return frozenset(self.ships_to or [tax.country for tax in self.taxes] or [self.country])
