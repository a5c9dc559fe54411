"""The events that the order service consumes."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import DeliveryChanged, PaymentRefunded, TicketChanged, UserDeleted
from shop.kit.db import Connection
from shop.kit.deleted_users import DeletedUsers
from shop.kit.events import Received
from shop.kit.inbox import SOON_S, Consumer
from shop.order import repository
from shop.order.service import OrderService


def consumers(service: OrderService) -> list[Consumer]:
    """Tickets and deliveries are consumed only in a shop with food: other shops do not have their streams.

    Orders of deleted users are kept, as invoices must be, without phone number and note; what could not be consumed
    about them is not kept.
    """
    refunds = Consumer("refunds", [PaymentRefunded], _add_refunds)
    deletions = Consumer.of_deletions(UserDeleted, DeletedUsers(), _erase_contacts, lock=_lock_contacts)
    if service.food_events is None:
        return [refunds, deletions]
    food = service.food_events
    return [
        refunds,
        deletions,
        Consumer("tickets", [TicketChanged], food.take_tickets, after_commit=food.committed, rest_s=SOON_S),
        Consumer("deliveries", [DeliveryChanged], food.take_deliveries, after_commit=food.committed, rest_s=SOON_S),
    ]


async def _add_refunds(connection: Connection, events: Sequence[Received]) -> None:
    """Amounts are summed when an order is read, so these events may arrive in any order."""
    await repository.add_refunds(
        connection,
        [
            (received.event_id, received.event.order_id, received.event.amount.amount, received.event.occurred_at)
            for received in events
        ],
    )


async def _lock_contacts(connection: Connection, events: Sequence[Received]) -> None:
    await repository.lock_contacts(connection, [received.event.user_id for received in events])


async def _erase_contacts(connection: Connection, events: Sequence[Received]) -> None:
    await repository.erase_contacts(connection, [received.event.user_id for received in events])
