"""Reads the metrics that the pictures need from what /metrics answers.

Of some thousand lines a few hundred are wanted: a parser of the whole format takes ten times as long.
"""

from __future__ import annotations

import itertools
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
WANTED: Mapping[str, tuple[str, ...]] = {
    "process_cpu_seconds_total": (),
    "process_resident_memory_bytes": (),
    "process_start_time_seconds": (),
    "shop_client_breaker_state": ("upstream",),
    "shop_client_requests_total": ("upstream", "outcome"),
    "shop_gateway_breaker_state": ("upstream",),
    "shop_gateway_requests_total": ("upstream", "status"),
    "shop_grpc_client_requests_total": ("upstream", "code"),
    "shop_http_request_duration_seconds_bucket": ("le",),
    "shop_http_requests_inflight": (),
    "shop_http_requests_total": ("status",),
    "shop_inbox_dead_letters": (),
    "shop_inbox_events_total": ("result",),
    "shop_inbox_pending_events": (),
    "shop_order_sagas_waiting": (),
    "shop_outbox_published_total": (),
    "shop_outbox_unpublished": (),
}
"""The labels that are kept of each: series that differ in others are added up, of thousands some dozens remain."""
MAX_SERIES = 4_000
"""Of one instance; further lines are left out."""

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Series:
    labels: Labels
    value: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What one instance said at ``at_s`` (monotonic); ``checks`` are those of its readiness.

    ``status`` is ok, degraded or unavailable, or away when there was no answer. ``restarts`` is None where nobody
    counts them.
    """

    noun: str
    address: str
    at_s: float
    status: str
    checks: Mapping[str, str] = field(default_factory=dict)
    series: Mapping[str, Sequence[Series]] = field(default_factory=dict)
    version: str = ""
    id: str = ""
    restarts: int | None = None

    def total(self, name: str, **labels: str) -> float:
        """The sum of the series of this name with these labels; 0 where there is none."""
        return sum(one.value for one in self.series.get(name, ()) if labels.items() <= one.labels.items())

    def by(self, name: str, *labels: str) -> dict[tuple[str, ...], float]:
        """The sums by the values of some labels."""
        sums: dict[tuple[str, ...], float] = defaultdict(float)
        for one in self.series.get(name, ()):
            sums[tuple(one.labels.get(label, "") for label in labels)] += one.value
        return sums


def parse(text: str) -> dict[str, list[Series]]:
    """The wanted series of an exposition in Prometheus' text format, by name, added up over the labels that are not."""
    sums: dict[str, dict[tuple[str, ...], float]] = {name: {} for name in WANTED}
    for name, text_of_labels, value in itertools.islice(_lines(text), MAX_SERIES):
        labels = dict(LABEL.findall(text_of_labels)) if WANTED[name] else {}
        key = tuple(labels.get(label, "") for label in WANTED[name])
        sums[name][key] = sums[name].get(key, 0.0) + value
    return {
        name: [Series(dict(zip(WANTED[name], key, strict=True)), value) for key, value in found.items()]
        for name, found in sums.items()
    }


def _lines(text: str) -> Iterator[tuple[str, str, float]]:
    for line in text.splitlines():
        end = line.find("{")
        name = line[:end] if end > 0 else line.partition(" ")[0]
        if name not in WANTED:
            continue
        labels, _, rest = line[end + 1 :].rpartition("} ") if end > 0 else ("", "", line.partition(" ")[2])
        try:
            yield name, labels, float(rest.split(" ", 1)[0])
        except ValueError:
            continue
