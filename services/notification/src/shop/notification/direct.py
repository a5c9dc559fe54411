"""Messages to the mailbox, which is in the service's own database: stored as sent by the statement that takes events.

A shop without a mail server saves a claim, a record of the result and two commits for each of them.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shop.notification.domain import Channel
from shop.notification.events_repository import Ready
from shop.notification.mailbox import MailboxProvider
from shop.notification.metrics import SENT
from shop.notification.providers import Outgoing
from shop.notification.render import Renderer
from shop.notification.sender import log_result

log = logging.getLogger(__name__)

MAX_AT_ONCE = 100
"""Of one statement; senders do the rest."""


class Direct:
    """``mailboxes`` are the channels whose messages the mailbox gets."""

    def __init__(self, renderer: Renderer, mailboxes: Mapping[Channel, MailboxProvider]) -> None:
        self._renderer = renderer
        self._mailboxes = mailboxes

    def ready(self, rows: Sequence[Mapping[str, Any]], now: datetime) -> list[Ready]:
        """Those of `repository.message_rows` that can be sent now, rendered; the others are for a sender."""
        found = (self._ready(row, now) for row in rows[:MAX_AT_ONCE])
        return [one for one in found if one is not None]

    def _ready(self, row: Mapping[str, Any], now: datetime) -> Ready | None:
        mailbox, data = self._mailboxes.get(row["channel"]), row["data"]
        if mailbox is None or not row["recipient"] or not (data.get("customer_name") or data.get("name")):
            return None
        try:
            content = self._renderer.render(row["template"], data, None)
            return Ready(row["id"], content, mailbox.stored(Outgoing(row["id"], row["recipient"], content, now)))
        except Exception as error:  # noqa: BLE001 - a sender tries it, too, and records what is wrong with it
            log.info(
                "a message is left to a sender: %s",
                type(error).__name__,
                extra={"event": "message_not_direct", "notification_id": str(row["id"])},
            )
            return None

    def stored(self, rows: Sequence[Mapping[str, Any]], sent: Collection[UUID]) -> None:
        """Log and count those of ``rows`` that were stored as sent."""
        for row in rows:
            if row["id"] in sent:
                SENT.labels(row["channel"], "sent").inc()
                log_result(
                    row["channel"],
                    "sent",
                    row["template"],
                    row["id"],
                    order_id=row["order_id"],
                    trace_id=row["trace_id"],
                )
