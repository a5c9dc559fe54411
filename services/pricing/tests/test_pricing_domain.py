"""The arithmetic of quotes, by example and by property."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from decimal import ROUND_HALF_UP, Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.pricing.domain import (
    Discount,
    Line,
    ShippingRule,
    Tariff,
    TaxRule,
    discount_on,
    half_up,
    quote,
    share,
    subtotal_of,
)

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
BOOK, POSTER = UUID(int=1), UUID(int=2)
TAXES = [
    TaxRule("DE", None, Decimal(19)),
    TaxRule("DE", "books", Decimal(7)),
    TaxRule("CH", None, Decimal("8.1")),
]
TARIFF = Tariff(TAXES, ShippingRule(490, 5_000), {"CH": ShippingRule(1_900)})

rates = st.decimals(min_value=0, max_value=100, places=3)
categories = st.sampled_from(["books", "toys", "maps"])
lines_of = st.lists(
    st.builds(
        Line,
        st.integers(1, 4).map(lambda number: UUID(int=number)),
        st.integers(1, 999),
        st.integers(0, 1_000_000),
        categories,
    ),
    min_size=1,
    max_size=8,
)
discounts = st.none() | st.one_of(
    st.builds(Discount, st.just("percentage"), st.integers(1, 100)),
    st.builds(Discount, st.just("fixed"), st.integers(1, 10_000_000)),
)
tariffs = st.builds(
    Tariff,
    st.lists(st.builds(TaxRule, st.sampled_from(["DE", "FR"]), st.none() | categories, rates), max_size=6),
    st.builds(ShippingRule, st.integers(0, 10_000), st.none() | st.integers(0, 1_000_000)),
)


def test_an_order_with_two_tax_rates_and_a_percentage() -> None:
    lines = [Line(BOOK, 2, 1_299, "Books"), Line(POSTER, 1, 999, "posters")]
    result = quote(lines, "de", Discount("percentage", 10), TARIFF)
    assert (result.subtotal, result.discount) == (3_597, 360)
    assert [line.discount for line in result.lines] == [260, 100]
    assert [line.tax for line in result.lines] == [164, 171]  # 7% of 2338 = 163.66; 19% of 899 = 170.81
    assert (result.tax, result.shipping, result.total) == (335, 490, 3_597 - 360 + 335 + 490)


@pytest.mark.parametrize(
    ("country", "category", "tax"),
    [("DE", "books", 70), ("DE", "toys", 190), ("CH", "books", 81), ("US", "books", 0)],
)
def test_the_most_specific_tax_rule_wins(country: str, category: str, tax: int) -> None:
    assert quote([Line(BOOK, 1, 1_000, category)], country, None, TARIFF).tax == tax


def test_a_category_with_a_zero_rate_does_not_fall_back_to_the_country() -> None:
    tariff = Tariff([TaxRule("DE", None, Decimal(19)), TaxRule("DE", "books", Decimal(0))], ShippingRule(0))
    assert quote([Line(BOOK, 1, 1_000, "books")], "DE", None, tariff).tax == 0


@pytest.mark.parametrize(("price", "country", "shipping"), [(4_999, "DE", 490), (5_000, "DE", 0), (9_999, "CH", 1_900)])
def test_shipping_is_free_from_the_limit_on_and_countries_may_differ(price: int, country: str, shipping: int) -> None:
    assert quote([Line(BOOK, 1, price, "books")], country, None, TARIFF).shipping == shipping


def test_free_shipping_looks_at_what_is_left_after_the_discount() -> None:
    assert quote([Line(BOOK, 1, 5_000, "books")], "DE", Discount("fixed", 1), TARIFF).shipping == 490


@pytest.mark.parametrize(
    ("subtotal", "discount", "off"),
    [
        (1_000, Discount("percentage", 100), 1_000),
        (5, Discount("percentage", 10), 1),
        (4, Discount("percentage", 10), 0),
        (400, Discount("fixed", 500), 400),
        (0, Discount("percentage", 50), 0),
    ],
)
def test_a_discount_rounds_half_up_and_never_exceeds_the_subtotal(subtotal: int, discount: Discount, off: int) -> None:
    assert discount_on(subtotal, discount) == off


@given(st.integers(0, 10**12), rates)
def test_half_up_is_what_decimal_calls_half_up(amount: int, rate: Decimal) -> None:
    numerator, denominator = rate.as_integer_ratio()
    expected = (amount * rate / 100).quantize(Decimal(1), ROUND_HALF_UP)
    assert half_up(amount * numerator, denominator * 100) == expected


@given(lines_of, discounts, tariffs)
def test_sums_add_up_and_nothing_is_negative(lines: list[Line], discount: Discount | None, tariff: Tariff) -> None:
    result = quote(lines, "DE", discount, tariff)
    assert result.total == result.subtotal - result.discount + result.tax + result.shipping
    assert result.subtotal == sum(line.quantity * line.unit_price for line in lines)
    assert result.discount == sum(line.discount for line in result.lines)
    assert result.tax == sum(line.tax for line in result.lines)
    assert 0 <= result.discount <= result.subtotal
    assert min(result.tax, result.shipping, result.total) >= 0
    assert all(0 <= priced.discount <= priced.line.total for priced in result.lines)


@given(lines_of, discounts, tariffs, st.randoms(use_true_random=False))
def test_the_order_of_the_lines_changes_nothing(
    lines: list[Line], discount: Discount | None, tariff: Tariff, random: st.DataObject
) -> None:
    shuffled = list(lines)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = quote(lines, "DE", discount, tariff), quote(shuffled, "DE", discount, tariff)
    assert (one.subtotal, one.discount, one.tax, one.shipping) == (
        other.subtotal,
        other.discount,
        other.tax,
        other.shipping,
    )
    assert Counter(one.lines) == Counter(other.lines)


@given(lines_of, st.data())
def test_shares_are_within_one_unit_of_their_proportion(lines: list[Line], data: st.DataObject) -> None:
    whole = subtotal_of(lines)
    amount = data.draw(st.integers(0, whole))
    parts = share(amount, lines)
    assert sum(parts) == amount
    for line, part in zip(lines, parts, strict=True):
        assert abs(part * whole - amount * line.total) < max(whole, 1)
