"""A Shop that says nothing and the chart with no values are the same shop; where they must differ, it is said why."""

from __future__ import annotations

import re
from typing import Any

from k8s.operator.tests.shop_specs import EVERY_KIND, VERSION, shop
from shop.operator.engine.render.values import values
from tests.charts import described
from tests.charts.rendering import CHARTS

DIFFERENT = {
    "global.namePrefix": "several Shops share a namespace",
    "global.image.registry": "the chart has no default; the operator's comes from its settings",
    "global.image.tag": "the chart's appVersion is the same version",
    "global.serviceMonitors": "a Shop names the kinds that it needs, so none appears when a cluster gets one",
    "catalog.sample": "helm install shows a shop with something in it; a Shop says what it sells",
    "services.pricing.config.SHOP_SAMPLE_PROMOTIONS": "coupons of that sample",
    "serviceDefaults.migrations.mode": "the operator applies Jobs and waits for them",
}


def leaves(found: Any, path: str = "") -> dict[str, Any]:
    """Every value that is no mapping, by its path."""
    if not isinstance(found, dict):
        return {path: found}
    parts = (leaves(value, f"{path}.{name}" if path else name) for name, value in found.items())
    return {name: value for part in parts for name, value in part.items()}


def of_chart(name: str) -> dict[str, Any]:
    loaded: dict[str, Any] = described.loaded((CHARTS / name / "values.yaml").read_text(encoding="utf-8"))
    return loaded


def chart_default(path: str) -> Any:
    """What charts/shop has at `path`, or charts/service where that leaves a service's value out."""
    ours, rest = leaves(of_chart("shop")), re.sub(r"^(serviceDefaults|services\.\w+)\.", "", path)
    return ours[path] if path in ours else leaves(of_chart("service")).get(rest, "not a value of the charts")


def test_an_empty_shop_has_the_defaults_of_the_chart() -> None:
    rendered = leaves(values(shop(), optional=EVERY_KIND, version=VERSION))
    found = {path: (value, chart_default(path)) for path, value in rendered.items()}
    differing = {path: pair for path, pair in found.items() if pair[0] != pair[1]}
    assert {path: pair for path, pair in differing.items() if path not in DIFFERENT} == {}
    assert set(DIFFERENT) - set(differing) == set(), "said to differ, and the same"


def test_the_defaults_are_the_safe_ones() -> None:
    given = values(shop(), optional=EVERY_KIND, version=VERSION)
    assert (given["global"]["networkPolicies"], given["global"]["podDisruptionBudgets"]) == ({"enabled": True}, True)
    budget = of_chart("service")["podDisruptionBudget"]
    assert (budget["maxUnavailable"], budget["minAvailable"]) == (1, None), "one pod must not keep a node from draining"
