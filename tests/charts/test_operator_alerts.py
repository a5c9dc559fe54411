"""The operator's alerts and dashboards as its chart installs them."""

from __future__ import annotations

import re

import pytest

from observability.rules import source
from shop.operator.engine import metrics
from tests.charts.rendering import CHARTS, RELEASE, kind, named, preset

SUFFIXES = ("_total", "_count", "_sum", "_bucket")
ALERTS = source.alerts(source.operator())


def metric_names() -> set[str]:
    written = (value for value in vars(metrics).values() if hasattr(value, "describe") and not isinstance(value, type))
    counted = {family.name for metric in written for family in metric.describe()}
    return counted | {family.name for family in metrics.SHOPS.collect()}


def test_the_rule_is_installed() -> None:
    rule = named(preset("shop-operator-two"), "PrometheusRule", RELEASE)
    assert [one["alert"] for one in rule["spec"]["groups"][0]["rules"]] == list(ALERTS)
    assert [one["expr"] for one in rule["spec"]["groups"][0]["rules"]] == [one["expr"] for one in ALERTS.values()]
    assert named(preset("shop-operator-two"), "ServiceMonitor", RELEASE)["spec"]["endpoints"][0]["port"] == "http"


def test_by_default_there_are_no_rules_and_dashboards() -> None:
    assert kind(preset("shop-operator"), "PrometheusRule") == []
    assert [one for one in kind(preset("shop-operator"), "ConfigMap") if "dashboard" in one["metadata"]["name"]] == []


def test_dashboards_have_the_annotations_of_the_sidecar() -> None:
    found = [one for one in kind(preset("shop-operator-two"), "ConfigMap") if "dashboard" in one["metadata"]["name"]]
    assert found
    assert [one["metadata"]["annotations"] for one in found] == [{"grafana_folder": "Shops"}] * len(found)


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_over_metrics_that_the_operator_has(name: str) -> None:
    used = set(re.findall(r"shop_operator_\w+", ALERTS[name]["expr"]))
    bases = {metric: next((metric.removesuffix(s) for s in SUFFIXES if metric.endswith(s)), metric) for metric in used}
    assert used
    assert {metric for metric, base in bases.items() if not {metric, base} & metric_names()} == set()


@pytest.mark.parametrize("name", ALERTS)
def test_an_alert_is_in_the_readme(name: str) -> None:
    assert f"`{name}`" in (CHARTS / "shop-operator" / "README.md").read_text(encoding="utf-8")
