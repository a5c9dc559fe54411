"""The order service over real PostgreSQL and NATS, with participants that fail as configured."""

from __future__ import annotations

import asyncio
import contextlib
import functools
from collections.abc import AsyncIterator, Callable, Collection, Iterator
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg
import httpx
import orjson
import pytest
from fastapi import FastAPI

from services.order.tests.scripted_food import PIZZA, RESTAURANT, ScriptedFood
from services.order.tests.scripted_services import BOOK, ScriptedServices
from shop.devkit.embedded import Server
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Databases, RecordedStatements, Running, Tokens, wait_until
from shop.devkit.testing import _running as in_process
from shop.devkit.testing import _served as serving
from shop.kit.app import create_app
from shop.kit.ids import new_id
from shop.kit.saga.recovery import SagaRecovery
from shop.order import api, participants
from shop.order.consumers import consumers
from shop.order.service import OrderService
from shop.order.settings import Settings

ADDRESS = {
    "name": "Ada",
    "street": "St James's Square 12",
    "city": "London",
    "postal_code": "SW1Y 4JH",
    "country": "GB",
}
INLINE_BUDGET_S = 30.0
"""Where a test sets none: more than a service takes (`Settings`), so that a slow machine does not make 201 into 202."""
CALL_TIMEOUT_S = 30.0
"""Of calls to participants: an answer that is late on a slow machine is not one that failed."""
HANGING_S = 0.4
"""Of a call that is not answered at all."""


def order_body(**changed: Any) -> dict[str, Any]:
    """A good request, with some members ``changed``."""
    items = [{"product_id": BOOK, "quantity": 2}]
    return {"items": items, "address": ADDRESS, "payment": {"token": "tok_visa"}} | changed


def food_body(**changed: Any) -> dict[str, Any]:
    """A good request for food, with some members ``changed``."""
    items = [{"item_id": PIZZA, "quantity": 2}]
    about = {"kind": "food", "restaurant_id": RESTAURANT}
    return {**about, "items": items, "address": ADDRESS, "payment": {"token": "tok_visa"}} | changed


@dataclass
class Shop:
    """One running order service and what is around it."""

    client: httpx.AsyncClient
    app: FastAPI
    services: ScriptedServices
    database_url: str
    tokens: Tokens
    user_id: UUID = field(default_factory=new_id)

    def __post_init__(self) -> None:
        self.headers = self.tokens.headers(user_id=self.user_id)
        self.admin = self.tokens.headers("admin")

    @property
    def service(self) -> OrderService:
        service: OrderService = self.app.state.service
        return service

    async def place(self, key: str = "", **changed: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key or new_id().hex}
        return await self.client.post("/api/v1/orders", json=order_body(**changed), headers=self.headers | headers)

    async def place_food(self, key: str = "", **changed: Any) -> httpx.Response:
        headers = {"Idempotency-Key": key or new_id().hex}
        return await self.client.post("/api/v1/orders", json=food_body(**changed), headers=self.headers | headers)

    async def order(self, order_id: str) -> dict[str, Any]:
        answer = await self.client.get(f"/api/v1/orders/{order_id}", headers=self.admin)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def post(self, order_id: str, what: str, *, admin: bool = False) -> httpx.Response:
        headers = self.admin if admin else self.headers
        return await self.client.post(f"/api/v1/orders/{order_id}/{what}", headers=headers)

    async def until(self, order_id: str, state: str) -> dict[str, Any]:
        """The order once it is in ``state``."""

        async def reached() -> dict[str, Any] | None:
            order = await self.order(order_id)
            return order if order["state"] == state else None

        reached_order: dict[str, Any] = await wait_until(reached, what=f"state {state}")
        return reached_order

    async def sql(self, statement: str, *args: Any) -> list[asyncpg.Record]:
        connection = await asyncpg.connect(self.database_url)
        try:
            return await connection.fetch(statement, *args)
        finally:
            await connection.close()

    async def events(self, order_id: str) -> list[str]:
        """Types of the order's events in the order of the outbox."""
        rows = await self.sql("SELECT type FROM outbox WHERE subject_id = $1 ORDER BY id", order_id)
        return [row["type"] for row in rows]

    async def event(self, order_id: str, kind: str) -> dict[str, Any]:
        """The data of the order's one event of this type."""
        query = "SELECT payload FROM outbox WHERE subject_id = $1 AND type = $2"
        (row,) = await self.sql(query, order_id, kind)
        data: dict[str, Any] = orjson.loads(row["payload"])["data"]
        return data

    async def saga(self, order_id: str) -> asyncpg.Record:
        (row,) = await self.sql("SELECT * FROM sagas WHERE order_id = $1", UUID(order_id))
        return row


def statements_of(shop: Shop) -> list[str]:
    """The statements about orders and sagas that the replica sends from now on."""
    orders: Any = shop.service._repository
    seen: list[str] = []
    orders._database = orders.sagas._database = RecordedStatements(orders._database, seen)
    return seen


Start = Callable[..., contextlib.AbstractAsyncContextManager[Shop]]


