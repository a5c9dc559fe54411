"""Replicas of the recommendation service beside a product service, and what its tests do with them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx

from services.product.tests.product_service import new_product, product_app
from shop.contracts.events import Event, OrderCancelled, OrderConfirmed, OrderLine, UserDeleted
from shop.contracts.grpc import recommendation_v1_pb2 as messages
from shop.contracts.grpc import recommendation_v1_pb2_grpc as stubs
from shop.contracts.money import Address, Money
from shop.devkit.testing import INTERNAL_TOKEN, Running, Tokens, wait_until
from shop.kit import outbox
from shop.kit.app import Context, create_app
from shop.kit.db import Connection
from shop.kit.events import Received
from shop.kit.grpc import GrpcClient
from shop.kit.ids import new_id
from shop.product.settings import Settings as ProductSettings
from shop.recommendation import api, consumers, grpc_api
from shop.recommendation.consumers import PurchaseRecorder
from shop.recommendation.service import RecommendationService
from shop.recommendation.settings import Settings

HTTP = "/api/v1/recommendations"
PRICE = Money(amount=1_299, currency="EUR")
HOME = Address(name="Ada", street="1 Lane", city="Berlin", postal_code="10115", country="DE")
Served = Callable[..., contextlib.AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass
class Products:
    """A product service on a port of its own, which a test may stop and start again."""

    settings: ProductSettings
    served: Served
    tokens: Tokens
    port: int = 0
    client: httpx.AsyncClient | None = None
    _running: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        self.client = await self._running.enter_async_context(self.served(product_app(self.settings), port=self.port))
        self.port = int(self.client.base_url.port or 0)

    async def stop(self) -> None:
        await self._running.aclose()

    async def add(self, name: str = "Middlemarch", *, stock: int = 10, category: str = "novel") -> UUID:
        body = new_product(name=name, stock=stock, category=category)
        return UUID((await self._send("POST", "", body))["id"])

    async def add_many(self, count: int, **options: Any) -> list[UUID]:
        return [await self.add(f"Book {number:02}", **options) for number in range(count)]

    async def stock(self, product_id: UUID, delta: int) -> None:
        await self._send("POST", f"/{product_id}/stock", {"delta": delta})

    async def move(self, product_id: UUID, category: str) -> None:
        await self._send("PATCH", f"/{product_id}", {"category": category})

    async def _send(self, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
        assert self.client is not None
        headers = self.tokens.headers("admin")
        answer = await self.client.request(method, f"/api/v1/products{path}", json=body, headers=headers)
        assert answer.status_code < 300, answer.text
        document: dict[str, Any] = answer.json()
        return document


@dataclass
class Replica:
    """One process of the service, as its callers see it."""

    address: str
    http: httpx.AsyncClient
    context: Context
    service: RecommendationService
    grpc: GrpcClient
    stub: stubs.RecommendationsAsyncStub

    async def recommend(
        self, user: UUID | None = None, count: int = 10, *, category: str = "", without: Sequence[UUID] = ()
    ) -> list[messages.Recommendation]:
        request = messages.RecommendRequest(
            user_id=str(user or ""),
            category=category,
            max_results=count,
            excluded_product_ids=[str(one) for one in without],
        )
        return list((await self.grpc.call(self.stub.Recommend, request)).recommendations)

    async def similar(
        self, product: UUID, count: int = 10, *, user: UUID | None = None, without: Sequence[UUID] = ()
    ) -> list[messages.Recommendation]:
        request = messages.SimilarToRequest(
            product_id=str(product),
            max_results=count,
            user_id=str(user or ""),
            excluded_product_ids=[str(one) for one in without],
        )
        return list((await self.grpc.call(self.stub.SimilarTo, request)).recommendations)

    async def together(
        self, products: Sequence[UUID], count: int = 10, *, user: UUID | None = None, without: Sequence[UUID] = ()
    ) -> list[messages.Recommendation]:
        request = messages.BoughtTogetherRequest(
            product_ids=[str(one) for one in products],
            max_results=count,
            user_id=str(user or ""),
            excluded_product_ids=[str(one) for one in without],
        )
        return list((await self.grpc.call(self.stub.BoughtTogether, request)).recommendations)

    async def get(self, headers: dict[str, str] | None = None, path: str = "", **params: Any) -> dict[str, Any]:
        answer = await self.http.get(f"{HTTP}{path}", params=params, headers=headers)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    async def up_to_date(self) -> None:
        """Wait until the model in use was trained on every purchase."""
        await wait_until(self._is_up_to_date, what="the newest model")

    async def _is_up_to_date(self) -> bool:
        state = await self.service.models._models.state()
        return state.revision == (state.trained_revision or 0) and (state.version or 0) == self.service.loaded.version


@dataclass
class Shop:
    """A product service, any number of replicas of recommendation on one database, and events from other services."""

    settings: Settings
    products: Products
    running: Running
    tokens: Tokens
    replicas: list[Replica] = field(default_factory=list)
    published: set[str] = field(default_factory=set)
    _stack: contextlib.AsyncExitStack = field(default_factory=contextlib.AsyncExitStack)

    @property
    def replica(self) -> Replica:
        return self.replicas[0]

    async def start(self, *, ready: bool = True) -> Replica:
        """One more replica; with ``ready``, once it has read the catalogue."""
        replica = await self._stack.enter_async_context(self._replica())
        self.replicas.append(replica)
        await wait_until(lambda: replica.context.bus.connected and (not ready or replica.service.catalogue.loaded))
        return replica

    async def stop(self) -> None:
        """Stop all replicas."""
        self.replicas.clear()
        await self._stack.aclose()

    @contextlib.asynccontextmanager
    async def _replica(self) -> AsyncIterator[Replica]:
        server = grpc_api.server(self.settings)
        app = create_app(
            self.settings,
            title="Recommendation",
            routers=[api.router],
            build=RecommendationService.build,
            consumers=consumers.consumers,
            readiness=[("catalogue", RecommendationService.check_catalogue)],
            beside=[server],
        )
        async with self.running(app) as http:
            address = f"127.0.0.1:{server.port}"
            grpc = GrpcClient("recommendation", address, [messages.DESCRIPTOR], INTERNAL_TOKEN)
            stub = stubs.RecommendationsStub(grpc.channel)
            yield Replica(address, http, app.state.context, app.state.service, grpc, stub)
            await grpc.close()

    async def catalogue_is_read(self) -> None:
        """Every replica reads the list of products now."""
        for replica in self.replicas:
            await replica.service.catalogue.read_all()
            replica.service._rebuild_fallback()

    async def publish(self, *events: Event) -> None:
        bus = self.replica.context.bus
        for event in events:
            await bus.ensure_stream(event.TYPE.partition(".")[0])
            row = outbox.row(event)
            await (await bus.publish(row.type, row.payload.encode(), str(row.event_id)))
            self.published.add(str(row.event_id))

    async def consumed(self) -> None:
        """Wait until every published event was consumed."""
        query = "SELECT count(*) FROM inbox WHERE event_id::text = ANY ($1)"
        database = self.replica.context.database

        async def all_are() -> bool:
            return int(await database.fetchval(query, list(self.published))) == len(self.published)

        await wait_until(all_are, what="the inbox")

    async def learn(self, *events: Event) -> None:
        """Publish, and wait until every replica has the model that follows."""
        await self.publish(*events)
        await self.consumed()
        for replica in self.replicas:
            await replica.up_to_date()

    async def buy(self, user: UUID, *products: UUID, hours_ago: float = 1.0) -> OrderConfirmed:
        """A confirmed order of which the event is consumed and the model trained."""
        event = confirmed(user, *products, hours_ago=hours_ago)
        await self.learn(event)
        return event

    async def rows(self, table: str) -> int:
        return int(await self.replica.context.database.fetchval(f"SELECT count(*) FROM {table}"))


def confirmed(user: UUID, *products: UUID, hours_ago: float = 1.0, order_id: UUID | None = None) -> OrderConfirmed:
    lines = [
        OrderLine(product_id=one, quantity=1, name="Book", category="novel", unit_price=PRICE, line_total=PRICE)
        for one in products
    ]
    return OrderConfirmed(
        order_id=order_id or new_id(),
        user_id=user,
        email="ada@example.com",
        customer_name="Ada",
        kind="retail",
        occurred_at=datetime.now(UTC) - timedelta(hours=hours_ago),
        lines=lines,
        subtotal=PRICE,
        discount=PRICE,
        tax=PRICE,
        shipping=PRICE,
        total=PRICE,
        address=HOME,
    )


def cancelled(order: OrderConfirmed) -> OrderCancelled:
    same = order.model_dump(include={"order_id", "user_id", "email", "customer_name", "kind"})
    return OrderCancelled(**same, occurred_at=datetime.now(UTC), refunded=PRICE)


def deleted(user: UUID) -> UserDeleted:
    return UserDeleted(user_id=user, occurred_at=datetime.now(UTC))


async def take(recorder: PurchaseRecorder, connection: Connection, batch: Sequence[Received]) -> None:
    """Hand the events to the consumers of their types."""
    for handle, deletions in ((recorder.handle, False), (recorder.deletions.handle, True)):
        if events := [one for one in batch if isinstance(one.event, UserDeleted) is deletions]:
            await handle(connection, events)


def ids(found: Sequence[messages.Recommendation]) -> list[UUID]:
    return [UUID(one.id) for one in found]
