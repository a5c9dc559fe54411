"""Which errors of PostgreSQL are temporary: they are a 503 and are retried, never a 500."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import httpx
import pytest

from shop.devkit import embedded
from shop.devkit.testing import Running, Tokens, wait_until
from shop.kit.app import Context, create_app
from shop.kit.db import Database, ReadOnly
from shop.kit.errors import Unavailable
from shop.kit.routing import router
from shop.kit.settings import ServiceSettings

api = router(prefix="/api/v1/notes")


class Settings(ServiceSettings):
    service = "kit"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    database = await Database.connect(url, pool_size=2, application="test")
    await database.execute("CREATE TABLE notes (body text)")
    yield database
    await database.close()


@pytest.fixture
async def admin(postgres: embedded.Server) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(postgres.url)
    yield connection
    await connection.close()


@pytest.mark.parametrize(
    "condition",
    [
        "disk_full",
        "out_of_memory",
        "too_many_connections",
        "configuration_limit_exceeded",
        "io_error",
        "query_canceled",
        "admin_shutdown",
        "crash_shutdown",
        "cannot_connect_now",
        "connection_failure",
        "lock_not_available",
        "read_only_sql_transaction",
    ],
)
async def test_a_server_that_refuses_work_is_unavailable(database: Database, condition: str) -> None:
    raising = f"DO $$ BEGIN RAISE {condition}; END $$"
    with pytest.raises(Unavailable) as alone:
        await database.execute(raising)
    with pytest.raises(Unavailable) as inside:
        async with database.transaction() as connection:
            await connection.execute(raising)
    assert {alone.value.service, inside.value.service} == {"database"}
    assert await database.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("condition", ["unique_violation", "check_violation", "division_by_zero", "undefined_table"])
async def test_an_error_of_the_statement_is_passed_through(database: Database, condition: str) -> None:
    with pytest.raises(asyncpg.PostgresError) as caught:
        await database.execute(f"DO $$ BEGIN RAISE {condition}; END $$")
    assert not isinstance(caught.value, Unavailable)


async def fail_over(admin: asyncpg.Connection, name: str, *, read_only: bool) -> None:
    """New connections reach a read-only server, or a writable one; existing ones are not changed."""
    await admin.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = {"on" if read_only else "off"}')


async def cut(admin: asyncpg.Connection, name: str) -> None:
    await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = $1", name)


async def test_connections_to_a_read_only_server_are_replaced(
    database: Database, url: str, admin: asyncpg.Connection
) -> None:
    name = url.rpartition("/")[2].partition("?")[0]
    await fail_over(admin, name, read_only=True)
    await cut(admin, name)
    await wait_until(lambda: _reads(database))
    with pytest.raises(ReadOnly):
        await database.execute("INSERT INTO notes VALUES ('lost')")
    with pytest.raises(ReadOnly):
        await database.check()
    await fail_over(admin, name, read_only=False)

    async def writes() -> bool:
        try:
            await database.execute("INSERT INTO notes VALUES ('kept')")
        except ReadOnly:
            return False
        return True

    await wait_until(writes)
    await database.check()
    assert [row["body"] for row in await database.fetch("SELECT body FROM notes")] == ["kept"]


async def _reads(database: Database) -> bool:
    try:
        return bool(await database.fetchval("SELECT 1") == 1)
    except Unavailable:
        return False


async def test_a_service_answers_503_and_is_not_ready_while_nothing_can_be_written(
    url: str, admin: asyncpg.Connection, tokens: Tokens, running: Running
) -> None:
    routes = router(prefix="/api/v1/notes")
    context: list[Context] = []

    @routes.post("", status_code=201)
    async def write() -> str:
        return await context[0].database.execute("INSERT INTO notes VALUES ('a')")

    @routes.post("/deadlock", status_code=201)
    async def deadlock() -> str:
        return await context[0].database.execute("DO $$ BEGIN RAISE deadlock_detected; END $$")

    settings = Settings(database_url=url, jwks_url=tokens.jwks_url)
    app = create_app(settings, title="Notes", routers=[routes], uses_bus=False, build=context.append)
    name = url.rpartition("/")[2].partition("?")[0]
    async with running(app) as client:
        await context[0].database.execute("CREATE TABLE notes (body text)")
        assert (await client.get("/health/ready")).status_code == 200
        await fail_over(admin, name, read_only=True)
        await cut(admin, name)
        await refused(client)
        ready = await client.get("/health/ready")
        assert (ready.status_code, "takes no writes" in ready.json()["checks"]["database"]) == (503, True)
        assert (await client.get("/health/live")).status_code == 200
        await fail_over(admin, name, read_only=False)
        await wait_until(lambda: _status(client, 201))
        assert (await client.get("/health/ready")).status_code == 200
        given_way = await client.post("/api/v1/notes/deadlock")
        assert (given_way.status_code, given_way.json()["code"]) == (503, "database_unavailable")


async def refused(client: httpx.AsyncClient) -> None:
    for _ in range(3):
        answer = await client.post("/api/v1/notes")
        assert (answer.status_code, answer.json()["code"]) == (503, "database_unavailable")
        assert int(answer.headers["retry-after"]) > 0
        await asyncio.sleep(0)


async def _status(client: httpx.AsyncClient, status: int) -> bool:
    return (await client.post("/api/v1/notes")).status_code == status
