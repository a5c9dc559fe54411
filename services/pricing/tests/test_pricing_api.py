"""Pricing over HTTP, with a small product service."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any
from uuid import UUID

import httpx
import pytest
from fastapi import FastAPI

from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.app import create_app
from shop.kit.db import STATEMENTS
from shop.kit.ids import new_id
from shop.pricing import api
from shop.pricing.service import PricingService
from shop.pricing.settings import Settings

BOOK, POSTER, FOREIGN = (new_id() for _ in range(3))
PRODUCTS = {
    str(BOOK): {"id": str(BOOK), "category": "books", "price": {"amount": 1_299, "currency": "EUR"}},
    str(POSTER): {"id": str(POSTER), "category": "posters", "price": {"amount": 999, "currency": "EUR"}},
    str(FOREIGN): {"id": str(FOREIGN), "category": "books", "price": {"amount": 999, "currency": "USD"}},
}
STORE = {
    "title": "Test",
    "currency": "EUR",
    "country": "DE",
    "taxes": [
        {"country": "DE", "category": None, "rate_percent": 19},
        {"country": "DE", "category": "books", "rate_percent": "7.0"},
    ],
    "shipping": {"flat": 490, "free_above": 5_000},
    "ships_to": ["DE", "FR"],
}
INTERNAL = {"Authorization": f"Bearer {INTERNAL_TOKEN}"}

products = FastAPI()


@products.get("/api/v1/products")
async def _products(ids: str, limit: int) -> dict[str, Any]:
    return {"items": [PRODUCTS[found] for found in ids.split(",") if found in PRODUCTS][:limit], "next_cursor": None}


@pytest.fixture
async def client(
    database_for: DatabaseFor, tokens: Tokens, running: Running, served: Callable[..., Any]
) -> AsyncIterator[httpx.AsyncClient]:
    async with served(products) as upstream:
        settings = Settings(
            database_url=await database_for("pricing"),
            jwks_url=tokens.jwks_url,
            internal_token=INTERNAL_TOKEN,
            product_url=str(upstream.base_url),
            store=STORE,
            sample_promotions=True,
        )
        routers = [api.router, api.internal]
        app = create_app(settings, title="Pricing", routers=routers, build=PricingService.build, uses_bus=False)
        async with running(app) as client:
            yield client


def cart(*items: tuple[UUID, Any], **more: Any) -> dict[str, Any]:
    return {
        "items": [{"product_id": str(product), "quantity": quantity} for product, quantity in items],
        "country": "DE",
        **more,
    }


def order(coupon: str | None = None, **changed: Any) -> dict[str, Any]:
    line = {
        "product_id": str(BOOK),
        "quantity": 2,
        "sku": "B-1",
        "name": "A book",
        "category": "books",
        "unit_price": {"amount": 1_299, "currency": "EUR"},
    }
    item = {"order_id": str(new_id()), "user_id": str(new_id()), "lines": [line], "country": "DE", "coupon": coupon}
    return item | changed


def amount(document: dict[str, Any], name: str) -> int:
    assert document[name]["currency"] == "EUR"
    return int(document[name]["amount"])


async def price_orders(client: httpx.AsyncClient, *items: dict[str, Any]) -> list[dict[str, Any]]:
    answer = await client.post("/internal/quotes", json={"items": items}, headers=INTERNAL)
    assert answer.status_code == 200, answer.text
    results: list[dict[str, Any]] = answer.json()["results"]
    assert [result["order_id"] for result in results] == [item["order_id"] for item in items]
    return results


async def test_a_quote_needs_no_sign_in_and_takes_prices_from_the_products(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/quotes", json=cart((BOOK, 2), (POSTER, 1), coupon="welcome10"))
    assert answer.status_code == 200
    quote = answer.json()
    assert [line["unit_price"]["amount"] for line in quote["lines"]] == [1_299, 999]
    assert [line["line_total"]["amount"] for line in quote["lines"]] == [2_598, 999]
    amounts = {name: amount(quote, name) for name in ("subtotal", "discount", "tax", "shipping", "total")}
    assert amounts == {"subtotal": 3_597, "discount": 360, "tax": 335, "shipping": 490, "total": 4_062}


async def test_a_quote_may_name_a_product_twice(client: httpx.AsyncClient) -> None:
    quote = (await client.post("/api/v1/quotes", json=cart((BOOK, 1), (BOOK, 2)))).json()
    assert [line["quantity"] for line in quote["lines"]] == [1, 2]
    assert amount(quote, "subtotal") == 3 * 1_299


async def test_quoting_does_not_use_a_coupon_up(client: httpx.AsyncClient, tokens: Tokens) -> None:
    for _ in range(2):
        assert (await client.post("/api/v1/quotes", json=cart((BOOK, 2), coupon="FIVER"))).status_code == 200
    promotion = await client.get("/api/v1/promotions/FIVER", headers=tokens.headers("admin"))
    assert promotion.json()["used"] == 0


@pytest.mark.parametrize(
    ("body", "status", "code"),
    [
        (cart((new_id(), 1)), 404, "unknown_product"),
        (cart((BOOK, 1), coupon="NOSUCH"), 422, "unknown_coupon"),
        (cart((BOOK, 1), coupon="'; DROP"), 422, "unknown_coupon"),
        (cart((BOOK, 1), coupon="WELCOME10"), 422, "coupon_minimum_not_met"),
        (cart((FOREIGN, 1)), 422, "currency_mismatch"),
        (cart(), 422, "invalid_request"),
        (cart((BOOK, 0)), 422, "invalid_request"),
        (cart((BOOK, -1)), 422, "invalid_request"),
        (cart((BOOK, 1_000)), 422, "invalid_request"),
        (cart((BOOK, 10**30)), 422, "invalid_request"),
        (cart((BOOK, 1.5)), 422, "invalid_request"),
        (cart((BOOK, "1")), 422, "invalid_request"),
        (cart((BOOK, 1), country="Germany"), 422, "invalid_request"),
        (cart((BOOK, 1), coupon="x" * 65), 422, "invalid_request"),
        (cart(*[(BOOK, 1)] * 101), 422, "invalid_request"),
    ],
)
async def test_refused_quotes(client: httpx.AsyncClient, body: dict[str, Any], status: int, code: str) -> None:
    answer = await client.post("/api/v1/quotes", json=body)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("typed", [" fiver ", "Fi Ver", "ＦＩＶＥＲ", "fiver\u200b", "fiver\n"])
async def test_a_coupon_counts_however_it_is_typed(client: httpx.AsyncClient, typed: str) -> None:
    answer = await client.post("/api/v1/quotes", json=cart((BOOK, 2), coupon=typed))
    assert amount(answer.json(), "discount") == 500
    assert (await price_orders(client, order(typed)))[0]["status"] == "quoted"


async def test_an_empty_coupon_is_none(client: httpx.AsyncClient) -> None:
    answer = await client.post("/api/v1/quotes", json=cart((BOOK, 1), coupon="  "))
    assert (answer.status_code, answer.json()["discount"]["amount"]) == (200, 0)


async def test_quotes_are_unavailable_without_the_products(
    database_for: DatabaseFor, tokens: Tokens, running: Running
) -> None:
    settings = Settings(
        database_url=await database_for("pricing"), jwks_url=tokens.jwks_url, product_url="http://127.0.0.1:9"
    )
    app = create_app(settings, title="Pricing", routers=[api.router], build=PricingService.build, uses_bus=False)
    async with running(app) as client:
        answer = await client.post("/api/v1/quotes", json=cart((BOOK, 1)))
    assert (answer.status_code, answer.json()["code"]) == (503, "product_unavailable")


async def test_an_order_without_coupon_costs_no_sql(client: httpx.AsyncClient) -> None:
    before = STATEMENTS._value.get()
    results = await price_orders(client, order(), order(coupon=""), order(country="FR"))
    assert STATEMENTS._value.get() == before
    assert [result["status"] for result in results] == ["quoted"] * 3
    assert [amount(result, "total") for result in results] == [2_598 + 182 + 490] * 2 + [2_598 + 490]


async def test_a_batch_of_coupons_is_one_statement(client: httpx.AsyncClient) -> None:
    before = STATEMENTS._value.get()
    results = await price_orders(client, order("fiver"), order(), order("NOSUCH"), order("WELCOME10"))
    assert STATEMENTS._value.get() == before + 1
    assert [result["status"] for result in results] == ["quoted", "quoted", "rejected", "quoted"]
    assert [amount(results[at], "discount") for at in (0, 1, 3)] == [500, 0, 260]
    assert results[2] | {"order_id": ""} == {
        "order_id": "",
        "status": "rejected",
        "code": "unknown_coupon",
        "detail": "There is no such coupon.",
        "extra": {},
    }


async def test_quoting_an_order_again_gives_the_same_answer(client: httpx.AsyncClient, tokens: Tokens) -> None:
    item = order("FIVER")
    first = await price_orders(client, item)
    rule = {"kind": "fixed", "value": 1, "active": False}
    assert (await client.put("/api/v1/promotions/FIVER", json=rule, headers=tokens.headers("admin"))).status_code == 200
    assert await price_orders(client, item) == first
    assert (await price_orders(client, order("FIVER")))[0]["code"] == "coupon_inactive"


async def test_released_orders_release_their_coupon(client: httpx.AsyncClient, tokens: Tokens) -> None:
    item = order("FIVER")
    await price_orders(client, item)
    body = {"items": [{"order_id": item["order_id"]}]}
    for _ in range(2):
        answer = await client.post("/internal/quotes/release", json=body, headers=INTERNAL)
        assert answer.json() == {"results": [{"order_id": item["order_id"], "status": "released"}]}
    assert (await price_orders(client, item))[0]["code"] == "released"
    promotion = await client.get("/api/v1/promotions/fiver", headers=tokens.headers("admin"))
    assert promotion.json()["used"] == 0


async def test_a_foreign_currency_is_refused_and_redeems_nothing(client: httpx.AsyncClient, tokens: Tokens) -> None:
    item = order("FIVER")
    item["lines"][0]["unit_price"]["currency"] = "USD"
    assert (await price_orders(client, item))[0]["code"] == "currency_mismatch"
    promotion = await client.get("/api/v1/promotions/FIVER", headers=tokens.headers("admin"))
    assert promotion.json()["used"] == 0


async def test_a_reservation_may_have_merged_the_lines_of_a_cart(client: httpx.AsyncClient) -> None:
    item = order()
    item["lines"][0]["quantity"] = 99_900
    assert amount((await price_orders(client, item))[0], "subtotal") == 99_900 * 1_299


@pytest.mark.parametrize("path", ["/internal/quotes", "/internal/quotes/release"])
async def test_internal_routes_require_the_services_token(client: httpx.AsyncClient, tokens: Tokens, path: str) -> None:
    body = {"items": [order()]}
    assert (await client.post(path, json=body)).status_code == 401
    answer = await client.post(path, json=body, headers=tokens.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (403, "internal_only")


async def test_promotions_are_for_administrators(client: httpx.AsyncClient, tokens: Tokens) -> None:
    rule = {"kind": "fixed", "value": 1}
    for headers, status in (({}, 401), (tokens.headers("customer"), 403)):
        assert (await client.get("/api/v1/promotions", headers=headers)).status_code == status
        assert (await client.get("/api/v1/promotions/FIVER", headers=headers)).status_code == status
        assert (await client.put("/api/v1/promotions/NEW", json=rule, headers=headers)).status_code == status


async def test_promotions_are_put_read_and_paged(client: httpx.AsyncClient, tokens: Tokens) -> None:
    admin = tokens.headers("admin")
    rule = {
        "kind": "percentage",
        "value": 25,
        "minimum_subtotal": 100,
        "starts_at": "2026-01-01T00:00:00Z",
        "expires_at": "2027-01-01T01:00:00+01:00",
        "usage_limit": 7,
        "once_per_user": True,
        "active": True,
    }
    put = await client.put("/api/v1/promotions/spring-25", json=rule, headers=admin)
    assert put.status_code == 200
    stored = put.json()
    assert stored["code"] == "SPRING-25"
    assert stored | rule == stored | {"expires_at": rule["expires_at"]}
    assert stored["expires_at"] == "2027-01-01T00:00:00Z"
    assert (await client.get("/api/v1/promotions/SPRING-25", headers=admin)).json() == stored

    codes: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        page = (
            await client.get(
                "/api/v1/promotions", params={"limit": 1} | ({"cursor": cursor} if cursor else {}), headers=admin
            )
        ).json()
        codes += [promotion["code"] for promotion in page["items"]]
        cursor = page["next_cursor"]
    assert (codes, cursor) == (["FIVER", "SPRING-25", "WELCOME10"], None)


async def test_creating_a_promotion_replaces_none(client: httpx.AsyncClient, tokens: Tokens) -> None:
    new = tokens.headers("admin") | {"If-None-Match": "*"}
    puts = [
        client.put("/api/v1/promotions/ONCE", json={"kind": "percentage", "value": value}, headers=new)
        for value in range(1, 9)
    ]
    answers = await asyncio.gather(*puts)
    assert sorted(answer.status_code for answer in answers) == [200] + [412] * 7
    assert {answer.json()["code"] for answer in answers if answer.status_code == 412} == {"promotion_exists"}
    (made,) = [answer.json() for answer in answers if answer.status_code == 200]
    assert (await client.get("/api/v1/promotions/ONCE", headers=new)).json() == made


@pytest.mark.parametrize(
    ("code", "changed"),
    [
        ("AB", {}),
        ("A" * 33, {}),
        ("A B", {}),
        ("ÄÖÜ", {}),
        ("OK-1", {"value": 0}),
        ("OK-1", {"value": 101}),
        ("OK-1", {"kind": "gift"}),
        ("OK-1", {"value": 10**30}),
        ("OK-1", {"usage_limit": 0}),
        ("OK-1", {"minimum_subtotal": -1}),
        ("OK-1", {"starts_at": "2026-01-01T00:00:00"}),
        ("OK-1", {"expires_at": "9999-12-31T23:59:59-14:00"}),
        ("OK-1", {"starts_at": "2026-01-02T00:00:00Z", "expires_at": "2026-01-02T00:00:00Z"}),
        ("OK-1", {"used": 0}),
    ],
)
async def test_invalid_rules_are_refused(
    client: httpx.AsyncClient, tokens: Tokens, code: str, changed: dict[str, Any]
) -> None:
    rule = {"kind": "percentage", "value": 10} | changed
    answer = await client.put(f"/api/v1/promotions/{code}", json=rule, headers=tokens.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_request")


async def test_an_unknown_promotion_is_not_found(client: httpx.AsyncClient, tokens: Tokens) -> None:
    answer = await client.get("/api/v1/promotions/NOSUCH", headers=tokens.headers("admin"))
    assert (answer.status_code, answer.json()["code"]) == (404, "unknown_promotion")


@pytest.mark.parametrize("country", ["FI", "GR", "US", "CH"])
async def test_a_country_that_is_not_served_has_no_price(client: httpx.AsyncClient, country: str) -> None:
    """Not with a coupon either, which is not redeemed by that."""
    for coupon in (None, "FIVER"):
        answer = await client.post("/api/v1/quotes", json=cart((BOOK, 1), country=country, coupon=coupon))
        assert (answer.status_code, answer.json()["code"]) == (422, "country_not_served")
    before = STATEMENTS._value.get()
    (result,) = await price_orders(client, order("FIVER", country=country))
    assert (result["status"], result["code"]) == ("rejected", "country_not_served")
    assert STATEMENTS._value.get() == before


@pytest.mark.parametrize("country", ["ZZ", "XX", "UK"])
async def test_an_unknown_country_is_refused_by_name(client: httpx.AsyncClient, country: str) -> None:
    answer = await client.post("/api/v1/quotes", json=cart((BOOK, 1), country=country))
    assert (answer.status_code, [wrong["field"] for wrong in answer.json()["errors"]]) == (422, ["country"])


async def test_a_coupon_that_takes_free_shipping_away_says_so(client: httpx.AsyncClient) -> None:
    """Four books cost 51.96; with five off they are below the 50.00 from which shipping is free."""
    plain = (await client.post("/api/v1/quotes", json=cart((BOOK, 4), country="de"))).json()
    assert (plain["shipping"]["amount"], plain["free_shipping_lost"]) == (0, False)
    quote = (await client.post("/api/v1/quotes", json=cart((BOOK, 4), coupon="FIVER"))).json()
    assert (quote["shipping"]["amount"], quote["free_shipping_lost"]) == (490, True)
    assert quote["free_shipping_from"] == {"amount": 5_000, "currency": "EUR"}
    few = (await client.post("/api/v1/quotes", json=cart((BOOK, 1), coupon="FIVER"))).json()
    assert (few["shipping"]["amount"], few["free_shipping_lost"]) == (490, False)
