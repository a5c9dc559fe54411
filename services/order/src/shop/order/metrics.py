"""What the order service counts; labels have few values, whatever participants answer."""

from __future__ import annotations

from prometheus_client import Counter, Gauge

from shop.kit.saga.metrics import SagaMetrics
from shop.order.domain import CANCEL, PLACE
from shop.order.errors import REASONS

ORDERS = Counter("shop_order_orders_total", "Orders by the state that they reached", ["state", "reason"])
SAGAS = SagaMetrics("order", (PLACE, CANCEL))
FOOD_UNDELIVERABLE = Gauge(
    "shop_order_food_undeliverable", "Orders of food that have not ended, in a shop whose food was turned off"
)
STREAMS = Gauge("shop_order_streams", "Clients that watch an order")


def count(state: str, reason: str | None) -> None:
    ORDERS.labels(state, "" if reason is None else reason if reason in REASONS else "other").inc()
