"""Events become queued messages in the transaction that takes the events; senders render and send them."""

from __future__ import annotations

from collections.abc import Sequence

from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.notification import domain, repository
from shop.notification.service import NotificationService


def consumers(service: NotificationService) -> list[Consumer]:
    return [Consumer("messages", list(domain.MAIL_TEMPLATES), MessageQueue(service.owner_phone, service.clock).handle)]


class MessageQueue:
    """Queues the messages of a batch of events, in at most two statements."""

    def __init__(self, owner_phone: str, clock: Clock) -> None:
        self._owner_phone = owner_phone
        self._clock = clock

    async def handle(self, connection: Connection, events: Sequence[Received]) -> None:
        ordered = sorted(events, key=lambda received: received.time)
        contacts = [found for received in ordered if (found := domain.contact(received.event))]
        if contacts:
            await repository.save_contacts(connection, contacts)
        wanted = [
            (received, notice) for received in ordered for notice in domain.notices(received.event, self._owner_phone)
        ]
        if wanted:
            await repository.insert(connection, wanted, self._clock.now())
