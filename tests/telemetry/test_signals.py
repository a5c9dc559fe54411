"""signals.yaml is well-formed, and the code makes the metrics that it lists, no others and no different ones."""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import REGISTRY
from prometheus_client.metrics import MetricWrapperBase

from observability import document, signals
from shop.devkit import manifest
from shop.kit import bus, db
from shop.operator.engine import metrics as operator_metrics
from tests.architecture.source import ROOT, service_nouns
from tests.telemetry import test_log_events
from tests.telemetry.log_events import COMPUTED

SIGNALS = signals.load()
SOURCES = sorted([*ROOT.glob("services/*/src"), ROOT / "k8s" / "operator" / "src"])
FROM_THE_CLIENT = ("python_", "process_")
"""Of prometheus_client itself: garbage collection, and what the system says of the process."""
HEAD = """
groups: {all: [order, payment], one: [order]}
kinds: {routes: {about: templates, pattern: "/[a-z]*"}}
metrics:
"""
RIGHT = "{name: shop_order_things_total, type: counter, unit: '1', help: Things, services: all}"


def modules_with_metrics() -> Iterator[str]:
    """The names of the modules that import prometheus_client."""
    for source in SOURCES:
        for path in sorted(source.rglob("*.py")):
            if "prometheus_client" in path.read_text() and _imports_it(path):
                yield ".".join(path.relative_to(source).with_suffix("").parts)


def _imports_it(path: Path) -> bool:
    tree = ast.parse(path.read_text())
    return any(isinstance(one, ast.ImportFrom) and one.module == "prometheus_client" for one in ast.walk(tree))


@cache
def made_by_the_code() -> dict[str, MetricWrapperBase]:
    """Every metric of every module, by its name in queries."""
    for name in modules_with_metrics():
        importlib.import_module(name)
    db._gauges()
    bus._connected()
    found: dict[str, MetricWrapperBase] = {}
    for collector in set(REGISTRY._collector_to_names):
        if isinstance(collector, MetricWrapperBase):
            found[_queried(collector)] = collector
    return {name: metric for name, metric in found.items() if name.startswith("shop_") and not _of_a_test(metric)}


def _queried(metric: MetricWrapperBase) -> str:
    return str(metric._name) + ("_total" if metric._type == "counter" else "")


def _of_a_test(metric: MetricWrapperBase) -> bool:
    """Tests of the kit run in the same process and have services of their own, such as trip."""
    return str(metric._name).startswith(("shop_trip_", "shop_kit_test_"))


def described(name: str) -> tuple[Any, ...]:
    metric = SIGNALS.metrics[name]
    return metric.type, metric.help, tuple(metric.labels), metric.buckets


def made(name: str) -> tuple[Any, ...]:
    metric = made_by_the_code()[name]
    bounds = tuple(metric._kwargs["buckets"]) if metric._type == "histogram" else ()
    return metric._type, metric._documentation, tuple(metric._labelnames), tuple(map(float, bounds))


def of_collectors() -> set[str]:
    """Of the operator's collector, which makes its series when it is asked."""
    return {family.name for family in operator_metrics.SHOPS.collect()}


def test_the_code_makes_the_metrics_of_the_matrix_and_no_others() -> None:
    assert set(made_by_the_code()) | of_collectors() == set(SIGNALS.metrics)


def test_each_is_made_as_the_matrix_describes_it() -> None:
    assert {name: made(name) for name in made_by_the_code()} == {name: described(name) for name in made_by_the_code()}
    for family in operator_metrics.SHOPS.collect():
        assert (family.type, family.documentation) == described(family.name)[:2]


def test_the_matrix_has_the_log_events_that_the_source_names() -> None:
    """Names that are put together when they are written stand for several."""
    written = [call.event for call in test_log_events.CALLS if call.event != COMPUTED]
    patterns = [re.escape(event).replace(re.escape(COMPUTED), "[a-z_]+") for event in written]
    listed = [event.event for event in SIGNALS.logs]
    assert [pattern for pattern in patterns if not any(re.fullmatch(pattern, event) for event in listed)] == []


