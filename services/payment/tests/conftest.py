from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from shop.contracts.payment import VoidStatus
from shop.devkit.testing import INTERNAL_TOKEN, WAIT_TIMEOUT_S, DatabaseFor, Running, Tokens
from shop.kit.app import Context, create_app
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.payment import api, charges
from shop.payment.domain import ChargeAnswer, ChargeRequest, Payment, Refund, RefundRequest
from shop.payment.provider import Charge, ChargeOutcome, Repayment, RepaymentOutcome
from shop.payment.refunds import VoidRequest
from shop.payment.repository import PaymentRepository
from shop.payment.service import PaymentService
from shop.payment.settings import Settings
from shop.payment.simulator import Simulator

POOL_SIZE = 16
PATIENT_S = 10.0
"""So that a busy machine does not make captured payments pending; tests of a slow provider give less time."""
INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}

# What must hold of a database at any time that nothing is in flight; each query finds violations.
AUDIT = {
    "at most one capture per order at the provider": """
        SELECT order_id, count(*) FROM simulator.charges WHERE outcome = 'captured'
        GROUP BY order_id HAVING count(*) > 1""",
    "the provider's captures are ours": """
        SELECT order_id, p.state, p.amount, c.amount
        FROM (SELECT * FROM payments WHERE provider = 'simulator' AND amount > 0
              AND state IN ('captured', 'partially_refunded', 'refunded')) p
        FULL JOIN (SELECT * FROM simulator.charges WHERE outcome = 'captured') c USING (order_id)
        WHERE (p.amount, p.currency) IS DISTINCT FROM (c.amount, c.currency)
          AND NOT EXISTS (SELECT FROM payments q WHERE q.order_id = c.order_id AND q.state = 'pending')""",
    "the provider's refunds are ours": """
        SELECT order_id, p.refunded, c.refunded FROM payments p JOIN simulator.charges c USING (order_id)
        WHERE c.outcome = 'captured' AND p.refunded <> c.refunded AND p.refunding = 0""",
    "refunds add up": """
        SELECT p.id, p.refunded, p.refunding FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id GROUP BY p.id
        HAVING p.refunded <> coalesce(sum(r.amount) FILTER (WHERE r.state = 'succeeded'), 0)
            OR p.refunding <> coalesce(sum(r.amount) FILTER (WHERE r.state = 'pending'), 0)""",
    "the ledger sums to zero": """
        SELECT transaction_id, currency, sum(amount) FROM entries GROUP BY 1, 2 HAVING sum(amount) <> 0""",
    "the ledger agrees with the payments": """
        SELECT p.id, p.state, p.amount - p.refunded, e.held FROM payments p
        LEFT JOIN (SELECT payment_id, sum(amount) AS held FROM entries WHERE account = 'provider' GROUP BY 1) e
          ON e.payment_id = p.id
        WHERE coalesce(e.held, 0) <> CASE WHEN p.state IN ('captured', 'partially_refunded', 'refunded')
                                          THEN p.amount - p.refunded ELSE 0 END""",
    "every refund is published once": """
        SELECT * FROM (
            SELECT p.order_id::text AS id, 'payment.refunded.v1' AS type
            FROM refunds r JOIN payments p ON p.id = r.payment_id WHERE r.state = 'succeeded'
        ) booked FULL JOIN (SELECT subject_id AS id, type, count(*) AS events FROM outbox GROUP BY 1, 2) told
        USING (id, type) WHERE booked.id IS NULL OR told.id IS NULL""",
    "no token is kept": "SELECT id FROM payments WHERE token IS NOT NULL AND state <> 'pending'",
}


BOOKINGS = """
SELECT CASE account WHEN 'sales' THEN 'capture' ELSE 'refund' END AS booking
FROM entries e JOIN payments p ON p.id = e.payment_id
WHERE p.order_id = $1 AND account IN ('sales', 'refunds') ORDER BY 1"""


class Crash(BaseException):
    """The process dies here: nothing handles it, nothing after it runs."""


