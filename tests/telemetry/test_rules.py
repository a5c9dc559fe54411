"""The rules: on which signals they stand, how they are written, and (with promtool) when alerts fire and end."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from observability import generate, signals
from observability.dashboards import pages
from observability.rules import slo, source
from tests.telemetry.prometheus_tools import promtool

CASES = sorted((Path(source.__file__).parent / "tests").glob("*.yaml"))
SHOP, OPERATOR = source.shop(), source.operator()
RULES = [rule for group in [*SHOP, *OPERATOR] for rule in group["rules"]]
ALERTS = [rule for rule in RULES if "alert" in rule]
NAMES = sorted({rule["alert"] for rule in ALERTS})
RECORDED = frozenset(rule["record"] for rule in RULES if "record" in rule)
OF_OTHERS = frozenset({
    "up", "kubelet_volume_stats_available_bytes", "kubelet_volume_stats_capacity_bytes",
    "certmanager_certificate_expiration_timestamp_seconds",
})  # fmt: skip
"""Of Prometheus, the kubelet and cert-manager."""
OVER_TIME = re.compile(r"(?:increase|rate|\w+_over_time|absent)\(")
SCRAPE_S = 30
"""The longest interval of the charts' ServiceMonitors."""
MIN_SCRAPES = 4
"""In a window of rate(): fewer are none after a scrape that fails."""
SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}
SECTIONS = ("## What it means", "## First commands", "## How to mend it", "## How to silence it")


def selectors(expression: str) -> list[tuple[str, dict[str, str]]]:
    """Each metric with what it selects: label and value, without the operators."""
    found = re.findall(r"([a-zA-Z_:][\w:]*)\{(?:SHOP|NAMESPACE)?,? ?([^{}]*)\}", expression)
    return [(metric, dict(re.findall(r'(\w+)[=!~]+"([^"]*)"', labels))) for metric, labels in found]


def ident(rule: dict[str, Any]) -> str:
    return f"{rule.get('alert') or rule['record']} {' '.join(rule.get('labels', {}).values())}"


def rules_about(about: str) -> list[source.Group]:
    """Those that cases are about: evaluating the others as well takes ten times as long."""
    if about == "operator":
        return OPERATOR
    if about == "alerts":
        return [group for group in SHOP if not group["name"].startswith("shop-slo")]
    chosen = [(group, [one for one in group["rules"] if one.get("labels", {}).get("slo") == about]) for group in SHOP]
    return [{**group, "rules": rules} for group, rules in chosen if rules]


@cache
def text_about(about: str) -> str:
    """Of the file of those rules, which many cases share."""
    return local(source.text(rules_about(about)))


def write_case(folder: Path, case: dict[str, Any], evaluation_interval: str) -> Path:
    """The files of one case, in promtool's format, which knows no names of cases."""
    name, about = re.sub(r"\W+", "-", case.pop("name")), case.pop("rules", "alerts")
    rules, cases = folder / f"{about}.rules.yaml", folder / f"{name}.yaml"
    rules.write_text(text_about(about), encoding="utf-8")
    document = {
        "rule_files": [rules.name],
        "evaluation_interval": evaluation_interval,
        # Otherwise an alert may be evaluated before what it reads is recorded.
        "group_eval_order": [group["name"] for group in rules_about(about)],
        "tests": [case],
    }
    cases.write_text(local(yaml.dump(document, Dumper=yaml.CSafeDumper)), encoding="utf-8")
    return cases


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_alerts_fire_when_they_should_and_end(path: Path, tmp_path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    files = [write_case(tmp_path, case, document["evaluation_interval"]) for case in document["tests"]]
    promtool("test", "rules", *map(str, files))


def local(text: str) -> str:
    return source.of_one_shop(text, generate.LOCAL_NAMESPACE, generate.LOCAL_SHOP)


def test_every_alert_has_cases() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in CASES)
    assert [name for name in NAMES if name not in text] == []


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
        assert int(number) * SECONDS[unit] >= MIN_SCRAPES * SCRAPE_S


@pytest.mark.parametrize("rule", [rule for rule in ALERTS if "for" in rule], ids=ident)
def test_a_scrape_that_fails_does_not_begin_the_time_of_an_alert_anew(rule: dict[str, Any]) -> None:
    """`up` is there after a failed scrape, too, and a recorded rate spans several."""
    stable = OVER_TIME.search(rule["expr"]) or "up{" in rule["expr"] or "shop:" in rule["expr"]
    assert stable, f"{rule['alert']} reads a gauge at one moment"


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
    names = [case["name"] for path in CASES for case in yaml.safe_load(path.read_text(encoding="utf-8"))["tests"]]
    assert len(names) == len(set(names))
