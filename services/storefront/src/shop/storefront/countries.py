"""Countries that an address form offers, and what an address needs in each."""

from __future__ import annotations

from collections.abc import Mapping

from shop.contracts.store import StoreSettings
from shop.kit.countries import COUNTRIES
from shop.kit.formatting import Formats
from shop.kit.postal import AddressRules, rules


def country_choices(store: StoreSettings, written: Formats) -> list[tuple[str, str]]:
    """Code and name of each country that the store ships to, by name in its language."""
    return sorted(((code, written.country(code)) for code in store.served), key=lambda choice: choice[1])


def first_country(store: StoreSettings) -> str:
    """The country that a form begins with: the store's own, if it ships there."""
    return store.country if store.country in store.served else min(store.served)


def rules_of(store: StoreSettings, values: Mapping[str, str]) -> AddressRules:
    """The rules of the country in a form; those of the first one for a form without a known country."""
    country = values.get("country", "")
    return rules(country if country in COUNTRIES else first_country(store))
