"""Settings of notification: the mail server, the local mailbox, and who gets a text message."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from shop.contracts.store import StoreSettings
from shop.kit.settings import ServiceSettings


class Settings(ServiceSettings):
    """``smtp_url`` is ``smtp://[user:password@]host[:port]``, or ``smtps://`` for TLS from the first byte.
    Each of ``smtp_connections`` is kept open and sends one mail after the other.

    A ``mailbox_port`` above 0 starts a mail server that keeps what it gets for the mailbox page and forwards nothing.
    Text messages go to ``sms_webhook_url``, signed with ``sms_webhook_secret``; the shop's owner is alerted at
    ``sms_recipient``. Without either of URL and recipient there are none.
    """

    service: ClassVar[str] = "notification"

    store: StoreSettings = StoreSettings()
    public_url: str = "http://localhost:8080"
    smtp_url: str = Field(default="smtp://127.0.0.1:2525", repr=False)
    smtp_connections: int = Field(default=4, ge=1, le=32)
    mail_from: str = "shop@shop.local"
    mailbox_port: int = Field(default=0, ge=0, le=65_535)
    mailbox_host: str = "127.0.0.1"
    sms_webhook_url: str = ""
    sms_webhook_secret: str = Field(default="", repr=False)
    sms_recipient: str = ""
