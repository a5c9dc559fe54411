"""Nothing stays of a deleted user in what a service could not consume, whichever comes first."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import ClassVar
from uuid import UUID

import pytest
from pydantic import BaseModel

from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit import events
from shop.kit.bus import Bus
from shop.kit.clock import FixedClock
from shop.kit.db import Connection, Database
from shop.kit.deleted_users import KEPT_DAYS, DeletedUsers
from shop.kit.events import Received
from shop.kit.ids import new_id
from shop.kit.inbox import MAX_FAILURES, Consumer, Inbox
from shop.kit.tasks import Tasks

NOW = datetime.now(UTC)
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()"


class Ordered(BaseModel):
    TYPE: ClassVar[str] = "order.happened.v1"

    user_id: UUID
    email: str = "ada@example.com"

    def subject_id(self) -> str:
        return str(self.user_id)


class Deleted(BaseModel):
    TYPE: ClassVar[str] = "user.deleted.v1"

    user_id: UUID

    def subject_id(self) -> str:
        return str(self.user_id)


async def refuse(_: Connection, received: Sequence[Received]) -> None:
    raise ValueError(f"cannot take {received[0].event}")


@dataclass
class Reader:
    """A service that cannot consume what is said about its users."""

    database: Database
    inbox: Inbox
    orders: Consumer
    deletions: Consumer
    user_id: UUID = field(default_factory=new_id)

    async def fail(self, user_id: UUID, event_id: UUID | None = None) -> int:
        event = Ordered(user_id=user_id)
        one = Received(event_id or new_id(), event.TYPE, NOW, "", "", event)
        payload = events.row(event).payload.encode()
        return await self.inbox.count_failure(self.orders, one, payload, ValueError(f"cannot take {event}"))

    async def delete(self, *user_ids: UUID) -> None:
        await self.inbox.process(
            self.deletions,
            [Received(new_id(), Deleted.TYPE, NOW, "", "", Deleted(user_id=user_id)) for user_id in user_ids],
        )

    async def kept(self) -> list[tuple[str, bool, str, int]]:
        """Type, whether there is content, error and failures of each dead letter."""
        rows = await self.database.fetch("SELECT * FROM dead_letter ORDER BY first_failed_at")
        return [(row["type"], row["payload"] != "", row["error"], row["failures"]) for row in rows]


@pytest.fixture
async def reader(database_for: DatabaseFor, nats_url: str) -> AsyncIterator[Reader]:
    database = await Database.connect(await database_for("kit"), pool_size=4, application="kit")
    bus, tasks = Bus(nats_url, "kit"), Tasks()
    inbox = Inbox("kit", database, bus)
    orders = Consumer("orders", [Ordered], refuse)
    deletions = Consumer.of_deletions(Deleted, DeletedUsers())
    inbox.start([orders, deletions], tasks)
    try:
        yield Reader(database, inbox, orders, deletions)
    finally:
        await tasks.stop()
        await bus.close()
        await database.close()


ERASED = ("order.happened.v1", False, "ValueError: erased with its user", 1)


@pytest.mark.parametrize("order", list(itertools.permutations(["fail", "delete"])), ids=" ".join)
async def test_an_event_that_cannot_be_consumed_keeps_nothing_of_a_deleted_user(
    reader: Reader, order: Sequence[str]
) -> None:
    for step in order:
        await getattr(reader, step)(reader.user_id)
    assert await reader.kept() == [ERASED]


async def test_the_events_of_other_users_stay(reader: Reader) -> None:
    other = new_id()
    await reader.fail(reader.user_id)
    await reader.fail(other)
    await reader.delete(reader.user_id)
    erased, whole = await reader.kept()
    assert (erased, whole[1]) == (ERASED, True)
    await reader.delete(other)
    assert await reader.kept() == [ERASED, ERASED]


async def test_an_event_that_fails_again_after_the_deletion_keeps_nothing(reader: Reader) -> None:
    event_id = new_id()
    await reader.fail(reader.user_id, event_id)
    await reader.delete(reader.user_id)
    for _ in range(MAX_FAILURES - 1):
        failures = await reader.fail(reader.user_id, event_id)
    assert failures == MAX_FAILURES
    assert await reader.kept() == [(*ERASED[:3], MAX_FAILURES)]
    assert await reader.database.fetchval("SELECT dead_at FROM dead_letter")


async def test_a_failure_is_kept_during_a_deletion_and_loses_its_contents(reader: Reader) -> None:
    async with reader.database.transaction() as connection:
        received = Received(new_id(), Deleted.TYPE, NOW, "", "", Deleted(user_id=reader.user_id))
        await reader.deletions.handle(connection, [received])
        failing = asyncio.ensure_future(reader.fail(reader.user_id))
        await wait_until(lambda: failing.done() or reader.database.fetchval(WAITING))
    await failing
    assert await reader.kept() == [ERASED]


async def test_a_deletion_waits_for_a_failure_that_is_being_kept(reader: Reader) -> None:
    await reader.fail(new_id())
    async with reader.database.transaction() as holder:
        await holder.execute("SELECT FROM dead_letter FOR UPDATE")
        held = await reader.database.fetchval("SELECT event_id FROM dead_letter")
        failing = asyncio.ensure_future(reader.fail(reader.user_id, held))
        await wait_until(lambda: reader.database.fetchval(WAITING))
        deleting = asyncio.ensure_future(reader.delete(reader.user_id))

        async def both_wait() -> bool:
            return bool(deleting.done() or await reader.database.fetchval(WAITING) == 2)

        await wait_until(both_wait)
    await asyncio.gather(failing, deleting)
    assert await reader.kept() == [(*ERASED[:3], 2)]


async def test_deleted_users_are_known_for_as_long_as_events_may_come(reader: Reader) -> None:
    kept, digests = DeletedUsers(), "SELECT count(*) FROM deleted_user_digest"
    for age_days in (KEPT_DAYS - 1, KEPT_DAYS + 1):
        async with reader.database.transaction() as connection:
            await kept.add(connection, [new_id()], NOW - timedelta(days=age_days))
    forgetting = asyncio.ensure_future(kept.run(reader.database, FixedClock(NOW)))
    await wait_until(lambda: _is(reader.database, digests, 1))
    forgetting.cancel()
    await asyncio.wait([forgetting])
    assert await reader.database.fetchval("SELECT max(deleted_at) > $1 FROM deleted_user_digest", NOW - _MONTH)


_MONTH = timedelta(days=KEPT_DAYS)


async def _is(database: Database, statement: str, value: int) -> bool:
    return bool(await database.fetchval(statement) == value)


async def test_a_statement_that_stores_data_of_users_takes_the_lock_before_it_reads(reader: Reader) -> None:
    """As a service does it: the condition alone, in one statement."""
    stored = f"INSERT INTO note SELECT $1 WHERE NOT {DeletedUsers().holds('$1::uuid')}"
    await reader.database.execute("CREATE TABLE note (user_id uuid)")
    async with reader.database.transaction() as connection:
        received = Received(new_id(), Deleted.TYPE, NOW, "", "", Deleted(user_id=reader.user_id))
        await reader.deletions.handle(connection, [received])
        storing = asyncio.ensure_future(reader.database.execute(stored, reader.user_id))
        await wait_until(lambda: storing.done() or reader.database.fetchval(WAITING))
    await storing
    assert await reader.database.fetchval("SELECT count(*) FROM note") == 0
    await reader.database.execute(stored, new_id())
    assert await reader.database.fetchval("SELECT count(*) FROM note") == 1
