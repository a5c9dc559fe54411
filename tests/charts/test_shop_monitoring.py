"""The shop's alerts and dashboard: existing metrics, only of this shop, and when alerts fire."""

from __future__ import annotations

import json
import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.operator.services import SERVICES
from tests.charts import helm, promtool
from tests.charts.promtool import Case
from tests.charts.rendering import NAMESPACE, RELEASE, Object, kind, named, preset

CHOSEN = f'namespace="{NAMESPACE}", app_kubernetes_io_instance="{RELEASE}"'
OWN = {"namespace": NAMESPACE, "app_kubernetes_io_instance": RELEASE}
NOT_OURS = frozenset({"up"})
SUFFIXES = ("_bucket", "_sum", "_count")


def rule() -> Object:
    return named(preset("shop-everything"), "PrometheusRule", "books-shop")


@cache
def alerts() -> dict[str, Object]:
    (group,) = rule()["spec"]["groups"]
    return {alert["alert"]: alert for alert in group["rules"]}


def dashboard() -> Any:
    (text,) = named(preset("shop-everything"), "ConfigMap", "books-dashboard")["data"].values()
    return json.loads(text)


def queries() -> dict[str, str]:
    """Every query of the dashboard, by its panel's title and letter, with its variables replaced."""
    values = {variable["name"]: variable.get("query", "") for variable in dashboard()["templating"]["list"]}
    found = {}
    for panel in dashboard()["panels"]:
        for target in panel["targets"]:
            text = re.sub(r"\$(\w+)", lambda name: values[name[1]], target["expr"])
            found[f"{panel['title']} {target['refId']}"] = text
    return found


@cache
def metrics() -> frozenset[str]:
    """Names of the metrics in the services' sources; the kit has some of `{service}`."""
    made = re.compile(r'\b(?:Counter|Gauge|Histogram)\(\s*f?"(shop_(?:\w|\{service\})+)"')
    sources = (helm.ROOT / "services").glob("*/src/**/*.py")
    found = {name for path in sources for name in made.findall(path.read_text(encoding="utf-8"))}
    return frozenset(name.replace("{service}", noun) for name in found for noun in SERVICES)


def unknown(expression: str) -> set[str]:
    used = set(re.findall(r"\b(shop_\w+|up)\{", expression))
    assert used, expression
    bases = {name: next((name.removesuffix(end) for end in SUFFIXES if name.endswith(end)), name) for name in used}
    return {name for name, base in bases.items() if not {name, base} & (metrics() | NOT_OURS)}


EXPRESSIONS = {**{name: alert["expr"] for name, alert in alerts().items()}, **queries()}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_metrics_are_those_of_the_services_and_of_this_shop_alone(name: str) -> None:
    expression = EXPRESSIONS[name]
    assert unknown(expression) == set()
    assert len(re.findall(r"\{", expression)) == expression.count(f"{{{CHOSEN}")


