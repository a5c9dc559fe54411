"""Services behind PgBouncer in transaction mode, over TLS by an authority that only they trust."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import psycopg
import pytest
from fastapi import FastAPI

from shop.devkit import embedded
from shop.devkit.testing import INTERNAL_TOKEN, ROLE_PASSWORD, DatabaseFor, Tokens, wait_until
from shop.devkit.testing import _served as served
from shop.kit import outbox
from shop.kit.app import create_app
from shop.kit.bus import Bus
from shop.kit.db import Database, Pooler
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.kit.outbox import Outbox
from shop.kit.settings import ServiceSettings
from shop.kit.tasks import Tasks
from shop.order import api as order_api
from shop.order.service import OrderService
from shop.order.settings import Settings as OrderSettings
from shop.payment import api as payment_api
from shop.payment.service import PaymentService
from shop.payment.settings import Settings as PaymentSettings
from shop.pricing import api as pricing_api
from shop.pricing.service import PricingService
from shop.pricing.settings import Settings as PricingSettings
from shop.product import api as product_api
from shop.product.consumers import consumers as product_consumers
from shop.product.service import ProductService
from shop.product.settings import Settings as ProductSettings
from tests.integration import pgbouncer
from tests.integration.pgbouncer import PgBouncer
from tests.operator.certificates import Authority

NOUNS = ("product", "pricing", "payment", "order")
ORDERS = 24
PRICE = {"amount": 1_250, "currency": "EUR"}
RETENTION_S = 3_600.0
ADDRESS = {"name": "Ada", "street": "Platz 1", "city": "Berlin", "postal_code": "10115", "country": "DE"}

pytestmark = pytest.mark.skipif(
    pgbouncer.PROGRAM is None, reason="pgbouncer is neither on PATH nor in /usr/sbin: install the package pgbouncer"
)


@pytest.fixture(scope="module")
def pooler(postgres: embedded.Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PgBouncer]:
    passwords = {f"shop_{noun}": ROLE_PASSWORD for noun in (*NOUNS, "kit")}
    store = PgBouncer(tmp_path_factory.mktemp("pgbouncer"), postgres.url, passwords)
    server = store.start()
    yield store
    server.stop()


@pytest.fixture
def trusted(pooler: PgBouncer, monkeypatch: pytest.MonkeyPatch) -> None:
    """The authority as the charts give it to every process that connects to the database."""
    monkeypatch.setenv("PGSSLROOTCERT", str(pooler.authority.path))


@dataclass
class Services:
    """Two replicas of order, one of each service that it calls, and the URLs of their databases without a pooler."""

    orders: list[httpx.AsyncClient]
    product: httpx.AsyncClient
    direct: dict[str, str]
    tokens: Tokens

    async def new_product(self, stock: int) -> str:
        body = {"sku": new_id().hex, "name": "A book", "category": "books", "stock": stock}
        answer = await self.product.post(
            "/api/v1/products", json=body | {"price": PRICE}, headers=self.tokens.headers("admin")
        )
        assert answer.status_code == 201, answer.text
        return str(answer.json()["id"])

    async def buy(self, number: int, product_id: str) -> httpx.Response:
        body = {
            "items": [{"product_id": product_id, "quantity": 1}],
            "address": ADDRESS,
            "payment": {"token": "tok_visa"},
        }
        headers = self.tokens.headers() | {"Idempotency-Key": new_id().hex}
        return await self.orders[number % len(self.orders)].post("/api/v1/orders", json=body, headers=headers)

    async def count(self, noun: str, query: str) -> int:
        connection = await asyncpg.connect(self.direct[noun])
        try:
            return int(await connection.fetchval(query))
        finally:
            await connection.close()


@contextlib.asynccontextmanager
async def services(
    pooler: PgBouncer, mode: Pooler, database_for: DatabaseFor, nats_url: str, tokens: Tokens
) -> AsyncIterator[Services]:
    direct = {noun: await database_for(noun) for noun in NOUNS}
    urls: dict[str, str] = {}

    def given(noun: str) -> dict[str, Any]:
        return {
            "database_url": pooler.through(direct[noun]),
            "database_pooler": mode,
            "nats_url": nats_url,
            "jwks_url": tokens.jwks_url,
            "internal_token": INTERNAL_TOKEN,
            **{f"{other}_url": url for other, url in urls.items()},
        }

    async with contextlib.AsyncExitStack() as stack:

        async def start(settings: ServiceSettings, **parts: Any) -> httpx.AsyncClient:
            application: FastAPI = create_app(settings, title=settings.service, **parts)
            client = await stack.enter_async_context(served(application))
            urls[settings.service] = str(client.base_url).rstrip("/")
            return client

        product = await start(
            ProductSettings(**given("product")),
            routers=[product_api.router, product_api.internal],
            build=ProductService.build,
            consumers=product_consumers,
        )
        await start(
            PricingSettings(**given("pricing")),
            routers=[pricing_api.router, pricing_api.internal],
            build=PricingService.build,
        )
        await start(
            PaymentSettings(**given("payment")),
            routers=[payment_api.router, payment_api.internal],
            build=PaymentService.build,
        )
        orders = [
            await start(OrderSettings(**given("order")), routers=[order_api.router], build=OrderService.build)
            for _ in range(2)
        ]
        yield Services(orders, product, direct, tokens)


@pytest.mark.usefixtures("trusted")
async def test_orders_are_bought_and_their_events_take_effect(
    pooler: PgBouncer, database_for: DatabaseFor, nats_url: str, tokens: Tokens
) -> None:
    async with services(pooler, "transaction", database_for, nats_url, tokens) as shop:
        product_id = await shop.new_product(ORDERS)
        answers = await asyncio.gather(*(shop.buy(number, product_id) for number in range(ORDERS)))
        assert {answer.status_code for answer in answers} == {201}, [answer.text for answer in answers]

        async def sold() -> bool:
            # The inbox of product has read the outbox of order.
            return await shop.count("product", "SELECT count(*) FROM reservations WHERE state = 'sold'") == ORDERS

        await wait_until(sold, what="every order in product's inbox")
        for noun in NOUNS:

            async def published(noun: str = noun) -> bool:
                return not await shop.count(noun, "SELECT count(*) FROM outbox WHERE published_at IS NULL")

            await wait_until(published, what=f"an empty outbox of {noun}")
        refused = await shop.buy(0, product_id)
        assert (refused.status_code, refused.json()["code"]) == (409, "insufficient_stock")


@contextlib.asynccontextmanager
async def two_clients(url: str, mode: Pooler) -> AsyncIterator[tuple[Database, Database]]:
    opened = [await Database.connect(url, pool_size=2, application="test", pooler=mode) for _ in range(2)]
    yield opened[0], opened[1]
    for database in opened:
        await database.close()


async def twice_on_different_connections(first: Database, second: Database) -> int:
    await first.fetchval("SELECT $1::int", 1)
    async with second.transaction() as connection:
        # Now the one server connection that there was is taken.
        await connection.fetchval("SELECT 1")
        return int(await first.fetchval("SELECT $1::int", 2))


@pytest.mark.usefixtures("trusted")
async def test_a_statement_may_run_on_a_connection_that_has_not_prepared_it(
    pooler: PgBouncer, database_for: DatabaseFor
) -> None:
    async with two_clients(pooler.through(await database_for("kit")), "transaction") as clients:
        assert await twice_on_different_connections(*clients) == 2
    async with two_clients(pooler.through(await database_for("kit")), "none") as clients:
        with pytest.raises(asyncpg.InvalidSQLStatementNameError):
            await twice_on_different_connections(*clients)


@pytest.mark.usefixtures("trusted")
async def test_of_two_relays_one_publishes_at_a_time(
    pooler: PgBouncer, database_for: DatabaseFor, nats_url: str
) -> None:
    direct = await database_for("kit")
    database = await Database.connect(pooler.through(direct), pool_size=2, application="test", pooler="transaction")
    bus, tasks = Bus(nats_url, "kit"), Tasks()
    bus.start(tasks)
    await wait_until(lambda: bus.connected)
    relay = Outbox(database, bus, "kit", RETENTION_S)
    await bus.ensure_stream("kit")
    event = outbox.OutboxRow(new_id(), "kit.happened.v1", "a", "{}")
    async with database.transaction() as connection:
        await outbox.insert(connection, [event])
    # Another replica's pass, which lasts.
    other = await asyncpg.connect(direct)
    async with other.transaction():
        await other.fetchval("SELECT pg_advisory_xact_lock($1)", outbox.LOCK_KEY)
        assert await relay._relay_in_transaction() == 0
    assert await relay._relay_in_transaction() == 1
    await other.close()
    await tasks.stop()
    await bus.close()
    await database.close()


def uses_tls(url: str) -> bool:
    """As migrations connect, and libpq's programs in the Jobs."""
    with psycopg.connect(url) as connection:
        return bool(connection.pgconn.ssl_in_use)


