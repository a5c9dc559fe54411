"""The mailbox: the email provider of a shop without a mail server. It stores mails and delivers none."""

from __future__ import annotations

import asyncio
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from uuid import UUID

from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.ids import new_id
from shop.kit.text import ascii_address
from shop.notification.domain import Channel
from shop.notification.mail import Mail, check_address, compose
from shop.notification.mailbox_repository import MailboxRepository, StoredMail
from shop.notification.providers import Down, Outgoing, Refused, mail_of

log = logging.getLogger(__name__)

MAX_MAIL_BYTES = 1024 * 1024
MAX_MAILS = 50_000
TRIM_INTERVAL_S = 60.0
PARALLEL_MAILS = 100
PHONE = re.compile(r"\+[0-9]{6,15}")


class MailboxProvider:
    """Stores each mail as a row; mails that are sent at the same time share a statement.

    Every attempt to send a message has the same Message-ID, which is unique in the table: a mail that was stored but
    not recorded as sent is stored once however often it is sent.
    """

    channel: Channel = "email"
    parallel = PARALLEL_MAILS

    def __init__(self, repository: MailboxRepository, sender: str, sender_name: str, clock: Clock) -> None:
        self._repository = repository
        self._sender = check_address(ascii_address(sender))
        self._sender_name = sender_name
        self._clock = clock
        self._batcher: Batcher[StoredMail, None] = Batcher(self._store)

    async def open(self) -> None:
        """Nothing to do: the database is the service's own."""

    def stored(self, message: Outgoing) -> StoredMail:
        """The message as the mailbox stores it; raises Refused."""
        mail = self._mail(message)
        raw = self._compose(mail)
        if len(raw) > MAX_MAIL_BYTES:
            raise Refused(f"The mail has {len(raw)} bytes, more than {MAX_MAIL_BYTES}.")
        now = self._clock.now()
        return StoredMail(new_id(), mail.message_id, mail.sender, mail.recipient, mail.subject, raw, now)

    async def send(self, message: Outgoing) -> None:
        stored = self.stored(message)
        try:
            await self._batcher.submit(stored)
        except Unavailable as error:
            raise Down(f"mailbox: {error}") from error

    def _mail(self, message: Outgoing) -> Mail:
        return mail_of(message, self._sender)

    def _compose(self, mail: Mail) -> bytes:
        return compose(mail, self._sender_name)

    async def _store(self, mails: list[StoredMail]) -> list[None]:
        await self._repository.add(mails)
        return [None] * len(mails)

    async def close(self) -> None:
        await self._batcher.close()


class TextMailboxProvider(MailboxProvider):
    """Keeps text messages in the mailbox, as mails to a phone number, in a shop that can send neither."""

    channel: Channel = "sms"

    def _mail(self, message: Outgoing) -> Mail:
        if not PHONE.fullmatch(message.recipient):
            raise Refused(f"not a phone number: {message.recipient[:80]!r}")
        subject = f"Text message to {message.recipient}"
        text = message.content.text
        return Mail(message.id, self._sender, message.recipient, subject, text, None, message.made_at)

    def _compose(self, mail: Mail) -> bytes:
        return compose(mail, self._sender_name, check=str)


@dataclass(frozen=True, slots=True)
class OpenedMail:
    """A decoded mail. ``html`` is not trusted."""

    id: UUID
    sender: str
    recipients: Sequence[str]
    subject: str
    received_at: datetime
    text: str
    html: str


class Mailbox:
    """The stored mails."""

    def __init__(self, repository: MailboxRepository) -> None:
        self._repository = repository

    async def page(self, before: UUID | None, recipient: str | None, limit: int) -> list[Record]:
        """Mails without their content, latest first."""
        return await self._repository.page(before, recipient, limit)

    async def read(self, mail_id: UUID) -> OpenedMail:
        """One mail, parsed in a thread; Problem 404 ``unknown_mail``."""
        row = await self._repository.find(mail_id)
        if row is None:
            raise Problem(404, "unknown_mail", "There is no such mail.")
        text, html = await asyncio.to_thread(bodies, row["raw"])
        return OpenedMail(row["id"], row["sender"], row["recipients"], row["subject"], row["received_at"], text, html)

    async def trim_forever(self) -> None:
        """Keep the latest MAX_MAILS mails."""
        while True:
            try:
                await self._repository.trim(MAX_MAILS)
            except Unavailable as error:
                log.info("mailbox not trimmed: %s", error, extra={"event": "mailbox_not_trimmed"})
            await asyncio.sleep(TRIM_INTERVAL_S)


def bodies(raw: bytes) -> tuple[str, str]:
    """The text and the HTML part of a mail, "" for a missing one; a mail that cannot be parsed is shown raw."""
    try:
        message = BytesParser(policy=policy.default).parsebytes(raw)
        return _body(message, "plain"), _body(message, "html")
    except (LookupError, ValueError, AttributeError, TypeError):
        return raw.decode("utf-8", "replace"), ""


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""
