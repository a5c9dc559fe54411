"""Personal data of deleted users: what a service keeps, so that none of it is stored again.

Events arrive in any order. A service keeps a digest (SHA-256) of each deleted user's id for as long as an event about
the user may still arrive, and each statement that stores personal data asks for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Never
from uuid import UUID

from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.tasks import poll

TABLE = "deleted_user_digest"
"""The kit's own table."""
KEPT_DAYS = 30
"""Longer than the broker and the outbox keep an event."""
FORGET_EVERY_S = 3_600.0
ERASED = "erased with its user"
UUIDS = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE)

# The text of an error may quote the event; what comes before the first colon is the name of its class.
ERASE_DEAD_LETTERS = f"""
UPDATE dead_letter SET payload = '', error = split_part(error, ':', 1) || ': {ERASED}'
FROM unnest($1::uuid[]) AS deleted (user_id) WHERE strpos(lower(dead_letter.payload), user_id::text) > 0"""  # noqa: S608 - constants


class DeletedUsers:
    """The digests in ``table``, which has the columns ``digest bytea PRIMARY KEY`` and ``deleted_at timestamptz``.

    A deletion locks the table, and `holds` makes a statement take the weaker lock that conflicts with it before the
    statement reads anything. So of a deletion and a statement that stores data of the user, whichever comes second
    sees the first.
    """

    def __init__(self, table: str = TABLE) -> None:
        self._lock = f"LOCK TABLE {table} IN EXCLUSIVE MODE"
        self._add = f"""
INSERT INTO {table} (digest, deleted_at) SELECT sha256(uuid_send(user_id)), $2
FROM unnest($1::uuid[]) AS deleted (user_id) ON CONFLICT DO NOTHING"""  # noqa: S608 - the service's own table
        self._forget = f"DELETE FROM {table} WHERE deleted_at < $1"  # noqa: S608
        self._table = table

    def holds(self, user_id: str) -> str:
        """The SQL condition that the user whose id is the expression ``user_id`` was deleted."""
        return f"EXISTS (SELECT FROM {self._table} d WHERE d.digest = sha256(uuid_send({user_id})) FOR KEY SHARE)"

    async def add(self, connection: Connection, user_ids: Sequence[UUID], now: datetime) -> None:
        """Lock out whoever stores data of users until the transaction ends, and keep the digests of these users."""
        await connection.execute(self._lock)
        await connection.execute(self._add, list(user_ids), now)

    async def erase_dead_letters(self, connection: Connection, user_ids: Sequence[UUID]) -> None:
        """Blank the contents of events about the users that could not be consumed; type, id and times stay."""
        await connection.execute(ERASE_DEAD_LETTERS, list(user_ids))

    async def forget(self, database: Database, before: datetime) -> None:
        """Remove the digests of users who were deleted before this moment."""
        await database.execute(self._forget, before)

    async def run(self, database: Database, clock: Clock) -> Never:
        """Forget digests after KEPT_DAYS, until cancelled."""

        async def step() -> int:
            await self.forget(database, clock.now() - timedelta(days=KEPT_DAYS))
            return 0

        await poll(step, FORGET_EVERY_S)


def uuids_in(text: str) -> list[UUID]:
    """Every UUID in the text, each once."""
    return [UUID(found) for found in dict.fromkeys(UUIDS.findall(text))]
