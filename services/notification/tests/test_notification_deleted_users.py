"""Nothing stays of a deleted user, in whatever order the events arrive and whatever is under way."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

import pytest

from services.notification.tests.conftest import NOW
from shop.contracts.events import Event
from shop.devkit.testing import wait_until
from shop.kit import events
from shop.kit.clock import FixedClock
from shop.kit.db import STATEMENTS, Connection, Database
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.notification.consumers import MessageQueue
from shop.notification.domain import notices
from shop.notification.repository import DELETED_USERS, NotificationRepository, Result, insert

OWNER = {"sms_webhook_url": "http://127.0.0.1:9/", "sms_recipient": "+49 30 1234"}
TABLES = "SELECT table_name AS name FROM information_schema.tables WHERE table_schema = current_schema()"


async def rows_about(database: Database, samples: Any) -> list[str]:
    """Every row, of any table, with the user's id or address in it."""
    found = []
    for table in await database.fetch(TABLES):
        rows = await database.fetch(f'SELECT t::text AS row FROM "{table["name"]}" t')
        found += [row["row"] for row in rows if str(samples.user_id) in row["row"] or samples.email in row["row"]]
    return found


def received(event: Event) -> Received:
    return Received(new_id(), event.TYPE, NOW, "", "", event)


@pytest.fixture
def queue() -> MessageQueue:
    return MessageQueue("", FixedClock(NOW))


KINDS = ("registered", "confirmed", "refunded", "deleted")


@pytest.mark.parametrize("order", list(itertools.permutations(KINDS)), ids=" ".join)
async def test_nothing_stays_whatever_the_order_of_events(
    service: Any, smtp: Any, samples: Any, order: tuple[str, ...]
) -> None:
    for kind in order:
        await service.wait_until_taken(await service.publish(getattr(samples, kind)()))
    await service.wait_until_sent()
    assert await rows_about(service.database, samples) == []
    assert any("is confirmed" in subject for subject in smtp.subjects())
    welcomed = order.index("registered") < order.index("deleted")
    assert any("Welcome" in one for one in smtp.subjects()) == welcomed


async def test_orders_of_deleted_users_are_still_reported_to_them(service: Any, smtp: Any, samples: Any) -> None:
    await service.wait_until_taken(await service.publish(samples.registered(), samples.confirmed()))
    await service.wait_until_taken(await service.publish(samples.deleted()))
    await service.wait_until_taken(await service.publish(samples.fulfilled(), samples.delivered()))
    await service.wait_until_sent()
    assert len(smtp.mails) == 5
    assert {str(mail["To"]) for mail in smtp.mails} == {samples.email}
    assert await rows_about(service.database, samples) == []


async def test_what_the_owner_was_sent_about_a_user_is_deleted_too(
    start_service: Any, smtp: Any, samples: Any, more_samples: Any
) -> None:
    other = more_samples()
    async with start_service(smtp_url=smtp.url, **OWNER) as service:
        await service.wait_until_taken(await service.publish(samples.rejected(), other.rejected()))
        await service.database.execute("UPDATE notifications SET state = 'failed' WHERE channel = 'sms'")
        await service.wait_until_taken(await service.publish(samples.deleted()))
        await service.wait_until_sent()
        assert await rows_about(service.database, samples) == []
        assert await service.count(f"channel = 'sms' AND order_id = '{other.order_id}'") == 1


async def test_an_event_that_could_not_be_consumed_is_erased_with_its_user(service: Any, samples: Any) -> None:
    poison = events.row(samples.confirmed(customer_name="\x00"))
    await service.publish_rows([poison])

    async def dead_lettered() -> bool:
        return bool(await service.database.fetchval("SELECT count(*) FROM dead_letter WHERE dead_at IS NOT NULL"))

    await wait_until(dead_lettered, 60)
    assert await rows_about(service.database, samples)
    await service.wait_until_taken(await service.publish(samples.deleted()))
    await service.wait_until_sent()
    assert await rows_about(service.database, samples) == []


async def test_a_refund_without_an_address_is_dropped_with_its_user(service: Any, smtp: Any, samples: Any) -> None:
    await service.wait_until_taken(await service.publish(samples.refunded()))
    await service.wait_until_taken(await service.publish(samples.deleted()))
    await service.wait_until_sent()
    assert smtp.mails == []
    assert await rows_about(service.database, samples) == []


