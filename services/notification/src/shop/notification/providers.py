"""Providers: email over SMTP, and text messages through a webhook. The mailbox is in `mailbox.py`."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import time
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol
from urllib.parse import unquote, urlsplit
from uuid import UUID

import aiosmtplib
import httpx
import orjson

from shop.kit.text import ascii_address
from shop.notification.domain import Channel
from shop.notification.mail import Mail, check_address, compose
from shop.notification.render import Rendered

SMTP_TIMEOUT_S = 10.0
SMTP_CLOSE_TIMEOUT_S = 2.0
SMTP_PORTS = {"smtp": 25, "smtps": 465}
SERVER_CLOSING = 421
MAX_RESPONSE_CHARACTERS = 500
WEBHOOK_TIMEOUT_S = 5.0
SIGNATURE_HEADER = "Shop-Signature"
PERMANENT_FROM = 500
RETRYABLE_STATUSES = frozenset({408, 425, 429})


class Refused(Exception):
    """The message will never be accepted."""


class Deferred(Exception):
    """The message was not accepted now, and may be later."""


class Down(Exception):
    """The provider cannot be reached; the message is not at fault, and other messages would fail as well."""


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A rendered message; its ``id`` is the same in every attempt."""

    id: UUID
    recipient: str
    content: Rendered
    made_at: datetime


class Provider(Protocol):
    """Sends the messages of one channel, up to ``parallel`` of them at the same time."""

    @property
    def channel(self) -> Channel: ...

    @property
    def parallel(self) -> int: ...

    async def open(self) -> None:
        """Connect; raises Down while that is impossible."""

    async def send(self, message: Outgoing) -> None:
        """Return when the message was accepted; raises Refused, Deferred or Down."""

    async def close(self) -> None: ...


def mail_of(message: Outgoing, sender: str) -> Mail:
    """The message as a mail; Refused for a recipient that mail cannot be sent to."""
    try:
        recipient = check_address(ascii_address(message.recipient))
    except ValueError as error:
        raise Refused(str(error)) from error
    content = message.content
    return Mail(message.id, sender, recipient, content.subject, content.text, content.html, message.made_at)


class SmtpProvider:
    """One connection to a mail server, which is reopened when the server has closed it."""

    channel: Channel = "email"
    parallel = 1

    def __init__(self, url: str, sender: str, sender_name: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in SMTP_PORTS or not parts.hostname:
            raise ValueError("SHOP_SMTP_URL must be smtp://[user:password@]host[:port] or smtps://...")
        self._sender = check_address(ascii_address(sender))
        self._sender_name = sender_name
        self._client = aiosmtplib.SMTP(
            hostname=parts.hostname,
            port=parts.port or SMTP_PORTS[parts.scheme],
            username=unquote(parts.username) if parts.username else None,
            password=unquote(parts.password) if parts.password else None,
            use_tls=parts.scheme == "smtps",
            local_hostname=self._sender.rpartition("@")[2],
            timeout=SMTP_TIMEOUT_S,
        )

    async def open(self) -> None:
        if self._client.is_connected:
            return
        try:
            await self._client.connect()
        except (aiosmtplib.SMTPException, OSError) as error:
            self._client.close()
            raise Down(f"mail server: {type(error).__name__}: {error}") from error

    async def send(self, message: Outgoing) -> None:
        mail = mail_of(message, self._sender)
        try:
            await self._client.sendmail(self._sender, [mail.recipient], compose(mail, self._sender_name))
        except aiosmtplib.SMTPRecipientsRefused as error:
            raise _failure(error.recipients[0]) from error
        except aiosmtplib.SMTPResponseException as error:
            if error.code == SERVER_CLOSING:
                self._client.close()
            raise _failure(error) from error
        except (aiosmtplib.SMTPException, OSError) as error:
            self._client.close()
            raise Down(f"mail server: {type(error).__name__}: {error}") from error

    async def close(self) -> None:
        if self._client.is_connected:
            try:
                await self._client.quit(timeout=SMTP_CLOSE_TIMEOUT_S)
            except (aiosmtplib.SMTPException, OSError):
                self._client.close()


def _failure(error: aiosmtplib.SMTPResponseException) -> Exception:
    """What the server's response means for the message. A refused sender is a wrong setting, not a wrong message."""
    response = f"{error.code} {error.message}"[:MAX_RESPONSE_CHARACTERS]
    if error.code == SERVER_CLOSING:
        return Down(response)
    if error.code >= PERMANENT_FROM and not isinstance(error, aiosmtplib.SMTPSenderRefused):
        return Refused(response)
    return Deferred(response)


def signature(secret: str, timestamp: int, body: bytes) -> str:
    """``t=SECONDS,v1=HEX``: HMAC-SHA256 over ``SECONDS.BODY``, which prevents replays of old requests."""
    digest = hmac.new(secret.encode(), f"{timestamp}.".encode() + body, hashlib.sha256).hexdigest()
    return f"t={timestamp},v1={digest}"


class WebhookProvider:
    """Posts ``{"id", "to", "text"}`` to a URL that sends text messages. ``id`` is the same in every attempt."""

    channel: Channel = "sms"
    parallel = 1

    def __init__(self, url: str, secret: str) -> None:
        self._url = url
        self._secret = secret
        self._client = httpx.AsyncClient(trust_env=False)

    async def open(self) -> None:
        """Nothing to do: each message is one request."""

    async def send(self, message: Outgoing) -> None:
        body = orjson.dumps({"id": str(message.id), "to": message.recipient, "text": message.content.text.strip()})
        headers = {
            "Content-Type": "application/json",
            "Idempotency-Key": str(message.id),
            SIGNATURE_HEADER: signature(self._secret, int(time.time()), body),
        }
        try:
            async with asyncio.timeout(WEBHOOK_TIMEOUT_S):
                answer = await self._client.post(self._url, content=body, headers=headers)
        except (httpx.HTTPError, TimeoutError, OSError) as error:
            raise Down(f"sms webhook: {type(error).__name__}") from error
        if answer.is_success:
            return
        if answer.is_client_error and answer.status_code not in RETRYABLE_STATUSES:
            raise Refused(f"sms webhook answered {answer.status_code}")
        raise Deferred(f"sms webhook answered {answer.status_code}")

    async def close(self) -> None:
        await self._client.aclose()
