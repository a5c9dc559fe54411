"""Countries that an address form offers, by ISO 3166-1 alpha-2 code."""

from __future__ import annotations

from shop.kit.formatting import Formats

COUNTRIES = (
    "AU AT BE BR BG CA HR CY CZ DK EE FI FR DE GR HU IS IN IE IT"
    " JP LV LT LU MT MX NL NZ NO PL PT RO SK SI ES SE CH GB US"
).split()


def country_choices(formats: Formats) -> list[tuple[str, str]]:
    """Code and name of each country, by name in the store's language."""
    return sorted(((code, formats.country(code)) for code in COUNTRIES), key=lambda choice: choice[1])
