"""The shop's rules and dashboards as the chart installs them: about this shop alone, with links that lead somewhere."""

from __future__ import annotations

import json
import re
from functools import cache
from typing import Any

import pytest

from observability import dashboards
from shop.operator.services import SERVICES
from tests.charts.rendering import NAMESPACE, RELEASE, Object, kind, named, preset, template

CHOSEN = f'namespace="{NAMESPACE}", app_kubernetes_io_instance="{RELEASE}"'
ON = ("--set", "rules.enabled=true,dashboards.enabled=true,global.serviceMonitors=Always")
PLACEHOLDERS = ("SHOP-UID", "SHOP-TAG", "{SHOP", "{NAMESPACE", "RUNBOOKS")
MAX_CONFIG_MAP_BYTES = 256 << 10
"""Client-side `kubectl apply` stores an object in an annotation of it, which may have no more."""


def rules() -> list[Object]:
    groups = named(preset("shop-everything"), "PrometheusRule", "books-shop")["spec"]["groups"]
    return [rule for group in groups for rule in group["rules"]]


def boards(objects: tuple[Object, ...]) -> dict[str, Any]:
    """Every dashboard by the end of its ConfigMap's name."""
    found = [one for one in kind(objects, "ConfigMap") if "dashboard-" in one["metadata"]["name"]]
    return {one["metadata"]["name"].rpartition("-")[2]: json.loads(next(iter(one["data"].values()))) for one in found}


@cache
def everything() -> dict[str, Any]:
    return boards(preset("shop-everything"))


def test_every_expression_is_about_this_shop_alone() -> None:
    for rule in rules():
        selectors = re.findall(r"\{([^{}]*)\}", rule["expr"])
        assert selectors, rule
        of_others = [one for one in selectors if not one.startswith((CHOSEN, f'namespace="{NAMESPACE}"'))]
        assert of_others == [], rule["expr"]


def test_nothing_is_left_to_replace() -> None:
    objects = [named(preset("shop-everything"), "PrometheusRule", "books-shop"), *everything().values()]
    text = json.dumps(objects)
    assert [word for word in PLACEHOLDERS if word in text] == []


def test_every_alert_names_its_runbook_under_the_address_that_is_given() -> None:
    address = "https://git.example.com/shop/runbooks"
    objects = template("shop", *ON, "--set", f"rules.runbooks={address}/")
    (rule,) = kind(objects, "PrometheusRule")
    alerts = [one for group in rule["spec"]["groups"] for one in group["rules"] if "alert" in one]
    assert alerts
    assert {one["annotations"]["runbook_url"] for one in alerts} == {f"{address}/{one['alert']}.md" for one in alerts}


def test_the_labels_that_choose_are_those_that_the_monitors_set() -> None:
    objects = preset("shop-everything")
    for monitor in kind(objects, "ServiceMonitor"):
        assert monitor["spec"]["targetLabels"] == ["app.kubernetes.io/name", "app.kubernetes.io/instance"]
        service = named(objects, "Service", monitor["metadata"]["name"])
        assert service["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert service["metadata"]["labels"]["app.kubernetes.io/name"] in SERVICES


def test_by_default_there_are_none() -> None:
    assert kind(preset("shop"), "PrometheusRule") == []
    assert boards(preset("shop")) == {}


def test_each_dashboard_has_grafanas_label_and_the_name_of_its_shop() -> None:
    assert set(everything()) == dashboards.OF_SHOP
    for name, board in everything().items():
        config = named(preset("shop-everything"), "ConfigMap", f"books-dashboard-{name}")
        assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
        assert len(json.dumps(config)) < MAX_CONFIG_MAP_BYTES
        assert board["title"].startswith("Shopkeeper: ")


def test_a_sidecar_with_another_label_and_folders_finds_the_dashboards() -> None:
    given = ("--set", "dashboards.labels.grafana=main,dashboards.annotations.grafana_folder=Our shops")
    configs = [
        one for one in kind(template("shop", *ON, *given), "ConfigMap") if "dashboard-" in one["metadata"]["name"]
    ]
    assert configs
    for config in configs:
        assert config["metadata"]["labels"].items() >= {("grafana", "main"), ("grafana_dashboard", "1")}
        assert config["metadata"]["annotations"] == {"grafana_folder": "Our shops"}


def test_no_uid_stands_twice_in_one_grafana() -> None:
    """Grafana refuses the second of two dashboards with one uid, and keeps changing them back and forth."""
    others = (boards(template("shop", *ON, "--namespace", "other")), boards(preset("shop-operator-two")))
    uids = [board["uid"] for found in (everything(), *others) for board in found.values()]
    assert len(uids) == len(set(uids))
    assert {len(uid) for uid in uids} == {40}


@pytest.mark.parametrize("installed", ["shop-everything", "shop-operator-two"])
def test_links_lead_to_dashboards_of_the_same_installation(installed: str) -> None:
    found = boards(preset(installed))
    text = json.dumps(found)
    assert set(re.findall(r"/d/([0-9a-f]{40})", text)) <= {board["uid"] for board in found.values()}
    assert len({tuple(board["tags"]) for board in found.values()}) == 1
    assert {link["tags"][0] for board in found.values() for link in board["links"]} <= set(found["runbooks"]["tags"])


def test_namespace_and_shop_are_fixed_and_the_data_source_is_chosen_in_grafana() -> None:
    for board in everything().values():
        variables = {one["name"]: one for one in board["templating"]["list"]}
        assert (variables["namespace"]["type"], variables["namespace"]["query"]) == ("constant", NAMESPACE)
        assert (variables["shop"]["type"], variables["shop"]["query"]) == ("constant", RELEASE)
        assert (variables["datasource"]["type"], variables["datasource"]["query"]) == ("datasource", "prometheus")
        assert "DS_PROMETHEUS" not in json.dumps(board)


def test_a_shop_has_no_dashboard_of_a_module_that_is_off() -> None:
    off = (
        "--set",
        "services.player.enabled=false,services.delivery.enabled=false,services.recommendation.enabled=false",
    )
    assert dashboards.OF_SHOP - set(boards(template("shop", *ON, *off))) == {"arcade", "delivery", "recommendations"}
