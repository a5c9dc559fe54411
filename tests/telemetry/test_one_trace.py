"""An order is one trace over every service that takes part in it, those that consume its events included."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from tests.integration import food
from tests.integration.buyers import new_product
from tests.load.shoppers import ADDRESS, CARD, Shop
from tests.telemetry.conftest import TracedShop
from tests.telemetry.otlp import ReceivedSpan, orphans, path_of, repeated

pytestmark = pytest.mark.shop

COMPLETE_WITHIN_S = 60.0
LOOK_EVERY_S = 0.25
"""At the spans, which are all decoded for each look."""
CONSUMERS = frozenset({"product", "notification", "recommendation", "player", "achievement", "leaderboard"})
"""Of the events of an order."""
RETAIL = {"gateway", "order", "pricing", "payment"} | CONSUMERS
FOOD = {"gateway", "order", "pricing", "payment", "restaurant", "delivery", "notification"}
REQUIRED = {
    "server": {"http.request.method", "http.route", "http.response.status_code"},
    "client": set[str](),
    "producer": {"messaging.system", "messaging.destination.name", "messaging.operation.type"},
    "consumer": {"messaging.system", "messaging.destination.name", "messaging.consumer.group.name"},
    "internal": set[str](),
}
"""Attributes that spans of a kind always have."""


async def place(api: Shop, token: str, body: dict[str, Any]) -> str:
    """Place an order and return its trace id, which is the request's id when the client names none."""
    headers = {"Authorization": f"Bearer {token}", "Idempotency-Key": str(uuid.uuid4())}
    async with api.session.post(f"{api.url}/api/v1/orders", json=body, headers=headers) as response:
        assert response.status in (201, 202), await response.text()
        return response.headers["x-request-id"]


async def whole_trace(
    traced: TracedShop, trace_id: str, services: set[str], consumers: frozenset[str] = frozenset()
) -> list[ReceivedSpan]:
    """The spans once all of ``services`` have some, ``consumers`` have processed the confirmation, and each span's
    parent is known."""

    def lacking(spans: list[ReceivedSpan]) -> list[str]:
        confirmed = {span.service for span in spans if span.name == "process order.confirmed.v1"}
        absent = (services - {span.service for span in spans}) | (consumers - confirmed)
        return [*sorted(absent), *(span.name for span in orphans(spans))]

    def complete() -> list[ReceivedSpan] | None:
        spans = traced.receiver.trace(trace_id)
        return None if lacking(spans) else spans

    try:
        found: list[ReceivedSpan] = await wait_until(complete, COMPLETE_WITHIN_S, "the whole trace", LOOK_EVERY_S)
    except AssertionError:
        pytest.fail(f"no whole trace: {lacking(traced.receiver.trace(trace_id))}")
    return found


def names(spans: list[ReceivedSpan], kind: str, service: str = "") -> set[str]:
    return {span.name for span in spans if span.kind == kind and service in ("", span.service)}


async def test_a_checkout_is_one_trace_with_its_consumers(traced: TracedShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, stock=10)
    customer = await api.sign_up(1)
    lines = [{"product_id": product["id"], "quantity": 1}]
    trace_id = await place(api, customer, {"items": lines, "address": ADDRESS, "payment": {"token": CARD}})
    spans = await whole_trace(traced, trace_id, RETAIL, CONSUMERS)
    (root,) = [span for span in spans if not span.parent_id]
    assert (root.service, root.name, root.kind) == ("gateway", "POST /api/v1/orders", "server")
    assert repeated(spans) == []
    assert all(path_of(span, spans)[-1] is root for span in spans)
    assert names(spans, "client", "gateway") == {"POST order"}
    assert names(spans, "internal", "order") >= {"saga.reserve", "saga.quote", "saga.charge"}
    assert names(spans, "client", "order") >= {"POST product", "POST pricing", "POST payment"}
    assert names(spans, "producer", "order") >= {"send order.confirmed.v1"}
    consumed = {span.service for span in spans if span.name == "process order.confirmed.v1"}
    assert consumed >= CONSUMERS
    assert any(name.startswith(("INSERT", "UPDATE")) for name in names(spans, "client", "payment"))
    for span in spans:
        assert REQUIRED[span.kind] <= span.attributes.keys() or "rpc.system" in span.attributes, span
        assert not span.failed, span


async def test_a_food_order_is_one_trace(traced: TracedShop, api: Shop, admin: str) -> None:
    kitchen = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, kitchen.position)
    customer = await api.sign_up(2)
    trace_id = await place(api, customer, food.meal(kitchen))
    spans = await whole_trace(traced, trace_id, FOOD)
    assert repeated(spans) == []
    assert len([span for span in spans if not span.parent_id]) == 1
    assert names(spans, "client", "order") >= {"POST restaurant", "POST delivery"}
    await food.end_shift(api, crew[0])