@pytest.mark.parametrize("sslmode", ["verify-ca", "verify-full"])
async def test_only_the_given_authority_is_trusted(
    pooler: PgBouncer, database_for: DatabaseFor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sslmode: str
) -> None:
    url = pooler.through(await database_for("kit"), sslmode)
    monkeypatch.setenv("PGSSLROOTCERT", str(Authority(tmp_path).path))
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await Database.connect(url, pool_size=2, application="test", pooler="transaction")
    with pytest.raises(psycopg.OperationalError, match="certificate verify failed"):
        await asyncio.to_thread(uses_tls, url)

    monkeypatch.setenv("PGSSLROOTCERT", str(pooler.authority.path))
    database = await Database.connect(url, pool_size=2, application="test", pooler="transaction")
    await database.check()
    await database.close()
    assert await asyncio.to_thread(uses_tls, url)


@pytest.mark.usefixtures("trusted")
async def test_verify_full_also_checks_the_name(pooler: PgBouncer, database_for: DatabaseFor) -> None:
    url = pooler.through(await database_for("kit")).replace("@localhost:", "@127.0.0.2:")
    with pytest.raises(Unavailable, match="CERTIFICATE_VERIFY_FAILED"):
        await Database.connect(url, pool_size=2, application="test", pooler="transaction")
