"""Consumers whose events cost less: an effect that is one statement, and a rest between batches."""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Sequence
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import asyncpg
import pytest

from services.kit.tests.event_service import EventService, Happened, event_service_on
from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import pull
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.kit.inbox import CLAIMED, Consumer, Inbox

NOW = datetime.now(UTC)

ADD_CLAIMED = f"""
WITH {CLAIMED}, added AS (
    INSERT INTO effects (number)
    SELECT 10 / number FROM unnest($2::uuid[], $3::integer[]) AS event (event_id, number) JOIN claimed USING (event_id)
)
SELECT event_id FROM claimed"""


@pytest.fixture
async def service(database_for: DatabaseFor, nats_url: str) -> AsyncIterator[EventService]:
    async with event_service_on(await database_for("kit"), nats_url) as service:
        yield service


def numbered(*numbers: int) -> list[Received]:
    return [Received(new_id(), Happened.TYPE, NOW, "", "", Happened(subject="a", number=number)) for number in numbers]


def _has_seen(service: EventService, count: int) -> bool:
    return len(service.seen) == count


async def add_at_once(database: Database, events: Sequence[Received]) -> Collection[UUID]:
    numbers = [one.event.number for one in events]
    rows = await database.fetch(ADD_CLAIMED, "statement", [one.event_id for one in events], numbers)
    return [row["event_id"] for row in rows]


STATEMENT_CONSUMER = Consumer("statement", [Happened], at_once=add_at_once)


async def test_an_effect_of_one_statement_takes_place_once(service: EventService) -> None:
    box, events = Inbox("kit", service.database, service.bus), numbered(1, 2, 5)
    assert await box.process(STATEMENT_CONSUMER, [events[0], events[0], events[1]]) == 2
    assert await box.process(STATEMENT_CONSUMER, events) == 1
    assert sorted(await service.effects()) == [2, 5, 10]


async def test_an_effect_of_one_statement_that_fails_leaves_no_inbox_row(service: EventService) -> None:
    box, events = Inbox("kit", service.database, service.bus), numbered(2, 0)
    with pytest.raises(asyncpg.DivisionByZeroError) as failed:
        await box.process(STATEMENT_CONSUMER, events)
    assert await service.database.fetchval("SELECT count(*) FROM inbox WHERE consumer = 'statement'") == 0
    await box.count_failure(STATEMENT_CONSUMER, events[0], b"{}", failed.value)
    assert await box.process(STATEMENT_CONSUMER, events[:1]) == 1
    assert await service.effects() == [5]
    assert await service.database.fetchval("SELECT count(*) FROM dead_letter") == 0


async def test_what_comes_while_a_consumer_rests_is_one_batch(service: EventService) -> None:
    batches: list[list[int]] = []

    async def keep(_: Connection, events: Sequence[Received]) -> None:
        batches.append(sorted(one.event.number for one in events))

    resting = Consumer("resting", [Happened], keep, rest_s=3.0)
    Inbox("kit2", service.database, service.bus).start([resting], service.tasks)
    await service.publish(1)
    await wait_until(lambda: batches)
    await service.publish(2, 3, 4)  # of one subject: the relay sends them one after the other
    await wait_until(partial(_has_seen, service, 4))
    await wait_until(lambda: len(batches) == 2)
    assert batches == [[1], [2, 3, 4]]


async def test_a_consumer_does_not_rest_while_the_broker_may_have_more(
    service: EventService, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Otherwise a request's number of events a rest is all that it can process."""
    monkeypatch.setattr(pull, "MAX_EVENTS", 1)
    seen: list[int] = []

    async def keep(_: Connection, events: Sequence[Received]) -> None:
        seen.extend(one.event.number for one in events)

    Inbox("kit2", service.database, service.bus).start(
        [Consumer("resting", [Happened], keep, rest_s=600.0)], service.tasks
    )
    await service.publish(1, 2, 3, 4)
    await wait_until(lambda: sorted(seen) == [1, 2, 3, 4])
