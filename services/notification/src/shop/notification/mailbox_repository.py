"""The SQL of the mailbox."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from shop.kit.db import Database, Record

# The commit does not wait for the disk: the sender's record that the mail was sent does, and is later in the same log.
INSERT = """
WITH fast AS MATERIALIZED (SELECT set_config('synchronous_commit', 'off', true))
INSERT INTO mailbox (id, message_id, sender, recipients, subject, raw, received_at)
SELECT id, message_id, sender, ARRAY[recipient], subject, raw, received_at
FROM fast, unnest($1::uuid[], $2::text[], $3::text[], $4::text[], $5::text[], $6::bytea[], $7::timestamptz[])
    AS m (id, message_id, sender, recipient, subject, raw, received_at)
ON CONFLICT (message_id) DO NOTHING
"""
PAGE = """
SELECT id, message_id, sender, recipients, subject, received_at FROM mailbox
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR $2 = ANY (recipients)) ORDER BY id DESC LIMIT $3
"""
ONE = "SELECT id, message_id, sender, recipients, subject, received_at, raw FROM mailbox WHERE id = $1"
TRIM = "DELETE FROM mailbox WHERE id <= (SELECT id FROM mailbox ORDER BY id DESC OFFSET $1 LIMIT 1)"


@dataclass(frozen=True, slots=True)
class StoredMail:
    """``raw`` is the mail as it would be sent to a mail server."""

    id: UUID
    message_id: str
    sender: str
    recipient: str
    subject: str
    raw: bytes
    received_at: datetime


class MailboxRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, mails: Sequence[StoredMail]) -> None:
        """Store mails in one statement; a mail whose Message-ID is stored already is the same mail again."""
        await self._database.execute(
            INSERT,
            [mail.id for mail in mails],
            [mail.message_id for mail in mails],
            [mail.sender for mail in mails],
            [mail.recipient for mail in mails],
            [mail.subject for mail in mails],
            [mail.raw for mail in mails],
            [mail.received_at for mail in mails],
        )

    async def page(self, before: UUID | None, recipient: str | None, limit: int) -> list[Record]:
        """Mails without their content, latest first."""
        return await self._database.fetch(PAGE, before, recipient, limit)

    async def find(self, mail_id: UUID) -> Record | None:
        return await self._database.fetchrow(ONE, mail_id)

    async def trim(self, keep: int) -> None:
        """Delete all but the latest ``keep`` mails."""
        await self._database.execute(TRIM, keep)
