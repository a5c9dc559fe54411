"""Outbox, relay and inbox on PostgreSQL and NATS: nothing lost, nothing twice, failing events marked dead."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import pytest

from services.kit.tests.event_service import NOW, EventService, Happened, event_service_on, measured
from shop.devkit import embedded
from shop.devkit.testing import DatabaseFor, Logged, wait_until
from shop.kit import db, inbox, outbox
from shop.kit.db import Connection, Database
from shop.kit.dead_letters import DeadLetters
from shop.kit.errors import Unavailable
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.kit.inbox import Consumer, Inbox


@pytest.fixture
async def service(database_for: DatabaseFor, nats_url: str) -> AsyncIterator[EventService]:
    async with event_service_on(await database_for("kit"), nats_url) as service:
        yield service


async def test_events_arrive_once_and_in_order_per_subject(service: EventService) -> None:
    for number in range(20):
        await service.publish(number)
    await wait_until(lambda: service.has(*range(20)))
    assert await service.effects() == list(range(20))
    await wait_until(service.all_published)


async def test_nothing_is_published_of_a_transaction_that_rolled_back(service: EventService) -> None:
    with contextlib.suppress(RuntimeError):
        async with service.database.transaction() as connection:
            await outbox.publish(connection, Happened(subject="a", number=1))
            raise RuntimeError
    await service.publish(2)
    await wait_until(lambda: service.seen)
    assert service.seen == [2]


async def test_an_event_delivered_twice_takes_effect_once(service: EventService) -> None:
    await service.publish(1)
    await wait_until(lambda: service.seen == [1])
    row = await service.database.fetchrow("SELECT event_id, type, payload FROM outbox")
    assert row is not None
    for copy in range(3):
        await (await service.bus.publish(row["type"], row["payload"].encode(), f"copy-{copy}"))
    await service.publish(2)
    await wait_until(lambda: service.has(1, 2))
    assert await service.effects() == [1, 2]


async def test_a_failing_effect_rolls_back_its_inbox_row(service: EventService) -> None:
    service.fail_on = {1}
    await service.publish(1)
    failures = "SELECT failures FROM dead_letter"
    await wait_until(lambda: service.database.fetchval(failures))
    assert await service.database.fetchval("SELECT count(*) FROM inbox") == 0
    service.fail_on = set()
    await wait_until(service.effects)
    assert await service.effects() == [1]
    assert await service.database.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_a_failing_event_is_dead_and_blocks_no_other(
    service: EventService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "RETRY_FIRST_S", 0.01)
    service.fail_on = {13}
    await service.publish(*range(12, 16), subject="b")
    await wait_until(lambda: service.database.fetchval("SELECT dead_at FROM dead_letter"))
    await wait_until(lambda: service.has(12, 14, 15))
    dead = await service.database.fetchrow("SELECT * FROM dead_letter")
    assert dead is not None
    assert (dead["failures"], dead["error"]) == (inbox.MAX_FAILURES, "RuntimeError: poison")
    assert '"number":13' in dead["payload"]


async def test_dead_letters_are_processed_again_once(service: EventService, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox, "RETRY_FIRST_S", 0.01)
    service.fail_on = {13}
    await service.publish(13)
    await wait_until(lambda: service.database.fetchval("SELECT dead_at FROM dead_letter"))
    reader = Consumer("reader", [Happened], service.handle)
    letters = DeadLetters(service.database, Inbox("kit", service.database, service.bus), [reader])
    (listed,) = await letters.listed()
    assert (listed["consumer"], listed["type"], listed["error"]) == ("reader", Happened.TYPE, "RuntimeError")
    assert "poison" not in str(listed)
    assert await letters.replay() == {"replayed": 0, "failed": 1}
    service.fail_on = set()
    assert await letters.replay() == {"replayed": 1, "failed": 0}
    assert await letters.replay() == {"replayed": 0, "failed": 0}
    assert await service.effects() == [13]


async def test_a_letter_of_a_consumer_that_is_gone_or_without_contents_stays(service: EventService) -> None:
    row = "INSERT INTO dead_letter (consumer, event_id, type, payload, error, failures, dead_at) VALUES "
    values = "($1, gen_random_uuid(), 'kit.happened.v1', $2, 'ValueError: x', 5, now())"
    for consumer, payload in (("reader", ""), ("gone", "{}"), ("reader", "no event")):
        await service.database.execute(row + values, consumer, payload)
    reader = Consumer("reader", [Happened], service.handle)
    letters = DeadLetters(service.database, Inbox("kit", service.database, service.bus), [reader])
    assert await letters.replay() == {"replayed": 0, "failed": 2}
    assert len(await letters.listed()) == 3


@pytest.mark.parametrize(
    "payload", [b"\xff\x00", b"[]", b"{}", b'{"id":"x","type":"kit.happened.v1"}', b'{"type":"kit.other.v1"}']
)
async def test_an_unreadable_event_is_dead_at_once(service: EventService, payload: bytes) -> None:
    await wait_until(lambda: service.bus.connected)
    await service.bus.ensure_stream("kit")
    await (await service.bus.publish("kit.happened.v1", payload, "unreadable"))
    await service.publish(1)
    await wait_until(lambda: service.seen == [1])
    await wait_until(lambda: service.database.fetchval("SELECT dead_at FROM dead_letter"))


async def test_events_wait_for_the_broker_and_arrive_once(
    database_for: DatabaseFor, nats_url: str, nats_server: embedded.Server
) -> None:
    async with event_service_on(await database_for("kit"), nats_url) as service:
        await service.publish(1)
        await wait_until(lambda: service.seen == [1])
        # That it was published is written after it has arrived.
        await wait_until(service.all_published)
        nats_server.stop()
        try:
            await wait_until(lambda: not service.bus.connected)
            await service.publish(2, 3)
            assert await service.unpublished() == 2
            service.tasks.start("outbox age", service.outbox.watch)
            await wait_until(lambda: measured("shop_outbox_unpublished") == 2)
        finally:
            nats_server.start()
        await wait_until(lambda: service.has(1, 2, 3), timeout_s=30)
        await wait_until(lambda: measured("shop_outbox_unpublished") == 0)


async def test_a_stream_that_is_lost_while_in_use_is_created_again_without_a_stack_trace(
    service: EventService, logged: Logged
) -> None:
    await service.publish(1)
    await wait_until(lambda: service.seen == [1])
    await service.bus.stream.delete_stream("kit")
    await service.publish(2)
    await wait_until(lambda: service.has(1, 2), timeout_s=30)
    assert [line for line in logged() if "exception" in line] == []


async def test_a_consumer_of_one_statement_takes_each_event_once(service: EventService) -> None:
    sql = f"WITH {inbox.CLAIMED}, e AS (INSERT INTO effects SELECT 100 FROM claimed) SELECT event_id FROM claimed"

    async def at_once(database: Database, events: Sequence[Received]) -> set[UUID] | None:
        if any(one.event.number < 0 for one in events):
            return None
        return {row["event_id"] for row in await database.fetch(sql, "one", [one.event_id for one in events])}

    consumer = Consumer("one", [Happened], service.handle, at_once=at_once)
    box = Inbox("kit", service.database, service.bus)
    first, second, other = (
        Received(new_id(), Happened.TYPE, NOW, "", "", Happened(subject="a", number=number)) for number in (1, 2, -3)
    )
    assert await box.process(consumer, [first, first]) == 1
    assert await box.process(consumer, [first, second]) == 1
    assert await service.effects() == [100, 100]
    assert await box.process(consumer, [second, other]) == 1
    assert await service.effects() == [100, 100, -3]
    await box.count_failure(consumer, first, b"{}", RuntimeError("x"))
    assert await box.process(consumer, [first]) == 0
    assert await service.database.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_the_trace_of_the_cause_travels_with_the_event(service: EventService) -> None:
    received: list[Received] = []

    async def keep(_: Connection, events: Sequence[Received]) -> None:
        received.extend(events)

    Inbox("other", service.database, service.bus).start([Consumer("tracer", [Happened], keep)], service.tasks)
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with service.database.transaction() as connection:
        row = outbox.row(Happened(subject="a", number=1), f"00-{trace}-00f067aa0ba902b7-01")
        await outbox.insert(connection, [row])
    await wait_until(lambda: received)
    assert (received[0].trace_id, received[0].event_id) == (trace, row.event_id)
    assert isinstance(received[0].event_id, UUID)


async def test_what_follows_the_commit_sees_repeated_events_too(service: EventService) -> None:
    """So a redelivery does what a crash after the commit left undone."""
    followed: list[tuple[int, list[int]]] = []

    async def follow(events: Sequence[Received]) -> None:
        followed.append((len(await service.effects()), [one.event.number for one in events]))
        if len(followed) == 1:
            raise Unavailable("cache")

    consumer = Consumer("followed", [Happened], service.handle, after_commit=follow)
    box = Inbox("kit", service.database, service.bus)
    events = [Received(new_id(), Happened.TYPE, NOW, "", "", Happened(subject="a", number=number)) for number in (1, 2)]
    with pytest.raises(Unavailable):
        await box.process(consumer, events)
    assert await box.process(consumer, events) == 0
    assert followed == [(2, [1, 2]), (2, [1, 2])]


async def test_an_event_is_acknowledged_after_what_follows_its_commit(service: EventService) -> None:
    attempts: list[int] = []

    async def follow(events: Sequence[Received]) -> None:
        attempts.extend(one.event.number for one in events)
        if len(attempts) == 1:
            raise Unavailable("cache")

    consumer = Consumer("followed", [Happened], service.handle, after_commit=follow)
    Inbox("kit2", service.database, service.bus).start([consumer], service.tasks)
    await service.publish(7)
    await wait_until(lambda: len(attempts) >= 2)
    assert set(attempts) == {7}
    await wait_until(lambda: service.has(7, 7), what="an effect of each of the two consumers")


async def test_events_that_a_consumer_has_not_finished_are_measured(
    database_for: DatabaseFor, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inbox, "LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(inbox, "RETRY_FIRST_S", 60.0)
    monkeypatch.setattr(inbox, "RETRY_MAX_S", 60.0)
    labels = {"consumer": "reader", "publisher": "kit"}
    taken = measured("shop_inbox_delay_seconds_count", consumer="reader")
    async with event_service_on(await database_for("kit"), nats_url) as service:
        service.fail_on = {2}
        await service.publish(1, subject="a")
        await wait_until(lambda: measured("shop_inbox_delay_seconds_count", consumer="reader") == taken + 1)
        await wait_until(lambda: measured("shop_inbox_pending_events", **labels) == 0)
        await service.publish(2, subject="b")
        await wait_until(lambda: measured("shop_inbox_pending_events", **labels) == 1)
        assert measured("shop_broker_connected") == 1


async def test_dead_letters_are_counted_until_they_are_gone(
    database_for: DatabaseFor, nats_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, seconds in (("COUNT_EVERY_S", 0.05), ("RETRY_FIRST_S", 0.01), ("RETRY_MAX_S", 0.01)):
        monkeypatch.setattr(inbox, name, seconds)
    async with event_service_on(await database_for("kit"), nats_url) as service:
        service.fail_on = {1}
        await service.publish(1)
        await wait_until(lambda: measured("shop_inbox_dead_letters", consumer="reader") == 1)
        await service.database.execute("DELETE FROM dead_letter")
        await wait_until(lambda: measured("shop_inbox_dead_letters", consumer="reader") == 0)


async def test_the_stream_is_measured_less_often_than_the_age_of_events_and_again_when_that_failed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[str] = []

    async def fetchval(statement: str) -> None:
        looks.append("age")

    async def stream_bytes(noun: str) -> tuple[int, int]:
        looks.append("stream")
        if looks.count("stream") == 1:
            raise Unavailable("broker")
        return 7, 100

    bus: Any = SimpleNamespace(connected=True, on_change=lambda changed: None, stream_bytes=stream_bytes)
    database: Any = SimpleNamespace(quick=SimpleNamespace(fetchval=fetchval))
    monkeypatch.setattr(outbox, "WATCH_EVERY_S", 0.0)
    watching = asyncio.create_task(outbox.Outbox(database, bus, "measured", 3_600.0).watch())
    await wait_until(lambda: looks.count("age") > 20)
    watching.cancel()
    assert looks[:4] == ["age", "stream", "age", "stream"]
    assert set(looks[4:]) == {"age"}
    assert measured("shop_broker_stream_bytes", stream="measured") == 7


@pytest.mark.parametrize("relays", [True, False])
async def test_quick_statements_use_the_connection_of_a_relay_that_has_nothing_to_do(
    database_for: DatabaseFor, nats_url: str, relays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also of one that stands by."""
    monkeypatch.setattr(db, "IDLE_CONNECTION_LIFETIME_S", 0.5)
    url = await database_for("kit")
    async with event_service_on(url, nats_url) as first, event_service_on(url, nats_url) as second:
        await wait_until(lambda: first.outbox._relays or second.outbox._relays)
        service = next(one for one in (first, second) if one.outbox._relays is relays)
        locks = f"""
            SELECT pid FROM pg_locks WHERE objid = {outbox.LOCK_KEY} AND granted
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        others = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = 'kit'"

        async def on_the_connection_of_its_relay() -> bool:
            """The lock's of the relay; the other one has no other connection that it could be."""
            own = await service.database.quick.fetchval("SELECT pg_backend_pid()")
            relay = await service.database.quick.fetchval(locks)
            open_now = {row["pid"] for row in await service.database.quick.fetch(others)} - {relay}
            return own == relay if relays else open_now == {own}

        await wait_until(on_the_connection_of_its_relay)
