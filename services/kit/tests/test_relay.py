"""The relay: who publishes, what wakes it, and what it records of what the broker acknowledged."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import asyncpg
import pytest

from services.kit.tests.event_service import RETENTION_S, EventService, Happened, event_service_on, measured
from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.db import Database
from shop.kit.outbox import Outbox
from shop.kit.tasks import Tasks


@pytest.fixture
async def service(database_for: DatabaseFor, nats_url: str) -> AsyncIterator[EventService]:
    async with event_service_on(await database_for("kit"), nats_url) as service:
        yield service


async def test_what_the_broker_lost_is_sent_again_and_takes_effect_once(
    database_for: DatabaseFor, nats_url: str
) -> None:
    url = await database_for("kit")
    async with event_service_on(url, nats_url) as service:
        await service.publish(1, subject="a")
        await service.publish(2, subject="b")
        await wait_until(lambda: len(service.seen) == 2)

        async def marked() -> bool:
            return await service.unpublished() == 0

        await wait_until(marked)
        await service.bus.stream.delete_stream("kit")
    resent = measured("shop_outbox_lost_total")
    async with event_service_on(url, nats_url) as service:
        await service.publish(3)

        async def stored() -> bool:
            with contextlib.suppress(Exception):
                return await service.bus.last_sequence("kit") == 3
            return False

        await wait_until(stored)
        await wait_until(lambda: service.has(1, 2, 3))
    assert measured("shop_outbox_lost_total") == resent + 2


async def test_two_relays_publish_each_event_once(database_for: DatabaseFor, nats_url: str) -> None:
    url = await database_for("kit")
    async with event_service_on(url, nats_url) as first, event_service_on(url, nats_url) as second:
        for number in range(30):
            await (first if number % 2 else second).publish(number, subject=str(number))
        await wait_until(lambda: first.has(*range(30)))
        assert await first.bus.last_sequence("kit") == 30


async def test_a_replica_that_does_not_relay_wakes_the_one_that_does(database_for: DatabaseFor, nats_url: str) -> None:
    url = await database_for("kit")
    async with event_service_on(url, nats_url) as first:
        await first.publish(1)
        await wait_until(lambda: first.has(1))
        async with event_service_on(url, nats_url) as second:
            await wait_until(lambda: second.bus.connected)
            await second.publish(2)
            await wait_until(lambda: first.has(1, 2))
            assert not second.outbox._relays


async def test_what_was_published_is_recorded_by_the_look_for_more(service: EventService) -> None:
    watcher = await asyncpg.connect(service.url)
    statements = [await statements_of_an_event(service, watcher, number) for number in range(1, 4)]
    await watcher.close()
    # BEGIN, the event, COMMIT; two looks; the consumer's BEGIN, claim, effect, COMMIT. What runs from time to time,
    # such as the count of dead letters, can come on top of one.
    assert min(statements) == 3 + 2 + 4


async def statements_of_an_event(service: EventService, watcher: asyncpg.Connection, number: int) -> float:
    before = measured("shop_database_statements_total")
    async with service.database.transaction() as connection:
        await outbox.publish(connection, Happened(subject="a", number=number))
    await wait_until(lambda: watcher.fetchval("SELECT published_at IS NOT NULL FROM outbox WHERE id = $1", number))
    await wait_until(lambda: watcher.fetchval("SELECT count(*) = $1 FROM effects", number))
    return measured("shop_database_statements_total") - before


async def test_its_statement_is_not_planned_again_for_each_batch(database_for: DatabaseFor, nats_url: str) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=1, application="test")
    relay = Outbox(database, Bus(nats_url, "kit"), "kit", RETENTION_S)
    for number in range(8):
        await outbox.publish(database, Happened(subject="a", number=number))
        relay._acknowledged = [(number, number)]
        await relay._mark_and_look(database)
    plans = await database.fetchrow(
        "SELECT custom_plans, generic_plans FROM pg_prepared_statements WHERE statement = $1", outbox.MARK_AND_LOOK
    )
    await database.close()
    assert plans is not None
    assert tuple(plans.values()) == (5, 3)


async def test_what_comes_while_the_relay_rests_is_one_batch(
    service: EventService, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(outbox, "REST_S", 1.5)
    await service.publish(0)
    await wait_until(lambda: service.has(0))
    await asyncio.gather(*(service.publish(number, subject=str(number)) for number in range(1, 31)))
    await wait_until(lambda: service.has(*range(31)))
    await wait_until(service.all_published)
    recorded = "SELECT count(DISTINCT published_at) FROM outbox WHERE id > 1"
    assert await service.database.fetchval(recorded) <= 2


async def test_what_a_broker_acknowledged_before_it_was_lost_is_not_recorded_as_published(
    database_for: DatabaseFor, nats_url: str
) -> None:
    database = await Database.connect(await database_for("kit"), pool_size=2, application="test")
    bus, tasks = Bus(nats_url, "kit"), Tasks()
    bus.start(tasks)
    await wait_until(lambda: bus.connected)
    relay = Outbox(database, bus, "kit", RETENTION_S)
    await outbox.publish(database, Happened(subject="a", number=1))
    assert await relay._relay_once(database) == 1
    await bus.stream.delete_stream("kit")
    bus.reconnected.set()
    assert await relay._relay_once(database) == 1
    assert await relay._relay_once(database) == 0
    assert await bus.last_sequence("kit") == 1
    assert await database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL") == 0
    await tasks.stop()
    await bus.close()
    await database.close()


async def test_old_rows_are_pruned_and_recent_ones_kept(service: EventService) -> None:
    await service.publish(1, 2)
    await wait_until(lambda: len(service.seen) == 2)
    await wait_until(service.all_published)
    await service.database.execute("UPDATE outbox SET published_at = now() - interval '2 hours' WHERE id = 1")
    await service.outbox._prune(service.database)
    assert [row["id"] for row in await service.database.fetch("SELECT id FROM outbox")] == [2]


async def test_what_was_consumed_is_known_for_as_long_as_an_event_may_be_delivered(service: EventService) -> None:
    await service.database.execute(
        "INSERT INTO inbox SELECT 'reader', gen_random_uuid(), now() - make_interval(days => days)"
        " FROM generate_series(1, 12) AS days"
    )
    await service.outbox._prune(service.database)
    days = "SELECT extract(day FROM now() - received_at)::int AS days FROM inbox ORDER BY 1"
    assert [row["days"] for row in await service.database.fetch(days)] == list(range(1, 9))
