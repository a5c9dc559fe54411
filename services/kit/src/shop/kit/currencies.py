"""The currencies of ISO 4217 and their minor units.

Source: ISO 4217 List One as published by SIX, the maintenance agency, without funds, metals and test codes. CLDR
has other digits for some currencies, such as UGX or IQD, so Babel's cannot be used: amounts are stored in the
minor units of this table.
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
"""Decimals by currency code."""

DEFAULT_EXPONENT = 2


def exponent(currency: str) -> int:
    """The number of decimals; two for a currency that is not in ISO 4217."""
    return EXPONENTS.get(currency, DEFAULT_EXPONENT)


def major_units(amount: int, currency: str) -> Decimal:
    """Minor units as a number with the currency's decimals: 1250 EUR is 12.50."""
    return Decimal(amount).scaleb(-exponent(currency))
