"""Sending to a real mail server that is down, defers, refuses or disconnects."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shop.devkit.testing import Logged, wait_until
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.events import Received
from shop.kit.formatting import formats
from shop.kit.ids import new_id
from shop.kit.retention import Retention
from shop.notification import repository, retention_repository
from shop.notification.domain import MAX_ATTEMPTS, TEMPLATES, notices
from shop.notification.providers import Down, SmtpProvider
from shop.notification.render import Renderer
from shop.notification.repository import LEASE_S, NotificationRepository
from shop.notification.sender import BATCH_MESSAGES, Sender

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)
SHOP = {"title": "Shop", "url": "https://shop.example"}

Enqueue = Callable[..., Any]


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(NOW)


@pytest.fixture
async def provider(smtp: Any) -> AsyncIterator[SmtpProvider]:
    provider = SmtpProvider(smtp.url, "shop@shop.example", "Shop")
    yield provider
    await provider.close()


@pytest.fixture
def sender(provider: SmtpProvider, database: Database, clock: FixedClock) -> Sender:
    return Sender(provider, Renderer(TEMPLATES, SHOP, formats("DE")), NotificationRepository(database), clock)


@pytest.fixture
def enqueue(database: Database, clock: FixedClock, more_samples: Any) -> Enqueue:
    """Queue the mails of confirmed orders of different customers, and return their addresses."""

    async def enqueue(number: int = 1) -> list[str]:
        customers = [more_samples() for _ in range(number)]
        wanted = []
        for customer in customers:
            event = customer.confirmed()
            received = Received(new_id(), event.TYPE, NOW, "", "", event)
            wanted += [(received, notice) for notice in notices(event, "")]
        async with database.transaction() as connection:
            await repository.insert(connection, wanted, clock.now())
        return [customer.email for customer in customers]

    return enqueue


async def states(database: Database) -> Counter[str]:
    return Counter(row["state"] for row in await database.fetch("SELECT state FROM notifications"))


async def only(database: Database) -> Any:
    (row,) = await database.fetch("SELECT * FROM notifications")
    return row


async def test_messages_are_removed_half_a_year_after_they_were_sent(
    sender: Sender, provider: SmtpProvider, enqueue: Enqueue, database: Database
) -> None:
    await enqueue(2)
    await provider.open()
    await sender.send_batch()
    await enqueue()
    rules = retention_repository.rules(timedelta(days=180))
    for days, left in ((179, {"sent": 2, "queued": 1}), (181, {"queued": 1})):
        await Retention(database, FixedClock(datetime.now(UTC) + timedelta(days=days)), rules).remove_once()
        assert await states(database) == left


async def test_a_batch_is_sent_and_recorded(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, database: Database
) -> None:
    addresses = await enqueue(3)
    await provider.open()
    assert await sender.send_batch() == 3
    assert [str(mail["To"]) for mail in smtp.mails] == addresses
    rows = await database.fetch("SELECT * FROM notifications ORDER BY id")
    assert [row["recipient"] for row in rows] == addresses
    assert {(row["state"], row["sent_at"], row["attempts"]) for row in rows} == {("sent", NOW, 1)}
    assert [str(mail["Message-ID"]) for mail in smtp.mails] == [f"<{row['id']}@shop.example>" for row in rows]
    assert await sender.send_batch() == 0
    assert smtp.connections == 1


async def test_what_is_queued_while_the_server_is_down_is_sent_once_it_is_back(
    sender: Sender, smtp: Any, enqueue: Enqueue, database: Database
) -> None:
    await smtp.stop()
    addresses = await enqueue(5)
    running = asyncio.create_task(sender.run())
    try:
        await asyncio.wait([running], timeout=0.6)
        assert not running.done()
        assert await database.fetchval("SELECT max(attempts) FROM notifications") == 0
        await smtp.start()

        async def all_sent() -> bool:
            return await states(database) == {"sent": 5}

        await wait_until(all_sent, 20)
    finally:
        running.cancel()
        await asyncio.wait([running])
    assert [str(mail["To"]) for mail in smtp.mails] == addresses


async def test_a_disconnect_in_a_batch_uses_up_no_attempts_of_the_rest(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, database: Database
) -> None:
    await enqueue(4)
    smtp.disconnect_after = 2
    await provider.open()
    with pytest.raises(Down):
        await sender.send_batch()
    rows = await database.fetch("SELECT state, attempts FROM notifications ORDER BY id")
    assert [row["state"] for row in rows[2:]] == ["queued", "queued"]
    assert [row["attempts"] for row in rows[2:]] == [0, 0]
    await provider.open()
    await sender.send_batch()
    assert await states(database) == {"sent": 4}
    assert len({str(mail["Message-ID"]) for mail in smtp.mails}) == 4


async def test_a_mail_accepted_but_not_recorded_is_sent_again_with_the_same_id(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, clock: FixedClock, database: Database
) -> None:
    await enqueue()
    _, claimed = await NotificationRepository(database).claim("email", clock.now(), 1)
    await provider.open()
    assert await sender.send_batch() == 0, "the lease protects it"
    clock.advance(LEASE_S + 1)
    await sender.send_batch()
    row = await only(database)
    assert (row["state"], row["attempts"]) == ("sent", 2)
    assert str(smtp.mails[0]["Message-ID"]) == f"<{claimed[0].id}@shop.example>"


async def test_a_deferred_mail_is_retried(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, clock: FixedClock, database: Database
) -> None:
    await enqueue()
    smtp.data_answers = ["451 4.7.1 greylisted, come back"]
    await provider.open()
    await sender.send_batch()
    row = await only(database)
    assert (row["state"], row["attempts"]) == ("queued", 1)
    assert "greylisted" in row["error"]
    assert row["next_attempt_at"] > NOW
    assert await sender.send_batch() == 0
    clock.advance(60)
    await sender.send_batch()
    row = await only(database)
    assert (row["state"], row["error"]) == ("sent", None)


async def test_a_mail_that_is_always_deferred_fails_in_the_end(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, clock: FixedClock, database: Database
) -> None:
    await enqueue()
    smtp.data_answers = ["451 4.3.0 not today"] * (MAX_ATTEMPTS + 5)
    await provider.open()
    for _ in range(MAX_ATTEMPTS + 2):
        await sender.send_batch()
        clock.advance(3_600)
    row = await only(database)
    assert (row["state"], row["attempts"], row["sent_at"]) == ("failed", MAX_ATTEMPTS, None)
    assert "not today" in row["error"]


async def test_a_refused_recipient_fails_at_once_and_affects_no_other(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, database: Database, logged: Logged
) -> None:
    addresses = await enqueue(3)
    smtp.refuse_recipients[addresses[1]] = "550 5.1.1 no such user"
    await provider.open()
    await sender.send_batch()
    rows = await database.fetch("SELECT id, order_id, state, error FROM notifications ORDER BY id")
    assert [row["state"] for row in rows] == ["sent", "failed", "sent"]
    lines = [
        (line["notification_id"], line["order_id"], line["event"])
        for line in logged()
        if line["event"].startswith("message_")
    ]
    assert lines == [(str(row["id"]), str(row["order_id"]), f"message_{row['state']}") for row in rows]
    assert "no such user" in rows[1]["error"]


@pytest.mark.parametrize("address", ["not an address", "a@b.example\r\nBcc: all@example.com", "ädä@example.com"])
async def test_an_invalid_address_fails_and_affects_no_other(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, database: Database, address: str
) -> None:
    await enqueue(2)
    sql = "UPDATE notifications SET recipient = $1 WHERE id = (SELECT min(id::text)::uuid FROM notifications)"
    await database.execute(sql, address)
    await provider.open()
    await sender.send_batch()
    assert await states(database) == {"sent": 1, "failed": 1}
    assert len(smtp.raw) == 1
    assert smtp.mails[0]["Bcc"] is None


async def test_an_event_without_the_templates_fields_fails_and_affects_no_other(
    sender: Sender, provider: SmtpProvider, enqueue: Enqueue, database: Database
) -> None:
    await enqueue(2)
    await database.execute("UPDATE notifications SET data = data - 'lines' WHERE recipient = $1", (await enqueue())[0])
    await provider.open()
    await sender.send_batch()
    assert await states(database) == {"sent": 2, "failed": 1}


async def test_two_senders_share_the_work(smtp: Any, enqueue: Enqueue, clock: FixedClock, database: Database) -> None:
    await enqueue(BATCH_MESSAGES * 2)
    providers = [SmtpProvider(smtp.url, "shop@shop.example", "Shop") for _ in range(2)]
    senders = [
        Sender(provider, Renderer(TEMPLATES, SHOP, formats("DE")), NotificationRepository(database), clock)
        for provider in providers
    ]
    await asyncio.gather(*(provider.open() for provider in providers))
    counts = await asyncio.gather(*(sender.send_batch() for sender in senders for _ in range(1)))
    assert sum(counts) == BATCH_MESSAGES * 2
    assert await states(database) == {"sent": BATCH_MESSAGES * 2}
    assert Counter(str(mail["To"]) for mail in smtp.mails).most_common(1)[0][1] == 1
    for provider in providers:
        await provider.close()


async def test_a_cancelled_sender_records_what_it_sent(
    sender: Sender, provider: SmtpProvider, smtp: Any, enqueue: Enqueue, database: Database
) -> None:
    await enqueue(BATCH_MESSAGES)
    running = asyncio.create_task(sender.run())
    # The server has a mail before the sender has the answer: of four at least three are answered.
    await wait_until(lambda: len(smtp.raw) >= 4)
    running.cancel()
    await asyncio.wait([running])
    found = await states(database)
    assert found["sent"] >= 3
    unrecorded = len(smtp.raw) - found["sent"]
    assert unrecorded in {0, 1}, "at most the mail that was being sent"
    assert await database.fetchval("SELECT max(attempts) FROM notifications WHERE state = 'queued'") in {0, None}


async def test_a_result_after_the_lease_does_not_overwrite_the_next_sender(
    enqueue: Enqueue, clock: FixedClock, database: Database
) -> None:
    await enqueue()
    store = NotificationRepository(database)
    old_lease, (message,) = await store.claim("email", clock.now(), 1)
    clock.advance(LEASE_S + 1)
    await store.claim("email", clock.now(), 1)
    late = repository.Result(message.id, "failed", 1, clock.now(), error="late")
    await store.record([late], old_lease, clock.now())
    assert (await only(database))["state"] == "queued"
    await store.record([repository.Result(message.id, "sent", 1, clock.now())], old_lease, clock.now())
    row = await only(database)
    assert (row["state"], row["sent_at"]) == ("sent", NOW + timedelta(seconds=LEASE_S + 1))


@pytest.mark.parametrize("url", ["http://mail.example", "smtp://", "mail.example:25", ""])
def test_an_invalid_url_is_an_error_at_start(url: str) -> None:
    with pytest.raises(ValueError, match="SHOP_SMTP_URL"):
        SmtpProvider(url, "shop@shop.example", "Shop")
