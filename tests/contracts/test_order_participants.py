"""The order service and its participants understand each other: its own saga steps against their real services."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Tokens
from shop.kit.errors import OutcomeUnknown
from shop.kit.http import Clients
from shop.kit.ids import new_id
from shop.kit.saga.engine import Done, Rejected
from shop.order.domain import Line, Order, Subject
from shop.order.participants import Participants
from shop.order.saga import OrderSteps
from tests.architecture.source import package_folder

PARTICIPANTS = ("product", "pricing", "payment")
STOCK = 5
PRICE = 1_500
FLAT = 490
STORE = {
    "title": "Contracts",
    "currency": "EUR",
    "country": "DE",
    "taxes": [{"country": "DE", "category": "books", "rate_percent": 7}],
    "shipping": {"flat": FLAT, "free_above": 10_000},
}
ADDRESS = {"name": "Ada", "street": "1 Lane", "city": "Berlin", "postal_code": "10115", "country": "DE"}
TRACEPARENT = f"00-{'a' * 32}-{'b' * 16}-00"


def application(noun: str) -> FastAPI:
    """The service's own application, created from the current environment."""
    spec = importlib.util.spec_from_file_location(f"contract_{noun}_main", package_folder(noun) / "main.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    found: FastAPI = module.app
    return found


@dataclass
class Market:
    """The three participants on ports of their own, and the order service's way to them."""

    participants: Participants
    steps: OrderSteps
    clients: dict[str, httpx.AsyncClient]
    admin: dict[str, str]
    product_id: UUID

    async def stock(self) -> int:
        answer = await self.clients["product"].get(f"/api/v1/products/{self.product_id}")
        return int(answer.json()["stock"])

    async def payment(self, order: Order) -> dict[str, Any]:
        answer = await self.clients["payment"].get(
            "/api/v1/payments", params={"order_id": str(order.id)}, headers=self.admin
        )
        found: dict[str, Any] = answer.json()["items"][0]
        return found

    def subject(
        self, quantity: int = 2, *, token: str = "tok_visa", coupon: str | None = None, product_id: UUID | None = None
    ) -> Subject:
        now = datetime.now(UTC)
        order = Order(
            id=new_id(),
            user_id=new_id(),
            email="ada@example.com",
            customer_name="Ada",
            lines=[Line(product_id or self.product_id, quantity)],
            currency="EUR",
            address=ADDRESS,
            created_at=now,
            updated_at=now,
            coupon=coupon,
            payment_token=token,
        )
        return Subject(order, TRACEPARENT)


@pytest.fixture
async def market(
    database_for: DatabaseFor,
    nats_url: str,
    tokens: Tokens,
    served: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Market]:
    common = {"NATS_URL": nats_url, "JWKS_URL": tokens.jwks_url, "INTERNAL_TOKEN": INTERNAL_TOKEN}
    for name, value in {**common, "STORE": json.dumps(STORE)}.items():
        monkeypatch.setenv(f"SHOP_{name}", value)
    async with AsyncExitStack() as stack:
        clients: dict[str, httpx.AsyncClient] = {}
        for noun in PARTICIPANTS:
            monkeypatch.setenv("SHOP_DATABASE_URL", await database_for(noun))
            clients[noun] = await stack.enter_async_context(served(application(noun)))
            monkeypatch.setenv(f"SHOP_{noun.upper()}_URL", str(clients[noun].base_url))
        upstream = Clients(INTERNAL_TOKEN)
        stack.push_async_callback(upstream.close)
        at_product, at_pricing, at_payment = (upstream.get(noun, str(clients[noun].base_url)) for noun in PARTICIPANTS)
        participants = Participants(at_product, at_pricing, at_payment)
        stack.push_async_callback(participants.close)
        admin = tokens.headers("admin")
        yield Market(
            participants, OrderSteps(participants), clients, admin, await new_product(clients["product"], admin)
        )


async def new_product(client: httpx.AsyncClient, admin: dict[str, str]) -> UUID:
    body = {
        "sku": "CONTRACT-1",
        "name": "A Book",
        "description": "For contracts.",
        "category": "books",
        "price": {"amount": PRICE, "currency": "EUR"},
    }
    made = await client.post("/api/v1/products", json=body, headers=admin)
    assert made.status_code == 201, made.text
    product_id = UUID(made.json()["id"])
    stocked = await client.post(f"/api/v1/products/{product_id}/stock", json={"delta": STOCK}, headers=admin)
    assert stocked.status_code < 300, stocked.text
    return product_id


async def test_steps_of_a_good_order_are_done_by_the_real_services(market: Market) -> None:
    subject = market.subject(quantity=2)
    assert [await step.action(subject) for step in market.steps.retail.steps] == [Done(), Done(), Done()]
    goods, tax = 2 * PRICE, 2 * PRICE * 7 // 100
    assert (subject.totals.subtotal, subject.totals.tax, subject.totals.shipping) == (goods, tax, FLAT)
    assert subject.totals.total == goods + tax + FLAT
    assert await market.stock() == STOCK - 2
    payment = await market.payment(subject.order)
    assert (payment["state"], payment["amount"]["amount"]) == ("captured", subject.totals.total)


async def test_repeated_steps_take_effect_once(market: Market) -> None:
    subject = market.subject(quantity=2)
    for _ in range(2):
        assert [await step.action(subject) for step in market.steps.retail.steps] == [Done(), Done(), Done()]
    assert await market.stock() == STOCK - 2
    assert (await market.payment(subject.order))["amount"]["amount"] == subject.totals.total


async def test_compensations_take_effect_once(market: Market) -> None:
    subject = market.subject(quantity=2)
    for step in market.steps.retail.steps:
        await step.action(subject)
    for _ in range(2):
        for step in reversed(market.steps.retail.steps):
            assert step.compensation
            await step.compensation(subject)
    assert await market.stock() == STOCK
    payment = await market.payment(subject.order)
    assert (payment["state"], payment["refunded"]) == ("refunded", payment["amount"])


async def test_an_order_is_refunded_in_full_when_all_went_back(market: Market) -> None:
    subject = market.subject()
    assert not await market.participants.refunded_in_full(subject.order.id)
    for step in market.steps.retail.steps:
        await step.action(subject)
    payment = await market.payment(subject.order)
    headers, path = market.admin, f"/api/v1/payments/{payment['id']}/refunds"
    for amount, in_full in ((1, False), (payment["amount"]["amount"] - 1, True)):
        key = {"Idempotency-Key": new_id().hex}
        answer = await market.clients["payment"].post(path, json={"amount": amount}, headers=headers | key)
        assert answer.status_code == 201, answer.text
        assert await market.participants.refunded_in_full(subject.order.id) is in_full


async def test_compensation_before_its_step_keeps_the_step_from_happening(market: Market) -> None:
    subject = market.subject()
    await market.steps.release(subject)
    assert isinstance(await market.steps.reserve(subject), Rejected)
    assert await market.stock() == STOCK


async def test_shortage_names_the_product_and_what_is_left(market: Market) -> None:
    refused = await market.steps.reserve(market.subject(quantity=STOCK + 1))
    assert isinstance(refused, Rejected)
    assert refused.code == "insufficient_stock"
    assert refused.extra == {"product_id": str(market.product_id), "available": STOCK}


async def test_unknown_product_is_refused(market: Market) -> None:
    refused = await market.steps.reserve(market.subject(product_id=new_id()))
    assert isinstance(refused, Rejected)
    assert refused.code == "unknown_product"


async def test_unknown_coupon_is_refused(market: Market) -> None:
    subject = market.subject(coupon="NO-SUCH-COUPON")
    await market.steps.reserve(subject)
    refused = await market.steps.quote(subject)
    assert isinstance(refused, Rejected)
    assert refused.code == "unknown_coupon"
    await market.steps.release_coupon(subject)


@pytest.mark.parametrize(
    ("token", "code"), [("tok_declined", "payment_declined"), ("tok_insufficient", "insufficient_funds")]
)
async def test_refused_card_is_rejected_with_its_decline_code(market: Market, token: str, code: str) -> None:
    subject = market.subject(token=token)
    await market.steps.reserve(subject)
    await market.steps.quote(subject)
    refused = await market.steps.charge(subject)
    assert isinstance(refused, Rejected)
    assert (refused.code, refused.extra) == ("payment_declined", {"decline_code": code})
    await market.steps.void(subject)


async def test_provider_without_a_response_leaves_the_outcome_unknown(market: Market) -> None:
    subject = market.subject(token="tok_timeout")
    await market.steps.reserve(subject)
    await market.steps.quote(subject)
    with pytest.raises(OutcomeUnknown):
        await market.steps.charge(subject)
