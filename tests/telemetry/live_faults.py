"""What breaks in a running shop while alerts are watched; each is mended when its block ends."""

from __future__ import annotations

import asyncio
import contextlib
import http
import os
import signal
import threading
import uuid
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime
from functools import cache

import asyncpg

from shop.contracts.events import OrderDelivered, UserDeleted
from shop.devkit.testing import wait_until
from shop.kit import events
from shop.kit.events import OutboxRow
from tests.conftest import RunningShop
from tests.load.local_shop import LocalShop
from tests.load.shoppers import Shop as Api

STOPPED_S, RUNNING_S = 1.2, 0.7
"""Of a process that is late: many of its waits end more than the alert's 0.25 s too late, a scrape fits in between on a
busy machine as well, and the pauses are not at the same moments of each interval between two scrapes."""
EVENTS_BEHIND = 1_200
READERS = 8
"""More than the failures that an objective needs before it alerts."""
UNRECORDED = "00-0000000000000000000000000000a1e7-00000000000000a1-00"
"""The trace context of events that leave no spans."""
ADD_EVENTS = "INSERT INTO outbox (event_id, type, subject_id, payload) VALUES ($1, $2, $3, $4)"
GIVE_UP_WAITING = """
SELECT pg_terminate_backend(pid) FROM pg_stat_activity
WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%INSERT INTO inbox%'"""
LOCK_RETRY_S = 1.0
BACK_WITHIN_S = 60.0


@contextlib.asynccontextmanager
async def database(shop: RunningShop, noun: str) -> AsyncIterator[asyncpg.Connection]:
    """A superuser's connection to the service's database."""
    connection = await asyncpg.connect(_postgres(shop.local), database=f"shop_{noun}")
    try:
        yield connection
    finally:
        await connection.close()


@cache
def _postgres(local: LocalShop) -> str:
    """The server's URL: asking the supervisor for it takes seconds while a service hangs."""
    return local.database_url("order")


@contextlib.asynccontextmanager
async def hung(shop: RunningShop, noun: str) -> AsyncIterator[None]:
    """The service's process is there and does not answer."""
    pid = shop.local.pid(noun)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


@contextlib.asynccontextmanager
async def late(shop: RunningShop, noun: str) -> AsyncIterator[None]:
    """The service's process gets the CPU for a part of the time, as with a limit that throttles it.

    A thread keeps the times: the test's event loop waits for answers of Prometheus in between.
    """
    pid, ended = shop.local.pid(noun), threading.Event()

    def throttle() -> None:
        while not ended.is_set():
            os.kill(pid, signal.SIGSTOP)
            ended.wait(STOPPED_S)
            os.kill(pid, signal.SIGCONT)
            ended.wait(RUNNING_S)

    throttled = asyncio.create_task(asyncio.to_thread(throttle))
    try:
        yield
    finally:
        ended.set()
        await throttled


@contextlib.asynccontextmanager
async def stock_changed_by_hand(shop: RunningShop) -> AsyncIterator[None]:
    change = "UPDATE products SET stock = stock + $1 WHERE id = (SELECT min(id::text)::uuid FROM products)"
    async with database(shop, "product") as products:
        await products.execute(change, 1)
        try:
            yield
        finally:
            await products.execute(change, -1)


@contextlib.asynccontextmanager
async def event_that_nobody_can_read(shop: RunningShop) -> AsyncIterator[None]:
    """It comes out of order's outbox like every event; of the services, notification alone consumes its type."""
    event_id = uuid.uuid4()
    payload = f'{{"id": "{event_id}", "type": "{OrderDelivered.TYPE}", "data": {{}}}}'
    await publish(shop, "order", [OutboxRow(event_id, OrderDelivered.TYPE, str(event_id), payload)])
    try:
        yield
    finally:
        async with database(shop, "notification") as notifications:
            await notifications.execute("DELETE FROM dead_letter WHERE event_id = $1", event_id)


@contextlib.asynccontextmanager
async def consumer_that_waits_for_a_lock(shop: RunningShop, noun: str) -> AsyncIterator[None]:
    """More events than it may be behind come meanwhile: deletions of users whom nobody knows."""
    async with database(shop, noun) as locked, database(shop, noun) as other:
        transaction = locked.transaction()
        await transaction.start()
        await locked.execute("LOCK TABLE inbox IN ACCESS EXCLUSIVE MODE")
        now = datetime.now(UTC)
        deleted = [UserDeleted(user_id=uuid.uuid4(), occurred_at=now) for _ in range(EVENTS_BEHIND)]
        await publish(shop, "user", [events.row(event, UNRECORDED) for event in deleted])

        async def give_up() -> None:
            """Otherwise the consumer would look at how far it is behind only after its statement's timeout."""
            while True:
                await other.execute(GIVE_UP_WAITING)
                await asyncio.sleep(LOCK_RETRY_S)

        giving_up = asyncio.create_task(give_up())
        try:
            yield
        finally:
            giving_up.cancel()
            await asyncio.wait([giving_up])
            await transaction.rollback()


@contextlib.asynccontextmanager
async def restaurants_not_read(shop: RunningShop, api: Api) -> AsyncIterator[None]:
    """Restaurant hangs while customers read its list; the gateway gives up on each of them after its timeout."""

    async def status() -> int:
        async with api.session.get(f"{shop.url}/api/v1/restaurants?limit=1") as answer:
            await answer.read()
            return answer.status

    async def is_read() -> bool:
        return await status() == http.HTTPStatus.OK

    async with hung(shop, "restaurant"):
        readers = [asyncio.create_task(status()) for _ in range(READERS)]
        try:
            yield
        finally:
            await asyncio.wait(readers)
    await wait_until(is_read, BACK_WITHIN_S, "the restaurants")


async def publish(shop: RunningShop, noun: str, rows: Sequence[OutboxRow]) -> None:
    async with database(shop, noun) as connection:
        await connection.executemany(ADD_EVENTS, rows)
