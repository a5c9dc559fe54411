"""The operator's metrics: each is defined here.

Labels have few values (kinds, verbs, results). The one exception is a Shop's own name, in `SHOPS`: an alert must say
which Shop it is about, and two series of a Shop cost less than one of its pods.
"""

from __future__ import annotations

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from prometheus_client import REGISTRY, Counter, Gauge, Histogram, disable_created_metrics
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from shop.operator.kube.objects import NamespacedName

RECONCILE_BUCKETS_S = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
REQUEST_BUCKETS_S = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0, 30.0)
THROTTLED = 429

disable_created_metrics()  # type: ignore[no-untyped-call]
"""They double the number of time series, and no query here uses them."""

QUEUE_DEPTH = Gauge("shop_operator_queue_depth", "Shops that wait for a reconcile.")
QUEUE_OLDEST = Gauge("shop_operator_queue_oldest_seconds", "How long the Shop that waits longest has waited.")
RECONCILE = Histogram(
    "shop_operator_reconcile_seconds",
    "Reconciles: done, waiting (for health), failed, invalid (spec) or refused (blocked from outside).",
    ["result"],
    buckets=RECONCILE_BUCKETS_S,
)
RENDER = Histogram(
    "shop_operator_render_seconds", "Runs of helm that render a Shop.", ["result"], buckets=RECONCILE_BUCKETS_S
)
APPLIED_OBJECTS = Counter("shop_operator_applied_objects", "Server-side applies: changed or same.", ["kind", "result"])
PRUNED_OBJECTS = Counter(
    "shop_operator_pruned_objects", "Objects deleted because they no longer belong to their Shop.", ["kind"]
)
DRIFT_REPAIRS = Counter("shop_operator_drift_repairs", "Objects repaired after a foreign change.", ["kind"])
ROLLBACKS = Counter("shop_operator_rollbacks", "Rollouts taken back to the last good revision.")
API_REQUESTS = Counter(
    "shop_operator_api_requests", "Responses of the API server; code 0 is none.", ["verb", "resource", "code"]
)
API_SECONDS = Histogram(
    "shop_operator_api_request_seconds", "Requests to the API server.", ["verb"], buckets=REQUEST_BUCKETS_S
)
API_THROTTLED = Counter("shop_operator_api_throttled", "Requests that the API server throttled (429).")
WATCH_RESTARTS = Counter(
    "shop_operator_watch_restarts", "Watches restarted, by why the last one ended.", ["kind", "reason"]
)
WATCH_SILENCE = Gauge("shop_operator_watch_silence_seconds", "Time since the last event of a kind's watch.", ["kind"])
RESYNCS = Counter("shop_operator_resyncs", "Times that all Shops were reconciled again.")
UPGRADE_SHOPS = Gauge(
    "shop_operator_upgrade_shops", "Shops that wait for this release, get it, or have failed with it.", ["state"]
)
UPGRADE_STOPPED = Gauge("shop_operator_upgrade_stopped", "1 while failures keep this release from further Shops.")
LEADER = Gauge("shop_operator_leader", "1 where this process holds the Lease.")

for _result in ("done", "waiting", "failed", "invalid", "refused"):
    RECONCILE.labels(_result)
for _result in ("done", "failed"):
    RENDER.labels(_result)
for _state in ("waiting", "rolling", "failed"):
    UPGRADE_SHOPS.labels(_state)


def expect(kinds: Iterable[str]) -> None:
    """Make the time series of the kinds of objects: a counter that appears with its first event hides that event."""
    for kind in kinds:
        for counter in (PRUNED_OBJECTS, DRIFT_REPAIRS):
            counter.labels(kind)
        for result in ("changed", "same"):
            APPLIED_OBJECTS.labels(kind, result)


def count_request(method: str, resource: str, status: int, seconds: float) -> None:
    """A request of `Kube`: `kube.observer = count_request`."""
    API_REQUESTS.labels(method, resource, status).inc()
    API_SECONDS.labels(method).observe(seconds)
    if status == THROTTLED:
        API_THROTTLED.inc()


class ShopState(NamedTuple):
    """`conditions`: type and status of each; `backup`: when one was due last, and when one succeeded last."""

    key: NamespacedName
    conditions: tuple[tuple[str, str], ...]
    backup: tuple[float, float] | None


class ShopStates(Collector):
    """Shops by condition, and for each Shop whether it is ready, whether it is degraded, and when it was backed up."""

    read: Callable[[], Iterable[ShopState]] = staticmethod(tuple)
    """Set by the controller: all Shops as it knows them."""

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Called by the registry."""
        shops = list(self.read())
        total = GaugeMetricFamily("shop_operator_shops", "Shops by condition.", labels=["condition", "status"])
        for (condition, status), count in sorted(Tally(one for shop in shops for one in shop.conditions).items()):
            total.add_metric([condition, status], count)
        yield total
        ready, degraded = (
            [(shop.key, (kind, "True") in shop.conditions) for shop in shops] for kind in ("Ready", "Degraded")
        )
        yield _each("shop_operator_shop_ready", "1 where the Shop serves what its spec says.", ready)
        yield _each("shop_operator_shop_degraded", "1 where something of the Shop is wrong.", degraded)
        due, done = ([(shop.key, shop.backup[which]) for shop in shops if shop.backup] for which in (0, 1))
        yield _each("shop_operator_backup_due_timestamp_seconds", "When a backup was due last, 0: never.", due)
        yield _each("shop_operator_backup_done_timestamp_seconds", "When one succeeded last, 0: never.", done)


def _each(name: str, documentation: str, values: Iterable[tuple[NamespacedName, float]]) -> GaugeMetricFamily:
    """One series for each Shop."""
    family = GaugeMetricFamily(name, documentation, labels=["shop_namespace", "shop"])
    for key, value in values:
        family.add_metric([key.namespace, key.name], value)
    return family


SHOPS = ShopStates()
REGISTRY.register(SHOPS)
