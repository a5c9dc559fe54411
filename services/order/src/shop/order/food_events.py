"""What the events of tickets and deliveries do to orders of food.

A delivery moves its order: picked up is fulfilled, delivered is delivered, and a delivery without a courier ends it.
A kitchen ends it by cancelling the ticket, and wakes a saga that waits for the staff by deciding. Events may arrive in
any order and more than once. What cannot be done when an event arrives, because a saga is under way at that moment, is
marked on the order, and a loop of every replica does it soon after.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from uuid import UUID

from shop.contracts.events import DeliveryState, TicketState
from shop.kit import telemetry
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.outbox import insert
from shop.kit.saga.engine import Rejected
from shop.order import food_repository, messages, metrics
from shop.order.domain import State
from shop.order.food_repository import KnownStates
from shop.order.lifecycle import CANCELLED, log_state

MAX_UNSETTLED = 256
"""Orders per look."""

BY_RESTAURANT = Rejected("cancelled_by_restaurant", "The restaurant cancelled the order.")
NO_COURIER = Rejected("no_courier", "No courier was found for the order.")

PICKED_UP = frozenset({DeliveryState.PICKED_UP, DeliveryState.ON_THE_WAY, DeliveryState.DELIVERED})
DECIDED = frozenset({TicketState.ACCEPTED, TicketState.REJECTED})
WITHDRAWN, RELEASED = "withdrawn", "released"


def ending(known: KnownStates) -> Rejected | None:
    """Why the order is to be undone, if it is.

    A ticket is withdrawn because its order is being cancelled: the order is then cancelled here, if the process that
    was to cancel it has died. A released ticket's order is undone already.
    """
    if known.delivery_state == DeliveryState.FAILED:
        return NO_COURIER
    if known.ticket_state != TicketState.CANCELLED or known.ticket_reason == RELEASED:
        return None
    return CANCELLED if known.ticket_reason == WITHDRAWN else BY_RESTAURANT


class FoodEvents:
    """The handlers of both consumers, and the loop for what they had to leave. ``due`` is set after the commit of what
    may have made a saga due."""

    def __init__(self, database: Database, clock: Clock, poll_s: float, due: asyncio.Event) -> None:
        self._database = database
        self._clock = clock
        self._poll_s = poll_s
        self._due = due

    async def committed(self, _: Sequence[Received]) -> None:
        """Have sagas looked for that the events made due."""
        self._due.set()

    async def take_tickets(self, connection: Connection, events: Sequence[Received]) -> None:
        known = [
            KnownStates(one.event.order_id, ticket_state=one.event.state, ticket_reason=one.event.reason)
            for one in events
        ]
        await self._act(connection, known, events)
        await food_repository.store_tickets(connection, [one.event for one in events])
        await self._finish(connection, known)

    async def take_deliveries(self, connection: Connection, events: Sequence[Received]) -> None:
        known = [KnownStates(one.event.order_id, delivery_state=one.event.state) for one in events]
        await self._act(connection, known, events)
        await food_repository.store_deliveries(connection, [one.event for one in events])
        await self._finish(connection, known)

    async def run(self) -> None:
        """Settle what is left until cancelled."""
        while True:
            await self.settle_once()
            await asyncio.sleep(self._poll_s)

    async def settle_once(self) -> int:
        """Try again what could not be done before; return for how many orders.

        Mostly there is none, which one statement finds without a transaction.
        """
        if not await food_repository.unsettled(self._database.quick, 1):
            return 0
        async with self._database.transaction() as connection:
            known = await food_repository.unsettled(connection, MAX_UNSETTLED)
            if known:
                await self._act(connection, known, ())
                await self._finish(connection, known)
        if known:
            self._due.set()
        return len(known)

    async def _act(self, connection: Connection, known: Sequence[KnownStates], events: Sequence[Received]) -> None:
        """End and move orders. Sagas and orders are locked before, as a save of a saga locks them."""
        now = self._clock.now()
        endings = {one.order_id: refusal for one in known if (refusal := ending(one)) is not None}
        picked_up = sorted({one.order_id for one in known if one.delivery_state in PICKED_UP})
        delivered = sorted({one.order_id for one in known if one.delivery_state == DeliveryState.DELIVERED})
        if changing := {*endings, *picked_up}:
            await food_repository.lock(connection, sorted(changing))
        for order_id, refusal in endings.items():
            await food_repository.end(connection, order_id, refusal, now)
        traces = {one.event.order_id: one.traceparent for one in events}
        await self._move(connection, picked_up, State.CONFIRMED, State.FULFILLED, traces)
        await self._move(connection, delivered, State.FULFILLED, State.DELIVERED, traces)

    async def _finish(self, connection: Connection, known: Sequence[KnownStates]) -> None:
        """Mark what could not be done, then wake sagas: one that is parked between the two statements is woken."""
        await food_repository.mark_unsettled(connection, [one.order_id for one in known])
        if woken := [one.order_id for one in known if one.ticket_state in DECIDED]:
            await food_repository.wake(connection, woken)

    async def _move(
        self,
        connection: Connection,
        order_ids: Sequence[UUID],
        before: State,
        after: State,
        traces: Mapping[UUID, str],
    ) -> None:
        """Each order that moves publishes its event, in the trace of what moved it."""
        if not order_ids:
            return
        trace_ids = {order_id: telemetry.trace_id_of(traces.get(order_id)) for order_id in order_ids}
        orders = await food_repository.move(connection, trace_ids, before, after, self._clock.now())
        if not orders:
            return
        await insert(connection, [messages.moved(order, traces.get(order.id)) for order in orders])
        for order in orders:
            metrics.count(order)
            log_state(order)
