"""Messages that are sent by the statement that takes their events, and how senders learn of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from services.notification.tests.conftest import NOW, Samples
from shop.contracts.events import DeliveryChanged, DeliveryState, Event
from shop.contracts.money import Money
from shop.devkit.testing import wait_until
from shop.kit.clock import Clock, FixedClock
from shop.kit.db import STATEMENTS, Database
from shop.kit.events import Received
from shop.kit.formatting import formats
from shop.kit.ids import new_id
from shop.notification import domain, events_repository, food_repository, repository, sender, service
from shop.notification.consumers import MessageQueue
from shop.notification.direct import Direct
from shop.notification.domain import TEMPLATES, notices
from shop.notification.mailbox import MailboxProvider
from shop.notification.mailbox_repository import MailboxRepository
from shop.notification.providers import SmtpProvider
from shop.notification.render import Renderer
from shop.notification.repository import NotificationRepository
from shop.notification.sender import BATCH_MESSAGES, Sender

PHONE = "+4915112345678"
WAITS_FOR_A_LOCK = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
SHOP = {"title": "Shop", "url": "https://shop.example"}
COUNTS = """
SELECT (SELECT count(*) FROM inbox WHERE consumer = 'messages') AS taken, (SELECT count(*) FROM mailbox) AS mails,
    (SELECT count(*) FROM notifications WHERE state = 'sent') AS sent,
    (SELECT count(*) FROM notifications WHERE state = 'queued') AS queued"""


def received(event: Event) -> Received:
    return Received(new_id(), event.TYPE, NOW, "", "", event)


def renderer() -> Renderer:
    return Renderer(TEMPLATES, SHOP, formats("DE"))


def food(samples: Any) -> Received:
    """A confirmed order of food."""
    more = {"kind": "food", "phone": PHONE, "restaurant_id": new_id(), "restaurant_name": "Da Carlo", "eta": NOW}
    return received(samples.confirmed().model_copy(update=more | {"tip": Money(amount=150, currency="EUR")}))


def assigned(samples: Any, state: str = "assigned", version: int = 2) -> DeliveryChanged:
    return DeliveryChanged(
        order_id=samples.order_id,
        user_id=samples.user_id,
        restaurant_id=new_id(),
        restaurant_name="Da Carlo",
        state=DeliveryState(state),
        version=version,
        courier_name="Bo" if state == "assigned" else None,
        occurred_at=NOW,
    )


async def told(database: Database) -> list[str]:
    return [row["template"] for row in await database.fetch("SELECT template FROM notifications ORDER BY id")]


@pytest.fixture
def mailbox(database: Database) -> MailboxProvider:
    return MailboxProvider(MailboxRepository(database), "shop@shop.example", "Shop", FixedClock(NOW))


@pytest.fixture
def queue(mailbox: MailboxProvider) -> MessageQueue:
    return MessageQueue("", FixedClock(NOW), direct=Direct(renderer(), {"email": mailbox}))


async def counts(database: Database) -> tuple[int, ...]:
    row = await database.fetchrow(COUNTS)
    assert row is not None
    return tuple(row.values())


async def test_events_their_messages_and_mails_take_one_statement(
    database: Database, queue: MessageQueue, more_samples: Any
) -> None:
    events = [received(more_samples().confirmed()) for _ in range(5)]
    before = STATEMENTS._value.get()
    assert await queue.take("messages", database, events) == {one.event_id for one in events}
    assert STATEMENTS._value.get() - before == 1
    assert await counts(database) == (5, 5, 5, 0)
    message = await database.fetchrow("SELECT * FROM notifications WHERE event_id = $1", events[0].event_id)
    assert message is not None
    assert (message["recipient"], message["attempts"], message["sent_at"]) == (events[0].event.email, 1, NOW)
    assert "Moby-Dick" in message["body_text"]
    assert "Moby-Dick" in message["body_html"]
    assert await database.fetchval("SELECT count(*) FROM contacts") == 5


async def test_a_confirmed_order_of_food_takes_one_statement_more(
    database: Database, queue: MessageQueue, samples: Any, more_samples: Any
) -> None:
    """By which it is known whether there were events of its delivery before."""
    event = food(samples)
    before = STATEMENTS._value.get()
    assert await queue.take("messages", database, [event, received(more_samples().confirmed())])
    assert STATEMENTS._value.get() - before == 2
    assert await counts(database) == (2, 2, 2, 0)
    row = await database.fetchrow("SELECT order_id, user_id, email, phone, confirmed, over, version FROM food_orders")
    assert row is not None
    assert tuple(row.values()) == (samples.order_id, samples.user_id, samples.email, PHONE, True, False, 0)
    async with database.transaction() as connection:
        await queue.handle_deliveries(connection, [received(assigned(samples))])
    assert await told(database) == ["order-confirmed", "order-confirmed", "food-courier"]


async def test_an_order_of_food_whose_delivery_was_faster_is_left_to_a_transaction(
    database: Database, queue: MessageQueue, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also if its event came between the look and the statement."""
    async with database.transaction() as connection:
        await queue.handle_deliveries(connection, [received(assigned(samples))])
    event = food(samples)
    assert await queue.take("messages", database, [event]) is None

    async def unseen(*_: Any) -> bool:
        return False

    monkeypatch.setattr(food_repository, "is_any_known", unseen)
    assert await queue.take("messages", database, [event]) is None
    assert await counts(database) == (0, 0, 0, 0)
    async with database.transaction() as connection:
        await queue.handle(connection, [event])
    assert await told(database) == ["order-confirmed", "food-courier"]


