"""What /metrics answers, and which time series exist before the first request.

A counter that appears with its first event hides that event from ``increase()``, which needs a sample before it. So
every service makes its label sets when it starts, as far as they are known then.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import Callable, Iterable
from typing import Any

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics import MetricWrapperBase

from shop.kit import spans, telemetry

prometheus_client.disable_created_metrics()  # type: ignore[no-untyped-call]
"""They double the number of time series, and no query here uses them."""

LATENCY_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Of requests and calls, on either side."""

LAG = Histogram(
    "shop_event_loop_lag_seconds",
    "How late the event loop runs what is due, sampled about once a second, every five seconds in an idle process",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0),
)
LAG_SAMPLE_S = 1.0
LAG_SAMPLE_IDLE_S = 5.0
IDLE_SHARE = 0.005
"""A process that takes less of a core is idle: without a request a service takes some 0.1 %."""
MEASUREMENTS = {Counter: ("inc",), Gauge: ("inc", "dec", "set", "set_function"), Histogram: ("observe",)}


def start_at_zero(metric: MetricWrapperBase, *values: Iterable[str]) -> None:
    """Make the time series of every combination of the labels' ``values``."""
    for combination in itertools.product(*values):
        metric.labels(*combination)


def exposition(accept: str) -> tuple[bytes, str]:
    """The metrics and their content type: OpenMetrics, which has exemplars, if ``accept`` has it."""
    encode, content_type = choose_encoder(accept)
    return encode(prometheus_client.REGISTRY), content_type


def turn_off() -> None:
    """Count nothing in this process any more: a measurement does nothing and looks no label set up.

    For comparisons of what counting costs; there is no way back.
    """
    setattr(MetricWrapperBase, "labels", _itself)  # noqa: B010 - the type checker refuses another signature
    for kind, methods in MEASUREMENTS.items():
        for method in methods:
            setattr(kind, method, _nothing)


def _itself(metric: Any, *_: object, **__: object) -> Any:
    return metric


def _nothing(*_: object, **__: object) -> None:
    pass


def exemplar() -> dict[str, str] | None:
    """The current trace as the exemplar of a measurement, if it is recorded and so can be looked up."""
    return {"trace_id": telemetry.trace_id()} if spans.recording() else None


async def measure_lag(used_s: Callable[[], float] = time.process_time) -> None:
    """Measure for how long other work keeps the event loop from going on, until cancelled.

    At irregular times: what recurs each second would otherwise be seen always or never. Less often while the process is
    idle: most of its wake-ups would be for this. ``used_s`` is its processor time.
    """
    every_s = LAG_SAMPLE_S
    while True:
        pause_s = every_s * random.uniform(0.5, 1.5)
        before_s, due = used_s(), time.perf_counter() + pause_s
        await asyncio.sleep(pause_s)
        LAG.observe(max(0.0, time.perf_counter() - due))
        every_s = LAG_SAMPLE_IDLE_S if used_s() - before_s < IDLE_SHARE * pause_s else LAG_SAMPLE_S