def test_the_operators_label_sets_exist_before_the_first_event() -> None:
    missing = [
        (name, dict(start))
        for name, metric in SIGNALS.of_service("operator").items()
        for start in metric.start
        if REGISTRY.get_sample_value(f"{name}_count" if metric.type == "histogram" else name, dict(start)) is None
    ]
    assert missing == []


def test_groups_are_what_the_manifests_say() -> None:
    manifests = manifest.read(ROOT)
    assert set(SIGNALS.groups["all"]) == set(service_nouns())
    assert set(SIGNALS.groups["stored"]) == {noun for noun, one in manifests.items() if one.database}
    assert set(SIGNALS.groups["consuming"]) == {noun for noun, one in manifests.items() if one.consumes}
    assert set(SIGNALS.groups["calling"]) == {noun for noun, one in manifests.items() if one.calls}


@pytest.mark.parametrize(
    ("entry", "error"),
    [
        ("{name: shop_order_things, type: counter, unit: '1', help: x, services: all}", "end in _total"),
        ("{name: order_things_total, type: counter, unit: '1', help: x, services: all}", "is not a name"),
        ("{name: shop_order_x_total, type: counter, unit: '1', help: x, services: many}", "no group"),
        ("{name: shop_order_x_total, type: counter, unit: '1', help: x, services: [nobody]}", "unknown services"),
        ("{name: shop_order_age, type: gauge, unit: s, help: x, services: all}", "ends in _seconds"),
        ("{name: shop_order_size, type: gauge, unit: By, help: x, services: all}", "ends in _bytes"),
        ("{name: shop_order_x_seconds, type: histogram, unit: s, help: x, services: all}", "have buckets"),
        ("{name: shop_a_s_seconds, type: histogram, unit: s, help: x, services: all, buckets: [2, 1]}", "do not grow"),
        ("{name: shop_a_s_seconds, type: histogram, unit: s, help: x, services: all, buckets: [-1, 1]}", "negative"),
        ("{name: shop_order_x, type: number, unit: '1', help: x, services: all}", "type is number"),
        ("{name: shop_order_x, type: gauge, unit: '1', services: all}", "lacks help"),
        ("{name: shop_order_x, type: gauge, unit: '1', help: x, services: all, colour: red}", "has no colour"),
        ("{name: shop_order_x, type: gauge, unit: '1', help: x, services: all, labels: {a: kind}}", "no kind"),
        ("{name: shop_order_x, type: gauge, unit: '1', help: x, services: all, labels: {a: [true]}}", "are texts"),
        ("{name: shop_order_x, type: gauge, unit: '1', help: x, services: all, series: 5000}", "between 1 and"),
        (
            "{name: shop_order_x, type: gauge, unit: '1', help: x, services: all, labels: {a: [b, c]}, at_start: true}",
            "starts with 2",
        ),
        (
            "{name: shop_a_x, type: gauge, unit: '1', help: x, services: all, labels: {a: [b]}, at_start: [{a: [c]}]}",
            "does not have",
        ),
    ],
)
def test_what_cannot_be_is_refused(entry: str, error: str) -> None:
    signals.parse(f"{HEAD}  - {RIGHT}\n")
    with pytest.raises(signals.SignalError, match=error):
        signals.parse(f"{HEAD}  - {RIGHT}\n  - {entry}\n")


def test_no_metric_is_listed_twice() -> None:
    with pytest.raises(signals.SignalError, match="twice"):
        signals.parse(f"{HEAD}  - {RIGHT}\n  - {RIGHT}\n")


def test_the_matrix_in_the_documents_is_fresh() -> None:
    assert document.TARGET.read_text() == document.written(SIGNALS), "make generate"
