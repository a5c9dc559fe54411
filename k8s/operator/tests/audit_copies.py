"""Copies of the databases of a sound shop, of which a test may break any."""

from collections.abc import Iterable

import asyncpg

from k8s.operator.tests.audit_arcade import Gamer, gamer
from k8s.operator.tests.audit_food import Meal, meal
from k8s.operator.tests.audit_records import Placed, ShopRecords
from shop.devkit import embedded
from shop.devkit.testing import Databases
from shop.operator.audit.model import Options
from shop.operator.audit.run import Target, audit
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


class Copies:
    """Copies of the sound databases. Only those that a test changed are copied again for the next."""

    def __init__(self, databases: Databases, server: embedded.Server, nats_url: str) -> None:
        self._databases = databases
        self._server = server.url.rsplit("/", 1)[0]
        self._nats_url = nats_url
        self._sources: dict[str, str] = {}
        self._copies: dict[str, str] = {}
        self._connections: dict[str, asyncpg.Connection] = {}

    async def make_sound(self) -> Sound:
        """The databases that are copied, with four orders in them."""
        for noun in WITH_DATABASE:
            await self._open(noun, await self._databases.clone(noun))
        for database in ("postgres", "template1"):
            await self._connections["order"].execute(f"REVOKE CONNECT ON DATABASE {database} FROM PUBLIC")
        records = self.records()
        await records.stock(10)
        confirmed, cancelled, rejected = await records.confirmed(), await records.cancelled(), await records.rejected()
        food = await meal(records)
        player = await gamer(records, confirmed, cancelled, food.placed)
        sound = Sound(records, confirmed, cancelled, rejected, food, player)
        await records.train(orders=1)
        for noun, connection in self._connections.items():
            await connection.close()
            self._sources[noun] = self._copies.pop(noun).rsplit("/", 1)[1]
        self._connections.clear()
        return sound

    def records(self) -> ShopRecords:
        return ShopRecords(self._connections, Target(self._copies, self._nats_url))

    async def refresh(self) -> None:
        """Every database that is missing, as a copy of the sound one."""
        for noun, source in self._sources.items():
            if noun not in self._copies:
                await self._open(noun, await self._databases.clone(noun, source))

    async def drop(self, nouns: Iterable[str]) -> None:
        for noun in nouns:
            await self._connections.pop(noun).close()
            await self._databases.drop(self._copies.pop(noun))

    async def close(self) -> None:
        await self.drop(list(self._copies))
        for source in self._sources.values():
            await self._databases.drop(f"/{source}")

    async def _open(self, noun: str, url: str) -> None:
        self._copies[noun] = as_superuser = f"{self._server}/{url.rsplit('/', 1)[1]}"
        settings = {"session_replication_role": "replica"}
        self._connections[noun] = await asyncpg.connect(as_superuser, server_settings=settings)


async def violations(records: ShopRecords, options: Options | None = None) -> dict[int, list[str]]:
    """By default without a time to settle: the events were published a moment ago."""
    results = await audit(records.target, options or Options(settle_s=0), pause_s=0)
    return {result.number: list(result.violations) for result in results if not result.ok}
