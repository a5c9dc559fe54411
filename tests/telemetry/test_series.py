"""The number of time series does not grow with users, paths and products."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from prometheus_client import REGISTRY
from starlette.routing import Route

from shop.gateway import routing
from shop.kit.observe import Observe
from shop.order import metrics as order_metrics
from shop.order.domain import Order, State

FEW, MANY = 10, 10_000
METHODS = ("GET", "POST", "DELETE", "BREW")


def series() -> int:
    return sum(len(family.samples) for family in REGISTRY.collect())


async def answer(scope: Any, receive: Any, send: Any) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b""})


PRODUCT = Route("/api/v1/products/{product_id}", endpoint=answer)


async def with_templates(scope: Any, receive: Any, send: Any) -> None:
    """As the framework does: names the route that matched."""
    if scope["path"].startswith("/api/v1/products/"):
        scope["route"] = PRODUCT
    await answer(scope, receive, send)


async def ask(app: Observe, number: int) -> None:
    """A request of another user for another product, and one for a path that there is not."""
    for path in (f"/api/v1/products/{uuid.uuid4()}", f"/nothing/{number}"):
        scope = {
            "type": "http",
            "method": METHODS[number % len(METHODS)],
            "path": path,
            "scheme": "http",
            "headers": [(b"authorization", b"Bearer %d" % number), (b"host", b"shop-%d.example.com" % number)],
        }
        await app(scope, nothing, ignore)


async def nothing() -> Any:
    return {"type": "http.disconnect"}


async def ignore(message: Any) -> None:
    pass


async def test_requests_for_ten_thousand_paths_have_the_series_of_ten() -> None:
    app = Observe(with_templates, max_body_bytes=1_000)
    for number in range(FEW):
        await ask(app, number)
    after_few = series()
    for number in range(FEW, MANY):
        await ask(app, number)
    assert series() == after_few


def test_the_gateway_names_ten_thousand_paths_by_few_routes() -> None:
    named = set()
    for number in range(MANY):
        for path in (
            f"/api/v1/orders/{uuid.uuid4()}",
            f"/api/v1/orders/{number}/events",
            f"/api/v1/{number}",
            f"/products/{number}",
            f"/{number}",
        ):
            target = routing.route("GET", path, path.encode())
            named.add(target.path if isinstance(target, routing.Target) else None)
    assert named == {"/api/v1/orders", "/api/v1/orders/{id}/events", None, "/{page}"}


@pytest.mark.parametrize("state", [State.REJECTED, State.CANCELLED])
def test_reasons_that_participants_invent_are_one(state: State) -> None:
    before = series()
    for number in range(MANY):
        order_metrics.count(order(state, f"reason_{number}"))
    assert series() == before


def order(state: State, reason: str) -> Order:
    anything: dict[str, Any] = {"user_id": uuid.uuid4(), "email": "", "customer_name": "", "lines": (), "address": {}}
    times: dict[str, Any] = {"created_at": None, "updated_at": None}
    return Order(id=uuid.uuid4(), currency="EUR", state=state, reason=reason, **anything, **times)
