"""A message as the bytes of an Internet mail (RFC 5322, MIME).

The standard library's composer would take several times as long as rendering the message. Non-ASCII headers are
encoded by the standard library, and the tests parse the result with it.
"""

from __future__ import annotations

import binascii
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from email.header import Header
from email.utils import format_datetime
from uuid import UUID

MAX_ADDRESS_CHARACTERS = 320
ADDRESS = re.compile(r"[\x21-\x7e]+@[A-Za-z0-9.\-]+|[\x21-\x7e]+@\[[0-9A-Fa-f:.]+\]")
UNSAFE = frozenset('<>()[],;:\\"')
PLAIN = re.compile(r"[\x20-\x7e]*")


class BadAddress(ValueError):
    """The address cannot be used in a mail."""


@dataclass(frozen=True, slots=True)
class Mail:
    id: UUID
    sender: str
    recipient: str
    subject: str
    text: str
    html: str | None
    made_at: datetime

    @property
    def message_id(self) -> str:
        """The same in every attempt, so that mail servers can recognise a duplicate."""
        return f"<{self.id}@{self.sender.rpartition('@')[2]}>"


def check_address(address: str) -> str:
    """``address`` if it is safe in headers and SMTP commands; BadAddress otherwise."""
    local = address.rpartition("@")[0]
    if len(address) > MAX_ADDRESS_CHARACTERS or not ADDRESS.fullmatch(address) or UNSAFE.intersection(local):
        raise BadAddress(f"not an address that mail can be sent to: {address[:80]!r}")
    return address


def compose(mail: Mail, sender_name: str, *, check: Callable[[str], str] = check_address) -> bytes:
    """The mail as bytes with CRLF line endings, 7-bit clean; BadAddress for an invalid recipient.

    ``check`` returns a recipient that is safe in a header.
    """
    boundary = f"=_{mail.id.hex}"
    head = (
        f"From: {_phrase(sender_name)} <{check_address(mail.sender)}>\r\n"
        f"To: {check(mail.recipient)}\r\n"
        f"Subject: {_unstructured(mail.subject)}\r\n"
        f"Date: {format_datetime(mail.made_at)}\r\n"
        f"Message-ID: {mail.message_id}\r\n"
        "Auto-Submitted: auto-generated\r\n"
        "MIME-Version: 1.0\r\n"
    )
    if mail.html is None:
        return head.encode() + _part(mail.text, "plain")
    kind = f'Content-Type: multipart/alternative; boundary="{boundary}"\r\n'
    middle = f"\r\n--{boundary}\r\n".encode()
    parts = middle + _part(mail.text, "plain") + middle + _part(mail.html, "html")
    return (head + kind).encode() + parts + f"\r\n--{boundary}--\r\n".encode()


def _part(content: str, subtype: str) -> bytes:
    head = f"Content-Type: text/{subtype}; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    # b2a_qp breaks long lines as the first line ends, so there must be one that ends with CRLF.
    lines = "\r\n".join([*content.removesuffix("\n").replace("\r\n", "\n").replace("\r", "\n").split("\n"), ""])
    return head.encode() + binascii.b2a_qp(lines.encode(), istext=True)


def _unstructured(value: str) -> str:
    if PLAIN.fullmatch(value) and "=?" not in value:
        return value
    return Header(" ".join(value.split()), "utf-8").encode(linesep="\r\n")


def _phrase(value: str) -> str:
    if PLAIN.fullmatch(value) and "=?" not in value:
        escaped = value.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{escaped}"'
    return _unstructured(value)
