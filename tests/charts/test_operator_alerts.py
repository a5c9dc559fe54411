"""The operator's alerts: existing metrics, complete annotations, and (with promtool) when they fire."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from shop.operator.engine import metrics
from tests.charts import promtool
from tests.charts.promtool import Case
from tests.charts.rendering import CHARTS, RELEASE, Object, kind, named, preset

ALERTS = CHARTS / "shop-operator" / "files" / "alerts.yaml"
SUFFIXES = ("_total", "_count", "_sum", "_bucket")
PASSES = "shop_operator_reconcile_seconds_count"
JOBS = {"kind": "Job"}
JOBS_SILENT = 'shop_operator_watch_silence_seconds{kind="Job"}'
ENDING = "0+60x4 " * 8
BOOKS = {"shop_namespace": "market", "shop": "books"}
BOOKS_READY = 'shop_operator_shop_ready{shop_namespace="market", shop="books"}'
BOOKS_DEGRADED = 'shop_operator_shop_degraded{shop_namespace="market", shop="books"}'
BOOKS_DUE = 'shop_operator_backup_due_timestamp_seconds{shop_namespace="market", shop="books"}'
BOOKS_DONE = 'shop_operator_backup_done_timestamp_seconds{shop_namespace="market", shop="books"}'


def alerts() -> dict[str, Object]:
    (group,) = yaml.safe_load(ALERTS.read_text(encoding="utf-8"))["groups"]
    return {rule["alert"]: rule for rule in group["rules"]}


def metric_names() -> set[str]:
    written = (value for value in vars(metrics).values() if hasattr(value, "describe") and not isinstance(value, type))
    counted = {family.name for metric in written for family in metric.describe()}
    return counted | {family.name for family in metrics.SHOPS.collect()}


def test_the_rule_is_installed_unchanged() -> None:
    rule = named(preset("shop-operator-two"), "PrometheusRule", RELEASE)
    assert rule["spec"]["groups"][0]["rules"] == list(alerts().values())
    assert named(preset("shop-operator-two"), "ServiceMonitor", RELEASE)["spec"]["endpoints"][0]["port"] == "http"
    assert kind(preset("shop-operator"), "PrometheusRule") == []


@pytest.mark.parametrize("name", alerts())
def test_an_alert_is_over_metrics_that_the_operator_has(name: str) -> None:
    used = set(re.findall(r"shop_operator_\w+", alerts()[name]["expr"]))
    bases = {metric: next((metric.removesuffix(s) for s in SUFFIXES if metric.endswith(s)), metric) for metric in used}
    assert used
    assert {metric for metric, base in bases.items() if not {metric, base} & metric_names()} == set()


@pytest.mark.parametrize("name", alerts())
def test_an_alert_has_a_severity_and_a_description(name: str) -> None:
    alert = alerts()[name]
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert set(alert["annotations"]) == {"summary", "description"}
    assert alert["annotations"]["description"].endswith(".")
    assert f"`{name}`" in (CHARTS / "shop-operator" / "README.md").read_text(encoding="utf-8")


CASES = (
    Case("ShopOperatorDown", {'shop_operator_leader{pod="a"}': "1x60", 'shop_operator_leader{pod="b"}': "0x60"}, "50m"),
    Case("ShopOperatorDown", {'shop_operator_leader{pod="a"}': "1x5 0x30"}, "9m"),
    Case("ShopOperatorDown", {'shop_operator_leader{pod="a"}': "1x5 0x30"}, "15m", "The operator has no leader"),
    Case("ShopOperatorDown", {}, "10m", "The operator has no leader"),
    Case("ShopOperatorWatchDead", {JOBS_SILENT: "60x60"}, "50m"),
    Case(
        "ShopOperatorWatchDead",
        {JOBS_SILENT: "0+60x30"},
        "10m",
        "The operator gets no watch events of Job objects",
        JOBS,
    ),
    # As scraped: after four minutes the operator exits, and the next one counts from 0.
    Case(
        "ShopOperatorWatchDead", {JOBS_SILENT: ENDING}, "22m", "The operator gets no watch events of Job objects", JOBS
    ),
    Case(
        "ShopOperatorReconcileFailing",
        {f'{PASSES}{{result="done"}}': "0+60x60", f'{PASSES}{{result="failed"}}': "0+1x60"},
        "50m",
    ),
    Case("ShopOperatorReconcileFailing", {f'{PASSES}{{result="done"}}': "0+60x60"}, "50m"),
    Case(
        "ShopOperatorReconcileFailing",
        {f'{PASSES}{{result="done"}}': "0+60x60", f'{PASSES}{{result="failed"}}': "0+20x60"},
        "40m",
        "25% of the operator's reconciles fail",
    ),
    Case("ShopOperatorQueueStuck", {"shop_operator_queue_oldest_seconds": "20x60"}, "50m"),
    Case(
        "ShopOperatorQueueStuck",
        {"shop_operator_queue_oldest_seconds": "0+60x60"},
        "30m",
        "A Shop has waited 30m 0s for the operator",
    ),
    Case("ShopNotReady", {BOOKS_READY: "0x10 1x50"}, "14m"),
    Case("ShopNotReady", {BOOKS_READY: "0x60"}, "20m", "Shop market/books is not ready", BOOKS),
    Case("ShopDegraded", {BOOKS_DEGRADED: "1x3 0x57"}, "7m"),
    Case("ShopDegraded", {BOOKS_DEGRADED: "1x60"}, "7m", "Shop market/books is degraded", BOOKS),
    Case("ShopBackupOverdue", {BOOKS_DUE: "100+3600x9", BOOKS_DONE: "0x1 130+3600x8"}, "8h"),
    Case(
        "ShopBackupOverdue",
        {BOOKS_DUE: "100x200", BOOKS_DONE: "0x200"},
        "2h1m",
        "Shop market/books has missed a scheduled backup",
        BOOKS,
    ),
    Case("ShopUpgradeStopped", {"shop_operator_upgrade_stopped": "1x3 0x57"}, "7m"),
    Case(
        "ShopUpgradeStopped",
        {"shop_operator_upgrade_stopped": "1x60"},
        "7m",
        "The operator's new version is not rolled out to further Shops",
    ),
    Case("ShopRolledBack", {"shop_operator_rollbacks_total": "3x60"}, "50m"),
    Case("ShopRolledBack", {"shop_operator_rollbacks_total": "0x10 1x20"}, "12m", "A rollout was rolled back"),
)


def described(case: Case) -> dict[str, Any]:
    alert = alerts()[case.alert]
    text = re.sub(
        r"{{ \$labels\.(\w+) }}", lambda found: case.labels.get(found[1], ""), alert["annotations"]["description"]
    )
    return promtool.described(case, alert, text)


def test_alerts_fire_when_they_should_and_not_before(tmp_path: Path) -> None:
    promtool.check(tmp_path, ALERTS, map(described, CASES))


def test_each_alert_has_a_case_that_fires_and_one_that_does_not() -> None:
    assert {case.alert for case in CASES if case.summary} == set(alerts())
    assert {case.alert for case in CASES if not case.summary} == set(alerts())
