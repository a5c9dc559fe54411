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
    return row(events.OrderConfirmed(**_about(order), lines=lines, **amounts, address=address))


def rejected(order: Order, *, late: bool) -> OutboxRow:
    """``late``: the customer was notified that the order was pending, and did not cancel it."""
    return row(events.OrderRejected(**_about(order), reason=order.reason or "rejected", late=late))


def cancelled(order: Order) -> OutboxRow:
    refunded: Any = money(order.totals.total if order.totals else 0, order.currency)
    return row(events.OrderCancelled(**_about(order), refunded=refunded))


def moved(order: Order) -> OutboxRow:
    """The event of an order that an administrator marked as fulfilled or delivered."""
    kind = {State.FULFILLED: events.OrderFulfilled, State.DELIVERED: events.OrderDelivered}[order.state]
    return row(kind(**_about(order)))


def _about(order: Order) -> dict[str, Any]:
    return {
        "order_id": order.id,
        "user_id": order.user_id,
        "email": order.email,
        "customer_name": order.customer_name,
        "kind": order.kind,
        "occurred_at": order.updated_at,
    }
