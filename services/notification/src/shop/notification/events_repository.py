"""The statement by which events become messages: each is queued, or stored as sent together with its mail."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

from shop.kit.db import Database
from shop.kit.events import Received
from shop.kit.inbox import CLAIMED
from shop.notification.domain import Contact, is_about_food
from shop.notification.mailbox_repository import StoredMail
from shop.notification.render import Rendered
from shop.notification.repository import (
    COLUMNS,
    CONTACT_COLUMNS,
    DELETED_USERS,
    MAY_QUEUE,
    ROW,
    UPSERT_CONTACTS_FROM,
    contact_columns,
)

# A message to a deleted user is queued: nothing stays of it once a sender has sent it. Where an order of food is known,
# the statement fails, because more is to be done then.
TAKE = f"""
WITH {CLAIMED}, known AS (
    {UPSERT_CONTACTS_FROM.format(contacts=CONTACT_COLUMNS.format(3, 4, 5, 6))}
), food AS (
    INSERT INTO food_orders (order_id, user_id, email, phone, confirmed, used_at)
    SELECT f.order_id, f.user_id, f.email, f.phone, true, $8
    FROM unnest($19::uuid[], $20::uuid[], $21::uuid[], $22::text[], $23::text[]) AS f (source, order_id, user_id, email,
        phone)
    JOIN claimed ON claimed.event_id = f.source WHERE NOT {DELETED_USERS.holds("f.user_id")} ORDER BY f.order_id
), content AS (
    SELECT * FROM unnest($9::uuid[], $10::text[], $11::text[], $12::text[], $13::uuid[], $14::text[], $15::text[],
        $16::text[], $17::text[], $18::bytea[]) AS c (id, subject, body_text, body_html, mail_id, message_id, sender,
        recipient, mail_subject, raw)
), input AS (
    SELECT r.*, c.subject, c.body_text, c.body_html,
        c.id IS NOT NULL AND NOT {DELETED_USERS.holds("(r.data->>'user_id')::uuid")}
            AND NOT EXISTS (SELECT FROM notifications q WHERE q.order_id = r.order_id AND q.state = 'queued') AS sent
    FROM jsonb_to_recordset($7) AS r ({ROW}, source uuid)
    JOIN claimed ON claimed.event_id = r.source LEFT JOIN content c ON c.id = r.id
), messages AS (
    INSERT INTO notifications ({COLUMNS}, next_attempt_at, created_at, state, attempts, sent_at, subject, body_text,
        body_html)
    SELECT r.id, r.event_id, r.channel, r.user_id, r.order_id, r.recipient, r.template, r.data, r.trace_id, $8, $8,
        CASE WHEN sent THEN 'sent' ELSE 'queued' END, sent::int, CASE WHEN sent THEN $8::timestamptz END,
        CASE WHEN sent THEN r.subject ELSE '' END, CASE WHEN sent THEN r.body_text END,
        CASE WHEN sent THEN r.body_html END
    FROM input r WHERE {MAY_QUEUE}
    ON CONFLICT (event_id, channel) DO NOTHING
    RETURNING id, state
), mails AS (
    INSERT INTO mailbox (id, message_id, sender, recipients, subject, raw, received_at)
    SELECT c.mail_id, c.message_id, c.sender, ARRAY[c.recipient], c.mail_subject, c.raw, $8
    FROM messages JOIN content c USING (id) WHERE messages.state = 'sent'
    ON CONFLICT (message_id) DO NOTHING
)
SELECT event_id, NULL::uuid AS message_id, NULL AS state FROM claimed
UNION ALL SELECT NULL, id, state FROM messages
"""  # noqa: S608 - constants


@dataclass(frozen=True, slots=True)
class Ready:
    """A rendered message and the mail that the mailbox gets of it."""

    id: UUID
    content: Rendered
    mail: StoredMail


@dataclass(frozen=True, slots=True)
class Taken:
    """The ids of the events that were new, and of their messages."""

    event_ids: Collection[UUID]
    sent: Collection[UUID]
    queued: Collection[UUID]


async def take(
    database: Database,
    consumer: str,
    events: Sequence[Received],
    contacts: Sequence[Contact],
    rows: Sequence[dict[str, Any]],
    ready: Sequence[Ready],
    now: datetime,
) -> Taken | None:
    """Mark ``events`` as processed by ``consumer``; save the contacts and the messages of those that are new.

    ``rows`` are `repository.message_rows` with the event's id as ``source``. The ``ready`` ones are sent. Events about
    food are confirmations of orders that are not known; None, with nothing done, if one is.
    """
    food = [event for event in events if is_about_food(event.event)]
    try:
        found = await database.fetch(
            TAKE,
            consumer,
            [event.event_id for event in events],
            *contact_columns(contacts),
            rows,
            now,
            [one.id for one in ready],
            [one.content.subject for one in ready],
            [one.content.text for one in ready],
            [one.content.html for one in ready],
            [one.mail.id for one in ready],
            [one.mail.message_id for one in ready],
            [one.mail.sender for one in ready],
            [one.mail.recipient for one in ready],
            [one.mail.subject for one in ready],
            [one.mail.raw for one in ready],
            [one.event_id for one in food],
            [one.event.order_id for one in food],
            [one.event.user_id for one in food],
            [one.event.email for one in food],
            [one.event.phone for one in food],
        )
    except asyncpg.UniqueViolationError:
        return None
    messages = [row for row in found if row["message_id"] is not None]
    return Taken(
        {row["event_id"] for row in found if row["event_id"] is not None},
        {row["message_id"] for row in messages if row["state"] == "sent"},
        {row["message_id"] for row in messages if row["state"] == "queued"},
    )
