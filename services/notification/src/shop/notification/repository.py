"""The SQL of notifications and contacts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

from shop.kit.db import Connection, Database, Record
from shop.kit.deleted_users import DeletedUsers
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.notification.domain import (
    ARCADE_TEMPLATES,
    LAST_MAIL,
    ORDERED_TEMPLATES,
    Channel,
    Contact,
    Notice,
    State,
)

LEASE_S = 60.0
"""How long claimed messages belong to the sender that claimed them; then any sender may claim them."""

DELETED_USERS = DeletedUsers("deleted_users")

COLUMNS = "id, event_id, channel, user_id, order_id, recipient, template, data, trace_id"
ROW = """id uuid, event_id uuid, channel text, user_id uuid, order_id uuid, recipient text, template text, data jsonb,
    trace_id text"""
# "We received your order" is not sent once the order's outcome is known. To a deleted user go only messages about their
# orders, whose events have the address.
MAY_QUEUE = f"""(r.template <> 'order-pending' OR NOT EXISTS (
    SELECT FROM notifications n WHERE n.user_id = r.user_id AND n.order_id = r.order_id AND n.template <> r.template
)) AND (r.order_id IS NOT NULL AND r.recipient IS NOT NULL OR r.template = '{LAST_MAIL}'
    OR NOT {DELETED_USERS.holds("(r.data->>'user_id')::uuid")})"""
INSERT = f"""
INSERT INTO notifications ({COLUMNS}, next_attempt_at, created_at)
SELECT {COLUMNS}, $2, $2 FROM jsonb_to_recordset($1) AS r ({ROW}) WHERE {MAY_QUEUE}
ON CONFLICT (event_id, channel) DO NOTHING
"""  # noqa: S608 - constants

# Sorted by key, so that concurrent transactions lock in the same order; no write when nothing changed.
CONTACT_COLUMNS = "unnest(${}::uuid[], ${}::text[], ${}::text[], ${}::timestamptz[])"
UPSERT_CONTACTS_FROM = f"""
INSERT INTO contacts AS c (user_id, email, name, known_at)
SELECT * FROM {{contacts}} AS k (user_id, email, name, known_at)
WHERE NOT {DELETED_USERS.holds("k.user_id")}
ORDER BY user_id
ON CONFLICT (user_id) DO UPDATE SET email = excluded.email, name = excluded.name, known_at = excluded.known_at
WHERE c.known_at < excluded.known_at AND (c.email, c.name) <> (excluded.email, excluded.name)
"""  # noqa: S608 - constants
UPSERT_CONTACTS = UPSERT_CONTACTS_FROM.format(contacts=CONTACT_COLUMNS.format(1, 2, 3, 4))

QUEUED = """
SELECT channel, count(*) AS messages, count(*) FILTER (WHERE next_attempt_at <= $1) AS due
FROM notifications WHERE state = 'queued' GROUP BY channel"""
CLAIM = """
WITH due AS (
    SELECT id FROM notifications WHERE state = 'queued' AND channel = $1 AND next_attempt_at <= $2
    ORDER BY next_attempt_at, id LIMIT $3 FOR UPDATE SKIP LOCKED
), claimed AS (
    UPDATE notifications n SET attempts = attempts + 1, next_attempt_at = $4 FROM due WHERE n.id = due.id
    RETURNING n.id, n.user_id, n.recipient, n.template, n.data, n.attempts, n.created_at, n.order_id, n.trace_id
)
SELECT n.id, n.template, n.data, n.attempts, n.created_at, coalesce(n.recipient, c.email) AS recipient, c.name,
    n.order_id, n.trace_id, n.attempts > 1 AND n.template = ANY ($5) AND EXISTS (
        SELECT FROM notifications l WHERE l.user_id = n.user_id AND l.order_id = n.order_id AND l.id > n.id
            AND l.channel = $1 AND l.state = 'sent'
    ) AS superseded
