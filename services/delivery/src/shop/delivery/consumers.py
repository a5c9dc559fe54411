"""The events that delivery consumes: what the kitchen says about an order, and that users were deleted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from shop.contracts.events import TicketChanged, UserDeleted
from shop.delivery import deletion_repository, repository
from shop.delivery.domain import BEFORE_PICKUP, Delivery
from shop.delivery.service import DeliveryService
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import SOON_S, Consumer

COURIER_DELETED = "courier_deleted"
"""The reason of a delivery that waits for another courier."""


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
        await service.dispatch.write(connection, changes, service.now())
        if any(new.ready_at < old.ready_at and new.courier_id is None for old, new in changes):
            await service.dispatch.take_up_line(connection, service.now())

    return [Consumer("tickets", [TicketChanged], tickets, rest_s=SOON_S), deletions(service)]


def deletions(service: DeliveryService) -> Consumer:
    """Of couriers, whose deliveries go to others unless they were picked up, and of customers."""

    async def take_turn(connection: Connection, _: Sequence[Received]) -> None:
        await repository.lock(connection)

    async def delete(connection: Connection, received: Sequence[Received]) -> None:
        now, user_ids = service.now(), [one.event.user_id for one in received]
        couriers = await deletion_repository.end_work(connection, user_ids, now)
        carried = await repository.carried(connection, couriers)
        back = [one for held in carried.values() for one in held if one.state in BEFORE_PICKUP]
        if back:
            await service.dispatch.write(connection, [(old, old.returned(now, COURIER_DELETED)) for old in back], now)
            await service.dispatch.take_up_line(connection, now)
        await deletion_repository.erase_ended(connection, user_ids)

    return Consumer.of_deletions(UserDeleted, deletion_repository.DELETED_USERS, delete, lock=take_turn)


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
