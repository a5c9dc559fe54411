"""What the order service counts; a label has few values, whatever participants say."""

from __future__ import annotations

from collections.abc import Mapping

from prometheus_client import Counter, Gauge, Histogram

from shop.order.errors import REASONS

ORDERS = Counter("shop_order_orders_total", "Orders by the state that they reached", ["state", "reason"])
DURATION = Histogram(
    "shop_order_saga_duration_seconds",
    "Age of an order when its saga ended; of a cancellation, time since it was asked for",
    ["kind", "end"],
    buckets=(0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 900.0, 3600.0),
)
WAITING = Gauge("shop_order_sagas_waiting", "Sagas that have not ended", ["kind"])
OLDEST = Gauge("shop_order_oldest_saga_age_seconds", "Age of the oldest order whose saga has not ended", ["kind"])
SUPERSEDED = Counter("shop_order_superseded_total", "Decisions refused because another worker had taken the saga over")
STREAMS = Gauge("shop_order_streams", "Clients that watch an order")

KINDS = ("place", "cancel")


def count(state: str, reason: str | None) -> None:
    ORDERS.labels(state, "" if reason is None else reason if reason in REASONS else "other").inc()


def waiting(by_kind: Mapping[str, tuple[int, float]]) -> None:
    for kind in KINDS:
        sagas, oldest_s = by_kind.get(kind, (0, 0.0))
        WAITING.labels(kind).set(sagas)
        OLDEST.labels(kind).set(oldest_s)