FROM claimed n LEFT JOIN contacts c ON c.user_id = n.user_id ORDER BY n.id
"""

# "sent" is recorded whoever holds the lease by now; any other result only by the current holder. A message to a deleted
# user that is finished is deleted instead.
RECORD = f"""
WITH results AS (
    SELECT * FROM unnest($1::uuid[], $2::text[], $3::int[], $4::timestamptz[], $5::text[], $6::text[], $7::text[],
        $8::text[], $9::text[]) AS s (id, state, attempts, next_attempt_at, recipient, subject, body_text, body_html,
        error)
), deleted AS MATERIALIZED (
    SELECT n.id FROM notifications n JOIN results s USING (id)
    WHERE s.state <> 'queued' AND {DELETED_USERS.holds("(n.data->>'user_id')::uuid")}
), erased AS (
    DELETE FROM notifications n USING deleted, results s
    WHERE n.id = deleted.id AND n.id = s.id AND {{ours}}
)
UPDATE notifications n SET state = s.state, attempts = s.attempts, next_attempt_at = s.next_attempt_at,
    recipient = coalesce(s.recipient, n.recipient), subject = s.subject, body_text = s.body_text,
    body_html = s.body_html, error = s.error, sent_at = CASE WHEN s.state = 'sent' THEN $10::timestamptz END
FROM results s WHERE n.id = s.id AND {{ours}} AND NOT EXISTS (SELECT FROM deleted WHERE deleted.id = n.id)
""".format(  # noqa: S608 - constants
    ours="n.state = 'queued' AND (s.state = 'sent' OR n.next_attempt_at = $11::timestamptz)"
)

OWN = """
SELECT id, channel, template, subject, state, created_at, sent_at, order_id FROM notifications
WHERE user_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3
"""

DETAILS = """
SELECT id, channel, template, subject, state, created_at, sent_at, order_id, event_id, user_id, recipient, attempts,
    error, trace_id, body_text, body_html
