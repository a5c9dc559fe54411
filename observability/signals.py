"""Reads signals.yaml, the matrix of all metrics, spans and log events, and says what is wrong with it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Any, Literal, get_args

import yaml

SOURCE = Path(__file__).parent / "signals.yaml"
MAX_SERIES = 1_000
"""Of one metric in one process."""
NAME = re.compile(r"shop_[a-z][a-z0-9]*(_[a-z0-9]+)+")

MetricType = Literal["counter", "gauge", "histogram"]
SpanKind = Literal["server", "client", "producer", "consumer", "internal"]
Level = Literal["debug", "info", "warning", "error", "critical"]
LabelSet = Mapping[str, str]


class SignalError(ValueError):
    """signals.yaml says something that cannot be."""


@dataclass(frozen=True)
class Label:
    """Either all ``values``, or a ``kind`` with a ``pattern`` that the whole value matches."""

    name: str
    values: tuple[str, ...] = ()
    kind: str = ""
    about: str = ""
    pattern: str = ""

    def allows(self, value: str) -> bool:
        return value in self.values if self.values else re.fullmatch(self.pattern, value) is not None


@dataclass(frozen=True)
class Metric:
    """``series``: label sets at most of one process. ``start``: those that exist before the first event, as far as the
    file lists them; labels of a kind are left out of them."""

    name: str
    type: MetricType
    unit: str
    help: str
    services: tuple[str, ...]
    labels: Mapping[str, Label]
    series: int
    at_start: bool
    start: tuple[LabelSet, ...]
    buckets: tuple[float, ...]

    @property
    def family(self) -> str:
        """The name in the code: prometheus_client adds _total to counters."""
        return self.name.removesuffix("_total") if self.type == "counter" else self.name

    @cached_property
    def samples(self) -> frozenset[str]:
        """The names of its time series."""
        endings = ("_bucket", "_sum", "_count") if self.type == "histogram" else ("",)
        return frozenset(self.name + ending for ending in endings)


@dataclass(frozen=True)
class Span:
    name: str
    kind: SpanKind
    services: tuple[str, ...]
    attributes: tuple[str, ...]


@dataclass(frozen=True)
class LogEvent:
    event: str
    levels: tuple[Level, ...]
    services: tuple[str, ...]
    fields: tuple[str, ...]


@dataclass(frozen=True)
class Signals:
    groups: Mapping[str, tuple[str, ...]]
    metrics: Mapping[str, Metric]
    spans: Sequence[Span]
    logs: Sequence[LogEvent]

    def of_service(self, service: str) -> dict[str, Metric]:
        """The metrics of one service by their names."""
        return {name: metric for name, metric in self.metrics.items() if service in metric.services}

    def metric_of_sample(self, sample: str) -> Metric | None:
        """The metric that a time series, such as one that ends in _bucket, belongs to."""
        return self._by_sample.get(sample)

    @cached_property
    def _by_sample(self) -> dict[str, Metric]:
        return {sample: metric for metric in self.metrics.values() for sample in metric.samples}


@cache
def load() -> Signals:
    """The project's matrix."""
    return parse(SOURCE.read_text())


def parse(text: str) -> Signals:
    """The matrix in ``text``; SignalError names the entry that is wrong."""
    document = yaml.safe_load(text)
    groups = {name: tuple(members) for name, members in document["groups"].items()}
    reader = _Reader(groups, document["kinds"])
    metrics = [reader.metric(entry) for entry in document["metrics"]]
    spans = [reader.span(entry) for entry in document.get("spans") or ()]
    logs = [reader.log_event(entry) for entry in document.get("logs") or ()]
    _unique([metric.name for metric in metrics])
    _unique([f"{span.name} ({span.kind})" for span in spans])
    _unique([event.event for event in logs])
    return Signals(groups, {metric.name: metric for metric in metrics}, spans, logs)


def _unique(names: Sequence[str]) -> None:
    for name in names:
        if names.count(name) > 1:
            raise SignalError(f"{name} is listed twice")