def call_timeout_of(scripted: Collection[ScriptedServices]) -> property:
    """The limit of an endpoint's calls, short while one of the participants is going to hang there."""

    def timeout_s(endpoint: participants.Endpoint[Any, Any]) -> float:
        path = endpoint._contract.path
        return HANGING_S if any(one.hangs_at(path) for one in scripted) else CALL_TIMEOUT_S

    return property(timeout_s, lambda *_: None)


@pytest.fixture(scope="module")
def scripted() -> Iterator[list[ScriptedServices]]:
    """All participants, with time limits fit for a test."""
    made: list[ScriptedServices] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(participants, "MINIMUM_TIMEOUT_S", CALL_TIMEOUT_S)
        patch.setattr(participants.Endpoint, "_timeout_s", call_timeout_of(made), raising=False)
        yield made


@contextlib.asynccontextmanager
async def on_a_port[P: ScriptedServices](made: P, scripted: list[ScriptedServices]) -> AsyncIterator[P]:
    scripted.append(made)
    async with serving(made, lifespan="off") as client:
        made.url = str(client.base_url).rstrip("/")
        yield made


@pytest.fixture(scope="module")
async def served_services(scripted: list[ScriptedServices]) -> AsyncIterator[ScriptedServices]:
    """The participants on a port of their own."""
    async with on_a_port(ScriptedServices(), scripted) as made:
        yield made


@pytest.fixture
def services(served_services: ScriptedServices) -> ScriptedServices:
    """The participants, without any earlier request."""
    served_services.reset()
    return served_services


@pytest.fixture(scope="module")
async def served_food(scripted: list[ScriptedServices]) -> AsyncIterator[ScriptedFood]:
    """Restaurant and delivery on a port of their own."""
    async with on_a_port(ScriptedFood(), scripted) as made:
        yield made


@pytest.fixture
def food(served_food: ScriptedFood) -> ScriptedFood:
    """Restaurant and delivery, without any earlier request."""
    served_food.reset()
    return served_food


def application(
    services: ScriptedServices, database_url: str, nats_url: str, tokens: Tokens, **changed: Any
) -> FastAPI:
    standard: dict[str, Any] = {"product_url": services.url, "pricing_url": services.url, "payment_url": services.url}
    standard |= {"retry_first_s": 0.05, "retry_max_s": 0.1, "recovery_poll_s": 0.02, "stream_poll_s": 0.02}
    budget_s = changed.pop("inline_budget_s", INLINE_BUDGET_S)
    settings = Settings(
        store={"country": "GB"},
        database_url=database_url,
        nats_url=nats_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        **(standard | changed),
    ).model_copy(update={"inline_budget_s": budget_s})
    return create_app(settings, title="Orders", routers=[api.router], build=OrderService.build, consumers=consumers)


async def close_at_the_end(recovery: SagaRecovery[Any]) -> None:
    try:
        await asyncio.Event().wait()
    finally:
        await recovery.close()


@pytest.fixture
def start(
    services: ScriptedServices, nats_url: str, tokens: Tokens, running: Running, database_for: DatabaseFor
) -> Start:
    """``async with start(**settings) as shop``: one replica; starting twice makes two over the same database.

    With ``recovery=False`` it claims sagas only when a test says so. A long poll would not do: its first claim can come
    late on a busy machine, when the test has placed its order.
    """
    made: list[str] = []

    @contextlib.asynccontextmanager
    async def run(*, on_port: bool = False, recovery: bool = True, **changed: Any) -> AsyncIterator[Shop]:
        if not made:
            made.append(await database_for("order"))
        app = application(services, made[0], nats_url, tokens, **changed)
        async with contextlib.AsyncExitStack() as stack:
            with pytest.MonkeyPatch.context() as patch:  # of this replica alone: others start later
                if not recovery:
                    patch.setattr(SagaRecovery, "run", close_at_the_end)
                client = await stack.enter_async_context((serving if on_port else running)(app))
            yield Shop(client, app, services, made[0], tokens)

    return run


@pytest.fixture(scope="module")
async def module_app(
    served_services: ScriptedServices, databases: Databases, nats_server: Server, tokens: Tokens
) -> AsyncIterator[tuple[FastAPI, httpx.AsyncClient, str]]:
    """One replica for all tests of a module that do not depend on each other's orders."""
    database_url = await databases.clone("order")
    app = application(served_services, database_url, nats_server.url, tokens)
    async with in_process(app) as client:
        yield app, client, database_url
    await databases.drop(database_url)


@pytest.fixture
def shop(module_app: tuple[FastAPI, httpx.AsyncClient, str], services: ScriptedServices, tokens: Tokens) -> Shop:
    """A new customer of that replica."""
    app, client, database_url = module_app
    return Shop(client, app, services, database_url, tokens)


@pytest.fixture
def start_food(start: Start, food: ScriptedFood) -> Start:
    """As ``start``, for a shop with food."""
    return functools.partial(start, restaurant_url=food.url, delivery_url=food.url, food_poll_s=0.02)


@pytest.fixture
async def food_shop(start_food: Start) -> AsyncIterator[Shop]:
    """A new customer of a shop with food."""
    async with start_food() as shop:
        yield shop
