"""What an order costs. Pure: no clock, no database, no network; every amount is an integer of minor units.

The order of the steps is fixed, because each changes the next: line totals -> discount -> discount shared over the
lines -> tax per line on what is left -> shipping on what is left. Rounding is half up, once per line and tax.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Literal, NamedTuple
from uuid import UUID

from shop.contracts.store import DeliveryRule

Kind = Literal["percentage", "fixed"]
Refusal = Literal[
    "unknown_coupon",
    "coupon_inactive",
    "coupon_not_started",
    "coupon_expired",
    "coupon_minimum_not_met",
    "coupon_exhausted",
    "coupon_already_used",
    "released",
    "currency_mismatch",
    "country_not_served",
    "minimum_order_not_met",
    "address_out_of_reach",
]

REFUSALS: Mapping[Refusal, str] = {
    "unknown_coupon": "There is no such coupon.",
    "coupon_inactive": "This coupon is not active at the moment.",
    "coupon_not_started": "This coupon is not valid yet.",
    "coupon_expired": "This coupon has expired.",
    "coupon_minimum_not_met": "The items cost less than the minimum for this coupon.",
    "coupon_exhausted": "This coupon has reached its usage limit.",
    "coupon_already_used": "You have already used this coupon; each customer can use it once.",
    "released": "The order was released before it was priced.",
    "currency_mismatch": "A price is not in the shop's currency.",
    "country_not_served": "This shop does not ship to that country.",
    "minimum_order_not_met": "The items cost less than the restaurant's minimum order.",
    "address_out_of_reach": "The address is too far from the restaurant.",
}
"""Each code by which a quote is rejected, with its text for people."""


@dataclass(frozen=True, slots=True)
class Line:
    """``quantity`` pieces of one product at ``unit_price`` minor units each."""

    product_id: UUID
    quantity: int
    unit_price: int
    category: str

    @property
    def total(self) -> int:
        return self.quantity * self.unit_price


@dataclass(frozen=True, slots=True)
class Discount:
    """``value`` is a whole percent (1 to 100) or, when fixed, minor units."""

    kind: Kind
    value: int


@dataclass(frozen=True, slots=True)
class Promotion:
    """A coupon's rule and how often it was ``used``; without a ``usage_limit`` it can be used any number of times.

    One that is ``only_for`` a user does not exist for anybody else.
    """

    code: str
    discount: Discount
    minimum_subtotal: int = 0
    starts_at: datetime | None = None
    expires_at: datetime | None = None
    usage_limit: int | None = None
    once_per_user: bool = False
    active: bool = True
    used: int = 0
    only_for: UUID | None = None


@dataclass(frozen=True, slots=True)
class TaxRule:
    """A rate for a country, or for one category there; ``rate_percent`` as written, e.g. ``Decimal("19.5")``."""

    country: str
    category: str | None
    rate_percent: Decimal


@dataclass(frozen=True, slots=True)
class ShippingRule:
    """``flat`` minor units per order; nothing from ``free_above`` on (after the discount)."""

    flat: int
    free_above: int | None = None

    def cost(self, goods: int) -> int:
        return 0 if self.free_above is not None and goods >= self.free_above else self.flat


class Tariff:
    """The shop's taxes and shipping, prepared for quick look-up. Countries are ISO 3166-1 alpha-2 codes."""

    def __init__(
        self,
        taxes: Iterable[TaxRule],
        shipping: ShippingRule,
        by_country: Mapping[str, ShippingRule] | None = None,
        delivery: DeliveryRule | None = None,
    ) -> None:
        self.delivery = delivery or DeliveryRule()
        self._rates = {(rule.country.upper(), _key(rule.category)): _ratio(rule.rate_percent) for rule in taxes}
        self._shipping = shipping
        self._by_country = {country.upper(): rule for country, rule in (by_country or {}).items()}

    def tax(self, net: int, country: str, category: str) -> int:
        """Tax on ``net``: the rate of the category in the country, else the country's, else none."""
        rate = self._rates.get((country, _key(category))) or self._rates.get((country, None))
        return half_up(net * rate[0], rate[1]) if rate else 0

    def shipping_rule(self, country: str) -> ShippingRule:
        """The country's own rule, which replaces the general one."""
        return self._by_country.get(country, self._shipping)


