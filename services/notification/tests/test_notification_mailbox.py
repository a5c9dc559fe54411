"""The local mailbox: keeps mail once, shows it safely, and never gets in the service's way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from typing import Any

import aiosmtplib
import pytest

from shop.devkit import embedded
from shop.devkit.testing import Tokens, wait_until
from shop.notification.mail_server import MAX_CONNECTIONS, MAX_MAIL_BYTES
from shop.notification.mailbox import MailStore, bodies, received

EVIL_HTML = '<p>Hi</p><script>parent.document.title="owned"</script>" onload="x" </iframe><b>out</b>'


@pytest.fixture
def port() -> int:
    return embedded.free_port()


@pytest.fixture
async def mailbox(start_station: Any, port: int) -> AsyncIterator[Any]:
    """The service with its mailbox on, sending to itself."""
    async with start_station(smtp_url=f"smtp://127.0.0.1:{port}", mailbox_port=port) as station:
        yield station


async def kept(station: Any) -> int:
    return int(await station.database.fetchval("SELECT count(*) FROM mailbox"))


async def post(port: int, raw: bytes, recipient: str = "ada@example.com") -> None:
    await aiosmtplib.send(raw, sender="bob@example.com", recipients=[recipient], hostname="127.0.0.1", port=port)


def mail(subject: str = "Hi", message_id: str = "<1@x>", body: str = "Hello", kind: str = "plain") -> bytes:
    head = f"Subject: {subject}\r\nMessage-ID: {message_id}\r\nContent-Type: text/{kind}; charset=utf-8\r\n\r\n"
    return f"{head}{body}\r\n".encode()


class Tags(HTMLParser):
    """The tags of a page with their attributes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.found if name == tag]


async def test_the_shops_own_mail_arrives_and_can_be_read(mailbox: Any, samples: Any, tokens: Tokens) -> None:
    await mailbox.taken(await mailbox.tell(samples.confirmed()))
    await mailbox.settled()
    answer = await mailbox.client.get("/api/v1/notifications/mailbox", headers=tokens.headers("admin"))
    (item,) = answer.json()["items"]
    assert item["recipients"] == [samples.email]
    page = await mailbox.client.get("/mailbox")
    assert item["subject"] in page.text
    links = [attributes["href"] for attributes in Tags(page.text).all("a")]
    assert f"mailbox/{item['id']}" in links
    shown = await mailbox.client.get(f"/mailbox/{item['id']}")
    assert shown.status_code == 200
    (frame,) = Tags(shown.text).all("iframe")
    assert "Moby-Dick" in str(frame["srcdoc"])
    assert "27,35\N{NO-BREAK SPACE}€" in str(frame["srcdoc"])


async def test_a_mail_sent_twice_is_kept_once(mailbox: Any, port: int) -> None:
    for _ in range(2):
        await post(port, mail(message_id="<same@x>"))
    await asyncio.gather(*(post(port, mail(message_id="<same@x>")) for _ in range(5)))
    await post(port, mail(message_id="<other@x>"))
    assert await kept(mailbox) == 2


async def test_a_mail_without_id_is_known_by_its_content(mailbox: Any, port: int) -> None:
    for text in (b"Subject: a\r\n\r\none\r\n", b"Subject: a\r\n\r\none\r\n", b"Subject: a\r\n\r\ntwo\r\n", b"\r\n"):
        await post(port, text)
    assert await kept(mailbox) == 3


async def test_what_a_mail_says_cannot_escape_onto_the_page(mailbox: Any, port: int) -> None:
    await post(port, mail("<script>alert(1)</script>", "<evil@x>", EVIL_HTML, "html"))
    listed = await mailbox.client.get("/mailbox")
    assert not Tags(listed.text).all("script")
    mail_id = await mailbox.database.fetchval("SELECT id FROM mailbox")
    shown = await mailbox.client.get(f"/mailbox/{mail_id}")
    tags = Tags(shown.text)
    assert not tags.all("script")
    assert not tags.all("b")
    (frame,) = tags.all("iframe")
    assert "allow-scripts" not in str(frame["sandbox"])
    assert "allow-same-origin" not in str(frame["sandbox"])
    assert EVIL_HTML in str(frame["srcdoc"])
    assert "onload" not in frame
    policy = shown.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "script-src" not in policy


