"""One order per Idempotency-Key, however often it is sent."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import UUID

import pytest

from services.order.tests.conftest import ADDRESS, Shop, Start, order_body
from services.order.tests.scripted_services import BOOK, CHARGE, PEN, QUOTE, STOCK, ScriptedServices
from shop.devkit.testing import wait_until
from shop.kit.ids import new_id


async def orders_of(shop: Shop) -> int:
    return len(await shop.sql("SELECT FROM orders WHERE user_id = $1", shop.user_id))


async def test_the_same_request_gets_the_same_answer(shop: Shop) -> None:
    first = await shop.place("key")
    second = await shop.place("key")
    assert (second.status_code, second.content) == (first.status_code, first.content) == (201, first.content)
    assert await orders_of(shop) == 1
    assert shop.services.captures[first.json()["id"]] == 1


@pytest.mark.parametrize("changed", [{"payment": {"token": "tok_declined"}}, {"coupon": "NONSENSE"}])
async def test_a_refusal_is_repeated_and_not_tried_again(shop: Shop, changed: dict[str, Any]) -> None:
    first, second = await shop.place("key", **changed), await shop.place("key", **changed)
    assert first.status_code == second.status_code >= 400
    assert first.json() | {"trace_id": ""} == second.json() | {"trace_id": ""}
    assert await orders_of(shop) == 1


async def test_a_shortage_is_repeated_with_what_was_left(shop: Shop) -> None:
    items = [{"product_id": PEN, "quantity": STOCK + 1}]
    first = await shop.place("key", items=items)
    shop.services.stock[PEN] = 0
    second = await shop.place("key", items=items)
    assert second.status_code == first.status_code == 409
    assert second.json()["available"] == STOCK


async def test_later_changes_do_not_alter_the_first_answer(shop: Shop) -> None:
    first = await shop.place("key")
    await shop.post(first.json()["id"], "cancel")
    assert (await shop.order(first.json()["id"]))["state"] == "cancelled"
    assert (await shop.place("key")).content == first.content
    other = await shop.place("other")
    await shop.post(other.json()["id"], "fulfil", admin=True)
    assert (await shop.place("other")).content == other.content


@pytest.mark.parametrize(
    "changed",
    [
        {"items": [{"product_id": BOOK, "quantity": 3}]},
        {"items": [{"product_id": PEN, "quantity": 2}]},
        {"address": ADDRESS | {"street": "Elsewhere 1"}},
        {"payment": {"token": "tok_other"}},
        {"coupon": "SAVE1"},
    ],
)
async def test_the_key_of_another_request_is_refused(shop: Shop, changed: dict[str, Any]) -> None:
    assert (await shop.place("key")).status_code == 201
    answer = await shop.place("key", **changed)
    assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_key_reused")
    assert await orders_of(shop) == 1


async def test_the_same_order_in_other_words_is_the_same_request(shop: Shop) -> None:
    line, half = {"product_id": BOOK, "quantity": 2}, {"product_id": BOOK, "quantity": 1}
    pen = {"product_id": PEN, "quantity": 1}
    first = await shop.place("key", items=[line, pen])
    again = await shop.place("key", items=[half, pen, half], coupon="", address=dict(reversed(ADDRESS.items())))
    assert (again.status_code, again.json()["id"]) == (201, first.json()["id"])


async def test_another_customer_may_use_the_same_key(shop: Shop) -> None:
    first = await shop.place("key")
    shop.user_id = new_id()
    shop.headers = shop.tokens.headers(user_id=shop.user_id)
    second = await shop.place("key")
    assert second.status_code == 201
    assert second.json()["id"] != first.json()["id"]


async def test_a_repeat_in_flight_is_refused(shop: Shop) -> None:
    shop.services.gates[CHARGE] = asyncio.Event()
    first = asyncio.create_task(shop.place("key"))
    await wait_until(lambda: shop.services.calls_of(CHARGE), what="the charge")
    second = await shop.place("key")
    assert (second.status_code, second.json()["code"]) == (409, "idempotency_key_in_flight")
    assert second.headers["retry-after"]
    shop.services.gates[CHARGE].set()
    assert (await first).status_code == 201


async def test_a_repeat_of_a_pending_order_is_pending_too(start: Start, services: ScriptedServices) -> None:
    services.faults[QUOTE].append("503")
    async with start(recovery=False) as shop:
        first = await shop.place("key")
        second = await shop.place("key")
        assert (first.status_code, second.status_code) == (202, 202)
        assert second.content == first.content
        await shop.sql("UPDATE sagas SET due_at = now()")
        await shop.service.recovery.claim_once()
        await shop.service.recovery.drain()
        third = await shop.place("key")
        assert (third.status_code, third.json()["state"]) == (201, "confirmed")


async def test_concurrent_duplicates_place_one_order_each(shop: Shop) -> None:
    keys = [new_id().hex for _ in range(20)] * 4
    answers = await asyncio.gather(*(shop.place(key) for key in keys))
    assert {answer.status_code for answer in answers} <= {201, 409}
    assert {answer.json().get("code") for answer in answers} <= {None, "idempotency_key_in_flight"}
    assert await orders_of(shop) == 20
    assert sum(shop.services.captures.values()) == 20
    again = await asyncio.gather(*(shop.place(key) for key in keys))
    assert {answer.status_code for answer in again} == {201}
    assert len({answer.json()["id"] for answer in again}) == 20


async def test_a_key_whose_process_died_is_in_flight_until_its_lease_ends(
    start: Start, services: ScriptedServices
) -> None:
    async with start(recovery=False) as shop:
        services.faults[CHARGE].append("pending")
        order_id = (await shop.place("key")).json()["id"]
        await shop.sql("UPDATE sagas SET lease_owner = 'gone', due_at = now() + interval '1 minute'")
        assert (await shop.place("key")).json()["code"] == "idempotency_key_in_flight"
        await shop.sql("UPDATE sagas SET due_at = now()")
        answer = await shop.place("key")
        assert (answer.status_code, answer.json()["id"], answer.json()["state"]) == (202, order_id, "pending")


async def test_a_refused_body_does_not_use_its_key_up(shop: Shop) -> None:
    assert (await shop.place("key", items=[])).status_code == 422
    assert (await shop.place("key")).status_code == 201


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "idempotency_key_missing"),
        ({"Idempotency-Key": ""}, "idempotency_key_missing"),
        ({"Idempotency-Key": "x" * 256}, "idempotency_key_malformed"),
        ({"Idempotency-Key": "two words"}, "idempotency_key_malformed"),
        ({"Idempotency-Key": "k\xe9y"}, "idempotency_key_malformed"),
    ],
)
async def test_a_key_must_be_given_and_visible(shop: Shop, headers: dict[str, str], code: str) -> None:
    raw = [(name.encode(), value.encode("latin-1")) for name, value in (shop.headers | headers).items()]
    answer = await shop.client.post("/api/v1/orders", json=order_body(), headers=raw)
    assert (answer.status_code, answer.json()["code"]) == (400, code)


async def test_a_key_may_have_255_characters(shop: Shop) -> None:
    assert (await shop.place("~" * 255)).status_code == 201
    (row,) = await shop.sql("SELECT id FROM orders WHERE user_id = $1", shop.user_id)
    assert isinstance(row["id"], UUID)


async def test_two_keys_are_refused_and_order_nothing(shop: Shop) -> None:
    headers = [*shop.headers.items(), ("Idempotency-Key", "one"), ("Idempotency-Key", "two")]
    answer = await shop.client.post("/api/v1/orders", json=order_body(), headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (400, "ambiguous_request")
    assert await orders_of(shop) == 0
