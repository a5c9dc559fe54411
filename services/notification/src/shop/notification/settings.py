"""Settings of notification: the mail server or the mailbox, and text messages."""

from __future__ import annotations

from typing import ClassVar
from urllib.parse import urlsplit

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


class Settings(ServiceSettings):
    """``smtp_url`` is ``smtp://[user:password@]host[:port]``, or ``smtps://`` for TLS from the first byte.
    Each of ``smtp_connections`` is kept open and sends one mail after the other; the mailbox needs none of them.

    A ``mailbox_port`` above 0 turns the mailbox on. No port is opened: the mailbox was an SMTP server on it once, which
    is why ``smtp_url`` names that port where mail goes to the mailbox (ADR 0030).

    Text messages go to ``sms_webhook_url``, signed with ``sms_webhook_secret``; without it the mailbox keeps them where
    mail goes to it, too, and otherwise there are none. The shop's owner is alerted at ``sms_recipient``. With ``food``
    customers get messages about deliveries, with ``arcade`` players who want it mails about what they achieve.

    ``message_retention_days`` after its creation a message that was sent, or that could not be sent, is removed.
    """

    service: ClassVar[str] = "notification"

    store: StoreSettings = StoreSettings()
    public_url: str = "http://localhost:8080"
    smtp_url: str = Field(default="smtp://127.0.0.1:2525", repr=False)
    smtp_connections: int = Field(default=4, ge=1, le=32)
    mail_from: str = "shop@shop.local"
    mailbox_port: int = Field(default=0, ge=0, le=65_535)
    sms_webhook_url: str = ""
    sms_webhook_secret: str = Field(default="", repr=False)
    sms_recipient: str = ""
    food: bool = False
    arcade: bool = False
    message_retention_days: float = Field(default=180.0, ge=10)

    @property
    def sends_to_mailbox(self) -> bool:
        """Whether mail goes to the mailbox: it is on, and ``smtp_url`` is empty or names the mailbox's port."""
        server = urlsplit(self.smtp_url)
        own = not self.smtp_url or (server.hostname in LOOPBACK and server.port == self.mailbox_port)
        return self.mailbox_port > 0 and own

    @property
    def sends_texts(self) -> bool:
        """Whether there is somewhere to send text messages."""
        return bool(self.sms_webhook_url) or self.sends_to_mailbox
