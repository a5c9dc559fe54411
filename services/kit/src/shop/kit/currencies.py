"""The currencies of ISO 4217 and their minor units.

Source: ISO 4217 List One as published by SIX, the maintenance agency. Funds, metals and test codes are
left out. CLDR, which formats amounts, has other digits for currencies whose small coins are gone, such as ISK, UGX or
IQD; stored amounts are in the minor units of this table, so what is shown must follow it too.
"""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal

_BY_EXPONENT: Mapping[int, str] = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: """AED AFN ALL AMD AOA ARS AUD AWG AZN BAM BBD BDT BMD BND BOB BRL BSD BTN BWP BYN BZD CAD CDF CHF CNY COP CRC
        CUP CVE CZK DKK DOP DZD EGP ERN ETB EUR FJD FKP GBP GEL GHS GIP GMD GTQ GYD HKD HNL HTG HUF IDR ILS INR IRR
        JMD KES KGS KHR KPW KYD KZT LAK LBP LKR LRD LSL MAD MDL MGA MKD MMK MNT MOP MRU MUR MVR MWK MXN MYR MZN NAD
        NGN NIO NOK NPR NZD PAB PEN PGK PHP PKR PLN QAR RON RSD RUB SAR SBD SCR SDG SEK SGD SHP SLE SOS SRD SSP STN
        SVC SYP SZL THB TJS TMT TOP TRY TTD TWD TZS UAH USD UYU UZS VED VES WST XCD XCG YER ZAR ZMW ZWG""",
    3: "BHD IQD JOD KWD LYD OMR TND",
}

EXPONENTS: Mapping[str, int] = {code: digits for digits, codes in _BY_EXPONENT.items() for code in codes.split()}
"""Digits after the decimal mark, by the code of the currency."""

DEFAULT_EXPONENT = 2


def exponent(currency: str) -> int:
    """Digits after the decimal mark; two for a currency that ISO 4217 does not have."""
    return EXPONENTS.get(currency, DEFAULT_EXPONENT)


def major_units(amount: int, currency: str) -> Decimal:
    """Minor units as a number with the currency's digits: 1250 EUR is 12.50."""
    return Decimal(amount).scaleb(-exponent(currency))
