"""Many buyers, few copies: exactly as many orders as there are books."""

from __future__ import annotations

import asyncio
import uuid
from collections import Counter

import pytest

from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import IN_FLIGHT, decided, ends_as, insist, new_product, order, stock_of
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

BUYERS = 100
COPIES = 10


async def test_a_hundred_buyers_of_ten_copies(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, COPIES)
    buyers = await api.sign_up_many(BUYERS)
    answers = await asyncio.gather(*(decided(api, buyer, product["id"]) for buyer in buyers))
    placed = [answer for answer in answers if answer.status == 201]
    assert Counter(answer.code for answer in answers) == {"": COPIES, "insufficient_stock": BUYERS - COPIES}
    assert [await ends_as(api, answer) for answer in placed] == ["confirmed"] * COPIES
    refused = next(answer for answer in answers if answer.status == 409)
    assert (refused.body["product_id"], refused.body["available"]) == (product["id"], 0)
    assert await stock_of(api, product["id"]) == 0
    await assert_clean(shop)


async def test_every_buyer_sends_each_request_twice(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, COPIES)
    buyers = await api.sign_up_many(BUYERS)
    keys = {buyer: str(uuid.uuid4()) for buyer in buyers}
    answers = await asyncio.gather(
        *(order(api, buyer, product["id"], key=keys[buyer]) for buyer in buyers for _ in range(2))
    )
    assert {answer.code for answer in answers} <= {"", "insufficient_stock", IN_FLIGHT}
    placed = {answer.body["id"] for answer in answers if answer.status in (201, 202)}
    repeated = await asyncio.gather(*(decided(api, buyer, product["id"], key=keys[buyer]) for buyer in buyers))
    confirmed = {answer.body["id"] for answer in repeated if answer.status == 201}
    assert len(confirmed) == COPIES
    assert {answer.body["id"] for answer in answers if answer.status == 201} <= confirmed <= placed
    assert Counter(answer.status for answer in repeated) == {201: COPIES, 409: BUYERS - COPIES}
    assert await stock_of(api, product["id"]) == 0
    await assert_clean(shop)


async def test_a_declined_card_leaves_no_order_and_no_reservation(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    for card, why in (("tok_declined", "payment_declined"), ("tok_insufficient", "insufficient_funds")):
        answer = await decided(api, buyer, product["id"], card=card)
        assert (answer.status, answer.code, answer.body["decline_code"]) == (402, "payment_declined", why)
    assert await stock_of(api, product["id"]) == 5
    payments = await api.call("GET", "/orders", buyer)
    assert {found["state"] for found in payments["items"]} == {"rejected"}
    await assert_clean(shop)


async def test_a_lost_answer_of_the_payment_provider_charges_once(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    answer = await insist(api, buyer, product["id"], card="tok_timeout")
    assert answer.status in {201, 202}
    assert await ends_as(api, answer) == "confirmed"
    paid = await api.call("GET", f"/payments?order_id={answer.body['id']}", buyer)
    assert [payment["state"] for payment in paid["items"]] == ["captured"]
    await assert_clean(shop)


async def test_a_cancelled_order_gives_back_stock_and_money_once(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 3)
    [buyer] = await api.sign_up_many(1)
    bought = await decided(api, buyer, product["id"], quantity=2)
    assert await stock_of(api, product["id"]) == 1
    for _ in range(3):
        cancelled = await api.call("POST", f"/orders/{bought.body['id']}/cancel", buyer)
        assert cancelled["state"] == "cancelled"
    assert await stock_of(api, product["id"]) == 3
    paid = await api.call("GET", f"/payments?order_id={bought.body['id']}", buyer)
    assert [(payment["state"], payment["refunded"]) for payment in paid["items"]] == [
        ("refunded", bought.body["total"])
    ]
    await assert_clean(shop)