async def test_a_delivery_that_begins_to_wait_is_marked_as_processed_and_wakes_no_sender(
    database: Database, samples: Any
) -> None:
    woken: list[Any] = []

    async def wake(events: Any) -> None:
        woken.append(events)

    queue = MessageQueue("", FixedClock(NOW), after_commit=wake)
    waiting, later = received(assigned(samples, "waiting", 1)), received(assigned(samples))
    assert await queue.nothing_to_tell(database, [waiting, later]) is None
    for ids in ({waiting.event_id}, set()):
        assert await queue.nothing_to_tell(database, [waiting]) == ids
        await queue.told([waiting])
    assert woken == []
    await queue.told([waiting, later])
    assert len(woken) == 1
    assert await database.fetchval("SELECT count(*) FROM food_orders") == 0


async def test_the_statement_is_not_planned_again_for_each_event(
    database: Database, queue: MessageQueue, more_samples: Any
) -> None:
    """PostgreSQL plans the first five executions of a prepared statement, and then decides."""
    for _ in range(8):
        await queue.take("messages", database, [received(more_samples().confirmed())])
    plans = await database.fetchrow(
        "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1", events_repository.TAKE
    )
    assert plans is not None
    assert tuple(plans.values()) == (5, 3)


async def test_an_event_that_is_delivered_again_sends_nothing(
    database: Database, queue: MessageQueue, samples: Any, more_samples: Any
) -> None:
    first, second = received(samples.confirmed()), received(more_samples().confirmed())
    await queue.take("messages", database, [first])
    assert await queue.take("messages", database, [first, second, second]) == {second.event_id}
    assert await counts(database) == (2, 2, 2, 0)
    await database.execute("TRUNCATE notifications, mailbox")
    assert await queue.take("messages", database, [first, second]) == set()
    assert await counts(database) == (2, 0, 0, 0)


async def test_a_mail_that_cannot_be_sent_is_left_to_a_sender_and_delays_no_other(
    database: Database, queue: MessageQueue, mailbox: MailboxProvider, samples: Any, more_samples: Any
) -> None:
    wrong = more_samples()
    wrong.email = "no address"
    await queue.take("messages", database, [received(wrong.confirmed()), received(samples.confirmed())])
    assert await counts(database) == (2, 1, 1, 1)
    await Sender(mailbox, renderer(), NotificationRepository(database), FixedClock(NOW)).send_batch()
    failed = await database.fetchrow("SELECT recipient, error FROM notifications WHERE state = 'failed'")
    assert failed is not None
    assert (failed["recipient"], "not an address" in failed["error"]) == ("no address", True)


async def test_nothing_but_the_mail_stays_of_a_message_to_a_deleted_user(
    database: Database, queue: MessageQueue, mailbox: MailboxProvider, samples: Any
) -> None:
    async with database.transaction() as connection:
        await queue.deletions.handle(connection, [received(samples.deleted())])
    await queue.take("messages", database, [received(samples.confirmed())])
    assert await counts(database) == (1, 0, 0, 1)
    assert await database.fetchval("SELECT count(*) FROM contacts") == 0
    await Sender(mailbox, renderer(), NotificationRepository(database), FixedClock(NOW)).send_batch()
    assert await counts(database) == (1, 1, 0, 0)


