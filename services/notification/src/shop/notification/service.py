"""Starts the senders, and reads messages and the mailbox."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Sequence
from datetime import timedelta
from typing import cast
from uuid import UUID

from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.db import Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.events import Received
from shop.kit.formatting import formats
from shop.kit.retention import Retention
from shop.kit.tasks import poll
from shop.notification import metrics, retention_repository
from shop.notification.direct import Direct
from shop.notification.domain import TEMPLATES, Channel, State
from shop.notification.mailbox import Mailbox, MailboxProvider, TextMailboxProvider
from shop.notification.mailbox_repository import MailboxRepository
from shop.notification.providers import Provider, SmtpProvider, WebhookProvider
from shop.notification.render import Renderer, environment
from shop.notification.repository import NotificationRepository
from shop.notification.sender import Sender
from shop.notification.settings import Settings

LOOK_EVERY_S = 5.0


class NotificationService:
    def __init__(self, settings: Settings, context: Context) -> None:
        self.clock: Clock = context.clock
        self.texts = settings.sends_texts
        self.food = settings.food
        self.arcade = settings.arcade
        self.owner_phone = settings.sms_recipient if settings.sends_texts else ""
        self.repository = NotificationRepository(context.database)
        mailbox = MailboxRepository(context.database)
        self._mailbox = Mailbox(mailbox) if settings.mailbox_port else None
        store = settings.store
        self.formats = formats(store.country, store.language, store.time_zone)
        self.pages = environment(self.formats)
        self._providers = _providers(settings, mailbox, context.clock)
        self._senders: list[Sender] = []
        self.direct: Direct | None = None

    @classmethod
    async def build(cls, context: Context) -> NotificationService:
        settings = cast(Settings, context.settings)
        service = cls(settings, context)
        if service._mailbox:
            context.tasks.start("mailbox-trim", service._mailbox.trim_forever)
        shop = {"title": settings.store.title, "url": settings.public_url.rstrip("/")}
        renderer = Renderer(TEMPLATES, shop, service.formats)
        for number, provider in enumerate(service._providers, 1):
            metrics.expect(provider.channel)
            more = functools.partial(service.wake_sender, provider.channel)
            sender = Sender(provider, renderer, service.repository, context.clock, more)
            service._senders.append(sender)
            context.tasks.start(f"sender:{provider.channel}-{number}", sender.run)
        mailboxes = {one.channel: one for one in service._providers if isinstance(one, MailboxProvider)}
        service.direct = Direct(renderer, mailboxes)
        rules = retention_repository.rules(timedelta(days=settings.message_retention_days))
        context.tasks.start("retention", Retention(context.database, context.clock, rules).run)
        context.tasks.start("queue", lambda: poll(service._look_at_queue, LOOK_EVERY_S))
        return service

    def wake_sender(self, channel: Channel) -> None:
        """Have one sender of the channel look for messages that are due: an idle one, if there is one."""
        senders = [sender for sender in self._senders if sender.channel == channel]
        idle = (sender for sender in senders if sender.is_idle)
        if (sender := next(idle, senders[0] if senders else None)) is not None:
            sender.wake()

    async def wake_senders(self, _: Sequence[Received]) -> None:
        """One of each channel."""
        for channel in {sender.channel for sender in self._senders}:
            self.wake_sender(channel)

    async def _look_at_queue(self) -> int:
        """Measure the queue, and have a sender send what is due: after a delay, or because its sender has died."""
        with contextlib.suppress(Unavailable):
            queued = await self.repository.queued(self.clock.now())
            for channel in {provider.channel for provider in self._providers}:
                messages, due = queued.get(channel, (0, 0))
                metrics.QUEUED.labels(channel).set(messages)
                if due:
                    self.wake_sender(channel)
        return 0

    async def list_own(self, user_id: UUID, before: UUID | None, limit: int) -> list[Record]:
        return await self.repository.list_own(user_id, before, limit)

    async def list_all(
        self, before: UUID | None, state: State | None, recipient: str | None, limit: int
    ) -> list[Record]:
        return await self.repository.list_all(before, state, recipient, limit)

    async def list_of_order(self, order_id: UUID, before: UUID | None, limit: int) -> list[Record]:
        return await self.repository.list_of_order(order_id, before, limit)

    def mailbox(self) -> Mailbox:
        """The mailbox; Problem 404 ``no_mailbox`` if this shop has none."""
        if self._mailbox is None:
            raise Problem(404, "no_mailbox", "This shop sends its mail to a mail server and has no mailbox.")
        return self._mailbox

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()


def _providers(settings: Settings, mailbox: MailboxRepository, clock: Clock) -> list[Provider]:
    """One provider for each sender."""
    sender, sender_name = settings.mail_from, settings.store.title
    providers: list[Provider]
    if settings.sends_to_mailbox:
        providers = [MailboxProvider(mailbox, sender, sender_name, clock)]
    else:
        providers = [SmtpProvider(settings.smtp_url, sender, sender_name) for _ in range(settings.smtp_connections)]
    if settings.sms_webhook_url:
        providers.append(WebhookProvider(settings.sms_webhook_url, settings.sms_webhook_secret))
    elif settings.sends_to_mailbox:
        providers.append(TextMailboxProvider(mailbox, sender, sender_name, clock))
    return providers
