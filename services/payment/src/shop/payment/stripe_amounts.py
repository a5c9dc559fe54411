"""Amounts as Stripe takes them, which are not always the minor units of ISO 4217. Pure.

Source: Stripe's documentation, "Supported currencies", its parts on zero-decimal, special-case and three-decimal
currencies and on minimum charge amounts. A shop's amounts are in ISO minor units everywhere else.
"""

from __future__ import annotations

from collections.abc import Mapping

from shop.kit.currencies import exponent

ZERO_DECIMAL = frozenset("BIF CLP DJF GNF JPY KMF KRW MGA PYG RWF VND VUV XAF XOF XPF".split())
"""Currencies whose amounts Stripe takes in whole units. ISK and UGX have no minor unit either, but Stripe takes them
with two digits, which must be zeros."""

MINIMUMS: Mapping[str, int] = {
    "AED": 200, "AUD": 50, "BGN": 100, "BRL": 50, "CAD": 50, "CHF": 50, "CZK": 1500, "DKK": 250, "EUR": 50, "GBP": 30,
    "HKD": 400, "HUF": 17500, "INR": 50, "JPY": 50, "MXN": 1000, "MYR": 200, "NOK": 300, "NZD": 50, "PLN": 200,
    "RON": 200, "SEK": 300, "SGD": 50, "THB": 1000, "USD": 50,
}  # fmt: skip
"""The smallest charge in ISO minor units, for currencies where Stripe publishes one."""

BELOW_MINIMUM = "amount_below_minimum"
NOT_PAYABLE = "amount_not_payable"


class AmountRefused(Exception):
    """Stripe cannot take the amount; ``code`` is BELOW_MINIMUM or NOT_PAYABLE."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def stripe_digits(currency: str) -> int:
    """Digits of the number that Stripe takes: three for three-decimal currencies, zero for ZERO_DECIMAL, else two."""
    if currency in ZERO_DECIMAL:
        return 0
    return max(2, exponent(currency))


def takes_every_amount(currency: str) -> bool:
    """Whether Stripe can charge each amount of the currency's minor units; if not, some totals could not be paid."""
    return exponent(currency) <= min(2, stripe_digits(currency))


def stripe_amount(amount: int, currency: str) -> int:
    """ISO minor units as the number that Stripe takes; raises AmountRefused with NOT_PAYABLE where there is none."""
    shift = stripe_digits(currency) - exponent(currency)
    if shift >= 0:
        taken, rest = amount * int(10**shift), 0
    else:
        taken, rest = divmod(amount, int(10**-shift))
    if rest or (exponent(currency) == 3 and amount % 10):
        raise AmountRefused(NOT_PAYABLE)
    return taken


def charge_amount(amount: int, currency: str) -> int:
    """`stripe_amount` of a charge, which must not be below Stripe's minimum (AmountRefused with BELOW_MINIMUM)."""
    if amount < MINIMUMS.get(currency, 0):
        raise AmountRefused(BELOW_MINIMUM)
    return stripe_amount(amount, currency)
