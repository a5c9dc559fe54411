"""A service that publishes events and consumes its own, for tests of outbox, relay and inbox."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import ClassVar

from prometheus_client import REGISTRY
from pydantic import BaseModel

from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.db import Connection, Database
from shop.kit.events import Received
from shop.kit.inbox import Consumer, Inbox
from shop.kit.outbox import Outbox
from shop.kit.tasks import Tasks

RETENTION_S = 3_600.0
NOW = datetime.now(UTC)


class Happened(BaseModel):
    TYPE: ClassVar[str] = "kit.happened.v1"

    subject: str
    number: int

    def subject_id(self) -> str:
        return self.subject


@dataclass
class EventService:
    """A service that publishes events and consumes its own, on one database."""

    database: Database
    bus: Bus
    tasks: Tasks
    outbox: Outbox
    seen: list[int] = field(default_factory=list)
    fail_on: set[int] = field(default_factory=set)
    url: str = ""

    async def publish(self, *numbers: int, subject: str = "a") -> None:
        async with self.database.transaction() as connection:
            await outbox.publish(connection, *(Happened(subject=subject, number=number) for number in numbers))

    async def handle(self, connection: Connection, events: Sequence[Received]) -> None:
        for event in events:
            if event.event.number in self.fail_on:
                raise RuntimeError("poison\x00")
            await connection.execute("INSERT INTO effects VALUES ($1)", event.event.number)
        self.seen.extend(event.event.number for event in events)

    async def effects(self) -> list[int]:
        return [row["number"] for row in await self.database.fetch("SELECT number FROM effects ORDER BY position")]

    async def unpublished(self) -> int:
        return int(await self.database.fetchval("SELECT count(*) FROM outbox WHERE published_at IS NULL"))

    async def has(self, *numbers: int) -> bool:
        """Whether exactly these effects are committed, in any order."""
        return sorted(await self.effects()) == sorted(numbers)

    async def all_published(self) -> bool:
        return await self.unpublished() == 0


@contextlib.asynccontextmanager
async def event_service_on(url: str, nats_url: str) -> AsyncIterator[EventService]:
    database = await Database.connect(url, pool_size=4, application="kit")
    await database.execute(
        "CREATE TABLE IF NOT EXISTS effects (number int, position bigint GENERATED ALWAYS AS IDENTITY)"
    )
    bus, tasks = Bus(nats_url, "kit"), Tasks()
    bus.start(tasks)
    relay = Outbox(database, bus, "kit", RETENTION_S)
    service = EventService(database, bus, tasks, relay, url=url)
    tasks.start("outbox", relay.run)
    tasks.start("outbox wake-ups", relay.receive_wake_ups)
    Inbox("kit", database, bus).start([Consumer("reader", [Happened], service.handle)], tasks)
    try:
        yield service
    finally:
        await tasks.stop()
        await bus.close()
        await database.close()


def measured(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, labels) or 0.0
