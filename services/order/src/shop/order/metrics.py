"""What the order service counts; labels have few values, whatever participants answer."""

from __future__ import annotations

import functools
from typing import get_args

from prometheus_client import Counter, Gauge

from shop.kit.exposition import start_at_zero
from shop.kit.saga.metrics import SagaMetrics
from shop.order.domain import CANCEL, PLACE, Kind, Order, State
from shop.order.errors import REASONS

ORDERS = Counter("shop_order_orders_total", "Orders by the state that they reached", ["kind", "state", "reason"])
REVENUE = Counter(
    "shop_order_revenue_total", "Totals of confirmed orders, in minor units of their currency", ["kind", "currency"]
)
SAGAS = SagaMetrics("order", (PLACE, CANCEL), (State.CONFIRMED, State.REJECTED, State.CANCELLED))
FOOD_UNDELIVERABLE = Gauge(
    "shop_order_food_undeliverable", "Orders of food that have not ended, in a shop whose food was turned off"
)
STREAMS = Gauge("shop_order_streams", "Clients that watch an order")

KINDS: tuple[str, ...] = get_args(Kind)
OTHER = "other"
_orders, _revenue = functools.cache(ORDERS.labels), functools.cache(REVENUE.labels)
UNDONE = (State.REJECTED, State.CANCELLED)
start_at_zero(ORDERS, KINDS, set(State) - set(UNDONE), [""])
start_at_zero(ORDERS, KINDS, UNDONE, ["", OTHER, *REASONS])


def expect(currency: str) -> None:
    """Make the time series of the shop's currency."""
    start_at_zero(REVENUE, KINDS, [currency])


def count(order: Order) -> None:
    """Count the state that the order has reached."""
    reason = "" if order.reason is None else order.reason if order.reason in REASONS else OTHER
    _orders(order.kind, order.state, reason).inc()
    if order.state is State.CONFIRMED and order.totals is not None:
        _revenue(order.kind, order.currency).inc(order.totals.total)
