"""The events that delivery consumes: what the kitchen says about an order, by which it may be picked up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shop.contracts.events import TicketChanged
from shop.delivery import repository
from shop.delivery.domain import Delivery
from shop.delivery.service import DeliveryService
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer


def consumers(service: DeliveryService) -> list[Consumer]:
    async def tickets(connection: Connection, received: Sequence[Received]) -> None:
        """Events of one order may come in any order: its newest one counts. A delivery may be due by it."""
        newest: dict[object, TicketChanged] = {}
        for one in received:
            event: TicketChanged = one.event
            if event.order_id not in newest or newest[event.order_id].version < event.version:
                newest[event.order_id] = event
        await repository.lock(connection)
        states = [(one.event.order_id, one.event.version, one.event.state, one.event.occurred_at) for one in received]
        added = await repository.add_kitchen_states(connection, states)
        known = await repository.by_ids(connection, [event.order_id for event in newest.values()])
        changes = [
            (old, _with_ticket(old, newest[old.order_id], old.order_id in added))
            for old in known.values()
            if old is not None
        ]
        changed = await service.dispatch.write(connection, changes, service.now())
        if any(one.courier_id is None and not one.state.final for one in changed):
            await service.dispatch.take_up_line(connection, service.now())

    return [Consumer("tickets", [TicketChanged], tickets)]


def _with_ticket(old: Delivery, event: TicketChanged, added: bool) -> Delivery:
    """``added``: a state of the kitchen was not known before, perhaps one older than the newest."""
    if old.state.final:
        return old
    if event.version <= old.kitchen_version:
        return replace(old, revision=old.revision + added)
    ready_at = event.ready_at or old.ready_at
    if event.state == "ready":
        ready_at = min(ready_at, event.occurred_at)
    return replace(
        old, kitchen=event.state, kitchen_version=event.version, ready_at=ready_at, revision=old.revision + 1
    )