class Food(NamedTuple):
    """What the price of food depends on besides its lines: the way in metres, the restaurant's least order of the goods
    before the discount, and the tip, both in minor units."""

    distance_m: int
    minimum_order: int
    tip: int


@dataclass(frozen=True, slots=True)
class PricedLine:
    line: Line
    discount: int
    tax: int


@dataclass(frozen=True, slots=True)
class Quote:
    """``total == subtotal - discount + tax + shipping + tip``, and the lines' discounts and taxes add up to these.

    The ``shipping`` of food is the delivery fee; only food has a ``tip``.
    """

    lines: Sequence[PricedLine]
    subtotal: int
    discount: int
    tax: int
    shipping: int
    free_shipping_from: int | None = None
    tip: int | None = None

    @property
    def free_shipping_lost(self) -> bool:
        """Whether shipping would cost nothing without the discount, and costs something with it."""
        limit = self.free_shipping_from
        return limit is not None and self.shipping > 0 and self.subtotal >= limit > self.subtotal - self.discount

    @property
    def total(self) -> int:
        return self.subtotal - self.discount + self.tax + self.shipping + (self.tip or 0)


def _key(category: str | None) -> str | None:
    return None if category is None else category.casefold()


def _ratio(rate_percent: Decimal) -> tuple[int, int]:
    numerator, denominator = rate_percent.as_integer_ratio()
    return numerator, denominator * 100


def half_up(numerator: int, denominator: int) -> int:
    """``numerator / denominator`` rounded to the nearest integer, halves up; exact, both not negative."""
    return (2 * numerator + denominator) // (2 * denominator)


def subtotal_of(lines: Iterable[Line]) -> int:
    return sum(line.total for line in lines)


def discount_on(subtotal: int, discount: Discount) -> int:
    """Minor units taken off; never more than there is."""
    wanted = half_up(subtotal * discount.value, 100) if discount.kind == "percentage" else discount.value
    return min(wanted, subtotal)


def share(amount: int, lines: Sequence[Line]) -> list[int]:
    """``amount`` distributed over the lines by their totals (largest remainder), so that the shares add up exactly.

    No share exceeds its line's total. Lines with equal remainders are ordered by their content and not by their
    position, so the order of the lines changes nothing.
    """
    whole = subtotal_of(lines)
    if not amount or not whole:
        return [0] * len(lines)
    shares, remainders = zip(*(divmod(amount * line.total, whole) for line in lines), strict=True)
    missing = amount - sum(shares)
    order = sorted(range(len(lines)), key=lambda at: (-remainders[at], _identity(lines[at])))
    extra = set(order[:missing])
    return [part + (at in extra) for at, part in enumerate(shares)]


def _identity(line: Line) -> tuple[int, str, int, int]:
    return line.product_id.int, line.category, line.unit_price, line.quantity


def food_refusal(subtotal: int, food: Food, rule: DeliveryRule) -> Refusal | None:
    """Why food worth ``subtotal`` is not delivered, if it is not."""
    if food.distance_m > rule.max_distance_m:
        return "address_out_of_reach"
    return "minimum_order_not_met" if subtotal < food.minimum_order else None


def quote(
    lines: Sequence[Line], country: str, discount: Discount | None, tariff: Tariff, food: Food | None = None
) -> Quote:
    """What ``lines`` cost when shipped to ``country``. The discount, and whether food is delivered, must have been
    checked before. No tax is added to the delivery and the tip."""
    country = country.upper()
    subtotal = subtotal_of(lines)
    off = discount_on(subtotal, discount) if discount else 0
    priced = [
        PricedLine(line, part, tariff.tax(line.total - part, country, line.category))
        for line, part in zip(lines, share(off, lines), strict=True)
    ]
    tax = sum(line.tax for line in priced)
    if food is not None:
        fee = tariff.delivery.fee(food.distance_m, subtotal)
        return Quote(priced, subtotal, off, tax, fee, tariff.delivery.free_above, food.tip)
    shipping = tariff.shipping_rule(country)
    return Quote(priced, subtotal, off, tax, shipping.cost(subtotal - off), shipping.free_above)
