"""The dashboards: what every panel must have, and that its queries stand on signals that exist."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml

from observability import dashboards, generate, signals
from observability.dashboards import pages
from observability.dashboards.common import RUNBOOKS, UID_OF, share
from observability.rules import source
from tests.telemetry.prometheus_tools import promtool

MODELS = dashboards.models()
RECORDED = frozenset(rule["record"] for group in source.shop() for rule in group["rules"] if "record" in rule)
OF_PROMETHEUS = frozenset({"up", "ALERTS"})
OF_PROCESSES = re.compile(r"(process|python)_\w+")
"""What prometheus_client measures of every process."""
SHOP = 'namespace="$namespace", app_kubernetes_io_instance="$shop"'
OPERATOR = 'namespace="$operator"'
UNITS = frozenset({"short", "s", "bytes", "percentunit", "reqps", "ops", "opm"})
SELECTOR = re.compile(r"([a-zA-Z_:][\w:]*)\{([^{}]*)\}")
GRAFANA = {"$__rate_interval": "2m", "$__interval": "30s", "$__range": "1h"}
SCRAPED = {
    "namespace",
    "app_kubernetes_io_instance",
    "app_kubernetes_io_name",
    "pod",
    "instance",
    "le",
    "slo",
    "alertstate",
}


class Shown(NamedTuple):
    """A panel and its dashboard's name."""

    board: str
    panel: dict[str, Any]

    @property
    def expressions(self) -> list[str]:
        return [target["expr"] for target in self.panel["targets"]]


def shown() -> Iterator[Shown]:
    """Every panel with queries; rows and texts have none."""
    for name, board in MODELS.items():
        yield from (Shown(name, panel) for panel in board["panels"] if panel["type"] not in ("row", "text"))


PANELS = list(shown())


def ident(one: Shown) -> str:
    return f"{one.board}: {one.panel['title']}"


def test_generated_files_are_current() -> None:
    old = [path for path, text in generate.files().items() if not path.exists() or path.read_text("utf-8") != text]
    assert not old, "run `make generate`"
    assert generate.superfluous() == []


def test_there_is_a_dashboard_for_each_part() -> None:
    parts = "overview service sagas stores gateway slo delivery arcade recommendations operator runbooks"
    assert list(MODELS) == parts.split()
    assert dashboards.OF_SHOP | dashboards.OF_OPERATOR == set(MODELS)


@pytest.mark.parametrize("one", PANELS, ids=ident)
def test_a_panel_says_what_it_shows_in_which_unit_from_the_chosen_data_source(one: Shown) -> None:
    panel = one.panel
    assert panel["title"]
    assert panel["description"].rstrip().endswith((".", *pages.names()))
    assert panel["fieldConfig"]["defaults"]["unit"] in UNITS
    sources = [panel["datasource"], *(target["datasource"] for target in panel["targets"])]
    assert all(one == {"type": "prometheus", "uid": "${datasource}"} for one in sources)
    assert all(target["legendFormat"] for target in panel["targets"])


@pytest.mark.parametrize("one", PANELS, ids=ident)
def test_a_query_is_about_the_chosen_shop_and_stands_on_signals_that_exist(one: Shown) -> None:
    known = signals.load()
    for expression in one.expressions:
        found = SELECTOR.findall(expression)
        assert found, expression
        for metric, labels in found:
            assert labels.startswith(OPERATOR if one.board == "operator" else SHOP), expression
            assert (
                metric in RECORDED | OF_PROMETHEUS or OF_PROCESSES.fullmatch(metric) or known.metric_of_sample(metric)
            ), metric
            check_labels(known.metric_of_sample(metric), metric, labels)


def check_labels(signal: signals.Metric | None, metric: str, labels: str) -> None:
    for label, value in re.findall(r'(\w+)[=!~]+"([^"]*)"', labels):
        assert label in SCRAPED or (signal and label in signal.labels), f"{metric} has no label {label}"
        if signal and label in signal.labels and re.fullmatch(r"[a-z_]+", value):
            assert signal.labels[label].allows(value), f"{metric} has no {label} {value}"


@pytest.mark.parametrize("one", PANELS, ids=ident)
def test_labels_of_a_sum_and_of_a_legend_are_those_of_its_metrics(one: Shown) -> None:
    """A label that a metric does not have is an empty name in the legend, and one line where many were meant."""
    known = signals.load()
    for target in one.panel["targets"]:
        metrics = [known.metric_of_sample(metric) for metric, _ in SELECTOR.findall(target["expr"])]
        having = SCRAPED.union(*(metric.labels for metric in metrics if metric))
        grouped = {name for group in re.findall(r"by \(([^)]*)\)", target["expr"]) for name in group.split(", ")}
        assert grouped <= having, target["expr"]
        assert set(re.findall(r"{{(\w+)}}", target["legendFormat"])) <= grouped, target["legendFormat"]


@pytest.mark.parametrize("one", PANELS, ids=ident)
def test_a_rate_has_a_window_that_holds_scrapes_enough(one: Shown) -> None:
    """$__interval shrinks to less than a scrape when one zooms in, and the panel is empty."""
    for target in one.panel["targets"]:
        windows = re.findall(r"(?:rate|increase)\(.*?\[([^\]]*)\]", target["expr"])
        assert set(windows) <= {"$__rate_interval"}
        assert "$__interval" not in target["expr"]
        assert target["interval"] == "30s"


