"""What notification does: reads messages back, and runs the senders and the local mailbox."""

from __future__ import annotations

import asyncio
from typing import cast
from uuid import UUID

from shop.kit.app import Context
from shop.kit.clock import Clock
from shop.kit.db import Record
from shop.kit.errors import Problem
from shop.kit.formatting import formats
from shop.notification.domain import TEMPLATES, State
from shop.notification.mailbox import Mailbox, MailStore
from shop.notification.providers import Provider, SmtpProvider, WebhookProvider
from shop.notification.render import Renderer, environment
from shop.notification.repository import NotificationRepository
from shop.notification.sender import Sender
from shop.notification.settings import Settings

PORT_TRIES = 20
PORT_PAUSE_S = 0.5
"""A replaced process may hold the mailbox's port for a moment."""


class NotificationService:
    """``mailbox`` is None where mail goes to a real server."""

    def __init__(self, settings: Settings, context: Context) -> None:
        self.clock: Clock = context.clock
        self.owner_phone = settings.sms_recipient if settings.sms_webhook_url else ""
        self.repository = NotificationRepository(context.database)
        self.mailbox = Mailbox(context.database, context.clock) if settings.mailbox_port else None
        store = settings.store
        self.formats = formats(store.country, store.language, store.time_zone)
        self.pages = environment(self.formats)
        self._providers = _providers(settings)

    @classmethod
    async def build(cls, context: Context) -> NotificationService:
        settings = cast(Settings, context.settings)
        service = cls(settings, context)
        if service.mailbox:
            await _listen(service.mailbox, settings)
            context.tasks.start("mailbox-trim", service.mailbox.store.trim_forever)
        shop = {"title": settings.store.title, "url": settings.public_url.rstrip("/")}
        renderer = Renderer(TEMPLATES, shop, service.formats)
        for number, provider in enumerate(service._providers, 1):
            sender = Sender(provider, renderer, service.repository, context.clock)
            context.tasks.start(f"sender:{provider.channel}-{number}", sender.run)
        return service

    async def own(self, user_id: UUID, before: UUID | None, limit: int) -> list[Record]:
        return await self.repository.own(user_id, before, limit)

    async def everyone(
        self, before: UUID | None, state: State | None, recipient: str | None, limit: int
    ) -> list[Record]:
        return await self.repository.everyone(before, state, recipient, limit)

    def local_mailbox(self) -> MailStore:
        """The local mailbox, or Problem 404 ``no_mailbox`` where mail goes to a real server."""
        if self.mailbox is None:
            raise Problem(404, "no_mailbox", "This shop sends its mail to a mail server and keeps no mailbox.")
        return self.mailbox.store

    async def close(self) -> None:
        for provider in self._providers:
            await provider.close()
        if self.mailbox:
            await self.mailbox.close()


def _providers(settings: Settings) -> list[Provider]:
    providers: list[Provider] = [
        SmtpProvider(settings.smtp_url, settings.mail_from, settings.store.title)
        for _ in range(settings.smtp_connections)
    ]
    if settings.sms_webhook_url:
        providers.append(WebhookProvider(settings.sms_webhook_url, settings.sms_webhook_secret))
    return providers


async def _listen(mailbox: Mailbox, settings: Settings) -> None:
    for left in reversed(range(PORT_TRIES)):
        try:
            await mailbox.start(settings.mailbox_host, settings.mailbox_port)
            return
        except OSError:
            if not left:
                raise
            await asyncio.sleep(PORT_PAUSE_S)
