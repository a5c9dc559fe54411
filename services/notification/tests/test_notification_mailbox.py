"""The mailbox: stores each mail once, also when the sender is killed, and shows it safely."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from html.parser import HTMLParser
from typing import Any

import pytest

from shop.devkit.testing import Tokens, wait_until
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.events import Received
from shop.kit.formatting import formats
from shop.kit.ids import new_id
from shop.notification import repository
from shop.notification.domain import TEMPLATES, notices
from shop.notification.mail import Mail, compose
from shop.notification.mailbox import MAX_MAIL_BYTES, MailboxProvider, bodies
from shop.notification.mailbox_repository import MailboxRepository, StoredMail
from shop.notification.providers import Down, Outgoing, Refused
from shop.notification.render import Rendered, Renderer
from shop.notification.repository import NotificationRepository
from shop.notification.sender import BATCH_MESSAGES, Sender
from shop.notification.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
EVIL_HTML = '<p>Hi</p><script>parent.document.title="owned"</script>" onload="x" </iframe><b>out</b>'
SHOP = {"title": "Shop", "url": "https://shop.example"}
SENDER = "shop@shop.example"
KILLED_SENDER = "killed-sender"
LOCK = 7_007
"""Advisory lock with which a test stops a sender inside one of its writes."""

WAITING = "SELECT pid FROM pg_stat_activity WHERE application_name = $1 AND wait_event = 'advisory'"

PROCESS = f"""
import asyncio, sys
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.formatting import formats
from shop.notification.domain import TEMPLATES
from shop.notification.mailbox import MailboxProvider
from shop.notification.mailbox_repository import MailboxRepository
from shop.notification.render import Renderer
from shop.notification.repository import NotificationRepository
from shop.notification.sender import Sender

async def main():
    database = await Database.connect(sys.argv[1], pool_size=2, application={KILLED_SENDER!r})
    provider = MailboxProvider(MailboxRepository(database), {SENDER!r}, "Shop", Clock())
    renderer = Renderer(TEMPLATES, {SHOP!r}, formats("DE"))
    await Sender(provider, renderer, NotificationRepository(database), Clock()).run()

