"""A mail server, events, and the service between them."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any

import httpx
import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session

from shop.contracts.events import (
    Event,
    OrderCancelled,
    OrderConfirmed,
    OrderDelivered,
    OrderFulfilled,
    OrderLine,
    OrderPending,
    OrderRejected,
    PaymentRefunded,
    UserDeleted,
    UserRegistered,
)
from shop.contracts.money import Address, Money
from shop.devkit import embedded
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens, wait_until
from shop.kit import events
from shop.kit.app import create_app
from shop.kit.bus import Bus
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.kit.tasks import Tasks
from shop.notification import api, pages
from shop.notification.consumers import consumers
from shop.notification.service import NotificationService
from shop.notification.settings import Settings

NOW = datetime(2026, 5, 1, 12, tzinfo=UTC)


def euros(amount: int) -> Money:
    return Money(amount=amount, currency="EUR")


class Samples:
    """Events about one customer and one order; ``changed`` replaces any of their fields."""

    def __init__(self) -> None:
        self.user_id = new_id()
        self.order_id = new_id()
        self.email = f"reader-{self.user_id.hex[-8:]}@example.com"
        self.name = "Ada Lovelace"

    def _order(self, **changed: Any) -> dict[str, Any]:
        base = {"order_id": self.order_id, "user_id": self.user_id, "email": self.email, "kind": "retail"}
        return base | {"customer_name": self.name, "occurred_at": NOW} | changed

    def pending(self, **changed: Any) -> OrderPending:
        return OrderPending(**self._order(reason="payment_unavailable", **changed))

    def confirmed(self, **changed: Any) -> OrderConfirmed:
        line = OrderLine(
            product_id=new_id(),
            quantity=2,
            name="Moby-Dick",
            category="novels",
            unit_price=euros(1_299),
            line_total=euros(2_598),
        )
        address = Address(name=self.name, street="Main St 1", city="Bonn", postal_code="53111", country="DE")
        amounts = {"subtotal": 2_598, "discount": 500, "tax": 147, "shipping": 490, "total": 2_735}
        money = {name: euros(amount) for name, amount in amounts.items()}
        return OrderConfirmed(**self._order(lines=[line], address=address, **money) | changed)

    def rejected(self, *, late: bool = True, **changed: Any) -> OrderRejected:
        return OrderRejected(**self._order(reason="insufficient_stock", late=late, **changed))

    def cancelled(self) -> OrderCancelled:
        return OrderCancelled(**self._order(refunded=euros(2_735)))

    def fulfilled(self) -> OrderFulfilled:
        return OrderFulfilled(**self._order())

    def delivered(self) -> OrderDelivered:
        return OrderDelivered(**self._order())

    def refunded(self) -> PaymentRefunded:
        return PaymentRefunded(
            payment_id=new_id(),
            order_id=self.order_id,
            user_id=self.user_id,
            amount=euros(2_735),
            occurred_at=NOW,
        )

    def registered(self, **changed: Any) -> UserRegistered:
        base = {"user_id": self.user_id, "email": self.email, "name": self.name, "occurred_at": NOW}
        return UserRegistered(**base | changed)

    def deleted(self) -> UserDeleted:
        return UserDeleted(user_id=self.user_id, occurred_at=NOW)

    def each(self) -> list[Event]:
        """One event of each type that causes a mail."""
        return [
            self.registered(),
            self.pending(),
            self.confirmed(),
            self.fulfilled(),
            self.delivered(),
            self.refunded(),
            self.cancelled(),
            self.rejected(),
        ]


@dataclass
class MailServer:
    """A real SMTP server that refuses, defers or disconnects as a test configures it."""

    port: int = field(default_factory=embedded.free_port)
    raw: list[bytes] = field(default_factory=list)
    refuse_recipients: dict[str, str] = field(default_factory=dict)
    data_answers: list[str] = field(default_factory=list)
    disconnect_after: int | None = None
    connections: int = 0
    _server: asyncio.Server | None = None
    _open: set[asyncio.BaseTransport] = field(default_factory=set)

    @property
    def url(self) -> str:
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def mails(self) -> list[EmailMessage]:
        return [BytesParser(policy=policy.default).parsebytes(raw) for raw in self.raw]

    def subjects(self) -> list[str]:
        return [str(mail["Subject"]) for mail in self.mails]

    async def start(self) -> None:
        def connect() -> SMTP:
            self.connections += 1
            return _SmtpSession(self, hostname="mail.example", loop=asyncio.get_running_loop())

        self._server = await asyncio.get_running_loop().create_server(connect, "127.0.0.1", self.port)

    async def stop(self) -> None:
        if self._server:
            self._server.close()
            self._server = None
        for transport in list(self._open):
            transport.close()

    async def handle_RCPT(  # noqa: N802
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        if address in self.refuse_recipients:
            return self.refuse_recipients[address]
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802
        answer = self.data_answers.pop(0) if self.data_answers else "250 OK"
        if answer.startswith("250"):
            self.raw.append(bytes(envelope.original_content or b""))
        if self.disconnect_after is not None and len(self.raw) >= self.disconnect_after:
            self.disconnect_after = None
            assert server.transport is not None
            server.transport.close()
        return answer


class _SmtpSession(SMTP):
    def __init__(self, smtp: MailServer, **options: Any) -> None:
        super().__init__(smtp, **options)
        self._office = smtp

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._office._open.add(transport)
        super().connection_made(transport)

    def connection_lost(self, error: Exception | None) -> None:
        self._office._open = {transport for transport in self._office._open if not transport.is_closing()}
        super().connection_lost(error)


@dataclass
class RunningService:
    """The running service with its database and a connection to the broker."""

    client: httpx.AsyncClient
    database: Database
    bus: Bus

    async def publish(self, *published: Event) -> list[events.OutboxRow]:
        rows = [events.row(event) for event in published]
        await self.publish_rows(rows)
        return rows

    async def publish_rows(self, rows: Sequence[events.OutboxRow]) -> None:
        """Publish envelopes, each with a new message id: the broker does not deduplicate them."""
        for row in rows:
            await self.publish_payload(row.type, row.payload.encode())

    async def publish_payload(self, subject: str, payload: bytes) -> None:
        await self.bus.ensure_stream(subject.split(".", 1)[0])
        await (await self.bus.publish(subject, payload, str(new_id())))

    async def count(self, condition: str = "true") -> int:
        return int(await self.database.fetchval(f"SELECT count(*) FROM notifications WHERE {condition}"))

    async def wait_until_taken(self, rows: Sequence[events.OutboxRow]) -> None:
        """Wait until the service has consumed these events."""
        sql = "SELECT count(*) FROM inbox WHERE event_id = ANY ($1)"
        ids = [row.event_id for row in rows]

        async def all_taken() -> bool:
            return bool(await self.database.fetchval(sql, ids) == len(set(ids)))

        await wait_until(all_taken, 20, "consuming the events")

    async def wait_until_sent(self) -> None:
        """Wait until nothing is queued."""

        async def nothing_queued() -> bool:
            return await self.count("state = 'queued'") == 0

        await wait_until(nothing_queued, 20, "sending what is queued")


StartService = Callable[..., contextlib.AbstractAsyncContextManager[RunningService]]


@pytest.fixture
def samples() -> Samples:
    return Samples()


@pytest.fixture
def more_samples() -> Callable[[], Samples]:
    return Samples


@pytest.fixture
async def smtp() -> AsyncIterator[MailServer]:
    smtp = MailServer()
    await smtp.start()
    yield smtp
    await smtp.stop()


@pytest.fixture
async def database_url(database_for: DatabaseFor) -> str:
    return await database_for("notification")


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    database = await Database.connect(database_url, pool_size=4, application="test")
    yield database
    await database.close()


@pytest.fixture
def start_service(
    database_url: str, database: Database, tokens: Tokens, running: Running, nats_url: str
) -> StartService:
    """``async with start_service(smtp_url=...)``: the service with these settings and the test's database."""

    @contextlib.asynccontextmanager
    async def start(**changed: Any) -> AsyncIterator[RunningService]:
        settings = Settings(
            database_url=database_url,
            nats_url=nats_url,
            jwks_url=tokens.jwks_url,
            internal_token=INTERNAL_TOKEN,
            **changed,
        )
        app = create_app(
            settings,
            title="Notifications",
            routers=[api.router, pages.router],
            build=NotificationService.build,
            consumers=consumers,
        )
        bus, tasks = Bus(nats_url, "test"), Tasks()
        bus.start(tasks)
        async with running(app) as client:
            await wait_until(lambda: bus.connected, what="the broker")
            yield RunningService(client, database, bus)
        await tasks.stop()
        await bus.close()

    return start


@pytest.fixture
async def service(start_service: StartService, smtp: MailServer) -> AsyncIterator[RunningService]:
    async with start_service(smtp_url=smtp.url) as service:
        yield service
