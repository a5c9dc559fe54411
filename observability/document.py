"""Writes docs/signals.md from signals.yaml: `python -m observability.document`, a part of `make generate`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from observability import signals
from observability.signals import Label, LogEvent, Metric, Signals, Span

TARGET = Path(__file__).parents[1] / "docs" / "signals.md"
MAX_LISTED_VALUES = 12
HEAD = """<!-- Written by `make generate` from observability/signals.yaml; edit that instead. -->
# Signals

Every metric, span and log event of the shop: `observability/signals.yaml`. Tests compare it with the code and with what
every service of a running shop answers at /metrics. How to use them: [observability.md](observability.md).
"""
ABOUT_METRICS = """
Labels: the values, or a kind in italics (see below). "Series" is how many label sets one process has at most. "0" marks
metrics whose label sets exist before the first event, so that `increase()` sees it. Beside these, every process has
prometheus_client's own `process_*` and `python_*`.
"""


def written(matrix: Signals) -> str:
    """The whole page."""
    return "\n".join([HEAD, *_metrics(matrix), *_kinds(matrix), *_spans(matrix.spans), *_logs(matrix.logs), ""])


def _metrics(matrix: Signals) -> Iterator[str]:
    yield "## Metrics"
    yield ABOUT_METRICS
    yield from _table(
        ("metric", "type, unit", "what", "services", "labels", "series", "0"),
        (_metric(matrix, metric) for metric in matrix.metrics.values()),
    )


def _metric(matrix: Signals, metric: Metric) -> Sequence[str]:
    labels = "<br>".join(f"`{name}`: {_values(label)}" for name, label in metric.labels.items())
    start = "0" if metric.at_start else ""
    kind = f"{metric.type}, {metric.unit}"
    return f"`{metric.name}`", kind, metric.help, _services(matrix, metric.services), labels, str(metric.series), start


def _values(label: Label) -> str:
    if not label.values:
        return f"*{label.kind}*" if label.kind else f"`{label.pattern}`"
    shown = ", ".join(value or "(empty)" for value in label.values[:MAX_LISTED_VALUES])
    return f"{shown}, ... ({len(label.values)})" if len(label.values) > MAX_LISTED_VALUES else shown


def _services(matrix: Signals, services: Sequence[str]) -> str:
    """The name of the group that these are, or their names."""
    group = next((name for name, members in matrix.groups.items() if members == tuple(services)), "")
    return group or ", ".join(services)


def _kinds(matrix: Signals) -> Iterator[str]:
    labels = [label for metric in matrix.metrics.values() for label in metric.labels.values()]
    kinds = {label.kind: label.about for label in labels if label.kind}
    yield "\nKinds of labels, each with few values:\n"
    yield from _table(("kind", "values"), ((f"*{kind}*", about) for kind, about in sorted(kinds.items())))
    yield "\nGroups of services:\n"
    yield from _table(("group", "services"), ((name, ", ".join(members)) for name, members in matrix.groups.items()))


def _spans(spans: Sequence[Span]) -> Iterator[str]:
    if spans:
        yield "\n## Spans\n"
        rows = ((f"`{one.name}`", one.kind, ", ".join(one.services), ", ".join(one.attributes)) for one in spans)
        yield from _table(("span", "kind", "services", "attributes"), rows)


def _logs(logs: Sequence[LogEvent]) -> Iterator[str]:
    if logs:
        yield "\n## Log events\n"
        rows = (
            (f"`{one.event}`", ", ".join(one.levels), ", ".join(one.services), ", ".join(one.fields)) for one in logs
        )
        yield from _table(("event", "level", "services", "fields"), rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|---" * len(head) + "|"
    for row in rows:
        yield f"| {' | '.join(cell.replace('|', r'\|') for cell in row)} |"


if __name__ == "__main__":
    TARGET.write_text(written(signals.load()))
