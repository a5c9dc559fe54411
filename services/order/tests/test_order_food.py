"""Placing orders of food when every participant is available."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import Shop, Start, statements_of
from services.order.tests.scripted_food import (
    ACCEPT,
    ASSIGN,
    CHEESE,
    CLOSED,
    ETA,
    OLIVES,
    PIZZA,
    RELEASE_COURIER,
    RELEASE_TICKET,
    RESERVE_COURIER,
    RESTAURANT,
    SALAD,
    SOLD_OUT,
    ScriptedFood,
    product_id,
)
from services.order.tests.scripted_services import CHARGE, QUOTE, SHIPPING, VOID, money
from shop.order.repository import CANCEL_CONFIRMED, INSERT, SAGAS

TIP = {"amount": 150, "currency": "EUR"}


def paths(shop: Shop, food: ScriptedFood) -> list[str]:
    return [path for path, _ in food.calls] + [path for path, _ in shop.services.calls]


async def test_an_order_of_food_is_confirmed_at_once(food_shop: Shop, food: ScriptedFood) -> None:
    items = [
        {"item_id": PIZZA, "quantity": 1, "choices": [OLIVES, CHEESE]},
        {"item_id": PIZZA, "quantity": 2},
        {"item_id": PIZZA, "quantity": 1, "choices": [CHEESE, OLIVES]},
    ]
    answer = await food_shop.place_food(items=items, tip=TIP, phone="+44 20 7946-0958", note="Ring twice")
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert (order["state"], order["kind"], order["version"]) == ("confirmed", "food", 2)
    assert [(line["item_id"], line["quantity"], line["product_id"]) for line in order["lines"]] == [
        (PIZZA, 2, product_id(PIZZA, CHEESE, OLIVES)),
        (PIZZA, 2, product_id(PIZZA)),
    ]
    assert order["lines"][0]["choices"] == sorted([CHEESE, OLIVES])
    assert (order["tip"], order["phone"], order["note"]) == (TIP, "+442079460958", "Ring twice")
    assert order["total"] == money(2 * 1_050 + 2 * 900 + 7 + SHIPPING + 150)
    assert order["restaurant"] == {"id": RESTAURANT, "name": "Da Carlo", "state": None, "ready_at": None}
    assert order["delivery"]["courier"] is None
    assert order["delivery"]["eta"].replace("+00:00", "Z") == ETA.isoformat().replace("+00:00", "Z")
    assert await food_shop.order(order["id"]) == order
    assert food.deliveries[order["id"]] == "live"
    assert food_shop.services.captured[order["id"]] == order["total"]["amount"]
    assert [path for path, _ in food.calls] == [ACCEPT, RESERVE_COURIER, ASSIGN]


async def test_its_event_has_the_restaurant_the_tip_and_the_phone(food_shop: Shop) -> None:
    order = (await food_shop.place_food(tip=TIP, phone="+442079460958")).json()
    assert await food_shop.events(order["id"]) == ["order.confirmed.v1"]
    event = await food_shop.event(order["id"], "order.confirmed.v1")
    assert (event["kind"], event["restaurant_id"], event["restaurant_name"]) == ("food", RESTAURANT, "Da Carlo")
    assert (event["tip"], event["phone"], event["total"]) == (TIP, "+442079460958", order["total"])
    assert event["eta"]


async def test_pricing_is_given_the_way_the_minimum_and_the_tip(food_shop: Shop) -> None:
    await food_shop.place_food(tip=TIP)
    (quote,) = [item for path, item in food_shop.services.items if path == QUOTE]
    assert quote["food"] == {"distance_m": 1_500, "minimum_order": money(800), "tip": TIP}
    assert quote["lines"][0]["product_id"] == product_id(PIZZA)


@pytest.mark.parametrize(
    ("changed", "status", "code", "extra"),
    [
        ({"restaurant_id": CLOSED}, 409, "restaurant_closed", {"opens_at": "2099-01-02T17:00:00Z"}),
        ({"restaurant_id": "0190b000-0000-7000-8000-0000000000ff"}, 404, "unknown_restaurant", {}),
        ({"items": [{"item_id": SOLD_OUT, "quantity": 1}]}, 409, "item_sold_out", {"item_id": SOLD_OUT}),
        ({"items": [{"item_id": SALAD, "quantity": 1}]}, 422, "minimum_order_not_met", {"minimum_order": money(800)}),
        ({"coupon": "nonsense"}, 422, "unknown_coupon", {}),
        ({"payment": {"token": "tok_declined"}}, 402, "payment_declined", {}),
        ({"expected_total": money(1)}, 409, "price_changed", {"expected_total": money(1)}),
    ],
)
async def test_a_rejected_order_has_no_effect_left(
    food_shop: Shop, food: ScriptedFood, changed: dict[str, Any], status: int, code: str, extra: dict[str, Any]
) -> None:
    answer = await food_shop.place_food(**changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (status, code), problem
    assert {name: problem.get(name) for name in extra} == extra
    order = await food_shop.order(problem["order_id"])
    assert (order["state"], order["reason"], order["total"]) == ("rejected", code, None)
    food.assert_nothing_left(order["id"])
    food_shop.services.assert_no_effect_left(order["id"])
    assert (await food_shop.event(order["id"], "order.rejected.v1"))["late"] is False


async def test_without_a_courier_nothing_is_charged(food_shop: Shop, food: ScriptedFood) -> None:
    food.couriers = 0
    answer = await food_shop.place_food(key="once")
    assert (answer.status_code, answer.json()["code"], answer.headers["retry-after"]) == (503, "no_courier", "90")
    assert paths(food_shop, food) == [ACCEPT, RESERVE_COURIER, RELEASE_TICKET]
    food.assert_nothing_left(answer.json()["order_id"])
    food.couriers = 1
    again = await food_shop.place_food(key="once")
    assert {**again.json(), "trace_id": ""} == {**answer.json(), "trace_id": ""}
    assert (await food_shop.place_food()).status_code == 201


async def test_a_courier_who_is_lost_after_the_charge_is_refunded(food_shop: Shop, food: ScriptedFood) -> None:
    food.faults[ASSIGN].append("reject")
    answer = await food_shop.place_food()
    assert (answer.status_code, answer.json()["code"]) == (503, "no_courier")
    order_id = answer.json()["order_id"]
    food.assert_nothing_left(order_id)
    assert food_shop.services.refunded[order_id] == food_shop.services.captured[order_id]
    undone = [path for path in paths(food_shop, food) if path in (RELEASE_COURIER, VOID, RELEASE_TICKET)]
    assert sorted(undone) == sorted([RELEASE_COURIER, RELEASE_TICKET, VOID])


async def test_the_total_that_the_customer_was_shown_includes_the_tip(food_shop: Shop) -> None:
    shown = 1_800 + 7 + SHIPPING + 150
    assert (await food_shop.place_food(tip=TIP, expected_total=money(shown))).status_code == 201
    refused = await food_shop.place_food(tip=TIP, expected_total=money(shown - 150))
    assert (refused.status_code, refused.json()["total"]) == (409, money(shown))


@pytest.mark.parametrize("wrong", ["tip", "items", "no food"])
async def test_a_quote_of_something_else_is_not_charged(
    food_shop: Shop, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """It adds up, and is not what was ordered."""
    quote = food_shop.services.quote

    def other(item: dict[str, Any]) -> dict[str, Any]:
        if wrong == "no food":
            return quote({name: value for name, value in item.items() if name != "food"})
        if wrong == "tip":
            return quote(item | {"food": item["food"] | {"tip": money(10)}})
        lines = [line | {"quantity": line["quantity"] + 1} for line in item["lines"]]
        return quote(item | {"lines": lines})

    monkeypatch.setattr(food_shop.services, "quote", other)
    answer = await food_shop.place_food(tip=None if wrong == "no food" else TIP)
    assert answer.status_code == 202
    assert food_shop.services.calls_of(CHARGE) == 0


async def test_the_same_key_answers_the_same_order_whatever_happened_since(food_shop: Shop) -> None:
    first = await food_shop.place_food(key="once", tip=TIP)
    order_id = UUID(first.json()["id"])
    await food_shop.sql(
        "UPDATE food_orders SET delivery_state = 'assigned', courier_name = 'Bo', eta = now() WHERE order_id = $1",
        order_id,
    )
    again = await food_shop.place_food(key="once", tip=TIP)
    assert (again.status_code, again.json()) == (201, first.json())
    for changed in ({"tip": money(151)}, {"note": "No onions"}, {"phone": "+4915112345678"}):
        other = await food_shop.place_food(key="once", **{"tip": TIP, **changed})
        assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"kind": "arcade"}, "kind"),
        ({"items": []}, "items"),
        ({"items": [{"item_id": PIZZA, "quantity": 0}]}, "items.0.quantity"),
        ({"items": [{"item_id": PIZZA, "quantity": 1, "choices": [CHEESE, CHEESE]}]}, "items.0"),
        ({"items": [{"item_id": PIZZA, "quantity": 30}, {"item_id": PIZZA, "quantity": 30}]}, "body"),
        ({"tip": {"amount": -1, "currency": "EUR"}}, "tip.amount"),
        ({"tip": {"amount": 1, "currency": "USD"}}, "tip.currency"),
        ({"phone": "12345"}, "phone"),
        ({"expectedTotal": money(1)}, "expectedTotal"),
        ({"restaurant_id": None}, "restaurant_id"),
    ],
)
async def test_a_malformed_request_is_named(food_shop: Shop, changed: dict[str, Any], field: str) -> None:
    answer = await food_shop.place_food(**changed)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert await food_shop.sql("SELECT FROM orders") == []


async def test_a_shop_without_food_says_so(shop: Shop) -> None:
    answer = await shop.place_food()
    assert (answer.status_code, answer.json()["code"]) == (422, "food_not_offered")
    assert await shop.sql("SELECT FROM orders WHERE kind = 'food'") == []


async def test_a_retail_request_may_name_its_kind(food_shop: Shop) -> None:
    first = await food_shop.place(key="once")
    assert first.status_code == 201
    again = await food_shop.place(key="once", kind="retail")
    assert (again.status_code, again.content) == (201, first.content)
    assert "tip" not in first.json()


@pytest.mark.parametrize("kind", ["retail", "food"])
async def test_an_order_is_placed_by_two_statements_in_a_shop_with_food(start_food: Start, kind: str) -> None:
    async with start_food(recovery=False) as shop:
        seen = statements_of(shop)
        assert (await (shop.place if kind == "retail" else shop.place_food)()).status_code == 201
        assert [sql for sql in seen if sql != SAGAS.waiting] == [INSERT, SAGAS.save]


async def test_cancelling_a_retail_order_takes_as_many_statements_as_without_food(start_food: Start) -> None:
    async with start_food(recovery=False) as shop:
        order_id = (await shop.place()).json()["id"]
        seen = statements_of(shop)
        assert (await shop.post(order_id, "cancel")).status_code == 200
        assert [sql for sql in seen if sql != SAGAS.waiting] == [CANCEL_CONFIRMED, SAGAS.save]
