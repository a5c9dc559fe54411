"""Rules of grafana's dashboard-linter and cloudflare's pint, as tests: compiling one of them takes two minutes."""

from __future__ import annotations

import re

import pytest

from observability import dashboards
from observability.rules import source

RULES = [rule for group in [*source.shop(), *source.operator()] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
BOARDS = dashboards.models()
CONDITION = re.compile(r"==|!=|<=|>=|<|>|\babsent\(|\bunless\b")
PATTERN = re.compile(r'(\w+)\s*[=!]~\s*"([^"]*)"')
VARIABLE = re.compile(r"\$\w+")
SPECIAL = re.compile(r"[.*+?|()\[\]\\]")
COUNTER = re.compile(r"(\w+_total)\{[^}]*\}(\[)?")


PANELS = [
    (f"{name}: {panel['title']}", target["expr"])
    for name, board in BOARDS.items()
    for panel in board["panels"]
    for target in panel.get("targets", ())
]
"""Where each query is, and the query."""
EXPRESSIONS = [*((rule.get("alert") or rule["record"], rule["expr"]) for rule in RULES), *PANELS]


def test_each_alert_has_a_condition() -> None:
    """pint, alerts/comparison: without one an alert fires as soon as its metric is there."""
    assert [rule["alert"] for rule in ALERTS if not CONDITION.search(rule["expr"])] == []


def test_a_pattern_is_one_and_not_anchored_twice() -> None:
    """pint, promql/regexp: Prometheus anchors each pattern; a plain word is an equality, which an index answers."""
    for where, expression in EXPRESSIONS:
        for label, pattern in PATTERN.findall(expression):
            assert SPECIAL.search(VARIABLE.sub("", pattern)), f"{where}: {label} is compared with the word {pattern}"
            assert not pattern.startswith("^"), f"{where}: {pattern}"
            assert not pattern.endswith("$"), f"{where}: {pattern}"


def test_a_counter_of_a_panel_is_read_over_a_window() -> None:
    """dashboard-linter, target-counter-agg-rule: alone it is the number since some start.

    Alerts compare a counter with itself an hour ago where `increase()` would miss its first event.
    """
    for where, expression in PANELS:
        assert [name for name, window in COUNTER.findall(expression) if not window] == [], where


@pytest.mark.parametrize("name", BOARDS)
def test_a_dashboard_is_read_only_and_asks_anew_when_the_time_changes(name: str) -> None:
    """dashboard-linter, uneditable-dashboard, template-datasource-rule and template-on-time-change-reload-rule."""
    board = BOARDS[name]
    assert board["editable"] is False
    variables = {variable["name"]: variable for variable in board["templating"]["list"]}
    labels = {name: one["label"] for name, one in variables.items() if one["type"] == "datasource"}
    assert labels == {"datasource": "Prometheus data source", "traces": "Tempo data source"}
    assert {variable["refresh"] for variable in variables.values() if variable["type"] == "query"} == {2}
