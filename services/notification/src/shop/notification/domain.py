"""Which event causes which messages. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal
from uuid import UUID

from shop.contracts.events import (
    AchievementUnlocked,
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderEvent,
    OrderFulfilled,
    OrderPending,
    OrderRejected,
    PaymentRefunded,
    PlayerEvent,
    PlayerLevelReached,
    UserRegistered,
)

Channel = Literal["email", "sms"]
State = Literal["queued", "sent", "failed"]

MAX_ATTEMPTS = 12
"""Attempts per message, counted only while the provider can be reached; then the message has failed."""
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
ARCADE_TEMPLATES: Mapping[type[PlayerEvent], str] = {
    AchievementUnlocked: "achievement",
    PlayerLevelReached: "level-reached",
}
"""Mails to players who want them."""
OWNER_ALERT = "alert-order-rejected"
LAST_MAIL = "account-deleted"
DELIVERY_TEMPLATES = ("food-courier", "food-on-the-way", "food-delivered")
"""Mails about the delivery of food."""
TEXTS = {name: f"sms-{name}" for name in ("order-confirmed", "order-rejected", "order-cancelled", *DELIVERY_TEMPLATES)}
"""The text messages beside mails about food, to customers who gave a phone number."""
ORDERED_TEMPLATES = (*DELIVERY_TEMPLATES, *(TEXTS[name] for name in DELIVERY_TEMPLATES))
"""A message of these is not sent after a later one about the same order."""
TEMPLATES = (
    *MAIL_TEMPLATES.values(),
    *ARCADE_TEMPLATES.values(),
    *DELIVERY_TEMPLATES,
    *TEXTS.values(),
    OWNER_ALERT,
    LAST_MAIL,
)


@dataclass(frozen=True, slots=True)
class Notice:
    """A message to send. Without a ``recipient`` it is sent to the known address of ``user_id``.

    ``extra`` is added to what the template knows of the event. ``second``: the event has another message on the same
    channel.
    """

    channel: Channel
    template: str
    user_id: UUID | None
    order_id: UUID | None
    recipient: str | None
    extra: Mapping[str, Any] = field(default_factory=dict)
    second: bool = False


@dataclass(frozen=True, slots=True)
class Contact:
    """The address of a user as of ``known_at``."""

    user_id: UUID
    email: str
    name: str
    known_at: datetime


def notices(event: Event, owner_phone: str, *, texts: bool = False) -> Sequence[Notice]:
    """The messages that ``event`` causes.

    A rejection causes a mail only if it is ``late``, after the customer was notified that the order is pending;
    otherwise the response to the order had it already. The owner gets an SMS about late rejections, if there is a
    number. With ``texts`` the customer of food gets an SMS as well, at the number in the event. How its delivery goes
    is said by the delivery's own events (`food`).
    """
    if isinstance(event, PlayerEvent):
        return _to_player(event)
    if isinstance(event, OrderRejected) and not event.late:
        return ()
    if isinstance(event, OrderFulfilled | OrderDelivered) and event.kind == "food":
        return ()
    user_id, order_id, address = (getattr(event, name, None) for name in ("user_id", "order_id", "email"))
    mail = Notice("email", MAIL_TEMPLATES[type(event)], user_id, order_id, address)
    found = [mail]
    if isinstance(event, OrderRejected) and owner_phone:
        found.append(Notice("sms", OWNER_ALERT, None, event.order_id, owner_phone))
    if texts and isinstance(event, OrderEvent) and event.kind == "food" and event.phone and mail.template in TEXTS:
        second = len(found) > 1
        found.append(Notice("sms", TEXTS[mail.template], user_id, order_id, event.phone, second=second))
    return found


def _to_player(event: PlayerEvent) -> Sequence[Notice]:
    """The mail about what a player achieved, if one is wanted.

    The event's own ``name`` is the achievement's or the player's in the arcade, and not how a customer is addressed.
    """
    recipient = getattr(event, "mail_to", None)
    if recipient is None:
        return ()
    extra = {"user_id": str(event.player_id), "name": "", "title": getattr(event, "name", "")}
    return (Notice("email", ARCADE_TEMPLATES[type(event)], event.player_id, None, recipient, extra),)


def last_mail(recipient: str) -> Notice:
    """The mail to the owner of a deleted account. It belongs to no user any more."""
    return Notice("email", LAST_MAIL, None, None, recipient)


def is_about_food(event: Event) -> bool:
    """Whether the event says how the customer of an order of food is reached, or that it is over."""
    known = isinstance(event, OrderConfirmed | OrderCancelled | OrderRejected)
    return known and isinstance(event, OrderEvent) and event.kind == "food"


def contact(event: Event) -> Contact | None:
    """The contact that the event contains, if any."""
    match event:
        case OrderEvent():
            return Contact(event.user_id, event.email, event.customer_name, event.occurred_at)
        case UserRegistered():
            return Contact(event.user_id, event.email, event.name, event.occurred_at)
        case _:
            return None


def next_attempt(attempts: int, now: datetime) -> datetime | None:
    """When to retry a message after ``attempts`` attempts; None after the last one."""
    if attempts >= MAX_ATTEMPTS:
        return None
    return now + timedelta(seconds=min(RETRY_MAX_S, RETRY_FIRST_S * 2.0 ** (attempts - 1)))


def reference(order_id: str) -> str:
    """The order number in messages: the last eight digits of the id."""
    return order_id[-8:].upper()