async def test_pages_of_the_mailbox(mailbox: Any, tokens: Tokens) -> None:
    store = MailStore(mailbox.database)
    from shop.kit.clock import Clock

    now = Clock().now()
    mails = [received(mail(f"Mail {number}", f"<{number}@x>"), "a@x", ["b@x"], now) for number in range(60)]
    await store.add(mails)
    first = await mailbox.client.get("/mailbox")
    assert first.text.count("<li>") == 50
    (older,) = [a["href"] for a in Tags(first.text).all("a") if "cursor" in str(a["href"])]
    second = await mailbox.client.get(f"/{older}")
    assert second.text.count("<li>") == 10
    filtered = await mailbox.client.get(
        "/api/v1/notifications/mailbox", params={"recipient": "nobody@x"}, headers=tokens.headers("admin")
    )
    assert filtered.json() == {"items": [], "next_cursor": None}


async def test_an_empty_mailbox_and_an_unknown_mail(mailbox: Any) -> None:
    assert "No emails yet" in (await mailbox.client.get("/mailbox")).text
    missing = await mailbox.client.get("/mailbox/018f0000-0000-7000-8000-000000000000")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_mail")
    assert (await mailbox.client.get("/mailbox/nonsense")).status_code == 422


async def test_a_mail_too_large_is_refused_and_the_next_one_taken(mailbox: Any, port: int) -> None:
    line = "x" * 70 + "\r\n"
    with pytest.raises(aiosmtplib.SMTPException):
        await post(port, mail(body=line * (MAX_MAIL_BYTES // len(line) + 100)))
    await post(port, mail(body=line * 10_000, message_id="<big@x>"))
    assert await kept(mailbox) == 1


async def test_idle_and_stalled_clients_do_not_stop_the_service(mailbox: Any, port: int, samples: Any) -> None:
    writers = []
    for beginning in (b"", b"EHLO x\r\nMAIL FROM:<a@x>\r\nRCPT TO:<b@x>\r\nDATA\r\nhalf a mail"):
        _, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(beginning)
        await writer.drain()
        writers.append(writer)
    assert (await mailbox.client.get("/health/ready")).status_code == 200
    await mailbox.taken(await mailbox.tell(samples.confirmed()))
    await mailbox.settled()
    assert await kept(mailbox) == 1
    for writer in writers:
        writer.close()


async def test_connections_beyond_the_limit_are_closed(mailbox: Any, port: int) -> None:
    opened = [await asyncio.open_connection("127.0.0.1", port) for _ in range(MAX_CONNECTIONS + 5)]
    greetings = [await asyncio.wait_for(reader.readline(), 10) for reader, _ in opened]
    refused = sum(greeting.startswith(b"421") for greeting in greetings)
    assert 5 <= refused <= 9, "up to four connections are the senders' own"
    for _, writer in opened:
        writer.close()

    async def takes_mail() -> bool:
        try:
            await post(port, mail())
        except (aiosmtplib.SMTPException, OSError):
            return False
        return True

    await wait_until(takes_mail)


async def test_a_mail_is_not_accepted_before_it_is_kept(mailbox: Any, port: int) -> None:
    await mailbox.database.execute("ALTER TABLE mailbox RENAME TO away")
    with pytest.raises(aiosmtplib.SMTPResponseException) as refused:
        await post(port, mail())
    assert 400 <= refused.value.code <= 599
    await mailbox.database.execute("ALTER TABLE away RENAME TO mailbox")
    await post(port, mail())
    assert await kept(mailbox) == 1


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\x00\xff\xfe",
        b"Subject: =?nonsense?q?x?=\r\nContent-Type: text/plain; charset=nonsense\r\n\r\nx",
        b"Content-Type: multipart/mixed; boundary=a\r\n\r\n--a\r\n--a\r\n--a--",
        b"Content-Type: text/html\r\nContent-Transfer-Encoding: base64\r\n\r\n!!!!",
        b"Subject:\r\nMessage-ID: \r\nFrom: @@@\r\nTo: <<<<\r\n\r\nx",
        b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nx",
    ],
)
def test_broken_mails_can_be_kept_and_shown(raw: bytes) -> None:
    from datetime import UTC, datetime

    kept_mail = received(raw, "a@x", ["b@x"], datetime(2026, 5, 1, tzinfo=UTC))
    assert kept_mail.message_id.startswith("<")
    assert "\x00" not in kept_mail.subject
    text, html = bodies(raw)
    assert isinstance(text + html, str)