class FaultyProvider(Simulator):
    """The simulator, with faults at the moments that matter."""

    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.down = False
        self.refuses_refunds = False
        self.loses_refund_answers = 0
        self.crash: str | None = None
        self.gate = asyncio.Event()
        self.gate.set()
        self.at_gate = asyncio.Event()
        self.held_token = ""
        self.calls_to_hold = 0

    async def charge_many(self, charges: Sequence[Charge]) -> AsyncIterator[Sequence[ChargeOutcome]]:
        if self.crash == "before the provider":
            raise Crash
        if self.down:
            yield [ChargeOutcome(charge.key, "unknown", code="provider_unavailable") for charge in charges]
            return
        held = [charge for charge in charges if charge.token == self.held_token and self.calls_to_hold > 0]
        at_once = [charge for charge in charges if charge not in held]
        if at_once:
            async for outcomes in super().charge_many(at_once):
                if self.crash == "after the provider":
                    raise Crash
                yield outcomes
        if held:
            self.calls_to_hold -= 1
            self.at_gate.set()
            await self.gate.wait()
            async for outcomes in super().charge_many(held):
                yield outcomes

    def hold(self, token: str, calls: int = 1) -> None:
        """Keep the next ``calls`` that charge ``token`` from reaching the provider until ``gate`` is set."""
        self.held_token, self.calls_to_hold = token, calls
        self.gate.clear()

    async def wait_until_held(self) -> None:
        """Return once a charge is held."""
        await asyncio.wait_for(self.at_gate.wait(), WAIT_TIMEOUT_S)

    async def refund(self, repayment: Repayment) -> RepaymentOutcome:
        if self.down:
            return RepaymentOutcome("unknown", code="provider_unavailable")
        if self.refuses_refunds:
            return RepaymentOutcome("failed", code="refund_refused")
        outcome = await super().refund(repayment)
        if self.loses_refund_answers > 0:
            self.loses_refund_answers -= 1
            return RepaymentOutcome("unknown", code="timeout")
        return outcome


@dataclass
class Payments:
    """A payment service over a database of its own, with a provider that fails on demand and a fixed clock."""

    database: Database
    provider: FaultyProvider
    clock: FixedClock
    service: PaymentService
    user_id: UUID = field(default_factory=new_id)

    def request(
        self, order_id: UUID, token: str = "tok_visa", amount: int = 1299, currency: str = "EUR"
    ) -> ChargeRequest:
        return ChargeRequest(order_id, self.user_id, amount, currency, token)

    async def charge(self, order_id: UUID, token: str = "tok_visa", amount: int = 1299) -> ChargeAnswer:
        return (await self.service.charges.charge([self.request(order_id, token, amount)]))[0]

    async def captured(self, amount: int = 1299) -> Payment:
        order_id = new_id()
        assert (await self.charge(order_id, amount=amount)).status == "captured"
        return await self.payment(order_id)

    async def void(self, order_id: UUID) -> VoidStatus:
        return (await self.service.refunds.void([VoidRequest(order_id, "cancelled")]))[0]

    async def refund(self, payment: Payment, key: str, amount: int | None = None) -> tuple[Refund, Payment]:
        return await self.service.refund(RefundRequest(payment.id, key, amount, ""))

    async def payment(self, order_id: UUID) -> Payment:
        payment = next(iter(await PaymentRepository(self.database).find_by_orders([order_id])), None)
        assert payment is not None
        return payment

    async def provider_captures(self, order_id: UUID) -> int:
        sql = "SELECT count(*) FROM simulator.charges WHERE order_id = $1 AND outcome = 'captured'"
        return int(await self.database.fetchval(sql, order_id))

    async def amount_at_provider(self, order_id: UUID) -> int:
        """Minor units that the provider has captured for the order and not refunded."""
        sql = "SELECT sum(amount - refunded) FROM simulator.charges WHERE order_id = $1 AND outcome = 'captured'"
        return int(await self.database.fetchval(sql, order_id) or 0)

    async def events(self, order_id: UUID) -> list[str]:
        rows = await self.database.fetch("SELECT type FROM outbox WHERE subject_id = $1 ORDER BY id", str(order_id))
        return [row["type"] for row in rows]

    async def ledger_transactions(self, order_id: UUID) -> list[str]:
        """The transactions of the order's payment in the ledger."""
        rows = await self.database.fetch(BOOKINGS, order_id)
        return [row["booking"] for row in rows]

    async def violations(self) -> dict[str, list[Any]]:
        """What AUDIT finds, by rule; empty when the books are in order."""
        found = {rule: await self.database.fetch(sql) for rule, sql in AUDIT.items()}
        return {rule: [tuple(row) for row in rows] for rule, rows in found.items() if rows}

    def restarted(self) -> Payments:
        """A new process on the same database and provider."""
        self.provider.crash = None
        service = PaymentService(PaymentRepository(self.database), self.provider, self.clock)
        return Payments(self.database, self.provider, self.clock, service, self.user_id)


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charges, "BATCH_TIMEOUT_S", PATIENT_S)