FROM notifications
"""
OF_ORDER = f"{DETAILS} WHERE order_id = $1 AND ($2::uuid IS NULL OR id < $2) ORDER BY id DESC LIMIT $3"
ALL = f"""
{DETAILS}
WHERE ($1::uuid IS NULL OR id < $1) AND ($2::text IS NULL OR state = $2) AND ($3::text IS NULL OR recipient = $3)
ORDER BY id DESC LIMIT $4
"""


# What is queued is still sent: it is about orders that were placed before. So it gets the address, if there is one. Not
# so what was achieved in the arcade.
DELETE_USERS = """
WITH addressed AS (
    UPDATE notifications n SET recipient = c.email FROM contacts c
    WHERE n.user_id = ANY ($1::uuid[]) AND n.state = 'queued' AND n.recipient IS NULL AND c.user_id = n.user_id
), finished AS (
    DELETE FROM notifications n
    WHERE (n.user_id = ANY ($1::uuid[]) OR n.user_id IS NULL AND n.data->>'user_id' = ANY ($1::uuid[]::text[]))
        AND (n.state <> 'queued'
            OR n.template = ANY ($2)
            OR n.recipient IS NULL AND NOT EXISTS (SELECT FROM contacts c WHERE c.user_id = n.user_id))
), told AS (
    DELETE FROM food_orders WHERE user_id = ANY ($1::uuid[])
)
DELETE FROM contacts WHERE user_id = ANY ($1::uuid[]) RETURNING user_id, email
"""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A message that this sender holds until its lease ends; ``attempts`` includes the current one.

    ``superseded``: it had to wait, and meanwhile a later one about the same delivery was sent.
    """

    id: UUID
    template: str
    data: dict[str, Any]
    attempts: int
    created_at: datetime
    recipient: str | None
    name: str | None
    order_id: UUID | None
    trace_id: str
    superseded: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The result of an attempt to send a message."""

    id: UUID
    state: State
    attempts: int
    next_attempt_at: datetime
    recipient: str | None = None
    subject: str = ""
    body_text: str | None = None
    body_html: str | None = None
    error: str | None = None


Wanted = tuple[Received, Notice]


def message_rows(wanted: Sequence[Wanted]) -> list[dict[str, Any]]:
    """New messages as rows, at most one per event and channel; ``source`` is the event.

    Their ids, and so the order of sending, are in the order of ``wanted``.
    """
    ids = sorted(new_id() for _ in wanted)
    return [
        {
            "id": message_id,
            "source": received.event_id,
            "event_id": uuid5(received.event_id, notice.template) if notice.second else received.event_id,
            "trace_id": received.trace_id,
            "channel": notice.channel,
            "template": notice.template,
            "user_id": notice.user_id,
            "order_id": notice.order_id,
            "recipient": notice.recipient,
            "data": received.event.model_dump(mode="json") | dict(notice.extra),
        }
        for message_id, (received, notice) in zip(ids, wanted, strict=True)
    ]


async def insert(connection: Connection, wanted: Sequence[Wanted], now: datetime) -> None:
    """Queue messages in the transaction that takes their events."""
    await connection.execute(INSERT, message_rows(wanted), now)


def contact_columns(contacts: Sequence[Contact]) -> list[list[Any]]:
    """The columns of CONTACT_COLUMNS; for each user only the latest of ``contacts``."""
    latest = {contact.user_id: contact for contact in sorted(contacts, key=lambda contact: contact.known_at)}
    return [
        list(latest),
        [contact.email for contact in latest.values()],
        [contact.name for contact in latest.values()],
        [contact.known_at for contact in latest.values()],
    ]


async def save_contacts(connection: Connection, contacts: Sequence[Contact]) -> None:
    """Save how users are reached."""
    await connection.execute(UPSERT_CONTACTS, *contact_columns(contacts))


async def delete_users(connection: Connection, user_ids: Sequence[UUID]) -> dict[UUID, str]:
    """Delete contacts and past messages of users in DELETED_USERS; return the addresses that were known.

    Messages about orders that are queued are deleted once they are sent or have failed.
    """
    rows = await connection.fetch(DELETE_USERS, list(user_ids), list(ARCADE_TEMPLATES.values()))
    return {row["user_id"]: row["email"] for row in rows}


class NotificationRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(self, channel: Channel, now: datetime, limit: int) -> tuple[datetime, list[Claimed]]:
        """Up to ``limit`` due messages in the order of creation, and the end of the lease on them."""
        lease = now + timedelta(seconds=LEASE_S)
        rows = await self._database.quick.fetch(CLAIM, channel, now, limit, lease, list(ORDERED_TEMPLATES))
        return lease, [Claimed(**dict(row.items())) for row in rows]

    async def queued(self, now: datetime) -> dict[str, tuple[int, int]]:
        """By channel: how many messages wait, and how many of them are due."""
        return {row["channel"]: (row["messages"], row["due"]) for row in await self._database.quick.fetch(QUEUED, now)}

    async def record(self, results: Sequence[Result], lease: datetime, now: datetime) -> None:
        """Record the results of messages claimed under ``lease``; nothing stays of one that a deleted user got."""
        columns = (
            [getattr(item, name) for item in results]
            for name in (
                "id",
                "state",
                "attempts",
                "next_attempt_at",
                "recipient",
                "subject",
                "body_text",
                "body_html",
                "error",
            )
        )
        await self._database.execute(RECORD, *columns, now, lease)

    async def list_own(self, user_id: UUID, before: UUID | None, limit: int) -> list[Record]:
        return await self._database.fetch(OWN, user_id, before, limit)

    async def list_all(
        self, before: UUID | None, state: State | None, recipient: str | None, limit: int
    ) -> list[Record]:
        return await self._database.fetch(ALL, before, state, recipient, limit)

    async def list_of_order(self, order_id: UUID, before: UUID | None, limit: int) -> list[Record]:
        return await self._database.fetch(OF_ORDER, order_id, before, limit)
