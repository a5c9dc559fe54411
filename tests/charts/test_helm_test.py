"""The order of `helm test` ships to a country that the shop serves, at a valid address."""

from __future__ import annotations

import runpy

import pytest

from shop.kit.countries import COUNTRIES
from shop.kit.postal import PostalAddress
from tests.charts.rendering import CHARTS, named, template


@pytest.mark.parametrize(
    ("given", "country"),
    [
        ((), "DE"),
        (("global.store.country=CH",), "CH"),
        (("global.store.taxes[0].country=AT", "global.store.taxes[0].ratePercent=10"), "AT"),
        (
            (
                "global.store.shipsTo={HK,AE}",
                "global.store.taxes[0].country=AT",
                "global.store.taxes[0].ratePercent=10",
            ),
            "HK",
        ),
    ],
)
def test_it_orders_to_a_country_that_is_served(given: tuple[str, ...], country: str) -> None:
    pod = named(template("shop", *(part for value in given for part in ("--set", value))), "Pod", "helm-test")
    (container,) = pod["spec"]["containers"]
    assert {"name": "SHOP_COUNTRY", "value": country} in container["env"]


def test_its_address_is_valid_in_every_country() -> None:
    address_in = runpy.run_path(str(CHARTS / "shop" / "files" / "buy.py"))["address_in"]
    for country in sorted(COUNTRIES):
        address = {name: value for name, value in address_in(country).items() if name not in ("name", "street")}
        assert PostalAddress.model_validate(address).country == country