asyncio.run(main())
"""


@pytest.fixture
async def mailbox(start_service: Any) -> AsyncIterator[Any]:
    """The service with its mailbox on."""
    async with start_service(mailbox_port=2525) as service:
        yield service


@pytest.fixture
async def provider(database: Database) -> AsyncIterator[MailboxProvider]:
    provider = MailboxProvider(MailboxRepository(database), SENDER, "Shop", Clock())
    yield provider
    await provider.close()


@pytest.fixture
def sender(provider: MailboxProvider, database: Database) -> Sender:
    return Sender(provider, Renderer(TEMPLATES, SHOP, formats("DE")), NotificationRepository(database), Clock())


def outgoing(text: str = "Hello\n", recipient: str = "ada@example.com") -> Outgoing:
    return Outgoing(new_id(), recipient, Rendered("Hi", text, None), NOW)


def stored(subject: str = "Hi", html: str | None = None) -> StoredMail:
    mail = Mail(new_id(), SENDER, "ada@example.com", subject, "Hello\n", html, NOW)
    return StoredMail(mail.id, mail.message_id, SENDER, mail.recipient, subject, compose(mail, "Shop"), NOW)


async def enqueue(database: Database, more_samples: Any, number: int) -> None:
    """Queue the mails of confirmed orders of different customers."""
    wanted = []
    for _ in range(number):
        event = more_samples().confirmed()
        received = Received(new_id(), event.TYPE, NOW, "", "", event)
        wanted += [(received, notice) for notice in notices(event, "")]
    async with database.transaction() as connection:
        await repository.insert(connection, wanted, Clock().now())


async def count(database: Database, table: str = "mailbox", condition: str = "true") -> int:
    return int(await database.fetchval(f"SELECT count(*) FROM {table} WHERE {condition}"))


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
    await mailbox.wait_until_taken(await mailbox.publish(samples.confirmed()))
    await mailbox.wait_until_sent()
    answer = await mailbox.client.get("/api/v1/notifications/mailbox", headers=tokens.headers("admin"))
    (item,) = answer.json()["items"]
    assert item["recipients"] == [samples.email]
    assert item["message_id"].endswith("@shop.local>")
    page = await mailbox.client.get("/mailbox")
    assert item["subject"] in page.text
    links = [attributes["href"] for attributes in Tags(page.text).all("a")]
    assert f"mailbox/{item['id']}" in links
    shown = await mailbox.client.get(f"/mailbox/{item['id']}")
    assert shown.status_code == 200
    (frame,) = Tags(shown.text).all("iframe")
    assert "Moby-Dick" in str(frame["srcdoc"])
    assert "27,35\N{NO-BREAK SPACE}€" in str(frame["srcdoc"])


async def test_a_mail_sent_twice_is_stored_once(provider: MailboxProvider, database: Database) -> None:
    message = outgoing()
    for _ in range(2):
        await provider.send(message)
    await asyncio.gather(*(provider.send(message) for _ in range(5)), provider.send(outgoing()))
    assert await count(database) == 2


async def test_mails_of_one_batch_share_statements(sender: Sender, database: Database, more_samples: Any) -> None:
    await enqueue(database, more_samples, BATCH_MESSAGES)
    await database.execute("CREATE TABLE statements (number integer)")
    await database.execute(
        "CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS "
        "$$ BEGIN INSERT INTO statements VALUES (1); RETURN NULL; END $$"
    )
    await database.execute("CREATE TRIGGER note AFTER INSERT ON mailbox FOR EACH STATEMENT EXECUTE FUNCTION note()")
    assert await sender.send_batch() == BATCH_MESSAGES
    assert await count(database) == await count(database, "notifications", "state = 'sent'") == BATCH_MESSAGES
    assert await count(database, "statements") <= 2


@contextlib.contextmanager
def sender_process(database_url: str) -> Iterator[subprocess.Popen[bytes]]:
    with subprocess.Popen([sys.executable, "-c", PROCESS, database_url]) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("table", "event", "mails_stored"),
    [("mailbox", "BEFORE INSERT", 0), ("notifications", "BEFORE UPDATE OF sent_at", BATCH_MESSAGES)],
    ids=["while-storing", "while-recording"],
)
async def test_a_killed_sender_loses_no_mail_and_stores_none_twice(
    database_url: str, database: Database, sender: Sender, more_samples: Any, table: str, event: str, mails_stored: int
) -> None:
    await enqueue(database, more_samples, BATCH_MESSAGES + 20)
    await database.execute(
        "CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS "
        f"$$ BEGIN PERFORM pg_advisory_xact_lock_shared({LOCK}); RETURN NEW; END $$"
    )
    await database.execute(f"CREATE TRIGGER wait {event} ON {table} FOR EACH ROW EXECUTE FUNCTION wait()")
    async with database.transaction() as holder:
        await holder.execute(f"SELECT pg_advisory_xact_lock({LOCK})")
        with sender_process(database_url) as process:
            pid = await wait_until(lambda: database.fetchval(WAITING, KILLED_SENDER), 60, "the sender's write")
            process.kill()
            process.wait()
        # Its statement would otherwise be committed although nobody waits for it any more.
        await database.execute("SELECT pg_terminate_backend($1)", pid)
        await wait_until(lambda: _ended(database, pid), what="the end of the sender's session")
    assert await count(database) == mails_stored
    assert await count(database, "notifications", "state = 'sent'") == 0
    await database.execute("UPDATE notifications SET next_attempt_at = now() - interval '1 second'")
    while await sender.send_batch():
        pass
    assert await count(database, "notifications", "state = 'sent'") == BATCH_MESSAGES + 20
    assert await count(database) == BATCH_MESSAGES + 20
    unmatched = "message_id NOT IN (SELECT '<' || id || '@shop.example>' FROM notifications)"
    assert await count(database, condition=unmatched) == 0


async def _ended(database: Database, pid: int) -> bool:
    return bool(await database.fetchval("SELECT count(*) = 0 FROM pg_stat_activity WHERE pid = $1", pid))


async def test_html_of_a_mail_is_sandboxed(mailbox: Any) -> None:
    mail = stored("<script>alert(1)</script>", EVIL_HTML)
    await MailboxRepository(mailbox.database).add([mail])
    listed = await mailbox.client.get("/mailbox")
    assert not Tags(listed.text).all("script")
    shown = await mailbox.client.get(f"/mailbox/{mail.id}")
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
    await MailboxRepository(mailbox.database).add([stored(f"Mail {number}") for number in range(60)])
    first = await mailbox.client.get("/mailbox")
    assert first.text.count("<li>") == 50
    (older,) = [a["href"] for a in Tags(first.text).all("a") if "cursor" in str(a["href"])]
    second = await mailbox.client.get(f"/{older}")
    assert second.text.count("<li>") == 10
    for recipient, found in (("nobody@x", 0), ("ada@example.com", 20)):
        filtered = await mailbox.client.get(
            "/api/v1/notifications/mailbox", params={"recipient": recipient}, headers=tokens.headers("admin")
        )
        assert len(filtered.json()["items"]) == found


async def test_the_mailbox_keeps_the_latest_mails(database: Database) -> None:
    mails, box = [stored(f"Mail {number}") for number in range(8)], MailboxRepository(database)
    await box.add(mails)
    await box.trim(5)
    assert [row["id"] for row in await box.page(None, None, 10)] == [mail.id for mail in reversed(mails[3:])]


async def test_an_empty_mailbox_and_an_unknown_mail(mailbox: Any) -> None:
    assert "No emails yet" in (await mailbox.client.get("/mailbox")).text
    missing = await mailbox.client.get("/mailbox/018f0000-0000-7000-8000-000000000000")
    assert (missing.status_code, missing.json()["code"]) == (404, "unknown_mail")
    assert (await mailbox.client.get("/mailbox/nonsense")).status_code == 422


async def test_a_mail_too_large_is_refused_and_the_next_one_stored(
    provider: MailboxProvider, database: Database
) -> None:
    line = "x" * 70 + "\n"
    with pytest.raises(Refused, match="bytes"):
        await provider.send(outgoing(line * (MAX_MAIL_BYTES // len(line) + 100)))
    await provider.send(outgoing(line * 10_000))
    assert await count(database) == 1


@pytest.mark.parametrize("recipient", ["", "ada", "a@b.example\r\nBcc: all@example.com", "ädä@example.com"])
async def test_an_invalid_address_is_refused(provider: MailboxProvider, database: Database, recipient: str) -> None:
    with pytest.raises(Refused):
        await provider.send(outgoing(recipient=recipient))
    assert await count(database) == 0


async def test_a_mail_is_not_sent_before_it_is_stored(sender: Sender, database: Database, more_samples: Any) -> None:
    await enqueue(database, more_samples, 3)
    await database.execute("ALTER TABLE mailbox RENAME TO renamed")
    assert await sender.send_batch() == 3
    assert await count(database, "notifications", "state = 'queued' AND attempts = 1") == 3
    await database.execute("ALTER TABLE renamed RENAME TO mailbox")
    await database.execute("UPDATE notifications SET next_attempt_at = now() - interval '1 second'")
    assert await sender.send_batch() == 3
    assert await count(database) == await count(database, "notifications", "state = 'sent'") == 3


async def test_without_a_database_the_mailbox_is_down(database_url: str) -> None:
    unreachable = await Database.connect(database_url, pool_size=2, application="test")
    await unreachable.close()
    box = MailboxProvider(MailboxRepository(unreachable), SENDER, "Shop", Clock())
    with pytest.raises(Down, match="mailbox"):
        await box.send(outgoing())


@pytest.mark.parametrize(
    ("variables", "mailbox_is_used"),
    [
        ({"SHOP_MAILBOX_PORT": "2525", "SHOP_SMTP_URL": "smtp://127.0.0.1:2525"}, True),
        ({"SHOP_MAILBOX_PORT": "23456", "SHOP_SMTP_URL": "smtp://127.0.0.1:23456"}, True),
        ({"SHOP_MAILBOX_PORT": "2525"}, True),
        ({"SHOP_MAILBOX_PORT": "2525", "SHOP_SMTP_URL": ""}, True),
        ({"SHOP_MAILBOX_PORT": "2525", "SHOP_SMTP_URL": "smtp://127.0.0.1:1025"}, False),
        ({"SHOP_MAILBOX_PORT": "2525", "SHOP_SMTP_URL": "smtps://user:secret@mail.example:2525"}, False),
        ({"SHOP_MAILBOX_PORT": "0", "SHOP_SMTP_URL": "smtp://mail.example"}, False),
        ({"SHOP_MAILBOX_PORT": "0", "SHOP_SMTP_URL": ""}, False),
        ({}, False),
    ],
)
def test_the_variables_of_the_previous_version_choose_mailbox_or_server(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], mailbox_is_used: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().sends_to_mailbox == mailbox_is_used


async def test_the_mailbox_opens_no_port(start_service: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        async with start_service(mailbox_port=port, smtp_url=f"smtp://127.0.0.1:{port}") as service:
            assert (await service.client.get("/mailbox")).status_code == 200


async def test_mail_goes_to_a_real_server_although_the_mailbox_is_on(
    start_service: Any, smtp: Any, samples: Any
) -> None:
    async with start_service(mailbox_port=2525, smtp_url=smtp.url) as service:
        await service.wait_until_taken(await service.publish(samples.registered()))
        await service.wait_until_sent()
        assert (len(smtp.raw), await count(service.database)) == (1, 0)


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
def test_broken_mails_of_an_earlier_version_can_be_shown(raw: bytes) -> None:
    text, html = bodies(raw)
    assert isinstance(text + html, str)
