"""The events that recommendation consumes. Each takes effect once, in any order."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import Event, OrderCancelled, OrderConfirmed, OrderEvent, UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.recommendation.repository import DELETED_CUSTOMERS, Order, PurchaseRepository
from shop.recommendation.service import RecommendationService

PURCHASES_REST_S = 1.0
"""What was just bought may be recommended for so long."""


def consumers(service: RecommendationService) -> list[Consumer]:
    """One name for both: orders and deletions have been one consumer's events, and its name is in the inbox."""
    recorder = PurchaseRecorder(service.purchases, service.clock)
    purchases = Consumer("purchases", [OrderConfirmed, OrderCancelled], recorder.handle, rest_s=PURCHASES_REST_S)
    return [purchases, recorder.deletions]


class PurchaseRecorder:
    """Keeps the purchases, in at most three statements for a batch of events."""

    def __init__(self, purchases: PurchaseRepository, clock: Clock) -> None:
        self._purchases = purchases
        self._clock = clock
        self.deletions = Consumer.of_deletions(
            UserDeleted, DELETED_CUSTOMERS, self._delete, lock=self._take_turn, clock=clock, name="purchases"
        )

    async def handle(self, connection: Connection, received: Sequence[Received]) -> None:
        events = [one.event for one in received if not _about_food(one.event)]
        await self._take_turn(connection, received)
        confirmed = [_order(event) for event in events if isinstance(event, OrderConfirmed)]
        await self._purchases.add(connection, confirmed)
        if cancelled := [(event.order_id, event.user_id) for event in events if isinstance(event, OrderCancelled)]:
            await self._purchases.cancel(connection, cancelled, self._clock.now())

    async def _take_turn(self, connection: Connection, _: Sequence[Received]) -> None:
        await self._purchases.take_turn(connection, self._clock.now())

    async def _delete(self, connection: Connection, received: Sequence[Received]) -> None:
        await self._purchases.delete_customers(connection, [one.event.user_id for one in received])


def _about_food(event: Event) -> bool:
    """Dishes are not in the catalogue that is recommended from."""
    return isinstance(event, OrderEvent) and event.kind == "food"


def _order(event: OrderConfirmed) -> Order:
    return Order(event.order_id, event.user_id, event.occurred_at, [line.product_id for line in event.lines])
