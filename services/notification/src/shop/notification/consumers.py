"""Events become queued messages in the transaction that takes the events; senders render and send them."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from uuid import UUID

from shop.contracts.events import DeliveryChanged, Event, OrderConfirmed, UserDeleted
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.inbox import SOON_S, AfterCommit, Consumer, mark_processed
from shop.notification import domain, events_repository, food_repository, repository
from shop.notification.direct import Direct
from shop.notification.food import FoodOrder
from shop.notification.service import NotificationService

DELIVERIES = "deliveries"


def consumers(service: NotificationService) -> list[Consumer]:
    """Deliveries are consumed only in a shop with food, and players' events only in one with the arcade: other shops do
    not have their streams."""
    queue = MessageQueue(
        service.owner_phone,
        service.clock,
        texts=service.texts,
        direct=service.direct,
        after_commit=service.wake_senders,
    )
    # Other consumers, because a pod of an older version that shares one cannot read a type that is new to it.
    found = [queue.consumer("messages", list(domain.MAIL_TEMPLATES)), queue.deletions]
    if service.food:
        deliveries = Consumer(
            DELIVERIES,
            [DeliveryChanged],
            queue.handle_deliveries,
            after_commit=queue.told,
            at_once=queue.nothing_to_tell,
        )
        found.append(deliveries)
    if service.arcade:
        found.append(queue.consumer("arcade", list(domain.ARCADE_TEMPLATES)))
    return found


Loop = tuple[str, str]
"""The consumer and the noun that publishes: batches of one loop come one after the other."""


class MessageQueue:
    """Queues the messages of a batch of events. Nothing stays of a deleted user, whatever the order of events.

    What ``direct`` can send is sent at once. ``after_commit`` is called after what was queued.
    """

    def __init__(
        self,
        owner_phone: str,
        clock: Clock,
        *,
        texts: bool = False,
        direct: Direct | None = None,
        after_commit: AfterCommit | None = None,
    ) -> None:
        self._owner_phone = owner_phone
        self._clock = clock
        self._texts = texts
        self._direct = direct
        self._after_commit = after_commit
        self._have_queued: set[Loop] = set()
        self.deletions = Consumer.of_deletions(
            UserDeleted, repository.DELETED_USERS, self._delete, clock=clock, after_commit=after_commit
        )

    def consumer(self, name: str, types: Sequence[type[Event]]) -> Consumer:
        """Of events that need no transaction, unless one of a batch is about an order of food that is known."""
        take, committed = partial(self.take, name), partial(self._committed, name)
        return Consumer(name, types, self.handle, at_once=take, after_commit=committed, rest_s=SOON_S)

    async def _committed(self, consumer: str, events: Sequence[Received]) -> None:
        loop = _loop(consumer, events)
        if loop in self._have_queued and self._after_commit is not None:
            self._have_queued.discard(loop)
            await self._after_commit(events)

    async def take(self, consumer: str, database: Database, events: Sequence[Received]) -> Collection[UUID] | None:
        """Process events in one statement, if those about food confirm orders that are not known yet."""
        if await self._is_for_handle(database, events):
            self._have_queued.add(_loop(consumer, events))
            return None
        now = self._clock.now()
        contacts, wanted = self._effects(events)
        rows = repository.message_rows(wanted)
        ready = [] if self._direct is None else self._direct.ready(rows, now)
        taken = await events_repository.take(database, consumer, events, contacts, rows, ready, now)
        if taken is None or taken.queued:
            self._have_queued.add(_loop(consumer, events))
        if taken is None:
            return None
        if self._direct is not None:
            self._direct.stored(rows, taken.sent)
        return taken.event_ids

    async def _is_for_handle(self, database: Database, events: Sequence[Received]) -> bool:
        """Whether food orders end, or there were events of their deliveries before their confirmation."""
        food = [received.event for received in events if domain.is_about_food(received.event)]
        if not all(isinstance(event, OrderConfirmed) for event in food):
            return True
        return bool(food) and await food_repository.is_any_known(database, [event.order_id for event in food])

    def _effects(self, events: Sequence[Received]) -> tuple[list[domain.Contact], list[repository.Wanted]]:
        """What the events say of how users are reached, and the messages that they cause, in the order of time."""
        ordered = sorted(events, key=lambda received: received.time)
        contacts = [found for received in ordered if (found := domain.contact(received.event))]
        wanted = [
            (received, notice)
            for received in ordered
            for notice in domain.notices(received.event, self._owner_phone, texts=self._texts)
        ]
        return contacts, wanted

    async def handle(self, connection: Connection, events: Sequence[Received]) -> None:
        ordered = sorted(events, key=lambda received: received.time)
        contacts, wanted = self._effects(ordered)
        # Orders before contacts, as the statement of `take` locks them.
        wanted += await self._learn(
            connection, [received for received in ordered if domain.is_about_food(received.event)]
        )
        if contacts:
            await repository.save_contacts(connection, contacts)
        if wanted:
            await repository.insert(connection, wanted, self._clock.now())

    async def _learn(self, connection: Connection, ordered: Sequence[Received]) -> list[tuple[Received, domain.Notice]]:
        """Keep how customers of food are reached; return what was held back until their orders were confirmed."""
        if not ordered:
            return []
        users = {received.event.order_id: received.event.user_id for received in ordered}
        known = await food_repository.lock(connection, users, self._clock.now())
        wanted: list[tuple[Received, domain.Notice]] = []
        for received in ordered:
            order = known.get(received.event.order_id)
            if order is None:
                continue
            known[order.order_id], notices = order.learn(received.event, self._texts)
            wanted += [(_held(order), notice) for notice in notices]
        await food_repository.save(connection, known.values())
        return wanted

    async def handle_deliveries(self, connection: Connection, events: Sequence[Received]) -> None:
        """Queue the mails about deliveries, each order's events by their version.

        Nothing is to be told of one that waits for its first courier, nor is any event older than that.
        """
        events = _to_tell(events)
        if not events:
            return
        now = self._clock.now()
        users = {received.event.order_id: received.event.user_id for received in events}
        known = await food_repository.lock(connection, users, now)
        wanted: list[tuple[Received, domain.Notice]] = []
        for received in sorted(events, key=lambda received: received.event.version):
            order = known.get(received.event.order_id)
            if order is None:
                continue
            if order.confirmed:
                known[order.order_id], notices = order.take(received.event, self._texts)
                wanted += [(received, notice) for notice in notices]
            else:
                known[order.order_id] = order.hold(received.event, received.event_id, received.trace_id)
        await food_repository.save(connection, known.values())
        if wanted:
            await repository.insert(connection, wanted, now)

    async def nothing_to_tell(self, database: Database, events: Sequence[Received]) -> Collection[UUID] | None:
        """Events of deliveries without a mail take no transaction."""
        return None if _to_tell(events) else await mark_processed(database, DELIVERIES, events)

    async def told(self, events: Sequence[Received]) -> None:
        """Have the senders look for what was queued."""
        if _to_tell(events) and self._after_commit is not None:
            await self._after_commit(events)

    async def _delete(self, connection: Connection, events: Sequence[Received]) -> None:
        """Delete what is known about the users, and queue one last mail to each."""
        by_user = {received.event.user_id: received for received in events}
        addresses = await repository.delete_users(connection, list(by_user))
        mails = [(by_user[user_id], domain.last_mail(email)) for user_id, email in addresses.items()]
        if mails:
            await repository.insert(connection, mails, self._clock.now())


def _to_tell(events: Sequence[Received]) -> list[Received]:
    return [received for received in events if not received.event.begins_to_wait]


def _held(order: FoodOrder) -> Received:
    """The event of the delivery that was held back."""
    held = order.held or {}
    event = DeliveryChanged.model_validate(held["data"])
    return Received(UUID(held["event_id"]), event.TYPE, event.occurred_at, held["trace_id"], "", event)


def _loop(consumer: str, events: Sequence[Received]) -> Loop:
    return consumer, events[0].event.TYPE.partition(".")[0]