@pytest.mark.parametrize("one", PANELS, ids=ident)
def test_a_division_by_nothing_is_no_number_that_anyone_sees(one: Shown) -> None:
    """0 / 0 is NaN, and so is a quantile of a histogram without events."""
    for expression in one.expressions:
        quotients = re.findall(r" / (\(?)(\w+)", expression)
        assert all(
            bracket or name.isdigit() or name in ("sum", "max", "process_max_fds", "0") for bracket, name in quotients
        )
        if "histogram_quantile(" in expression:
            assert "> -Inf" in expression
    assert share("a", "b") == "((a) or 0 * b) / (b > 0) or 0 * b"


@pytest.mark.parametrize(
    "one", [one for one in PANELS if one.panel["fieldConfig"]["defaults"]["unit"] == "percentunit"], ids=ident
)
def test_a_share_is_not_shown_as_percent_twice(one: Shown) -> None:
    assert all("* 100" not in expression for expression in one.expressions)


def test_no_panel_stands_twice() -> None:
    for one, other in combinations(PANELS, 2):
        if one.board == other.board:
            assert one.panel["title"] != other.panel["title"], ident(one)
        assert one.expressions != other.expressions, f"{ident(one)} is {ident(other)}"


def test_every_signal_of_a_shop_is_in_a_dashboard_or_left_out_on_purpose() -> None:
    text = json.dumps([one.expressions for one in PANELS])
    absent = {
        name
        for name, metric in signals.load().metrics.items()
        if not any(f"{sample}{{" in text for sample in metric.samples)
    }
    assert absent <= LEFT_OUT, absent - LEFT_OUT
    assert LEFT_OUT - absent == set()


LEFT_OUT = frozenset({
    "shop_grpc_client_request_duration_seconds", "shop_grpc_client_breaker_state", "shop_notification_provider_up",
    "shop_notification_queued", "shop_order_streams", "shop_payment_captured_total", "shop_payment_refunded_total",
    "shop_pricing_quotes_total", "shop_product_reservations_total", "shop_product_stock_outs_total",
    "shop_operator_resyncs_total", "shop_operator_upgrade_stopped", "shop_operator_backup_due_timestamp_seconds",
    "shop_ops_spans_total", "shop_ops_store_bytes", "shop_retention_removed_total",
})  # fmt: skip
"""Details of what a panel shows as a whole, what alerts alone need, and the control room, which most shops lack."""


@pytest.mark.parametrize("name", MODELS)
def test_links_lead_to_dashboards_and_runbooks_that_exist(name: str) -> None:
    board = MODELS[name]
    uids = {model["uid"] for model in MODELS.values()}
    text = json.dumps(board)
    assert set(re.findall(rf"/d/({UID_OF}\w+)", text)) <= uids
    ids = {panel["id"]: panel["title"] for panel in MODELS[RUNBOOKS]["panels"]}
    for panel in board["panels"]:
        for link in panel.get("links") or []:
            if found := re.search(r"viewPanel=panel-(\d+)", link["url"]):
                assert link["title"] == f"Runbook of {ids[int(found[1])]}"


UNWATCHED = frozenset({
    "ShopBudgetBurnsSlowly", "ShopTargetsAbsent", "ShopTargetsVanished", "ShopVolumeFillsUp", "ShopCertificateExpires",
    "ShopControlRoomDown",
})  # fmt: skip
"""The last is counted with the services without a pod; that panel leads to the runbook of those that customers need."""


def test_every_alert_is_watched_by_a_panel_or_only_about_what_no_panel_can_show() -> None:
    alerts = source.alerts([*source.shop(), *source.operator()])
    watched = {panel.alert for board in dashboards.BOARDS for panel in board.panels()}
    assert watched - {""} <= set(alerts)
    assert set(alerts) - watched == UNWATCHED


@pytest.mark.parametrize("name", MODELS)
def test_ids_are_unique_and_panels_do_not_overlap(name: str) -> None:
    panels = MODELS[name]["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    for one, other in combinations([panel["gridPos"] for panel in panels], 2):
        apart_x = one["x"] + one["w"] <= other["x"] or other["x"] + other["w"] <= one["x"]
        apart_y = one["y"] + one["h"] <= other["y"] or other["y"] + other["h"] <= one["y"]
        assert apart_x or apart_y, f"{one} and {other}"
        assert one["x"] + one["w"] <= 24


@pytest.mark.parametrize("name", MODELS)
def test_variables_have_queries_over_signals_that_exist(name: str) -> None:
    known = signals.load()
    variables = MODELS[name]["templating"]["list"]
    assert [one["name"] for one in variables[:2]] == ["datasource", "traces"]
    for one in variables[2:]:
        metric = re.match(r"label_values\((\w+)", one["query"]["query"])
        assert metric
        assert metric[1] in OF_PROMETHEUS or known.metric_of_sample(metric[1])
    used = set(
        re.findall(r"\$(\w+)", " ".join(expr for one in PANELS if one.board == name for expr in one.expressions))
    )
    assert used <= {one["name"] for one in variables} | {"__rate_interval"}


def test_every_query_is_valid(tmp_path: Path) -> None:
    """promtool reads the queries as rules, with their variables filled in."""
    expressions = [expression for one in PANELS for expression in one.expressions]
    for variable, value in GRAFANA.items():
        expressions = [expression.replace(variable, value) for expression in expressions]
    recorded = [{"record": f"query:{number}", "expr": text} for number, text in enumerate(expressions)]
    rules = tmp_path / "rules.yaml"
    rules.write_text(yaml.safe_dump({"groups": [{"name": "queries", "rules": recorded}]}), encoding="utf-8")
    promtool("check", "rules", str(rules))
