"""Quotes of food: over HTTP with a small restaurant and delivery service, and the sums by property."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid5

import httpx
import pytest
from fastapi import FastAPI
from hypothesis import given
from hypothesis import strategies as st

from services.pricing.tests.test_pricing_api import INTERNAL, STORE, amount, price_orders
from services.pricing.tests.test_pricing_domain import discounts, lines_of, tariffs
from shop.contracts.store import DeliveryRule
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens
from shop.kit.app import create_app
from shop.kit.ids import new_id
from shop.pricing import api
from shop.pricing import food as asking
from shop.pricing.domain import Discount, Food, Line, Tariff, food_refusal, quote, subtotal_of
from shop.pricing.service import PricingService
from shop.pricing.settings import Settings

RESTAURANT, PIZZA, WINE, FOREIGN, CHEESE = (new_id() for _ in range(5))
CLOSED = "0190b000-0000-7000-8000-0000000000ff"
ITEMS = {str(PIZZA): (1_000, "EUR", "food"), str(WINE): (600, "EUR", "drinks"), str(FOREIGN): (900, "USD", "food")}
CHEESE_PRICE = 150
READY_AT = datetime(2026, 5, 1, 18, 30, tzinfo=UTC)
TRAVEL_S = 600
FOOD_STORE = STORE | {
    "taxes": [
        {"country": "DE", "category": None, "rate_percent": 19},
        {"country": "DE", "category": "food", "rate_percent": "7.0"},
        {"country": "FR", "category": None, "rate_percent": 1},
    ],
    "delivery": {"base": 199, "per_km": 60, "free_above": 5_000, "max_distance_m": 3_000},
}
ADDRESS = {"street": "12 Mill Lane", "city": "Berlin", "postal_code": "10115", "country": "DE"}
DISTANCES_M = {"12 Mill Lane": 1_550, "9 Far Road": 3_001}

PATIENT_S = 10.0
"""So that a busy machine does not make restaurant and delivery unavailable."""

participants = FastAPI()


@participants.post("/internal/prices")
async def _prices(body: dict[str, Any]) -> dict[str, Any]:
    return {"results": [_price(item) for item in body["items"]]}


def _price(item: dict[str, Any]) -> dict[str, Any]:
    if item["restaurant_id"] != str(RESTAURANT):
        return _rejected(item, "restaurant_closed", opens_at="2026-05-02T11:00:00Z")
    if unknown := [line for line in item["lines"] if line["item_id"] not in ITEMS]:
        return _rejected(item, "unknown_item", item_id=unknown[0]["item_id"])
    return {
        "order_id": item["order_id"],
        "status": "priced",
        "restaurant_name": "Da Carlo",
        "position": {"lat": 51.9, "lon": -0.2},
        "minimum_order": {"amount": 800, "currency": "EUR"},
        "ready_at": READY_AT.isoformat(),
        "lines": [_line(line) for line in item["lines"]],
    }


def _line(line: dict[str, Any]) -> dict[str, Any]:
    price, currency, category = ITEMS[line["item_id"]]
    choices = sorted(line["choices"])
    return {
        "product_id": str(uuid5(UUID(line["item_id"]), "/".join(choices))),
        "item_id": line["item_id"],
        "quantity": line["quantity"],
        "name": "Something good",
        "category": category,
        "unit_price": {"amount": price + CHEESE_PRICE * len(choices), "currency": currency},
        "choices": choices,
    }


def _rejected(item: dict[str, Any], code: str, **extra: Any) -> dict[str, Any]:
    return {"order_id": item["order_id"], "status": "rejected", "code": code, "detail": "No.", "extra": extra}


@participants.post("/internal/routes")
async def _routes(body: dict[str, Any]) -> dict[str, Any]:
    (item,) = body["items"]
    distance_m = DISTANCES_M.get(item["address"]["street"])
    if distance_m is None:
        return {"results": [_rejected(item, "address_not_found")]}
    dropoff = {"lat": 51.91, "lon": -0.21}
    way = {"status": "routed", "distance_m": distance_m, "travel_s": TRAVEL_S, "dropoff": dropoff}
    return {"results": [{"order_id": item["order_id"], **way}]}


@pytest.fixture(autouse=True)
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "CALL_TIMEOUT_S", PATIENT_S)


@pytest.fixture
async def client(
    database_for: DatabaseFor, tokens: Tokens, running: Running, served: Callable[..., Any]
) -> AsyncIterator[httpx.AsyncClient]:
    async with served(participants) as upstream:
        app = application(await database_for("pricing"), tokens, str(upstream.base_url))
        async with running(app) as client:
            yield client


def application(database_url: str, tokens: Tokens, url: str) -> FastAPI:
    settings = Settings(
        database_url=database_url,
        jwks_url=tokens.jwks_url,
        internal_token=INTERNAL_TOKEN,
        restaurant_url=url,
        delivery_url=url,
        store=FOOD_STORE,
        sample_promotions=True,
    )
    return create_app(
        settings, title="Pricing", routers=[api.router, api.internal], build=PricingService.build, uses_bus=False
    )


def cart(*items: tuple[UUID, int, list[UUID]], **more: Any) -> dict[str, Any]:
    return {
        "kind": "food",
        "restaurant_id": str(RESTAURANT),
        "items": [
            {"item_id": str(item), "quantity": quantity, "choices": [str(choice) for choice in choices]}
            for item, quantity, choices in items
        ],
        "address": ADDRESS,
        **more,
    }


async def asked(client: httpx.AsyncClient, *items: tuple[UUID, int, list[UUID]], **more: Any) -> httpx.Response:
    return await client.post("/api/v1/quotes", json=cart(*items, **more))


async def test_a_cart_of_food_is_priced_with_its_delivery_and_tip(client: httpx.AsyncClient) -> None:
    tip = {"amount": 200, "currency": "EUR"}
    answer = await asked(client, (PIZZA, 1, [CHEESE]), (WINE, 2, []), tip=tip)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    assert [(line["item_id"], line["line_total"]["amount"], line["tax"]["amount"]) for line in found["lines"]] == [
        (str(PIZZA), 1_150, 81),  # 7%
        (str(WINE), 1_200, 228),  # 19%
    ]
    fee = 199 + 93  # 60 per km of 1.55 km
    amounts = {name: amount(found, name) for name in ("subtotal", "discount", "tax", "shipping", "tip", "total")}
    assert amounts == {
        "subtotal": 2_350, "discount": 0, "tax": 309, "shipping": fee, "tip": 200, "total": 2_350 + 309 + fee + 200,
    }  # fmt: skip
    assert (found["distance_m"], found["minimum_order"]["amount"], found["restaurant_name"]) == (1_550, 800, "Da Carlo")
    assert datetime.fromisoformat(found["ready_at"]) == READY_AT
    assert datetime.fromisoformat(found["eta"]) == READY_AT + timedelta(seconds=TRAVEL_S)
    assert found["lines"][0]["choices"] == [str(CHEESE)]


async def test_a_coupon_reduces_the_goods_and_not_what_the_courier_gets(client: httpx.AsyncClient) -> None:
    tip = {"amount": 300, "currency": "EUR"}
    plain = (await asked(client, (PIZZA, 3, []), tip=tip)).json()
    reduced = (await asked(client, (PIZZA, 3, []), tip=tip, coupon="FIVER")).json()
    assert (amount(reduced, "discount"), amount(reduced, "tip")) == (500, 300)
    assert amount(reduced, "shipping") == amount(plain, "shipping")
    assert amount(reduced, "tax") == 175  # 7% of 25.00


async def test_delivery_is_free_from_the_limit_on(client: httpx.AsyncClient) -> None:
    assert amount((await asked(client, (PIZZA, 5, []))).json(), "shipping") == 0


@pytest.mark.parametrize(
    ("changed", "status", "code", "extra"),
    [
        (
            {"restaurant_id": "0190b000-0000-7000-8000-0000000000ff"},
            409,
            "restaurant_closed",
            {"opens_at": "2026-05-02T11:00:00Z"},
        ),
        ({"items": [{"item_id": str(CHEESE), "quantity": 1}]}, 404, "unknown_item", {"item_id": str(CHEESE)}),
        ({"items": [{"item_id": str(FOREIGN), "quantity": 1}]}, 422, "currency_mismatch", {}),
        ({"address": ADDRESS | {"street": "1 Nowhere"}}, 422, "address_not_found", {}),
        ({"address": ADDRESS | {"street": "9 Far Road"}}, 422, "address_out_of_reach", {}),
        ({"address": ADDRESS | {"country": "GB", "postal_code": "SW1Y 4JH"}}, 422, "country_not_served", {}),
        ({"tip": {"amount": 1, "currency": "USD"}}, 422, "currency_mismatch", {}),
        ({"coupon": "NONSENSE"}, 422, "unknown_coupon", {}),
        (
            {"items": [{"item_id": str(WINE), "quantity": 1}]},
            422,
            "minimum_order_not_met",
            {
                "minimum_order": {"amount": 800, "currency": "EUR"},
                "missing": {"amount": 200, "currency": "EUR"},
                "subtotal": {"amount": 600, "currency": "EUR"},
            },
        ),
    ],
)
async def test_what_cannot_be_delivered_is_refused_with_its_code(
    client: httpx.AsyncClient, changed: dict[str, Any], status: int, code: str, extra: dict[str, Any]
) -> None:
    answer = await asked(client, (PIZZA, 2, []), **changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert {name: problem.get(name) for name in extra} == extra


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"kind": "arcade"}, "kind"),
        ({"items": [{"item_id": str(PIZZA), "quantity": 0}]}, "items.0.quantity"),
        ({"address": {**ADDRESS, "street": ""}}, "address.street"),
        ({"country": "DE"}, "country"),
        ({"tip": {"amount": -5, "currency": "EUR"}}, "tip.amount"),
    ],
)
async def test_a_malformed_cart_is_named(client: httpx.AsyncClient, changed: dict[str, Any], field: str) -> None:
    answer = await asked(client, (PIZZA, 2, []), **changed)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


async def test_a_shop_without_food_says_so(database_for: DatabaseFor, tokens: Tokens, running: Running) -> None:
    async with running(application(await database_for("pricing"), tokens, "")) as client:
        answer = await asked(client, (PIZZA, 2, []))
        assert (answer.status_code, answer.json()["code"]) == (422, "food_not_offered")


def order_of(found: dict[str, Any], coupon: str | None, **terms: Any) -> dict[str, Any]:
    """The order that follows from the quote of a cart."""
    lines = [
        {name: line[name] for name in ("product_id", "quantity", "unit_price")}
        | {"category": ITEMS[line["item_id"]][2]}
        for line in found["lines"]
    ]
    food = {name: found[name] for name in ("distance_m", "minimum_order", "tip")} | terms
    about = {"order_id": str(new_id()), "user_id": str(new_id()), "country": "DE"}
    return {**about, "lines": lines, "coupon": coupon, "food": food}


@pytest.mark.parametrize("coupon", [None, "FIVER", "WELCOME10"])
async def test_the_quote_of_a_cart_is_that_of_its_order(client: httpx.AsyncClient, coupon: str | None) -> None:
    more = {"tip": {"amount": 123, "currency": "EUR"}} | ({"coupon": coupon} if coupon else {})
    found = (await asked(client, (PIZZA, 2, [CHEESE]), (WINE, 1, []), (PIZZA, 1, [CHEESE]), **more)).json()
    assert [line["quantity"] for line in found["lines"]] == [3, 1]
    (priced,) = await price_orders(client, order_of(found, coupon))
    assert priced["status"] == "quoted", priced
    for name in ("subtotal", "discount", "tax", "shipping", "tip", "total"):
        assert priced[name] == found[name]


async def test_food_is_taxed_where_the_town_is_whatever_country_its_address_names(client: httpx.AsyncClient) -> None:
    abroad = ADDRESS | {"country": "FR", "postal_code": "75001"}
    here, there = [(await asked(client, (PIZZA, 2, []), address=place)).json() for place in (ADDRESS, abroad)]
    assert here["tax"] == there["tax"] == {"amount": 140, "currency": "EUR"}
    (priced,) = await price_orders(client, order_of(here, None) | {"country": "FR"})
    assert priced["tax"] == here["tax"]


async def test_an_order_below_the_minimum_is_rejected_and_keeps_its_coupon(
    client: httpx.AsyncClient, tokens: Tokens
) -> None:
    found = (await asked(client, (PIZZA, 1, []))).json()
    large = {"amount": 100_000, "currency": "EUR"}
    (priced,) = await price_orders(client, order_of(found, "FIVER", minimum_order=large))
    assert (priced["status"], priced["code"]) == ("rejected", "minimum_order_not_met")
    assert priced["extra"]["missing"] == {"amount": 99_000, "currency": "EUR"}
    promotion = (await client.get("/api/v1/promotions/FIVER", headers=tokens.headers("admin"))).json()
    assert promotion["used"] == 0


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"distance_m": 3_001}, "address_out_of_reach"),
        ({"tip": {"amount": 1, "currency": "USD"}}, "currency_mismatch"),
        ({"minimum_order": {"amount": 1, "currency": "USD"}}, "currency_mismatch"),
    ],
)
async def test_an_order_with_impossible_terms_is_rejected(
    client: httpx.AsyncClient, terms: dict[str, Any], code: str
) -> None:
    found = (await asked(client, (PIZZA, 1, []))).json()
    (priced,) = await price_orders(client, order_of(found, None, **terms))
    assert (priced["status"], priced["code"]) == ("rejected", code)


async def test_a_participant_that_is_down_is_503(client: httpx.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "_price", lambda item: {"order_id": item["order_id"], "status": "made_up"})
    answer = await asked(client, (PIZZA, 1, []))
    assert (answer.status_code, answer.json()["code"]) == (503, "restaurant_unavailable")


async def test_internal_quotes_need_the_services_token(client: httpx.AsyncClient) -> None:
    answer = await client.post("/internal/quotes", json={"items": []})
    assert answer.status_code == 401
    assert (await client.post("/internal/quotes", json={"items": []}, headers=INTERNAL)).status_code == 422


rules = st.builds(
    DeliveryRule,
    base=st.integers(0, 1_000),
    per_km=st.integers(0, 500),
    free_above=st.none() | st.integers(0, 100_000),
    max_distance_m=st.integers(100, 100_000),
)
foods = st.builds(Food, st.integers(0, 100_000), st.integers(0, 100_000), st.integers(0, 10_000_000))


@given(lines_of, discounts, tariffs, rules, foods)
def test_sums_of_food_add_up(
    lines: list[Line], discount: Discount | None, tariff: Tariff, rule: DeliveryRule, food: Food
) -> None:
    tariff.delivery = rule
    found, retail = quote(lines, "DE", discount, tariff, food), quote(lines, "DE", discount, tariff)
    assert found.total == found.subtotal - found.discount + found.tax + found.shipping + food.tip
    assert (found.subtotal, found.discount, found.tax) == (retail.subtotal, retail.discount, retail.tax)
    assert found.shipping == rule.fee(food.distance_m, found.subtotal)
    assert found.shipping == 0 or rule.free_above is None or found.subtotal < rule.free_above
    assert (found.tip, retail.tip) == (food.tip, None)
    assert not found.free_shipping_lost


@given(lines_of, rules, foods)
def test_food_is_refused_exactly_below_the_minimum_or_beyond_the_reach(
    lines: list[Line], rule: DeliveryRule, food: Food
) -> None:
    refusal = food_refusal(subtotal_of(lines), food, rule)
    assert (refusal is None) == (subtotal_of(lines) >= food.minimum_order and food.distance_m <= rule.max_distance_m)
