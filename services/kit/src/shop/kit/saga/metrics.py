"""What a service measures of its sagas. The label ``kind`` is the operation: it has few values."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

from shop.kit.exposition import exemplar, start_at_zero
from shop.kit.saga.engine import Outcome, Phase, Record, Saga

BUCKETS_S = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0)

STEP_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)


class SagaMetrics:
    """The metrics of one service, made once per process; ``operations`` are those that its sagas have, ``ends`` how
    they end."""

    def __init__(self, service: str, operations: Sequence[str], ends: Sequence[str] = ()) -> None:
        self._operations = operations
        self._duration = Histogram(
            f"shop_{service}_saga_duration_seconds",
            "Time from the request for an operation to the end of its saga",
            ["kind", "end"],
            buckets=BUCKETS_S,
        )
        self._steps = Counter(
            f"shop_{service}_saga_steps_total",
            "Steps of sagas by their outcome; the phase compensation undoes one",
            ["saga", "step", "phase", "outcome"],
        )
        self._step_duration = Histogram(
            f"shop_{service}_saga_step_seconds",
            "Time of one try of a step",
            ["saga", "step", "phase"],
            buckets=STEP_BUCKETS_S,
        )
        self._waiting = Gauge(f"shop_{service}_sagas_waiting", "Sagas that have not ended", ["kind"])
        self._oldest = Gauge(
            f"shop_{service}_oldest_saga_age_seconds", "Age of the oldest saga that has not ended", ["kind"]
        )
        self._lease_lost = Counter(
            f"shop_{service}_superseded_total", "Updates refused because another worker had taken the saga over"
        )
        # Looking labels up takes a lock and a tuple each time; there are few of them.
        self._of_step = functools.cache(self._labelled)
        self._of_end = functools.cache(self._duration.labels)
        start_at_zero(self._duration, operations, ends)

    def _labelled(self, saga: str, step: str, phase: str, outcome: str) -> tuple[Counter, Histogram]:
        return self._steps.labels(saga, step, phase, outcome), self._step_duration.labels(saga, step, phase)

    def expect(self, sagas: Iterable[Saga[Any]]) -> None:
        """Make the time series of every step and outcome; a step without a compensation has none of that phase."""
        for saga in sagas:
            for step in saga.steps:
                for phase in Phase if step.compensation is not None else (Phase.ACTION,):
                    self._step_duration.labels(saga.kind, step.name, phase)
                    start_at_zero(self._steps, [saga.kind], [step.name], [phase], Outcome)

    def step(self, saga: str, record: Record) -> None:
        """Count one try of a step in a saga of this kind."""
        steps, duration = self._of_step(saga, record.step, record.phase, record.outcome)
        steps.inc()
        duration.observe(record.seconds, exemplar())

    def ended(self, operation: str, end: str, seconds: float) -> None:
        self._of_end(operation, end).observe(seconds, exemplar())

    def lease_lost(self) -> None:
        self._lease_lost.inc()

    def waiting(self, by_operation: Mapping[str, tuple[int, float]]) -> None:
        """Set the gauges: number of sagas, and age of the oldest in seconds."""
        for operation in self._operations:
            sagas, oldest_s = by_operation.get(operation, (0, 0.0))
            self._waiting.labels(operation).set(sagas)
            self._oldest.labels(operation).set(oldest_s)