class _Reader:
    def __init__(self, groups: Mapping[str, tuple[str, ...]], kinds: Mapping[str, Mapping[str, str]]) -> None:
        self._groups = groups
        self._kinds = kinds
        self._known = frozenset(itertools.chain.from_iterable(groups.values()))

    def metric(self, entry: Mapping[str, Any]) -> Metric:
        name = entry.get("name", "")
        known = {"name", "type", "unit", "help", "services", "labels", "series", "at_start", "buckets"}
        _members(name, entry, known, {"name", "type", "unit", "help", "services"})
        labels = {label: self._label(name, label, value) for label, value in entry.get("labels", {}).items()}
        start = entry.get("at_start", False)
        found = Metric(
            name,
            _choice(name, "type", entry["type"], MetricType),
            str(entry["unit"]),
            entry["help"],
            self._services(name, entry["services"]),
            labels,
            entry.get("series", 1),
            bool(start),
            tuple(_label_sets(name, labels, [{}] if start is True else start or [])),
            tuple(float(bound) for bound in entry.get("buckets", ())),
        )
        _check(found)
        return found

    def span(self, entry: Mapping[str, Any]) -> Span:
        name = entry.get("name", "")
        _members(name, entry, {"name", "kind", "services", "attributes"}, {"name", "kind", "services"})
        kind = _choice(name, "kind", entry["kind"], SpanKind)
        return Span(name, kind, self._services(name, entry["services"]), tuple(entry.get("attributes", ())))

    def log_event(self, entry: Mapping[str, Any]) -> LogEvent:
        event = entry.get("event", "")
        _members(event, entry, {"event", "level", "services", "fields"}, {"event", "level", "services"})
        levels = tuple(_choice(event, "level", level, Level) for level in entry["level"])
        return LogEvent(event, levels, self._services(event, entry["services"]), tuple(entry.get("fields", ())))

    def _services(self, name: str, named: str | Sequence[str]) -> tuple[str, ...]:
        if isinstance(named, str):
            if named not in self._groups:
                raise SignalError(f"{name}: no group is called {named}")
            return self._groups[named]
        if unknown := set(named) - self._known:
            raise SignalError(f"{name}: unknown services {', '.join(sorted(unknown))}")
        return tuple(named)

    def _label(self, name: str, label: str, value: str | Sequence[str] | Mapping[str, str]) -> Label:
        if isinstance(value, str):
            if value not in self._kinds:
                raise SignalError(f"{name}: no kind is called {value}")
            return Label(label, kind=value, about=self._kinds[value]["about"], pattern=self._kinds[value]["pattern"])
        if isinstance(value, Mapping):
            return Label(label, pattern=value["pattern"])
        if not value or not all(isinstance(one, str) for one in value):
            raise SignalError(f"{name}: the values of {label} are texts; quote those that YAML reads otherwise")
        return Label(label, values=tuple(value))


def _members(name: str, entry: Mapping[str, Any], known: set[str], required: set[str]) -> None:
    if missing := required - entry.keys():
        raise SignalError(f"{name or entry}: lacks {', '.join(sorted(missing))}")
    if unknown := entry.keys() - known:
        raise SignalError(f"{name}: has no {', '.join(sorted(unknown))}")


def _choice[T](name: str, member: str, value: str, choices: T) -> Any:
    if value not in get_args(choices):
        raise SignalError(f"{name}: {member} is {value}, not one of {', '.join(get_args(choices))}")
    return value


def _label_sets(name: str, labels: Mapping[str, Label], starts: Sequence[Mapping[str, Any]]) -> Iterator[LabelSet]:
    """Every combination of the labels' values, narrowed by each of ``starts``; labels of a kind are left out."""
    for start in starts:
        if unknown := start.keys() - labels.keys():
            raise SignalError(f"{name}: at_start names {', '.join(sorted(unknown))}, which is no label")
        listed = {label: start.get(label, one.values) for label, one in labels.items() if label in start or one.values}
        for label, values in listed.items():
            if wrong := [value for value in values if not labels[label].allows(value)]:
                raise SignalError(f"{name}: at_start has {', '.join(wrong)}, which {label} does not have")
        for values in itertools.product(*listed.values()):
            yield dict(zip(listed, values, strict=True))


def _check(metric: Metric) -> None:
    name = metric.name
    if not NAME.fullmatch(name):
        raise SignalError(f"{name}: is not a name such as shop_order_orders_total")
    if (metric.type == "counter") != name.endswith("_total"):
        raise SignalError(f"{name}: counters, and they alone, end in _total")
    if metric.unit == "s" and not name.endswith("_seconds"):
        raise SignalError(f"{name}: ends in _seconds, for its unit is s")
    if metric.unit == "By" and not name.endswith("_bytes"):
        raise SignalError(f"{name}: ends in _bytes, for its unit is By")
    if (metric.type == "histogram") != bool(metric.buckets):
        raise SignalError(f"{name}: histograms, and they alone, have buckets")
    if metric.buckets and metric.buckets[0] < 0:
        raise SignalError(f"{name}: has negative buckets, with which it has no sum")
    if list(metric.buckets) != sorted(set(metric.buckets)):
        raise SignalError(f"{name}: its buckets do not grow")
    if not 1 <= metric.series <= MAX_SERIES:
        raise SignalError(f"{name}: has between 1 and {MAX_SERIES} series")
    if len(metric.start) > metric.series:
        raise SignalError(f"{name}: starts with {len(metric.start)} series and may have {metric.series}")
