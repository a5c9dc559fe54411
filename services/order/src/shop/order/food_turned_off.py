"""Orders of food that had not ended when their shop's food was turned off: nobody stays charged without a meal.

Pending ones are given up at their deadline like any order whose participant stays away (`food_saga.UndoFood`).
Confirmed ones are cancelled and refunded some time after they were to be delivered. Both pauses are for food that is
turned on again soon, and for replicas that run with and without food during a rollout. Restaurant and delivery cannot
be called meanwhile; their tickets and couriers are released when food is turned on again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from datetime import timedelta
from uuid import UUID

from shop.contracts.calls import ReleaseRequest
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import Problem, Unavailable
from shop.kit.saga.engine import Rejected
from shop.order import food_repository, metrics
from shop.order.participants import FoodParticipants

log = logging.getLogger(__name__)

MAX_ORDERS = 256
"""Per look."""
POLL_S = 30.0
"""Between two looks."""
NOT_OFFERED = Rejected("food_not_offered", "This shop does not deliver food any more.")


async def repeat(look: Callable[[], Awaitable[None]]) -> None:
    """Look every POLL_S seconds until cancelled."""
    while True:
        await look()
        await asyncio.sleep(POLL_S)


class OverdueFood:
    """In a shop without food: has confirmed orders cancelled ``patience_s`` seconds after they were to be delivered."""

    def __init__(self, database: Database, clock: Clock, patience_s: float) -> None:
        self._database = database
        self._clock = clock
        self._patience = timedelta(seconds=patience_s)
        self._open = 0

    async def run(self) -> None:
        await repeat(self.look_once)

    async def look_once(self) -> None:
        now = self._clock.now()
        async with self._database.transaction() as connection:
            overdue = await food_repository.overdue(connection, now - self._patience, MAX_ORDERS)
            await food_repository.lock(connection, overdue)
            for order_id in overdue:
                log.warning(
                    "order %s is cancelled: this shop delivers no food any more",
                    order_id,
                    extra={"event": "food_order_cancelled"},
                )
                await food_repository.end(connection, order_id, NOT_OFFERED, now)
        self._report(await food_repository.count_open(self._database))

    def _report(self, orders: int) -> None:
        metrics.FOOD_UNDELIVERABLE.set(orders)
        if orders > self._open:
            log.warning(
                "%s orders of food have not ended, and this shop has no food any more",
                orders,
                extra={"event": "food_orders_unended"},
            )
        self._open = orders


class FoodReleases:
    """In a shop with food: releases the tickets and couriers of orders that ended while there was none."""

    def __init__(self, database: Database, food: FoodParticipants) -> None:
        self._database = database
        self._food = food

    async def run(self) -> None:
        await repeat(self.look_once)

    async def look_once(self) -> None:
        due = await food_repository.releases_due(self._database, MAX_ORDERS)
        done = await asyncio.gather(*(self._release(order_id, traceparent) for order_id, traceparent in due))
        released = [order_id for (order_id, _), success in zip(due, done, strict=True) if success]
        if released:
            await food_repository.store_released(self._database, released)

    async def _release(self, order_id: UUID, traceparent: str) -> bool:
        request = ReleaseRequest(order_id=order_id, traceparent=traceparent)
        try:
            await self._food.release_courier.call(request)
            await self._food.release_ticket.call(request)
        except (Problem, Unavailable) as error:
            log.warning(
                "ticket and courier of order %s are released later: %s",
                order_id,
                error,
                extra={"event": "food_release_postponed"},
            )
            return False
        return True
