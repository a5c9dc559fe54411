"""The order of `helm test` ships to a country that the shop serves, at a valid address."""

from __future__ import annotations

import ast
import os
import runpy
import subprocess
import sys

import pytest

from shop.kit.countries import COUNTRIES
from shop.kit.postal import PostalAddress
from tests.charts.rendering import CHARTS, named, template
from tests.conftest import RunningShop

SCRIPT = CHARTS / "shop" / "files" / "buy.py"
TIMEOUT_S = 120


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
    address_in = runpy.run_path(str(SCRIPT))["address_in"]
    for country in sorted(COUNTRIES):
        address = {name: value for name, value in address_in(country).items() if name not in ("name", "street")}
        assert PostalAddress.model_validate(address).country == country


def test_it_needs_nothing_but_the_standard_library_and_the_kit() -> None:
    """The images of the services have no other packages in common."""
    tree = ast.parse(SCRIPT.read_text(encoding="utf-8"))
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name for name in names if name.partition(".")[0] not in sys.stdlib_module_names} == {"shop.kit.postal"}


def buy(shop: RunningShop, country: str) -> subprocess.CompletedProcess[str]:
    """Run the script of `helm test` against `shop`."""
    environment = {**os.environ, "SHOP_URL": shop.url, "SHOP_COUNTRY": country}
    return subprocess.run(
        [sys.executable, str(SCRIPT)], env=environment, capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )


@pytest.mark.shop
def test_it_buys(shop: RunningShop) -> None:
    done = buy(shop, "DE")
    assert (done.returncode, done.stdout.split()[2:4]) == (0, ["is", "confirmed,"]), done.stderr


@pytest.mark.shop
def test_it_fails_with_the_response_of_the_shop(shop: RunningShop) -> None:
    done = buy(shop, "KP")
    assert done.returncode == 1
    assert done.stderr.startswith("POST /orders: 422 ")
    assert "country_not_served" in done.stderr
