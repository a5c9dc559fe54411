"""Sagas that wait and events that were given up: shown, and set going again by an administrator."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import Any

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from services.ops.tests.conftest import Browser
from services.ops.tests.made import ORDER_ID, USER_ID
from shop.devkit.testing import INTERNAL_TOKEN, Running, Tokens
from shop.kit.errors import Problem
from shop.ops.access import FRESH_S
from shop.ops.app import make_app
from shop.ops.settings import Settings

ORDER = f"/ops/orders/{ORDER_ID}"
BEGAN = "2026-11-29T10:00:00+00:00"
LETTER = {
    "consumer": "order-refunds", "event_id": "e-7", "type": "payment.refunded.v1", "error": "RuntimeError",
    "failures": 5, "dead_at": BEGAN,
}  # fmt: skip


class StuckOrder:
    """The order service with one order whose saga waits, and one dead letter."""

    def __init__(self) -> None:
        self.asked: list[str] = []
        self.tokens: list[str] = []
        self.letters = [LETTER]
        self.waits = True
        self.url = ""
        routes = [
            Route(f"/api/v1/orders/{ORDER_ID}", self.order),
            Route(f"/api/v1/orders/{ORDER_ID}/history", self.history),
            Route(f"/api/v1/orders/{ORDER_ID}/retry", self.retry, methods=["POST"]),
            Route("/api/v1/orders/all", self.orders),
            Route("/internal/dead-letters", self.dead),
            Route("/internal/dead-letters/replay", self.replay, methods=["POST"]),
        ]
        self.app = Starlette(routes=routes)

    def document(self) -> dict[str, Any]:
        lines = [{"name": "Moby-Dick", "quantity": 1}]
        head = {"id": ORDER_ID, "user_id": USER_ID, "kind": "retail", "state": "pending"}
        return {**head, "lines": lines, "created_at": BEGAN}

    async def order(self, _: Request) -> Response:
        return JSONResponse(self.document())

    async def orders(self, request: Request) -> Response:
        self.asked.append(f"orders {request.query_params.get('state', '')}".strip())
        return JSONResponse({"items": [self.document()], "next_cursor": None})

    async def history(self, _: Request) -> Response:
        return JSONResponse(
            {"status": "running", "attempts": 3, "next_attempt_at": BEGAN, "steps": [], "transitions": []}
        )

    async def retry(self, request: Request) -> Response:
        self.asked.append("retry")
        self.tokens.append(request.headers["authorization"])
        if not self.waits:
            refused = Problem(409, "not_waiting", "It ended.").response()
            refused.headers["x-request-id"] = request.headers["x-request-id"]
            return refused
        return Response(status_code=204)

    async def dead(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {INTERNAL_TOKEN}"
        return JSONResponse(self.letters)

    async def replay(self, request: Request) -> Response:
        assert request.headers["authorization"] == f"Bearer {INTERNAL_TOKEN}"
        self.asked.append("replay")
        self.letters = []
        return JSONResponse({"replayed": 1, "failed": 0})


@pytest.fixture
async def order(served: Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]) -> AsyncIterator[StuckOrder]:
    made = StuckOrder()
    async with served(made.app, lifespan="off") as client:
        made.url = str(client.base_url).rstrip("/")
        yield made


@pytest.fixture
async def browser(running: Running, settings: Settings, order: Any, tokens: Tokens) -> AsyncIterator[Browser]:
    """Of an administrator of a shop in which only the order service answers."""
    absent: dict[str, Any] = {
        name: "" for name in Settings.model_fields if name.endswith("_url") and name != "jwks_url"
    }
    away = dict.fromkeys(("payment_url", "notification_url"), "http://127.0.0.1:9")
    async with running(make_app(settings.model_copy(update=absent | away | {"order_url": order.url}))) as client:
        made = Browser(client, tokens)
        made.sign_in()
        yield made


async def test_the_journey_of_a_waiting_order_says_so_and_what_is_missing(browser: Browser, order: StuckOrder) -> None:
    text = (await browser.get(ORDER)).text
    assert "running after 3 attempts" in text
    assert "its part is missing: payment, notification." in text
    await browser.get("/ops/orders?state=pending")
    assert order.asked == ["orders pending"]


async def test_a_waiting_saga_is_tried_after_a_confirmation(browser: Browser, order: StuckOrder, logged: Any) -> None:
    assert "Retry the saga?" in (await browser.post(f"{ORDER}/retry", 200)).text
    assert order.asked == []
    await browser.post(f"{ORDER}/retry", confirmed="1")
    assert order.asked == ["retry"]
    assert browser.visitor.session is not None
    assert order.tokens == [f"Bearer {browser.visitor.session.access_token}"], "with the administrator's own token"
    order.waits = False
    await browser.post(f"{ORDER}/retry", confirmed="1")
    assert "It ended." in (await browser.get(ORDER)).text
    assert [line["outcome"] for line in logged(event="lever_used")] == ["done", "failed"]


async def test_dead_letters_are_shown_and_replayed(browser: Browser, order: StuckOrder, logged: Any) -> None:
    assert "order-refunds" in (await browser.get("/ops/letters")).text
    await browser.post("/ops/letters/order/replay", 200)
    assert order.asked == []
    await browser.post("/ops/letters/order/replay", confirmed="1")
    text = (await browser.get("/ops/letters")).text
    assert "1 took effect, 0 failed." in text
    assert "There are none." in text
    assert [(line["component"], line["outcome"]) for line in logged(event="lever_used")] == [("order", "done")]


async def test_a_service_that_does_not_answer_is_said(browser: Browser) -> None:
    await browser.post("/ops/letters/player/replay", confirmed="1")
    assert "player does not answer." in (await browser.get("/ops/letters")).text
    await browser.post("/ops/letters/wine/replay", 404, confirmed="1")


@pytest.mark.parametrize(("path", "back"), [(f"{ORDER}/retry", ORDER), ("/ops/letters/order/replay", "/ops/letters")])
async def test_they_need_a_form_of_this_visitor_and_a_password_of_minutes_ago(
    browser: Browser, order: StuckOrder, path: str, back: str
) -> None:
    await browser.post(path, 403, confirmed="1", csrf_token="0" * 64)
    browser.sign_in(ago_s=FRESH_S + 5)
    answer = await browser.post(path, confirmed="1")
    assert answer.headers["location"] == f"/sign-in?next={back.replace('/', '%2F')}&again=1"
    browser.sign_in("customer")
    await browser.post(path, 403, confirmed="1")
    assert order.asked == []
