"""Units of panels fit those of the signals that they show, and thresholds are in order."""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

import pytest

from observability import signals
from tests.telemetry import grafana

PANELS = [
    pytest.param(panel, id=f"{name}: {panel['title']}")
    for name, board in grafana.boards().items()
    for panel in board["panels"]
    if "targets" in panel
]
SIGNALS = signals.load()
METRIC = re.compile(r"([a-zA-Z_:][\w:]*)\{")
BY_A_NUMBER = re.compile(r" / [\d.e-]+")
SECONDS, BYTES, SHARE, NUMBER = frozenset({"s"}), frozenset({"bytes"}), frozenset({"percentunit"}), frozenset({"short"})
OF_UNIT = {"s": SECONDS, "By": BYTES}
WORSE = ("green", "orange", "red")


def unit_of(expression: str) -> str:
    """The unit of the first metric in `expression`, as signals.yaml writes it."""
    found = METRIC.search(expression)
    assert found, expression
    name = found[1]
    metric = SIGNALS.metric_of_sample(name)
    if metric is not None:
        return "1" if metric.type == "histogram" and name.endswith("_count") else metric.unit
    return "s" if re.search(r"_seconds(_total)?$", name) else "By" if name.endswith("_bytes") else "1"


def fitting(expression: str) -> frozenset[str]:
    """Grafana's units that the values of `expression` may have."""
    part, *wholes = BY_A_NUMBER.sub("", expression).split(" / ")
    unit = unit_of(part)
    if wholes:
        return SHARE | NUMBER if unit_of(wholes[0]) == unit else OF_UNIT[unit]
    if "rate(" in part and "histogram_quantile(" not in part:
        if "* 60" in part:
            return NUMBER | {"opm"}
        return NUMBER if unit == "s" else frozenset({"reqps" if unit == "{request}" else "ops"})
    return OF_UNIT.get(unit, SHARE if part.startswith("avg ") else NUMBER)


@pytest.mark.parametrize("panel", PANELS)
def test_the_unit_is_that_of_what_is_shown(panel: dict[str, Any]) -> None:
    for target in panel["targets"]:
        assert panel["fieldConfig"]["defaults"]["unit"] in fitting(target["expr"]), target["expr"]


@pytest.mark.parametrize("panel", PANELS)
def test_thresholds_grow_and_colours_become_worse_or_better(panel: dict[str, Any]) -> None:
    defaults = panel["fieldConfig"]["defaults"]
    first, *steps = defaults["thresholds"]["steps"]
    values = [step["value"] for step in steps]
    assert first["value"] is None
    assert all(one < other for one, other in pairwise(values))
    if steps:
        ranks = [WORSE.index(step["color"]) for step in (first, *steps)]
        assert ranks in (sorted(set(ranks)), sorted(set(ranks), reverse=True))
    if defaults["unit"] == "percentunit":
        assert all(0 <= value <= 1 for value in values)


@pytest.mark.parametrize(
    ("expression", "units"),
    [
        ("sum (rate(shop_http_requests_total{}[1m]))", {"reqps"}),
        ("sum (rate(shop_outbox_published_total{}[1m]))", {"ops"}),
        ("sum (rate(shop_order_orders_total{}[1m])) * 60", {"opm", "short"}),
        ("sum (rate(process_cpu_seconds_total{}[1m]))", {"short"}),
        ("histogram_quantile(0.5, sum by (le) (rate(shop_inbox_delay_seconds_bucket{}[1m]))) > -Inf", {"s"}),
        ("sum (rate(shop_inbox_delay_seconds_sum{}[1m])) / sum (rate(shop_inbox_delay_seconds_count{}[1m]))", {"s"}),
        ("max (shop_broker_stream_bytes{}) / max (shop_broker_stream_limit_bytes{})", {"percentunit", "short"}),
        ("max(shop_broker_stream_bytes{})", {"bytes"}),
        ("max(shop_product_sold_out{})", {"short"}),
    ],
)
def test_what_fits_an_expression(expression: str, units: set[str]) -> None:
    assert fitting(expression) == units