async def test_a_mail_is_stored_with_its_message_or_not_at_all(
    database: Database, queue: MessageQueue, samples: Any
) -> None:
    event = received(samples.confirmed())
    await database.execute("ALTER TABLE mailbox ADD CONSTRAINT refused CHECK (subject = '')")
    with pytest.raises(Exception, match="refused"):
        await queue.take("messages", database, [event])
    assert await counts(database) == (0, 0, 0, 0)
    await database.execute("ALTER TABLE mailbox DROP CONSTRAINT refused")
    await queue.take("messages", database, [event])
    assert await counts(database) == (1, 1, 1, 0)


async def test_a_sender_is_woken_for_what_is_queued(
    start_service: Any, samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "LOOK_EVERY_S", 3_600.0)
    async with start_service(mailbox_port=2525) as running:
        await running.wait_until_taken(await running.publish(samples.registered()))
        await running.wait_until_taken(await running.publish(samples.refunded()))
        await running.wait_until_sent()
        assert await running.count("state = 'sent'") == 2


async def enqueue(database: Database, more_samples: Any, number: int) -> None:
    wanted = []
    for _ in range(number):
        one = received(more_samples().confirmed())
        wanted += [(one, notice) for notice in notices(one.event, "")]
    async with database.transaction() as connection:
        await repository.insert(connection, wanted, Clock().now())


async def test_a_deferred_message_is_tried_again_when_it_is_due(
    database: Database, smtp: Any, more_samples: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "IDLE_S", 3_600.0)
    monkeypatch.setattr(domain, "RETRY_FIRST_S", 0.05)
    smtp.data_answers = ["451 4.7.1 greylisted, come back"]
    await enqueue(database, more_samples, 1)
    provider = SmtpProvider(smtp.url, "shop@shop.example", "Shop")
    running = asyncio.create_task(Sender(provider, renderer(), NotificationRepository(database), Clock()).run())
    await wait_until(lambda: smtp.raw)
    running.cancel()
    await asyncio.wait([running])
    await provider.close()


async def test_a_full_batch_calls_for_another_sender(
    database: Database, mailbox: MailboxProvider, more_samples: Any
) -> None:
    await enqueue(database, more_samples, BATCH_MESSAGES + 1)
    called: list[bool] = []
    one = Sender(mailbox, renderer(), NotificationRepository(database), Clock(), lambda: called.append(True))
    assert [await one.send_batch(), len(called)] == [BATCH_MESSAGES, 1]
    assert [await one.send_batch(), len(called)] == [1, 1]


@pytest.mark.parametrize("turned", [False, True])
async def test_orders_are_locked_in_the_order_of_their_keys(database: Database, turned: bool) -> None:
    """As the consumer of their deliveries does, so that neither waits for the other."""
    first, second = sorted((food(Samples()) for _ in range(2)), key=lambda one: one.event.order_id)
    queue, batch = MessageQueue("", FixedClock(NOW)), [second, first] if turned else [first, second]
    async with database.transaction() as connection:
        await food_repository.lock(connection, {first.event.order_id: first.event.user_id}, NOW)
        taking = asyncio.create_task(queue.take("messages", database, batch))
        await wait_until(lambda: database.fetchval(WAITS_FOR_A_LOCK))
        await food_repository.lock(connection, {second.event.order_id: second.event.user_id}, NOW)
    assert await taking is None
    assert await queue.take("messages", database, batch) is None


async def test_senders_learn_of_a_message_after_its_own_commit(database: Database, samples: Samples) -> None:
    """Also when a batch of another noun is committed between the statement that queued it and its commit."""
    woken: list[list[str]] = []

    async def wake(events: Sequence[Received]) -> None:
        woken.append([one.type for one in events])

    queue = MessageQueue("", FixedClock(NOW), after_commit=wake)
    consumer = queue.consumer("messages", [])
    assert consumer.after_commit is not None
    cancelled = received(samples.cancelled().model_copy(update={"kind": "food"}))
    refunded = received(samples.refunded())
    assert await queue.take("messages", database, [cancelled]) is None
    async with database.transaction() as connection:
        await queue.handle(connection, [cancelled])
        await consumer.after_commit([refunded])
        assert woken == []
    await consumer.after_commit([cancelled])
    assert woken == [[cancelled.type]]
