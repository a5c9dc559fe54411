from __future__ import annotations

import copy
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from services.gateway.tests.conftest import Open, Shop, answer_json
from shop.gateway import openapi
from shop.gateway.openapi import _references, merge


def document(path: str, schemas: dict[str, Any], **operation: Any) -> dict[str, Any]:
    reference = {"$ref": f"#/components/schemas/{next(iter(schemas))}"}
    content = {"application/json": {"schema": reference}}
    get = {"operationId": "list", "responses": {"200": {"description": "", "content": content}}, **operation}
    return {"openapi": "3.1.0", "paths": {path: {"get": get}}, "components": {"schemas": schemas}}


MONEY = {"type": "object", "properties": {"amount": {"type": "integer"}}}
OTHER_MONEY = {"type": "string"}


def holder(name: str) -> dict[str, Any]:
    return {"type": "object", "properties": {"it": {"$ref": f"#/components/schemas/{name}"}}}


def test_equal_components_are_shared_and_different_ones_kept_apart() -> None:
    documents = {
        "order": document("/api/v1/orders", {"Order": holder("Money"), "Money": MONEY}),
        "payment": document("/api/v1/payments", {"Payment": holder("Money"), "Money": OTHER_MONEY}),
        "pricing": document("/api/v1/quotes", {"Quote": holder("Money"), "Money": MONEY}),
    }
    before = copy.deepcopy(documents)
    merged = merge(documents)
    schemas = merged["components"]["schemas"]
    assert schemas["Money"] == MONEY
    assert schemas["PaymentMoney"] == OTHER_MONEY
    assert schemas["Quote"] == holder("Money")
    assert schemas["Payment"] == holder("PaymentMoney")
    assert documents == before
    assert_no_dangling(merged)


def test_a_component_that_refers_to_a_renamed_one_is_renamed_too() -> None:
    """Two services' Page are written alike but mean different items: one must not be used for the other."""
    documents = {
        "order": document("/api/v1/orders", {"Page": holder("Item"), "Item": MONEY}),
        "payment": document("/api/v1/payments", {"Page": holder("Item"), "Item": OTHER_MONEY}),
    }
    merged = merge(documents)
    assert merged["components"]["schemas"]["PaymentPage"] == holder("PaymentItem")
    response = merged["paths"]["/api/v1/payments"]["get"]["responses"]["200"]
    assert response["content"]["application/json"]["schema"] == {"$ref": "#/components/schemas/PaymentPage"}
    assert_no_dangling(merged)


def assert_no_dangling(merged: dict[str, Any]) -> None:
    for reference in _references(merged):
        _, _, kind, name = reference.split("/")
        assert name in merged["components"][kind]


@pytest.mark.parametrize("path", ["/internal/reservations", "/health", "/metrics"])
def test_internal_paths_are_left_out(path: str) -> None:
    assert merge({"order": document(path, {"A": MONEY})})["paths"] == {}


def test_components_that_only_internal_paths_use_are_left_out() -> None:
    public = document("/api/v1/orders", {"Order": holder("Money"), "Money": MONEY})
    internal = document("/internal/sagas", {"Saga": holder("Step"), "Step": holder("Saga")})
    both = {
        "openapi": "3.1.0",
        "paths": public["paths"] | internal["paths"],
        "components": {"schemas": public["components"]["schemas"] | internal["components"]["schemas"]},
    }
    merged = merge({"order": both})
    assert set(merged["components"]["schemas"]) == {"Order", "Money"}
    assert_no_dangling(merged)


def test_operation_ids_are_unique_and_unavailable_services_named() -> None:
    documents = {
        "order": document("/api/v1/orders", {"A": MONEY}),
        "payment": document("/api/v1/payments", {"B": MONEY}, tags=["money"]),
    }
    merged = merge(documents, ["user", "pricing"])
    orders, payments = merged["paths"]["/api/v1/orders"]["get"], merged["paths"]["/api/v1/payments"]["get"]
    assert orders["operationId"] != payments["operationId"]
    assert (orders["tags"], payments["tags"]) == (["order"], ["money"])
    assert "pricing, user" in merged["info"]["description"]


