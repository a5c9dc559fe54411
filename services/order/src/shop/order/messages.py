"""The events that orders publish, as rows of the outbox."""

from __future__ import annotations

from typing import Any

from shop.contracts import events
from shop.kit.events import OutboxRow, row
from shop.order.domain import Order, State
from shop.order.schemas import line_document, money, totals_document


def pending(order: Order, reason: str) -> OutboxRow:
    return row(events.OrderPending(**_about(order), reason=reason))


def confirmed(order: Order) -> OutboxRow:
    lines: list[Any] = [line_document(line, order.currency) for line in order.lines]
    amounts: dict[str, Any] = totals_document(order.totals, order.currency)
    address: Any = dict(order.address)
    about = _about(order)
    if order.food is not None:
        about |= {
            "tip": money(order.food.tip, order.currency),
            "restaurant_id": order.food.restaurant_id,
            "restaurant_name": order.food.restaurant_name,
            "eta": order.food.promised_at,
        }
    return row(events.OrderConfirmed(**about, lines=lines, **amounts, address=address))


def rejected(order: Order, *, late: bool) -> OutboxRow:
    """``late``: the customer was notified that the order was pending, and did not cancel it."""
    return row(events.OrderRejected(**_about(order), reason=order.reason or "rejected", late=late))


def cancelled(order: Order) -> OutboxRow:
    refunded: Any = money(order.totals.total if order.totals else 0, order.currency)
    return row(events.OrderCancelled(**_about(order), refunded=refunded, reason=order.reason))


def moved(order: Order, traceparent: str | None = None) -> OutboxRow:
    """The event of an order that an administrator, or the delivery of food, made fulfilled or delivered."""
    kind = {State.FULFILLED: events.OrderFulfilled, State.DELIVERED: events.OrderDelivered}[order.state]
    return row(kind(**_about(order)), traceparent)


def _about(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "user_id": order.user_id,
        "email": order.email,
        "customer_name": order.customer_name,
        "kind": order.kind,
        "occurred_at": order.updated_at,
        "phone": None if order.food is None else order.food.phone,
    }