async def test_a_queued_refund_keeps_the_address_that_was_known(start_service: Any, smtp: Any, samples: Any) -> None:
    await smtp.stop()
    async with start_service(smtp_url=smtp.url) as service:
        await service.wait_until_taken(await service.publish(samples.registered(), samples.refunded()))
        await service.wait_until_taken(await service.publish(samples.deleted()))
        await smtp.start()
        await service.wait_until_sent()
        assert await rows_about(service.database, samples) == []
    assert [str(mail["To"]) for mail in smtp.mails] == [samples.email] * 3


async def run_while_open(
    database: Database, first: Callable[[Connection], Awaitable[Any]], second: Callable[[], Awaitable[Any]]
) -> None:
    """`second` begins while the transaction of `first` is open, which is committed once `second` waits for it."""
    async with database.transaction() as connection:
        await first(connection)
        task = asyncio.ensure_future(second())

        async def waits_or_is_done() -> bool:
            waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'deleted_users'::regclass"
            return task.done() or bool(await database.fetchval(waiting))

        await wait_until(waits_or_is_done)
    await task


async def test_a_deletion_waits_for_events_that_are_being_stored(
    database: Database, queue: MessageQueue, samples: Any
) -> None:
    confirmed, deleted = [received(samples.confirmed())], [received(samples.deleted())]

    async def delete() -> None:
        async with database.transaction() as connection:
            await queue.deletions.handle(connection, deleted)

    await run_while_open(database, lambda connection: queue.handle(connection, confirmed), delete)
    assert await database.fetchval("SELECT count(*) FROM contacts") == 0


@pytest.mark.parametrize("at_once", [False, True])
async def test_events_wait_for_a_deletion_that_is_under_way(
    database: Database, queue: MessageQueue, samples: Any, at_once: bool
) -> None:
    confirmed, deleted = [received(samples.confirmed())], [received(samples.deleted())]

    async def store() -> None:
        if at_once:
            await queue.take("messages", database, confirmed)
            return
        async with database.transaction() as connection:
            await queue.handle(connection, confirmed)

    await run_while_open(database, lambda connection: queue.deletions.handle(connection, deleted), store)
    assert await database.fetchval("SELECT count(*) FROM contacts") == 0


async def test_a_message_that_is_sent_during_a_deletion_does_not_stay(
    database: Database, queue: MessageQueue, samples: Any
) -> None:
    one, deleted = received(samples.confirmed()), [received(samples.deleted())]
    async with database.transaction() as connection:
        await insert(connection, [(one, notice) for notice in notices(one.event, "")], NOW)
    repository = NotificationRepository(database)
    lease, [claimed] = await repository.claim("email", NOW, 1)
    sent = [Result(claimed.id, "sent", 1, NOW, claimed.recipient, "Subject")]
    await run_while_open(
        database,
        lambda connection: queue.deletions.handle(connection, deleted),
        lambda: repository.record(sent, lease, NOW),
    )
    assert await rows_about(database, samples) == []


async def test_deleted_users_are_remembered_for_as_long_as_events_may_come(database: Database, samples: Any) -> None:
    queue = MessageQueue("", FixedClock(NOW))
    async with database.transaction() as connection:
        await queue.deletions.handle(connection, [received(samples.deleted())])
    await DELETED_USERS.forget(database, NOW)
    assert await database.fetchval("SELECT count(*) FROM deleted_users") == 1
    await DELETED_USERS.forget(database, NOW + timedelta(seconds=1))
    assert await database.fetchval("SELECT count(*) FROM deleted_users") == 0


async def test_deletions_cost_others_no_statement(database: Database, queue: MessageQueue, more_samples: Any) -> None:
    """A batch of events: its contacts and its messages. The results of a batch of messages: one."""
    repository = NotificationRepository(database)
    async with database.transaction() as connection:
        before = STATEMENTS._value.get()
        await queue.handle(connection, [received(more_samples().confirmed()) for _ in range(5)])
        assert STATEMENTS._value.get() - before == 2
    lease, claimed = await repository.claim("email", NOW, 5)
    before = STATEMENTS._value.get()
    await repository.record([Result(one.id, "sent", 1, NOW, one.recipient, "Subject") for one in claimed], lease, NOW)
    assert STATEMENTS._value.get() - before == 1
    assert await database.fetchval("SELECT count(*) FROM notifications WHERE state = 'sent'") == 5
