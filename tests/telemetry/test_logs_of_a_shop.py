"""What the services of a running shop log: one JSON object per line, with events of the matrix, at the chosen level."""

from __future__ import annotations

import pytest

from shop.devkit.testing import wait_until
from shop.operator.errors import ShopctlError
from shop.operator.local import running_shop
from shop.operator.local.data_dir import DataDir
from tests.load.shoppers import Shop
from tests.telemetry.conftest import TracedShop
from tests.telemetry.log_lines import parsed, strange

pytestmark = pytest.mark.shop

LOGGED_WITHIN_S = 15.0


async def test_each_line_is_json_with_an_event_of_the_matrix(traced: TracedShop, api: Shop) -> None:
    await api.sign_up(3)
    logs = {part["name"]: traced.logs()[part["name"]] for part in traced.services()}
    assert [one for name, text in logs.items() for one in strange(name, text)] == []
    started = {name for name, text in logs.items() if "service_started" in {one["event"] for one in parsed(text)}}
    assert logs.keys() - started == set()


async def test_the_level_of_a_service_is_chosen_while_it_runs(traced: TracedShop) -> None:
    def choose(component: str, level: str) -> list[str]:
        data = DataDir(traced.local.data_dir)
        return list(running_shop.command(data, "log-level", component=component, level=level)["components"])

    def levels() -> list[str]:
        lines = parsed(traced.logs()["pricing-1"])
        return [one["log_level"] for one in lines if one["event"] == "log_level_changed"]

    before = len(levels())
    for number, level in enumerate(("error", "debug", "info")):
        assert choose("pricing", level) == ["pricing-1"]
        await wait_until(lambda: len(levels()) > before + number, LOGGED_WITHIN_S)  # noqa: B023
        assert levels()[before + number] == level
    with pytest.raises(ShopctlError, match="postgres is no service: its own configuration has its log level"):
        choose("postgres", "debug")
    with pytest.raises(ShopctlError, match="no component wine; there are"):
        choose("wine", "debug")
