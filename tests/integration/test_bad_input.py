"""Invalid requests to the gateway are answered with a 4xx problem with a stable code, and write nothing."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from yarl import URL

from shop.devkit.testing import Tokens
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import decided, insist, new_product, stock_of
from tests.load.shoppers import ADDRESS, Shop

pytestmark = pytest.mark.shop

JSON_TYPE = {"Content-Type": "application/json"}


def body(product_id: str, **changed: Any) -> dict[str, Any]:
    return {
        "items": [{"product_id": product_id, "quantity": 1}],
        "address": ADDRESS,
        "payment": {"token": "tok_visa"},
    } | changed


async def send(
    api: Shop, token: str, content: bytes | AsyncIterator[bytes], key: str | None = "", **headers: str
) -> tuple[int, str, str]:
    """Status, code and content type of the answer to POST /orders."""
    sent = {"Authorization": f"Bearer {token}", **JSON_TYPE, **headers}
    if key is not None:
        sent["Idempotency-Key"] = key or str(uuid.uuid4())
    async with api.session.post(f"{api.url}/api/v1/orders", data=content, headers=sent) as response:
        problem = orjson.loads(await response.read())
        return response.status, problem["code"], response.content_type


QUANTITIES = [-1, 0, 1_000, 2**31, 2**63, 10**30, 1.5, "1", None, True, [], {}]


async def test_wrong_quantities(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    for quantity in QUANTITIES:
        text = b'{"items":[{"product_id":"%s","quantity":QUANTITY}],"address":%s,"payment":{"token":"tok_visa"}}'
        content = text % (product["id"].encode(), orjson.dumps(ADDRESS))
        content = content.replace(b"QUANTITY", json.dumps(quantity).encode())
        assert await send(api, buyer, content) == (422, "invalid_request", "application/problem+json"), quantity
    assert await stock_of(api, product["id"]) == 5
    assert (await api.call("GET", "/orders", buyer))["items"] == []


async def test_wrong_bodies(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    good = orjson.dumps(body(product["id"]))

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(100):
            yield b" " * 1_024

    refused = {
        "malformed": (await send(api, buyer, good[:-1]), (400, "malformed_body")),
        "duplicate": (await send(api, buyer, good[:-1] + b',"items":[]}'), (400, "duplicate_key")),
        "utf8": (await send(api, buyer, good.replace(b"Berlin", b"\xff\xfe")), (400, "invalid_utf8")),
        "nul": (await send(api, buyer, good.replace(b"Berlin", b"\\u0000")), (400, "nul_character")),
        "type": (await send(api, buyer, good, **{"Content-Type": "text/plain"}), (415, "unsupported_media_type")),
        "large": (await send(api, buyer, good + b" " * 70_000), (413, "body_too_large")),
        "chunked": (await send(api, buyer, chunks()), (413, "body_too_large")),
        "empty": (await send(api, buyer, orjson.dumps(body(product["id"], items=[]))), (422, "invalid_request")),
        "no key": (await send(api, buyer, good, None), (400, "idempotency_key_missing")),
        "unknown": (await send(api, buyer, orjson.dumps(body(str(uuid.uuid4())))), (404, "unknown_product")),
        "no id": (await send(api, buyer, orjson.dumps(body("seven"))), (422, "invalid_request")),
        "coupon": (
            await send(api, buyer, orjson.dumps(body(product["id"], coupon="NOSUCHCODE"))),
            (422, "unknown_coupon"),
        ),
    }
    for name, (answer, expected) in refused.items():
        assert (name, answer) == (name, (*expected, "application/problem+json"))
    assert await stock_of(api, product["id"]) == 5


async def test_a_key_used_for_another_order(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    key = str(uuid.uuid4())
    assert (await decided(api, buyer, product["id"], key=key)).status == 201
    other = orjson.dumps(body(product["id"], items=[{"product_id": product["id"], "quantity": 2}]))
    assert (await send(api, buyer, other, key))[:2] == (422, "idempotency_key_reused")
    assert await stock_of(api, product["id"]) == 4


async def test_requests_without_a_valid_token_see_nothing(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    buyer, other = await api.sign_up_many(2)
    bought = await insist(api, buyer, product["id"])
    order_id = bought.body["id"]
    for method, path in [
        ("GET", f"/orders/{order_id}"),
        ("POST", f"/orders/{order_id}/cancel"),
        ("GET", f"/orders/{order_id}/events"),
        ("GET", f"/orders/{uuid.uuid4()}"),
    ]:
        headers = {"Authorization": f"Bearer {other}"}
        async with api.session.request(method, f"{api.url}/api/v1{path}", headers=headers) as response:
            assert (path, response.status, (await response.json(content_type=None))["code"]) == (
                path,
                404,
                "unknown_order",
            )
    assert (await api.call("GET", f"/payments?order_id={order_id}", other))["items"] == []
    assert (await api.call("GET", "/orders", other))["items"] == []


async def test_invalid_tokens_are_refused(shop: RunningShop, api: Shop, tokens: Tokens) -> None:
    cases = {"": 401, "nonsense": 401, tokens.forged(): 401, tokens.expired(): 401}
    for token, status in cases.items():
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        async with api.session.get(f"{api.url}/api/v1/orders", headers=headers) as response:
            problem = await response.json(content_type=None)
            assert (response.status, response.content_type) == (status, "application/problem+json"), token
            assert problem["code"] in {"token_missing", "invalid_token", "token_expired"}


async def test_customers_are_not_administrators(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    for method, path, content in [
        ("POST", "/products", {}),
        ("PATCH", f"/products/{product['id']}", {}),
        ("POST", f"/products/{product['id']}/stock", {"delta": 1}),
        ("PUT", "/promotions/FREE", {}),
        ("GET", "/notifications/all", None),
        ("GET", f"/orders/{uuid.uuid4()}/history", None),
    ]:
        headers = {"Authorization": f"Bearer {buyer}"}
        async with api.session.request(method, f"{api.url}/api/v1{path}", json=content, headers=headers) as response:
            assert (path, response.status) == (path, 403)


@pytest.mark.parametrize(
    ("path", "statuses"),
    [
        ("/api/v1/teapots", {404}),
        ("/api/v1/internal/reservations", {404}),
        ("/internal/reservations", {404}),
        ("/api/v1/products/%00", {400, 404, 422}),
        ("/api/v1/products?limit=0", {422}),
        ("/api/v1/products?limit=99999999999999999999", {422}),
        ("/api/v1/products?cursor=nonsense", {400}),
        ("/api/v1/products?query=%00", {400}),
        ("/api/v1/products?query=%ff", {200, 400}),
        ("/api/v1/products/../../../etc/passwd", {400, 404}),
    ],
)
async def test_unusual_addresses(shop: RunningShop, api: Shop, path: str, statuses: set[int]) -> None:
    async with api.session.get(URL(f"{api.url}{path}", encoded=True)) as response:
        assert response.status in statuses


async def test_the_audit_is_clean_afterwards(shop: RunningShop) -> None:
    await assert_clean(shop)
