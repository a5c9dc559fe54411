"""The rules: on which signals they stand, how they are written, and (with promtool) when alerts fire and end."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from observability import generate, signals
from observability.dashboards import pages
from observability.rules import slo
from tests.telemetry import rule_cases
from tests.telemetry.prometheus_tools import promtool
from tests.telemetry.rule_cases import OPERATOR, SHOP

RULES = [rule for group in [*SHOP, *OPERATOR] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
OF_OBJECTIVES = {*slo.ALERTS.values(), "ShopObjectiveNotMeasured"}
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
OF_OTHERS = frozenset({
    "up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
    "certmanager_certificate_expiration_timestamp_seconds",
})  # fmt: skip
"""Of Prometheus, the kubelet and cert-manager."""
SCRAPE_S = 30
"""The longest interval of the charts' ServiceMonitors."""
MIN_SCRAPES = 4
"""In a window of rate(): fewer are none after a scrape that fails."""
CASES = [case for path in rule_cases.FILES for case, _ in rule_cases.read(path)]
SECTIONS = ("## What it means", "## First commands", "## How to mend it", "## How to silence it")


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Each metric with what it selects: label and value, without the operators."""
    found = re.findall(r"([a-zA-Z_:][\w:]*)\{(?:SHOP|NAMESPACE)?,? ?([^{}]*)\}", expression)
    return [(metric, dict(re.findall(r'(\w+)[=!~]+"([^"]*)"', labels))) for metric, labels in found]


def ident(rule: dict[str, Any]) -> str:
    return f"{rule.get('alert') or rule['record']} {' '.join(rule.get('labels', {}).values())}"


def varied(case: rule_cases.Case) -> list[rule_cases.Case]:
    """The case, and the same with a scrape that fails and with targets that go away."""
    variants = (case, rule_cases.with_a_failed_scrape(case), rule_cases.with_targets_gone(case))
    return [one for one in variants if one is not None]


@pytest.mark.parametrize("path", rule_cases.FILES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_end(path: Path, tmp_path: Path) -> None:
    cases = [(one, interval) for case, interval in rule_cases.read(path) for one in varied(case)]
    promtool("test", "rules", *(str(rule_cases.write(tmp_path, case, interval)) for case, interval in cases))


@pytest.mark.parametrize("name", [name for name in NAMES if name not in OF_OBJECTIVES])
def test_an_alert_has_a_case_before_it_fires_one_while_it_fires_and_one_after(name: str) -> None:
    """Those of objectives have theirs in test_budgets.py."""
    times = [[name in alerts for alerts in case.get("firing", {}).values()] for case in CASES]
    assert any(_in_order(one, (False, True, False)) for one in times), f"no case has {name} begin and end"


def _in_order(found: Sequence[bool], wanted: Sequence[bool]) -> bool:
    """Whether `wanted` is a subsequence of `found`."""
    rest = iter(found)
    return all(any(one == found_one for found_one in rest) for one in wanted)


def test_times_of_cases_are_in_order() -> None:
    for case in CASES:
        times = [rule_cases.seconds(time) for time in case.get("firing", {})]
        assert times == sorted(times), case["name"]


@pytest.mark.parametrize(
    ("values", "samples"),
    [("1x2 _ 3", "1 1 1 _ 3"), ("0+5x2 stale", "0 5 10 stale"), ("9-2x1 _x2 0.5", "9 7 _ _ 0.5")],
)
def test_samples_are_counted_as_promtool_counts_them(values: str, samples: str) -> None:
    assert rule_cases.expanded(values) == samples.split()


def test_generated_rules_are_valid() -> None:
    promtool("check", "rules", *map(str, sorted((generate.GENERATED / "rules").glob("*.yaml"))))


@pytest.mark.parametrize("rule", RULES, ids=ident)
def test_a_rule_reads_signals_that_exist_with_labels_that_they_have(rule: dict[str, Any]) -> None:
    known = signals.load()
    scraped = {"namespace", "app_kubernetes_io_instance", "app_kubernetes_io_name", "pod", "le"}
    names = set(re.findall(r"\b(?:shop_(?!namespace)[a-z_]+|shop:[\w:]+)", rule["expr"]))
    assert names or OF_OTHERS & set(re.findall(r"\w+", rule["expr"]))
    for name in names:
        assert name in RECORDED or known.metric_of_sample(name), name
    for name, labels in selectors(rule["expr"]):
        if metric := known.metric_of_sample(name):
            assert set(labels) <= set(metric.labels) | scraped, name
            for label, value in labels.items():
                check_value(metric, label, value)
        else:
            assert name in RECORDED | OF_OTHERS, name


def check_value(metric: signals.Metric, label: str, value: str) -> None:
    """A value that stands alone is one that the metric has; a bucket is one of the histogram."""
    if label == "le":
        assert float(value) in metric.buckets, f"{metric.name} has no bucket {value}"
    elif (found := metric.labels.get(label)) and re.fullmatch(r"[\w/{}-]*", value):
        assert found.allows(value), f"{metric.name} has no {label} {value}"


@pytest.mark.parametrize("rule", [rule for group in SHOP for rule in group["rules"]], ids=ident)
def test_a_rule_of_a_shop_selects_that_shop(rule: dict[str, Any]) -> None:
    selected = re.findall(r"\{(\w*)", rule["expr"])
    assert selected
    assert set(selected) <= {"SHOP", "NAMESPACE"}


@pytest.mark.parametrize("rule", RULES, ids=ident)
def test_a_window_holds_scrapes_enough(rule: dict[str, Any]) -> None:
    for number, unit in re.findall(r"(?:rate|increase)\(.*?\[(\d+)([smhd])\]", rule["expr"]):
        assert rule_cases.seconds(number + unit) >= MIN_SCRAPES * SCRAPE_S


@pytest.mark.parametrize("name", NAMES)
def test_an_alert_has_a_runbook_with_commands(name: str) -> None:
    text = (pages.FOLDER / f"{name}.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {name}\n")
    places = [text.index(section) for section in SECTIONS]
    assert places == sorted(places)
    commands = [line for line in text[places[1] : places[2]].splitlines() if line.startswith("    ")]
    assert len(commands) == 3
    assert f"alertname={name}" in text[places[3] :]


def test_no_runbook_is_left_of_an_alert_that_is_gone() -> None:
    assert list(pages.names()) == NAMES


@pytest.mark.parametrize("rule", ALERTS, ids=ident)
def test_an_alert_says_how_severe_it_is_and_what_it_means(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("critical", "warning")
    assert rule["annotations"]["summary"]
    assert rule["annotations"]["description"].endswith(".")


def test_every_burn_can_happen() -> None:
    """A budget of a tenth that is lost 14 times too fast would be more failures than events: no alert, ever."""
    for one in slo.OBJECTIVES:
        assert max(burn.factor for burn in slo.BURNS) * one.budget < slo.MAX_SHARE
    wide = slo.Objective("wide", "Wide", 0.9, "a", "b", "gateway")
    with pytest.raises(ValueError, match=r"wide: 14\.4 times its budget is 1\.44 of all"):
        slo._alert(wide, slo.BURNS[0])


def test_windows_of_alerts_are_recorded() -> None:
    for burn in slo.BURNS:
        assert {f"{slo.TOTAL}{burn.long}", f"{slo.BAD}{burn.long}", f"{slo.TOTAL}{burn.short}"} <= RECORDED


def test_cases_are_named_and_no_name_stands_twice() -> None:
    names = [case["name"] for case in CASES]
    assert len(names) == len(set(names))
