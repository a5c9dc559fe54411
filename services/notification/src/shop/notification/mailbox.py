"""The local mailbox: keeps the mail that it gets and forwards nothing, for a shop without a real mail server."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from email import policy
from email.errors import HeaderParseError
from email.header import decode_header, make_header
from email.message import EmailMessage
from email.parser import BytesParser
from uuid import UUID

from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.db import Database, Record
from shop.kit.errors import Problem, Unavailable
from shop.kit.ids import new_id
from shop.notification.mail_server import Envelope, MailServer, NotKept

log = logging.getLogger(__name__)

MAX_HEADER_CHARACTERS = 998
KEEP_MAILS = 50_000
TRIM_EVERY_S = 60.0

# The commit does not wait for the disk: the sender's record that a mail was sent does, and comes later in the same log.
STORE = """
WITH quick AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO mailbox (id, message_id, sender, recipients, subject, raw, received_at)
SELECT id, message_id, sender, string_to_array(recipients, E'\\n'), subject, raw, received_at
FROM quick, unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz[])
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


def _header(head: str, name: str) -> str:
    """A header's decoded value, "" if it is missing. The standard parser takes 50 times as long per mail."""
    match = re.search(rf"^{name}:[ \t]*(.*)$", head, re.IGNORECASE | re.MULTILINE)
    value = match[1] if match else ""
    if "=?" in value:
        try:
            value = str(make_header(decode_header(value)))
        except (HeaderParseError, LookupError, ValueError):
            log.debug("header %s cannot be decoded", name)
    return " ".join(value.split())[:MAX_HEADER_CHARACTERS]


def received(raw: bytes, sender: str, recipients: Sequence[str], now: datetime) -> ReceivedMail:
    """What is kept of a mail; without a Message-ID its content stands for it."""
    head = raw.partition(b"\r\n\r\n")[0].decode("utf-8", "replace").replace("\x00", "")
    unfolded = re.sub(r"\r\n(?=[ \t])", "", head).replace("\r\n", "\n")
    message_id = _header(unfolded, "Message-ID") or f"<{hashlib.sha256(raw).hexdigest()}>"
    return ReceivedMail(new_id(), message_id, sender, recipients, _header(unfolded, "Subject"), raw, now)


class Mailbox:
    """A mail server whose mail goes into the store; concurrent mails share a statement."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self.store = MailStore(database)
        self._clock = clock
        self._batcher: Batcher[ReceivedMail, None] = Batcher(self.store.add)
        self._server = MailServer(self._keep)

    async def start(self, host: str, port: int) -> None:
        """Listen; OSError when the port is taken."""
        await self._server.start(host, port)

    async def _keep(self, content: bytes, envelope: Envelope) -> None:
        mail = received(content, envelope.sender or "", envelope.recipients, self._clock.now())
        try:
            await self._batcher.submit(mail)
        except Exception as error:
            # Whatever it was, the client still has the mail and must hear that the mailbox has not.
            raise NotKept(f"{type(error).__name__}: {error}") from error

    async def close(self) -> None:
        """Stop listening; what was accepted is in the database."""
        await self._server.close()
        await self._batcher.close()