def test_the_document_has_the_security_of_each_operation() -> None:
    documents = {
        "product": document("/api/v1/products", {"A": MONEY}),
        "order": document("/api/v1/orders", {"B": MONEY}),
    }
    merged = merge(documents)
    assert merged["components"]["securitySchemes"]["bearer"]["scheme"] == "bearer"
    assert merged["paths"]["/api/v1/orders"]["get"]["security"] == [{"bearer": []}]
    assert "security" not in merged["paths"]["/api/v1/products"]["get"]


async def serve_document(shop: Shop, noun: str, path: str) -> None:
    async def handler(scope: Scope, receive: Receive, send: Send) -> None:
        await answer_json(send, document(path, {noun.capitalize(): MONEY}))

    shop.upstreams[noun].handler = handler


async def test_the_gateway_shows_one_document_of_all_services_that_answer(open_shop: Open) -> None:
    async with open_shop(down=("payment",), openapi_ttl_s=0) as shop:
        await serve_document(shop, "order", "/api/v1/orders")
        await serve_document(shop, "product", "/api/v1/products")
        merged = (await shop.client.get("/openapi.json")).json()
        assert {"/api/v1/orders", "/api/v1/products"} <= set(merged["paths"])
        assert "payment" in merged["info"]["description"]
        assert "product" not in merged["info"]["description"]


async def test_a_document_in_which_a_service_is_missing_is_soon_fetched_again(
    open_shop: Open, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(openapi, "INCOMPLETE_TTL_S", 0.0)
    async with open_shop(down=("payment",), openapi_ttl_s=600) as shop:
        await shop.client.get("/openapi.json")
        await serve_document(shop, "order", "/api/v1/orders")
        assert "/api/v1/orders" in (await shop.client.get("/openapi.json")).json()["paths"]


async def test_the_last_document_of_an_unavailable_service_is_used(open_shop: Open) -> None:
    async with open_shop(openapi_ttl_s=0) as shop:
        await serve_document(shop, "order", "/api/v1/orders")
        await shop.client.get("/openapi.json")

        async def broken(scope: Scope, receive: Receive, send: Send) -> None:
            await answer_json(send, {}, status=500)

        shop.order.handler = broken
        assert "/api/v1/orders" in (await shop.client.get("/openapi.json")).json()["paths"]


async def test_the_document_is_not_fetched_for_every_visitor(shop: Shop) -> None:
    for _ in range(3):
        assert (await shop.client.get("/openapi.json")).status_code == 200
    assert len(shop.order.calls) == 1


@pytest.mark.parametrize("page", ["/docs", "/redoc"])
async def test_the_documentation_pages_show_the_merged_document(shop: Shop, page: str) -> None:
    answer = await shop.client.get(page)
    assert answer.status_code == 200
    assert "/openapi.json" in answer.text


async def test_the_document_is_compressed(open_shop: Open) -> None:
    async with open_shop(openapi_ttl_s=0) as shop:
        properties = {f"field{number}": MONEY for number in range(50)}

        async def handler(scope: Scope, receive: Receive, send: Send) -> None:
            await answer_json(send, document("/api/v1/orders", {"Order": {"type": "object", "properties": properties}}))

        shop.order.handler = handler
        answer = await shop.client.get("/openapi.json", headers={"Accept-Encoding": "gzip"})
        assert answer.headers["content-encoding"] == "gzip"
        assert "/api/v1/orders" in answer.json()["paths"]


async def test_a_service_that_the_shop_is_without_is_unknown(open_shop: Open) -> None:
    async with open_shop(pricing_url="") as shop:
        for path in ("/api/v1/quotes", "/api/v1/promotions/SAVE"):
            answer = await shop.client.get(path, headers=shop.customer())
            assert (answer.status_code, answer.json()["code"]) == (404, "unknown_service")
        assert (await shop.client.get("/api/v1/products")).status_code == 200
        assert (await shop.client.get("/openapi.json")).status_code == 200
    assert not shop.upstreams["pricing"].calls
