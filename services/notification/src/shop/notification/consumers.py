"""Events become queued messages in the transaction that takes the events; senders render and send them."""

from __future__ import annotations

from collections.abc import Sequence

from shop.contracts.events import UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.inbox import Consumer
from shop.notification import domain, repository
from shop.notification.service import NotificationService


def consumers(service: NotificationService) -> list[Consumer]:
    queue = MessageQueue(service.owner_phone, service.clock)
    # Another consumer, because a pod of an older version that shares one cannot read a type that is new to it.
    return [
        Consumer("messages", list(domain.MAIL_TEMPLATES), queue.handle),
        Consumer("deleted-users", [UserDeleted], queue.handle_deleted),
    ]


class MessageQueue:
    """Queues the messages of a batch of events, in at most three statements. Nothing stays of a deleted user, whatever
    the order of events."""

    def __init__(self, owner_phone: str, clock: Clock) -> None:
        self._owner_phone = owner_phone
        self._clock = clock

    async def handle(self, connection: Connection, events: Sequence[Received]) -> None:
        ordered = sorted(events, key=lambda received: received.time)
        contacts = [found for received in ordered if (found := domain.contact(received.event))]
        await repository.lock_out_deletions(connection)
        if contacts:
            await repository.save_contacts(connection, contacts)
        wanted = [
            (received, notice) for received in ordered for notice in domain.notices(received.event, self._owner_phone)
        ]
        if wanted:
            await repository.insert(connection, wanted, self._clock.now())

    async def handle_deleted(self, connection: Connection, events: Sequence[Received]) -> None:
        """Delete what is known about the users, and queue one last mail to each."""
        by_user = {received.event.user_id: received for received in events}
        addresses = await repository.delete_users(connection, list(by_user), self._clock.now())
        mails = [(by_user[user_id], domain.last_mail(email)) for user_id, email in addresses.items()]
        if mails:
            await repository.insert(connection, mails, self._clock.now())
