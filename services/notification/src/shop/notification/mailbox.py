"""The local mailbox: a mail server that keeps what it gets and forwards nothing, for a shop without a real one."""

from __future__ import annotations

import asyncio
import hashlib
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any
from uuid import UUID

from aiosmtpd.smtp import SMTP, Envelope, Session

from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Database, Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.ids import new_id

log = logging.getLogger(__name__)

MAX_MAIL_BYTES = 1024 * 1024
MAX_CONNECTIONS = 32
SESSION_TIMEOUT_S = 300
MAX_HEADER_CHARACTERS = 998
KEEP_MAILS = 50_000
TRIM_EVERY_S = 60.0
TRY_LATER = "451 4.3.0 The mailbox cannot keep this now, try again later"

STORE = """
INSERT INTO mailbox (id, message_id, sender, recipients, subject, raw, received_at)
SELECT id, message_id, sender, string_to_array(recipients, E'\\n'), subject, raw, received_at
FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz[])
    AS m (id, message_id, sender, recipients, subject, raw, received_at)
ON CONFLICT (message_id) DO NOTHING
"""
PAGE = """
SELECT id, message_id, sender, recipients, subject, received_at FROM mailbox
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR $2 = ANY (recipients)) ORDER BY id DESC LIMIT $3
"""
ONE = "SELECT id, message_id, sender, recipients, subject, received_at, raw FROM mailbox WHERE id = $1"
TRIM = "DELETE FROM mailbox WHERE id < (SELECT id FROM mailbox ORDER BY id DESC OFFSET $1 LIMIT 1)"


@dataclass(frozen=True, slots=True)
class ReceivedMail:
    id: UUID
    message_id: str
    sender: str
    recipients: Sequence[str]
    subject: str
    raw: bytes
    received_at: datetime


@dataclass(frozen=True, slots=True)
class OpenedMail:
    """A mail as it is shown: decoded, nothing in it trusted."""

    id: UUID
    sender: str
    recipients: Sequence[str]
    subject: str
    received_at: datetime
    text: str
    html: str


class MailStore:
    """The mailbox table."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, mails: list[ReceivedMail]) -> list[None]:
        """Keep the mails in one statement; one with a known Message-ID is the same mail again."""
        await self._database.execute(
            STORE,
            [mail.id for mail in mails],
            [mail.message_id for mail in mails],
            [mail.sender for mail in mails],
            ["\n".join(mail.recipients) for mail in mails],
            [mail.subject for mail in mails],
            [mail.raw for mail in mails],
            [mail.received_at for mail in mails],
        )
        return [None] * len(mails)

    async def page(self, before: UUID | None, recipient: str | None, limit: int) -> list[Record]:
        """Mails without their content, latest first."""
        return await self._database.fetch(PAGE, before, recipient, limit)

    async def read(self, mail_id: UUID) -> OpenedMail:
        """One mail, parsed off the event loop; Problem 404 ``unknown_mail``."""
        row = await self._database.fetchrow(ONE, mail_id)
        if row is None:
            raise Problem(404, "unknown_mail", "There is no such mail.")
        text, html = await asyncio.to_thread(bodies, row["raw"])
        return OpenedMail(row["id"], row["sender"], row["recipients"], row["subject"], row["received_at"], text, html)

    async def trim_forever(self) -> None:
        """Keep the table at the latest KEEP_MAILS mails."""
        while True:
            try:
                await self._database.execute(TRIM, KEEP_MAILS)
            except Unavailable as error:
                log.info("mailbox not trimmed: %s", error)
            await asyncio.sleep(TRIM_EVERY_S)


def bodies(raw: bytes) -> tuple[str, str]:
    """The text and the HTML part of a mail, "" for one that it lacks; a mail that cannot be parsed is shown raw."""
    try:
        message = BytesParser(policy=policy.default).parsebytes(raw)
        return _body(message, "plain"), _body(message, "html")
    except (LookupError, ValueError, AttributeError, TypeError):
        return raw.decode("utf-8", "replace"), ""


def _body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    return str(part.get_content()) if part is not None else ""


def _header(raw: bytes, name: str) -> str:
    try:
        value = BytesParser(policy=policy.default).parsebytes(raw, headersonly=True)[name]
    except (LookupError, ValueError, AttributeError, TypeError):
        return ""
    return " ".join(str(value or "").replace("\x00", "").encode("utf-8", "replace").decode().split())


def received(raw: bytes, sender: str, recipients: Sequence[str], now: datetime) -> ReceivedMail:
    """What is kept of a mail; without a Message-ID its content stands for it."""
    head = raw.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    message_id = _header(head, "Message-ID")[:MAX_HEADER_CHARACTERS] or f"<{hashlib.sha256(raw).hexdigest()}>"
    subject = _header(head, "Subject")[:MAX_HEADER_CHARACTERS]
    return ReceivedMail(new_id(), message_id, sender, recipients, subject, raw, now)


class _Connection(SMTP):
    """A client's connection, refused when there are MAX_CONNECTIONS others."""

    def __init__(self, open_connections: set[object], handler: object) -> None:
        super().__init__(
            handler,
            hostname="mailbox.local",
            ident="Shopkeeper mailbox",
            data_size_limit=MAX_MAIL_BYTES,
            enable_SMTPUTF8=True,
            timeout=SESSION_TIMEOUT_S,
            loop=asyncio.get_running_loop(),
        )
        self._open_connections = open_connections

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        if len(self._open_connections) >= MAX_CONNECTIONS:
            transport.close()
            return
        self._open_connections.add(self)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self in self._open_connections:
            self._open_connections.discard(self)
            super().connection_lost(error)


class MailServer:
    """Takes mail for anybody at ``host:port`` and answers 250 once it is in the database."""

    def __init__(self, store: MailStore, clock: Clock) -> None:
        self._clock = clock
        self._batcher: Batcher[ReceivedMail, None] = Batcher(store.add)
        self._connections: set[object] = set()
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError when the port is taken."""
        factory: Callable[[], Any] = lambda: _Connection(self._connections, self)  # noqa: E731
        self._server = await asyncio.get_running_loop().create_server(factory, host, port)

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        """The end of a mail (the name is aiosmtpd's)."""
        raw = bytes(envelope.original_content or b"")
        sender = str(envelope.mail_from or "")
        mail = received(raw, sender, [str(address) for address in envelope.rcpt_tos], self._clock.now())
        try:
            await self._batcher.submit(mail)
        except (Unavailable, Problem) as error:
            log.warning("mail not kept: %s", error)
            return TRY_LATER
        return "250 2.0.0 Kept"

    async def close(self) -> None:
        """Stop listening and close every connection; what was accepted is in the database."""
        if self._server is None:
            return
        self._server.close()
        for connection in list(self._connections):
            transport = getattr(connection, "transport", None)
            if transport is not None:
                transport.close()
        await self._batcher.close()
