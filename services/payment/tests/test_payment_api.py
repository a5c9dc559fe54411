"""The HTTP API: permissions, refusals and answers."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from services.payment.tests.conftest import INTERNAL, PaymentApi, charge_item
from shop.kit.ids import new_id


def code(answer: Any) -> tuple[int, str]:
    assert answer.headers["content-type"] == "application/problem+json"
    return answer.status_code, answer.json()["code"]


async def test_a_batch_of_charges_and_its_answers(payment_api: PaymentApi) -> None:
    items = [charge_item(token=token) for token in ("tok_visa", "tok_insufficient", "tok_timeout")]
    answer = await payment_api.charges(items)
    assert answer.status_code == 200
    captured, declined, pending = answer.json()["results"]
    assert captured == {
        "order_id": items[0]["order_id"],
        "status": "captured",
        "payment_id": captured["payment_id"],
    }
    assert declined == {
        "order_id": items[1]["order_id"],
        "status": "declined",
        "payment_id": declined["payment_id"],
        "code": "insufficient_funds",
        "detail": "The payment was declined: insufficient funds.",
    }
    assert (pending["order_id"], pending["status"]) == (items[2]["order_id"], "pending")


async def test_a_batch_of_voids_and_its_answers(payment_api: PaymentApi) -> None:
    order_id, unknown = new_id(), new_id()
    await payment_api.charge(order_id=order_id)
    answer = await payment_api.void(order_id, unknown)
    assert answer.json()["results"] == [
        {"order_id": str(order_id), "status": "refunded"},
        {"order_id": str(unknown), "status": "voided"},
    ]
    late = await payment_api.charge(order_id=unknown)
    assert late.json()["results"][0]["code"] == "voided"


async def test_services_can_read_the_states_of_payments(payment_api: PaymentApi) -> None:
    order_id, unknown = new_id(), new_id()
    await payment_api.charge(order_id=order_id)
    await payment_api.void(order_id)
    body = {"items": [{"order_id": str(order_id)}, {"order_id": str(unknown)}]}
    answer = await payment_api.client.post("/internal/charges/state", json=body, headers=INTERNAL)
    assert answer.json()["results"] == [
        {"order_id": str(order_id), "state": "refunded"},
        {"order_id": str(unknown), "state": None},
    ]


async def test_payments_of_several_orders_are_one_answer(payment_api: PaymentApi) -> None:
    order_ids = sorted([new_id(), new_id(), new_id()])
    for order_id in order_ids[:2]:
        await payment_api.charge(order_id=order_id)
    admin, customer = payment_api.tokens.headers("admin"), payment_api.tokens.headers(user_id=new_id())
    params = {"order_id": [str(order_id) for order_id in order_ids]}
    found = (await payment_api.client.get("/api/v1/payments", params=params, headers=admin)).json()["items"]
    assert [payment["order_id"] for payment in found] == [str(order_id) for order_id in order_ids[:2]]
    assert (await payment_api.client.get("/api/v1/payments", params=params, headers=customer)).json()["items"] == []
    too_many = {"order_id": [str(new_id()) for _ in range(101)]}
    assert (await payment_api.client.get("/api/v1/payments", params=too_many, headers=admin)).status_code == 422
    assert (await payment_api.client.get("/api/v1/payments", headers=admin)).status_code == 422


async def test_the_trace_of_the_request_or_of_the_order_reaches_the_event(payment_api: PaymentApi) -> None:
    trace = "0af7651916cd43dd8448eb211c80319c"
    headers = INTERNAL | {"traceparent": f"00-{trace}-b7ad6b7169203331-01"}
    item_trace = f"00-{'1' * 32}-{'2' * 16}-01"
    items = [charge_item(), charge_item() | {"traceparent": item_trace}]
    await payment_api.client.post("/internal/charges", json={"items": items}, headers=headers)
    await payment_api.void(*(UUID(item["order_id"]) for item in items))
    rows = await payment_api.database.fetch("SELECT payload::jsonb ->> 'traceparent' AS t FROM outbox")
    assert {row["t"].split("-")[1] for row in rows} == {trace, "1" * 32}


@pytest.mark.parametrize("path", ["/internal/charges", "/internal/charges/state", "/internal/charges/void"])
async def test_only_services_charge(payment_api: PaymentApi, path: str) -> None:
    body = {"items": [charge_item()]}
    client, headers = payment_api.client, payment_api.tokens.headers("admin")
    assert (await client.post(path, json=body)).status_code == 401
    assert code(await client.post(path, json=body, headers=headers)) == (403, "internal_only")
    assert await payment_api.database.fetchval("SELECT count(*) FROM payments") == 0


WRONG_CHARGES: list[dict[str, Any]] = [
    {"amount": -1},
    {"amount": 10**12 + 1},
    {"amount": 10**30},
    {"amount": 12.5},
    {"amount": "100"},
    {"amount": True},
    {"amount": None},
    {"currency": "eur"},
    {"currency": "EURO"},
    {"currency": ""},
    {"token": ""},
    {"token": "tok visa"},
    {"token": "tok_\u00e9"},
    {"token": "t" * 256},
    {"token": 5},
]


async def test_a_wrong_charge_is_refused_with_its_whole_batch(payment_api: PaymentApi) -> None:
    for changed in WRONG_CHARGES:
        answer = await payment_api.charges([charge_item(), charge_item(**changed)])
        assert code(answer) == (422, "invalid_request"), changed
        assert answer.json()["errors"][0]["field"].startswith("items.1."), changed
    assert await payment_api.database.fetchval("SELECT count(*) FROM payments") == 0


async def test_the_size_of_a_batch_is_limited(payment_api: PaymentApi) -> None:
    for size in (0, 257):
        answer = await payment_api.charges([charge_item() for _ in range(size)])
        assert code(answer) == (422, "invalid_request")


async def test_a_full_batch_is_taken(payment_api: PaymentApi) -> None:
    items = [charge_item() | {"traceparent": f"00-{'1' * 32}-{'2' * 16}-01"} for _ in range(256)]
    answer = await payment_api.charges(items)
    assert [result["order_id"] for result in answer.json()["results"]] == [item["order_id"] for item in items]
    assert {result["status"] for result in answer.json()["results"]} == {"captured"}


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b'{"items": [', "application/json", (400, "malformed_body")),
        (b'{"items": [], "items": []}', "application/json", (400, "duplicate_key")),
        (b'{"items": ["\xff"]}', "application/json", (400, "invalid_utf8")),
        (b"items=1", "application/x-www-form-urlencoded", (415, "unsupported_media_type")),
        (b"[]", "application/json", (422, "invalid_request")),
    ],
)
async def test_a_malformed_body_is_refused(
    payment_api: PaymentApi, content: bytes, content_type: str, expected: tuple[int, str]
) -> None:
    headers = INTERNAL | {"content-type": content_type}
    assert code(await payment_api.client.post("/internal/charges", content=content, headers=headers)) == expected


async def test_customers_see_their_own_payment_and_no_other(payment_api: PaymentApi) -> None:
    order_id, owner = new_id(), new_id()
    payment_id = await payment_api.captured(order_id=order_id, user_id=owner)
    tokens, client = payment_api.tokens, payment_api.client
    path, params = f"/api/v1/payments/{payment_id}", {"order_id": str(order_id)}
    for headers in (tokens.headers(user_id=owner), tokens.headers("admin")):
        payment = (await client.get(path, headers=headers)).json()
        assert (
            payment
            | {
                "id": payment_id,
                "order_id": str(order_id),
                "state": "captured",
                "amount": {"amount": 1299, "currency": "EUR"},
                "refunded": {"amount": 0, "currency": "EUR"},
                "decline_code": None,
            }
            == payment
        )
        assert "token" not in payment
        listed = await client.get("/api/v1/payments", params=params, headers=headers)
        assert listed.json() == {"items": [payment], "next_cursor": None}
    other_customer = tokens.headers()
    assert code(await client.get(path, headers=other_customer)) == (404, "payment_not_found")
    listed = await client.get("/api/v1/payments", params=params, headers=other_customer)
    assert listed.json() == {"items": [], "next_cursor": None}


async def test_reading_needs_a_good_token_and_a_good_id(payment_api: PaymentApi) -> None:
    client, tokens = payment_api.client, payment_api.tokens
    path = f"/api/v1/payments/{new_id()}"
    assert (await client.get(path)).status_code == 401
    for token, problem in ((tokens.expired(), "token_expired"), (tokens.forged(), "invalid_token")):
        assert code(await client.get(path, headers={"Authorization": f"Bearer {token}"})) == (401, problem)
    headers = tokens.headers()
    assert code(await client.get(path, headers=headers)) == (404, "payment_not_found")
    assert code(await client.get("/api/v1/payments/nonsense", headers=headers)) == (422, "invalid_request")
    assert code(await client.get("/api/v1/payments", headers=headers)) == (422, "invalid_request")
    assert code(await client.get("/api/v1/payments?order_id=x", headers=headers)) == (422, "invalid_request")


async def test_an_administrator_refunds_in_parts_and_once_per_key(payment_api: PaymentApi) -> None:
    payment_id = await payment_api.captured(amount=1000)
    first = await payment_api.refund(payment_id, "a", amount=400, reason="damaged")
    assert first.status_code == 201
    refund = first.json()
    assert (refund["state"], refund["amount"]["amount"], refund["reason"]) == ("succeeded", 400, "damaged")
    assert (refund["payment"]["state"], refund["payment"]["refunded"]["amount"]) == ("partially_refunded", 400)
    assert (await payment_api.refund(payment_id, "a", amount=400)).json()["id"] == refund["id"]
    assert code(await payment_api.refund(payment_id, "a", amount=300)) == (422, "idempotency_key_reused")
    too_much = await payment_api.refund(payment_id, "b", amount=601)
    assert code(too_much) == (409, "refund_exceeds_payment")
    assert too_much.json()["refundable"] == 600
    rest = await payment_api.refund(payment_id, "c", amount=600)
    assert (rest.status_code, rest.json()["payment"]["state"]) == (201, "refunded")
    assert code(await payment_api.refund(payment_id, "d", amount=1)) == (409, "refund_exceeds_payment")


@pytest.mark.parametrize("body", [None, {}, {"amount": None}, {"amount": 0}, {"amount": 100, "all": True}])
async def test_a_refund_names_its_amount(payment_api: PaymentApi, body: dict[str, Any] | None) -> None:
    payment_id = await payment_api.captured(amount=1000)
    headers = payment_api.tokens.headers("admin") | {"Idempotency-Key": "a"}
    answer = await payment_api.client.post(f"/api/v1/payments/{payment_id}/refunds", headers=headers, json=body)
    assert code(answer) == (422, "invalid_request")
    assert await payment_api.database.fetchval("SELECT sum(refunded) FROM payments") == 0


async def test_a_refund_that_the_provider_does_not_answer_is_accepted_and_asked_again(payment_api: PaymentApi) -> None:
    payment_id = await payment_api.captured()
    payment_api.provider.loses_refund_answers = 1
    answer = await payment_api.refund(payment_id)
    assert (answer.status_code, answer.json()["state"]) == (202, "pending")
    answer = await payment_api.refund(payment_id)
    assert (answer.status_code, answer.json()["state"]) == (201, "succeeded")


async def test_a_refund_that_the_provider_refuses(payment_api: PaymentApi) -> None:
    payment_id = await payment_api.captured()
    payment_api.provider.refuses_refunds = True
    answer = await payment_api.refund(payment_id)
    assert code(answer) == (409, "refund_refused")
    assert code(await payment_api.refund(payment_id)) == (409, "refund_refused")


async def test_a_wrong_amount_is_not_refunded(payment_api: PaymentApi) -> None:
    payment_id = await payment_api.captured()
    for amount in (0, -1, 10**30, 1.5, "5", True):
        assert code(await payment_api.refund(payment_id, amount=amount)) == (422, "invalid_request"), amount
    assert await payment_api.database.fetchval("SELECT count(*) FROM refunds") == 0


async def test_who_may_refund_and_with_which_request(payment_api: PaymentApi) -> None:
    owner = new_id()
    payment_id = await payment_api.captured(user_id=owner)
    assert code(await payment_api.refund(payment_id, None)) == (400, "idempotency_key_missing")
    assert code(await payment_api.refund(payment_id, "k" * 256)) == (422, "invalid_request")
    assert code(await payment_api.refund(str(new_id()))) == (404, "payment_not_found")
    headers = payment_api.tokens.headers(user_id=owner) | {"Idempotency-Key": "a"}
    path = f"/api/v1/payments/{payment_id}/refunds"
    assert code(await payment_api.client.post(path, json={}, headers=headers)) == (403, "admin_only")
    assert (await payment_api.client.post(path, json={})).status_code == 401
    assert await payment_api.database.fetchval("SELECT count(*) FROM refunds") == 0


async def test_the_ledger_for_administrators(payment_api: PaymentApi) -> None:
    payment_id = await payment_api.captured(amount=1000)
    await payment_api.captured(amount=500, currency="USD")
    await payment_api.refund(payment_id, amount=300)
    client, tokens = payment_api.client, payment_api.tokens
    ledger = (await client.get("/api/v1/payments/ledger", headers=tokens.headers("admin"))).json()
    balances = {(i["account"], i["balance"]["currency"]): i["balance"]["amount"] for i in ledger["items"]}
    assert balances == {
        ("provider", "EUR"): 700,
        ("refunds", "EUR"): 300,
        ("sales", "EUR"): -1000,
        ("provider", "USD"): 500,
        ("sales", "USD"): -500,
    }
    assert code(await client.get("/api/v1/payments/ledger", headers=tokens.headers())) == (403, "admin_only")


async def test_the_operational_endpoints(payment_api: PaymentApi) -> None:
    client = payment_api.client
    assert (await client.get("/health/ready")).json()["checks"]["database"] == "ok"
    await payment_api.captured()
    metrics = (await client.get("/metrics")).text
    assert 'shop_payment_charges_total{state="captured"}' in metrics
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {"/api/v1/payments", "/api/v1/payments/{payment_id}/refunds", "/internal/charges"} <= set(paths)


async def test_services_can_read_the_smallest_charge(payment_api: PaymentApi) -> None:
    answer = await payment_api.client.get("/internal/charges/minimum", params={"currency": "EUR"}, headers=INTERNAL)
    assert answer.json() == {"amount": 0, "currency": "EUR"}
    wrong = await payment_api.client.get("/internal/charges/minimum", params={"currency": "euro"}, headers=INTERNAL)
    assert wrong.status_code == 422
