"""Responses of notification."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated
from uuid import UUID

from fastapi import Query
from pydantic import BaseModel

from shop.notification.domain import Channel, State

MAX_RECIPIENT_CHARACTERS = 320
Recipient = Annotated[
    str | None, Query(max_length=MAX_RECIPIENT_CHARACTERS, description="Exactly this address or phone number")
]


class NotificationView(BaseModel):
    """A message to a customer; ``subject`` is empty until it is rendered, ``sent_at`` null until it is sent."""

    id: UUID
    channel: Channel
    template: str
    subject: str
    state: State
    created_at: datetime
    sent_at: datetime | None
    order_id: UUID | None


class NotificationDetail(NotificationView):
    """A message as administrators see it, with its content and error."""

    event_id: UUID
    user_id: UUID | None
    recipient: str | None
    attempts: int
    error: str | None
    trace_id: str
    body_text: str | None
    body_html: str | None


class MailView(BaseModel):
    """A mail in the mailbox."""

    id: UUID
    message_id: str
    sender: str
    recipients: list[str]
    subject: str
    received_at: datetime
