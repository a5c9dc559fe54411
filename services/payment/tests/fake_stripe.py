"""The few endpoints of Stripe that the provider uses, over real HTTP, with idempotency keys and faults on demand."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs

import orjson
from fastapi import FastAPI, Request, Response

API_KEY = "sk_test_right"

Answer = tuple[int, dict[str, Any]]


def error(status: int, kind: str, code: str | None = None, **more: Any) -> Answer:
    return status, {"error": {"type": kind, "code": code, "message": f"{kind} {code}", **more}}


CARDS: dict[str, Answer | None] = {
    "pm_card_visa": None,
    "tok_visa": None,
    "pm_card_visa_chargeDeclined": error(402, "card_error", "card_declined", decline_code="generic_decline"),
    "pm_card_insufficient": error(402, "card_error", "card_declined", decline_code="insufficient_funds"),
    "pm_card_authentication": error(402, "card_error", "authentication_required"),
}
"""What confirming an intent with the payment method comes to; None is success."""


def wrong_amount(amount: int, currency: str) -> Answer | None:
    """Stripe's documented rules: minimums, three-decimal amounts in tens, ISK and UGX in hundreds, eight digits."""
    smallest = {"eur": 50, "usd": 50, "jpy": 50, "gbp": 30, "huf": 17500}.get(currency, 1)
    step = {"bhd": 10, "jod": 10, "kwd": 10, "omr": 10, "tnd": 10, "isk": 100, "ugx": 100}.get(currency, 1)
    if currency in {"iqd", "lyd"}:
        return error(400, "invalid_request_error", param="currency")
    if amount < smallest:
        return error(400, "invalid_request_error", "amount_too_small", param="amount")
    if amount > 99_999_999:
        return error(400, "invalid_request_error", "amount_too_large", param="amount")
    return error(400, "invalid_request_error", "parameter_invalid_integer", param="amount") if amount % step else None


@dataclass
class FakeStripe:
    """``faults`` are taken by the next requests, one each: 'lost' carries the request out and never answers, 'slow'
    never answers and does nothing, 'nonsense' answers no JSON, 'shapeless' JSON of another shape, and an Answer
    stands for itself."""

    intents: dict[str, dict[str, Any]] = field(default_factory=dict)
    refunds: dict[str, dict[str, Any]] = field(default_factory=dict)
    faults: list[str | Answer] = field(default_factory=list)
    answered: dict[str, tuple[bytes, Answer]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, str]]] = field(default_factory=list)
    intent_status: str = "succeeded"
    refund_status: str = "succeeded"
    released: asyncio.Event = field(default_factory=asyncio.Event)
    numbers: Any = field(default_factory=lambda: itertools.count(1))

    def app(self) -> FastAPI:
        app = FastAPI()
        app.post("/v1/payment_intents")(self._route(self._create_intent))
        app.get("/v1/payment_intents/search")(self._route(self._search))
        app.post("/v1/refunds")(self._route(self._create_refund))
        app.get("/v1/refunds")(self._route(self._list_refunds))
        return app

    def _route(self, handle: Callable[[dict[str, str]], Answer]) -> Callable[[Request], Awaitable[Response]]:
        async def route(request: Request) -> Response:
            body = await request.body()
            form = {key: values[0] for key, values in parse_qs(body.decode()).items()} or dict(request.query_params)
            self.requests.append((f"{request.method} {request.url.path}", form))
            if request.headers.get("authorization") != f"Bearer {API_KEY}":
                return _response(error(401, "invalid_request_error"))
            return await self._faulty(lambda: self._once(request.headers.get("idempotency-key"), body, handle, form))

        return route

    async def _faulty(self, carry_out: Callable[[], Answer]) -> Response:
        fault = self.faults.pop(0) if self.faults else None
        if isinstance(fault, tuple):
            return _response(fault)
        if fault == "lost":
            carry_out()
        if fault in {"lost", "slow"}:
            await self.released.wait()
        if fault == "nonsense":
            return Response(b"<html>gateway</html>")
        if fault == "shapeless":
            return Response(b'{"object": "payment_intent"}')
        return _response(carry_out())

    def _once(
        self, key: str | None, body: bytes, handle: Callable[[dict[str, str]], Answer], form: dict[str, str]
    ) -> Answer:
        if key is None:
            return handle(form)
        known_body, answer = self.answered.setdefault(key, (body, (0, {})))
        if known_body != body:
            return error(400, "idempotency_error")
        if not answer[0]:
            self.answered[key] = (body, handle(form))
        return self.answered[key][1]

    def _create_intent(self, form: dict[str, str]) -> Answer:
        method = form.get("payment_method") or form.get("payment_method_data[card][token]") or ""
        if method not in CARDS:
            return error(400, "invalid_request_error", "resource_missing", param="payment_method")
        if wrong := wrong_amount(int(form["amount"]), form["currency"]):
            return wrong
        refusal = CARDS[method]
        intent = self._new("pi", form) | {"status": "requires_payment_method" if refusal else self.intent_status}
        self.intents[intent["id"]] = intent
        return refusal or (200, intent)

    def _search(self, form: dict[str, str]) -> Answer:
        found = [i for i in self.intents.values() if f"'{i['metadata'].get('shop_key')}'" in form["query"]]
        return 200, {"object": "search_result", "data": found, "has_more": False, "url": "/v1/payment_intents/search"}

    def _create_refund(self, form: dict[str, str]) -> Answer:
        intent, made = self.intents.get(form["payment_intent"]), list(self.refunds.values())
        if intent is None:
            return error(404, "invalid_request_error", "resource_missing", param="payment_intent")
        given_back = sum(refund["amount"] for refund in made if refund["payment_intent"] == intent["id"])
        if given_back + int(form["amount"]) > intent["amount"]:
            return error(400, "invalid_request_error", "charge_already_refunded")
        refund = self._new("re", form) | {"payment_intent": intent["id"], "status": self.refund_status}
        self.refunds[refund["id"]] = refund
        return 200, refund

    def _list_refunds(self, form: dict[str, str]) -> Answer:
        found = [r for r in self.refunds.values() if r["payment_intent"] == form["payment_intent"]]
        return 200, {"object": "list", "data": found, "has_more": False, "url": "/v1/refunds"}

    def _new(self, prefix: str, form: dict[str, str]) -> dict[str, Any]:
        metadata = {key[9:-1]: value for key, value in form.items() if key.startswith("metadata[")}
        kind = {"pi": "payment_intent", "re": "refund"}[prefix]
        return {
            "id": f"{prefix}_{next(self.numbers)}",
            "object": kind,
            "amount": int(form["amount"]),
            "metadata": metadata,
        }


def _response(answer: Answer) -> Response:
    return Response(orjson.dumps(answer[1]), answer[0], media_type="application/json")