@pytest.fixture
async def payment_database(database_for: DatabaseFor) -> AsyncIterator[Database]:
    database = await Database.connect(await database_for("payment"), pool_size=POOL_SIZE, application="test")
    yield database
    await database.close()


@pytest.fixture
async def payments(payment_database: Database) -> AsyncIterator[Payments]:
    """After each test AUDIT must find no violations."""
    provider, clock = FaultyProvider(payment_database), FixedClock(datetime.now(UTC))
    service = PaymentService(PaymentRepository(payment_database), provider, clock)
    made = Payments(payment_database, provider, clock, service)
    yield made
    provider.gate.set()
    await service.close()
    assert await made.violations() == {}


@dataclass
class PaymentApi:
    client: httpx.AsyncClient
    app: FastAPI
    tokens: Tokens
    provider: FaultyProvider
    database: Database

    async def charge(self, **changed: Any) -> httpx.Response:
        return await self.charges([charge_item(**changed)])

    async def charges(self, items: list[dict[str, Any]]) -> httpx.Response:
        return await self.client.post("/internal/charges", json={"items": items}, headers=INTERNAL)

    async def void(self, *order_ids: UUID) -> httpx.Response:
        items = [{"order_id": str(order_id), "reason": "test"} for order_id in order_ids]
        return await self.client.post("/internal/charges/void", json={"items": items}, headers=INTERNAL)

    async def captured(self, **changed: Any) -> str:
        """The id of a new captured payment."""
        payment_id: str = (await self.charge(**changed)).json()["results"][0]["payment_id"]
        return payment_id

    async def refund(self, payment_id: str, key: str | None = "key", **changed: Any) -> httpx.Response:
        body = {"amount": 1299, **changed}
        headers = self.tokens.headers("admin") | ({"Idempotency-Key": key} if key is not None else {})
        return await self.client.post(f"/api/v1/payments/{payment_id}/refunds", json=body, headers=headers)


def charge_item(
    order_id: UUID | None = None,
    user_id: UUID | None = None,
    amount: Any = 1299,
    currency: Any = "EUR",
    token: Any = "tok_visa",
) -> dict[str, Any]:
    return {
        "order_id": str(order_id or new_id()),
        "user_id": str(user_id or new_id()),
        "amount": {"amount": amount, "currency": currency},
        "token": token,
    }


@pytest.fixture
async def payment_api(database_for: DatabaseFor, running: Running, tokens: Tokens) -> AsyncIterator[PaymentApi]:
    """The application without a broker: events wait in its outbox."""
    url = await database_for("payment")
    settings = Settings(database_url=url, internal_token=INTERNAL_TOKEN, jwks_url=tokens.jwks_url)
    providers: list[FaultyProvider] = []

    def build(context: Context) -> PaymentService:
        providers.append(FaultyProvider(context.database))
        return PaymentService(PaymentRepository(context.database), providers[0], context.clock)

    app = create_app(settings, title="Payments", routers=[api.router, api.internal], build=build, uses_bus=False)
    async with running(app) as client:
        yield PaymentApi(client, app, tokens, providers[0], app.state.context.database)
