"""Placing orders when every participant is available."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import ADDRESS, Shop, Start, statements_of
from services.order.tests.scripted_services import (
    BOOK,
    CHARGE,
    PEN,
    QUOTE,
    RELEASE,
    RESERVE,
    SHIPPING,
    STOCK,
    UNKNOWN,
    VOID,
)
from shop.devkit.testing import wait_until
from shop.kit.db import STATEMENTS
from shop.order.repository import INSERT, SAGAS


async def test_an_order_is_confirmed_at_once(shop: Shop) -> None:
    items = [{"product_id": BOOK, "quantity": 2}, {"product_id": PEN, "quantity": 1}]
    answer = await shop.place(items=items)
    assert answer.status_code == 201, answer.text
    order = answer.json()
    assert answer.headers["location"] == f"/api/v1/orders/{order['id']}"
    assert (order["state"], order["kind"], order["version"]) == ("confirmed", "retail", 2)
    assert order["user_id"] == str(shop.user_id)
    assert order["address"] == ADDRESS | {"region": ""}
    assert [(line["product_id"], line["quantity"], line["line_total"]["amount"]) for line in order["lines"]] == [
        (BOOK, 2, 3_000),
        (PEN, 1, 250),
    ]
    assert order["total"] == {"amount": 3_250 + 7 + SHIPPING, "currency": "EUR"}
    assert await shop.order(order["id"]) == order
    shop.services.assert_reserved_and_charged(order)


async def test_a_confirmed_order_publishes_its_event(shop: Shop) -> None:
    order = (await shop.place()).json()
    assert await shop.events(order["id"]) == ["order.confirmed.v1"]
    event = await shop.event(order["id"], "order.confirmed.v1")
    assert event["order_id"] == order["id"]
    assert (event["total"], event["address"]) == (order["total"], ADDRESS | {"region": ""})
    assert event["lines"][0]["name"] == "A book"
    assert event["email"].startswith("customer-")


async def test_the_saga_of_a_confirmed_order_is_done_and_its_card_forgotten(shop: Shop) -> None:
    order = (await shop.place()).json()
    saga = await shop.saga(order["id"])
    assert (saga["status"], saga["lease_owner"], saga["attempts"]) == ("done", None, 1)
    (row,) = await shop.sql("SELECT payment_token FROM orders WHERE id = $1", UUID(order["id"]))
    assert row["payment_token"] is None


@pytest.mark.parametrize(
    ("changed", "status", "code", "left"),
    [
        ({"items": [{"product_id": BOOK, "quantity": STOCK + 1}]}, 409, "insufficient_stock", STOCK),
        ({"items": [{"product_id": UNKNOWN, "quantity": 1}]}, 404, "unknown_product", None),
        ({"coupon": "nonsense"}, 422, "unknown_coupon", None),
        ({"payment": {"token": "tok_small"}}, 422, "amount_below_minimum", None),
        ({"payment": {"token": "tok_declined"}, "coupon": "save1"}, 402, "payment_declined", None),
    ],
)
async def test_a_rejected_order_has_no_effect_left(
    shop: Shop, changed: dict[str, Any], status: int, code: str, left: int | None
) -> None:
    answer = await shop.place(**changed)
    problem = answer.json()
    assert (answer.status_code, problem["code"], problem.get("available")) == (status, code, left)
    assert answer.headers["content-type"] == "application/problem+json"
    order = await shop.order(problem["order_id"])
    assert (order["state"], order["reason"], order["total"]) == ("rejected", code, None)
    shop.services.assert_no_effect_left(order["id"])
    assert await shop.events(order["id"]) == ["order.rejected.v1"]
    assert (await shop.event(order["id"], "order.rejected.v1"))["late"] is False


async def test_a_shortage_names_the_product(shop: Shop) -> None:
    problem = (await shop.place(items=[{"product_id": PEN, "quantity": 999}])).json()
    assert (problem["product_id"], problem["available"]) == (PEN, STOCK)


async def test_the_decision_to_compensate_is_stored_before_it_begins(shop: Shop) -> None:
    shop.services.gates[RELEASE] = asyncio.Event()
    placing = asyncio.create_task(shop.place(payment={"token": "tok_declined"}))
    await wait_until(lambda: shop.services.calls_of(RELEASE), what="the compensation")
    saga = await shop.saga(shop.services.calls[-1][1])
    assert saga["status"] == "compensating"
    assert '"payment_declined"' in saga["refusal"]
    shop.services.gates[RELEASE].set()
    assert (await placing).status_code == 402


async def test_a_declined_card_needs_no_pricing_to_be_undone_without_a_coupon(shop: Shop) -> None:
    assert (await shop.place(payment={"token": "tok_declined"})).status_code == 402
    paths = [path for path, _ in shop.services.calls]
    assert paths == [RESERVE, QUOTE, CHARGE, RELEASE]


async def test_a_free_order_is_not_charged(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    quote = shop.services.quote

    def free(item: dict[str, Any]) -> dict[str, Any]:
        found = quote(item)
        discount = {"amount": found["subtotal"]["amount"] + 7 + SHIPPING, "currency": "EUR"}
        return found | {"discount": discount, "total": {"amount": 0, "currency": "EUR"}}

    monkeypatch.setattr(shop.services, "quote", free)
    answer = await shop.place(coupon="SAVE1")
    assert (answer.status_code, answer.json()["total"]["amount"]) == (201, 0)
    assert shop.services.calls_of(CHARGE) == 0
    assert (await shop.post(answer.json()["id"], "cancel")).json()["state"] == "cancelled"
    assert shop.services.calls_of(VOID) == 1


async def test_lines_of_one_product_are_one_line(shop: Shop) -> None:
    items = [
        {"product_id": BOOK, "quantity": 2},
        {"product_id": PEN, "quantity": 1},
        {"product_id": BOOK, "quantity": 3},
    ]
    order = (await shop.place(items=items)).json()
    assert [(line["product_id"], line["quantity"]) for line in order["lines"]] == [(BOOK, 5), (PEN, 1)]


async def test_an_order_is_placed_by_two_statements(start: Start) -> None:
    """The saga's end, the order's state, its transition and its event are one of them."""
    async with start(recovery=False) as shop:
        seen = statements_of(shop)
        assert (await shop.place()).status_code == 201
        assert [sql for sql in seen if sql != SAGAS.waiting] == [INSERT, SAGAS.save]


async def test_concurrent_orders_share_statements_and_requests(start: Start) -> None:
    """The replica looks for nothing to recover: that is a statement each time, however long the orders take."""
    async with start(recovery=False) as shop:
        before = STATEMENTS._value.get()
        answers = await asyncio.gather(*(shop.place(items=[{"product_id": BOOK, "quantity": 1}]) for _ in range(60)))
        assert {answer.status_code for answer in answers} == {201}
        assert shop.services.stock[BOOK] == STOCK - 60
        assert STATEMENTS._value.get() - before < 60
        for path in (RESERVE, QUOTE, CHARGE):
            assert sum(called == path for called, _ in shop.services.batches) < 30


async def test_last_copies_go_to_as_many_buyers(shop: Shop) -> None:
    shop.services.stock[BOOK] = 10
    answers = await asyncio.gather(*(shop.place(items=[{"product_id": BOOK, "quantity": 1}]) for _ in range(50)))
    assert sorted(answer.status_code for answer in answers) == [201] * 10 + [409] * 40
    assert shop.services.stock[BOOK] == 0


async def test_one_unreadable_order_does_not_fail_the_others(shop: Shop) -> None:
    shop.services.gates[RESERVE] = asyncio.Event()
    early = [asyncio.create_task(shop.place()) for _ in range(4)]
    await wait_until(lambda: shop.services.calls_of(RESERVE), what="the reservation")
    late = [asyncio.create_task(shop.place()) for _ in range(6)]
    shop.services.faults[RESERVE].extend(["", "422"])
    shop.services.gates[RESERVE].set()
    answers = await asyncio.gather(*early, *late)
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert sum(answer.status_code == 201 for answer in answers) >= 9


async def test_a_request_that_a_participant_refuses_rejects_the_order(shop: Shop) -> None:
    shop.services.faults[RESERVE].append("422")
    answer = await shop.place()
    assert (answer.status_code, answer.json()["code"]) == (409, "made_up")