def test_the_labels_that_choose_are_those_that_the_monitors_set() -> None:
    objects = preset("shop-everything")
    for monitor in kind(objects, "ServiceMonitor"):
        assert monitor["spec"]["targetLabels"] == ["app.kubernetes.io/name", "app.kubernetes.io/instance"]
        service = named(objects, "Service", monitor["metadata"]["name"])
        assert service["metadata"]["labels"]["app.kubernetes.io/instance"] == RELEASE
        assert service["metadata"]["labels"]["app.kubernetes.io/name"] in SERVICES


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_severity_and_a_description(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert alert["annotations"]["description"].endswith(".")


def test_by_default_there_are_none() -> None:
    assert kind(preset("shop"), "PrometheusRule") == []
    assert [found for found in kind(preset("shop"), "ConfigMap") if "dashboard" in found["metadata"]["name"]] == []


def test_the_dashboard_has_grafanas_label_and_the_name_of_its_shop() -> None:
    config = named(preset("shop-everything"), "ConfigMap", "books-dashboard")
    assert config["metadata"]["labels"]["grafana_dashboard"] == "1"
    found = dashboard()
    assert (found["title"], len(found["uid"])) == ("Shopkeeper", 40)
    ids = [panel["id"] for panel in found["panels"]]
    assert len(ids) == len(set(ids))


def series(metric: str, **labels: str) -> str:
    return f"{metric}{{{', '.join(f'{name}="{value}"' for name, value in {**OWN, **labels}.items())}}}"


def of(noun: str, metric: str, **labels: str) -> str:
    return series(metric, app_kubernetes_io_name=noun, **labels)


ORDER = {"app_kubernetes_io_name": "order"}
ANSWERS = "shop_gateway_requests_total"
SECONDS = "shop_http_request_duration_seconds_bucket"
LATE = of("order", "shop_order_oldest_saga_age_seconds", kind="place")
WAITING = of("order", "shop_outbox_oldest_event_age_seconds", pod="o")
MAIL, LOOP = "shop_notification_provider_up", of("order", "shop_task_restarts_total", task="relay")
CASES = (
    Case("ShopServiceDown", {of("order", "up", pod="a"): "0x20", of("order", "up", pod="b"): "1x20"}, "15m"),
    Case("ShopServiceDown", {of("order", "up"): "1x5 0x20"}, "10m", "No pod of order is up", ORDER),
    Case("ShopServiceDown", {'up{namespace="market", app_kubernetes_io_instance="other"}': "0x20"}, "15m"),
    Case(
        "ShopAnswersWithErrors",
        {series(ANSWERS, status="200"): "0+99x30", series(ANSWERS, status="502"): "0+1x30"},
        "20m",
    ),
    Case(
        "ShopAnswersWithErrors",
        {series(ANSWERS, status="201"): "0+90x30", series(ANSWERS, status="503"): "0+10x30"},
        "20m",
        "10% of the customers' requests fail",
    ),
    Case(
        "ShopAnswersWithErrors",
        {
            series(ANSWERS, status="201"): "0+90x30",
            series(ANSWERS, status="503"): "0+10x30",
            of("order", "shop_order_orders_total", state="rejected", reason="no_courier"): "0+8x30",
        },
        "20m",
    ),
    Case("ShopSlow", {of("order", SECONDS, route="/o", le=le): "0+60x40" for le in ("1", "2.5", "5", "+Inf")}, "30m"),
    Case("ShopSlow", {of("order", SECONDS, route="/o/events", le="5"): "0+60x40"}, "30m"),
    Case(
        "ShopSlow",
        {of("order", SECONDS, route="/o", le="2.5"): "0x40"}
        | {of("order", SECONDS, route="/o", le=le): "0+60x40" for le in ("5", "+Inf")},
        "30m",
        "The 99th percentile of the latency of order is above 2.5 s",
        ORDER,
    ),
    Case("ShopOrdersWaiting", {LATE: "0+30x20"}, "20m"),
    Case("ShopOrdersWaiting", {LATE: "0+60x40"}, "30m", "An order has been pending for 30m 0s"),
    Case("ShopEventsStuck", {WAITING: "60x40"}, "30m"),
    Case("ShopEventsStuck", {WAITING: "0x5 90 0x20"}, "6m"),
    Case(
        "ShopEventsStuck",
        {WAITING: "0+60x40"},
        "30m",
        "An event of order has been unpublished for 30m 0s",
        ORDER,
    ),
    Case("ShopEventsGivenUp", {of("order", "shop_inbox_events_total", result="taken"): "0+9x40"}, "30m"),
    Case(
        "ShopEventsGivenUp",
        {of("order", "shop_inbox_events_total", result="dead"): "0x10 1x30"},
        "20m",
        "order gave up on events",
        ORDER,
    ),
    Case("ShopMessagesNotSent", {series(MAIL, channel="email"): "0x10 1x30"}, "30m"),
    Case(
        "ShopMessagesNotSent",
        {series(MAIL, channel="email"): "0x40"},
        "30m",
        "The provider of the channel email cannot be reached",
        {"channel": "email"},
    ),
    Case("ShopLoopRestarts", {LOOP: "0x10 3x30"}, "15m"),
    Case(
        "ShopLoopRestarts",
        {LOOP: "0+1x40"},
        "30m",
        "relay of order keeps failing",
        {**ORDER, "task": "relay"},
    ),
)


def described(case: Case) -> dict[str, Any]:
    alert = alerts()[case.alert]
    return promtool.described(case, alert, alert["annotations"]["description"])


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump(rule()["spec"]), encoding="utf-8")
    promtool.check(tmp_path, rules, map(described, CASES))


def test_every_query_of_the_dashboard_is_valid(tmp_path: Path) -> None:
    recorded = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(queries().values())]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}), encoding="utf-8")
    promtool.run("check", "rules", str(rules))


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES if case.summary} == set(alerts())
    assert {case.alert for case in CASES if not case.summary} == set(alerts())
