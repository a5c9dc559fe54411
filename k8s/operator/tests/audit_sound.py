"""A sound shop in real databases, in which a test may break anything: it is undone at the test's end."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Collection

import asyncpg

from k8s.operator.tests.audit_arcade import Gamer, gamer
from k8s.operator.tests.audit_food import Meal, meal
from k8s.operator.tests.audit_records import Placed, ShopRecords
from shop.devkit import embedded
from shop.devkit.testing import Databases
from shop.operator.audit import pending_work
from shop.operator.audit.model import Options
from shop.operator.audit.run import Target, audit_over
from shop.operator.services import WITH_DATABASE


class Sound:
    """One order of each end, one of food, and a player of the arcade, in the records of a shop."""

    def __init__(
        self, records: ShopRecords, confirmed: Placed, cancelled: Placed, rejected: Placed, meal: Meal, gamer: Gamer
    ) -> None:
        self.records = records
        self.meal = meal
        self.gamer = gamer
        self.confirmed = confirmed
        self.cancelled = cancelled
        self.rejected = rejected

    @contextlib.asynccontextmanager
    async def undone(self) -> AsyncIterator[None]:
        """What is changed in the databases meanwhile is seen by their connections alone, and is undone at the end.

        A test with copies of the databases takes twenty times as long.
        """
        transactions = [connection.transaction() for connection in self.records.connections.values()]
        for transaction in transactions:
            await transaction.start()
        try:
            yield
        finally:
            for transaction in transactions:
                await transaction.rollback()


@contextlib.asynccontextmanager
async def sound_shop(
    databases: Databases, server: embedded.Server, nats_url: str, cache_url: str
) -> AsyncIterator[Sound]:
    """Databases of its own, to which its records are connected as a superuser."""
    address = server.url.rsplit("/", 1)[0]
    names = {noun: (await databases.clone(noun)).rsplit("/", 1)[1] for noun in WITH_DATABASE}
    urls = {noun: f"{address}/{name}" for noun, name in names.items()}
    connections = {noun: await _connect(url) for noun, url in urls.items()}
    for database in ("postgres", "template1"):
        await connections["order"].execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
    try:
        yield await _filled(ShopRecords(connections, Target(urls, nats_url, cache_url=cache_url)))
    finally:
        for connection in connections.values():
            await connection.close()
        for url in urls.values():
            await databases.drop(url)


async def _connect(url: str) -> asyncpg.Connection:
    return await asyncpg.connect(url, server_settings={"session_replication_role": "replica"})


async def _filled(records: ShopRecords) -> Sound:
    await records.stock(10)
    confirmed, cancelled, rejected = await records.confirmed(), await records.cancelled(), await records.rejected()
    food = await meal(records)
    player = await gamer(records, confirmed, cancelled, food.placed)
    await records.train(orders=1)
    return Sound(records, confirmed, cancelled, rejected, food, player)


async def violations(
    records: ShopRecords, options: Options | None = None, *, without: Collection[str] = ()
) -> dict[int, list[str]]:
    """What an audit over the records' own connections finds, ``without`` some databases.

    By default without a time to settle: the events were published a moment ago.
    """
    connections = {noun: one for noun, one in records.connections.items() if noun not in without}
    results = await audit_over(connections, records.target, options or Options(settle_s=0), pause_s=0)
    return {result.number: list(result.violations) for result in results if not result.ok}


async def late(records: ShopRecords) -> list[str]:
    """What is under way at this moment."""
    return await pending_work.wait_until_ended(records.connections, 0, records.target.cache_url)
