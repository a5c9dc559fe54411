"""Which event is worth which message. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal
from uuid import UUID

from shop.contracts.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderFulfilled,
    OrderPending,
    OrderRejected,
    PaymentRefunded,
    UserRegistered,
)

Channel = Literal["email", "sms"]
State = Literal["queued", "sent", "failed"]

MAX_ATTEMPTS = 12
"""Tries per message, counted only while the provider can be reached; then it has failed."""
RETRY_FIRST_S = 2.0
RETRY_MAX_S = 600.0

MAIL_TEMPLATES: Mapping[type[Event], str] = {
    OrderPending: "order-pending",
    OrderConfirmed: "order-confirmed",
    OrderRejected: "order-rejected",
    OrderCancelled: "order-cancelled",
    OrderFulfilled: "order-fulfilled",
    OrderDelivered: "order-delivered",
    PaymentRefunded: "payment-refunded",
    UserRegistered: "welcome",
}
OWNER_ALERT = "alert-order-rejected"
TEMPLATES = (*MAIL_TEMPLATES.values(), OWNER_ALERT)


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to be written. Without a ``recipient`` it goes to where ``user_id`` is known to read mail."""

    channel: Channel
    template: str
    user_id: UUID | None
    order_id: UUID | None
    recipient: str | None


@dataclass(frozen=True, slots=True)
class Contact:
    """How a user could be reached at ``known_at``."""

    user_id: UUID
    email: str
    name: str
    known_at: datetime


def notices(event: Event, owner_phone: str) -> Sequence[Notice]:
    """The messages that ``event`` calls for.

    A rejection is told only when the customer was left with a promise (``late``); otherwise the shop's answer to the
    order said it already. The owner hears by SMS about broken promises, if there is a phone to send it to.
    """
    if isinstance(event, OrderRejected) and not event.late:
        return ()
    mail = Notice("email", MAIL_TEMPLATES[type(event)], _user(event), _order(event), _address(event))
    if isinstance(event, OrderRejected) and owner_phone:
        return mail, Notice("sms", OWNER_ALERT, None, event.order_id, owner_phone)
    return (mail,)


def contact(event: Event) -> Contact | None:
    """What the event says about how its user is reached."""
    match event:
        case OrderEvent():
            return Contact(event.user_id, event.email, event.customer_name, event.occurred_at)
        case UserRegistered():
            return Contact(event.user_id, event.email, event.name, event.occurred_at)
        case _:
            return None


def _user(event: Event) -> UUID | None:
    return getattr(event, "user_id", None)


def _order(event: Event) -> UUID | None:
    return getattr(event, "order_id", None)


def _address(event: Event) -> str | None:
    return getattr(event, "email", None)


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """When to try a message again that failed ``attempts`` times; None when that was the last time."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return now + timedelta(seconds=min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (attempts - 1)))


def reference(order_id: str) -> str:
    """The short name of an order in messages: its last eight digits."""
    return order_id[-8:].upper()
