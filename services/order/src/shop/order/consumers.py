"""The events that the order service consumes."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import PaymentRefunded
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.order import repository
from shop.order.service import OrderService


def consumers(_service: OrderService) -> list[Consumer]:
    return [Consumer("refunds", [PaymentRefunded], _add_refunds)]


async def _add_refunds(connection: Connection, events: Sequence[Received]) -> None:
    """Amounts are summed when an order is read, so these events may arrive in any order."""
    await repository.add_refunds(
        connection,
        [
            (received.event_id, received.event.order_id, received.event.amount.amount, received.event.occurred_at)
            for received in events
        ],
    )
