"""Food orders in a whole shop: from the kitchen to the door, when services are killed, and when there is no courier."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from functools import partial

import pytest

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration import food
from tests.integration.audit import assert_clean
from tests.integration.buyers import Answer
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

ORDERS = 200
AT_ONCE = 20
CREW = 24
KILLED = ("restaurant", "delivery", "notification", "order", "payment", "user", "pricing", "gateway")
BACK_WITHIN_S = 60.0
MAILS = ("order-confirmed", "food-courier", "food-on-the-way", "food-delivered")


async def mails_of(api: Shop, token: str, order_id: str) -> list[str]:
    """The templates of the messages about an order, in the order in which they were made, but for "order-pending"."""
    page = await api.call("GET", "/notifications?limit=100", token)
    found = [one["template"] for one in reversed(page["items"]) if one["order_id"] == order_id]
    return [template for template in found if template != "order-pending"]


async def payments_of(api: Shop, admin: str, answer: Answer) -> list[str]:
    found = await api.call("GET", f"/payments?order_id={answer.body['order_id']}", admin)
    return [payment["state"] for payment in found["items"]]


async def test_a_meal_from_the_kitchen_to_the_door(shop: RunningShop, api: Shop, admin: str) -> None:
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, place.position)
    [customer] = await api.sign_up_many(1)
    async with food.at_work(api, crew, place.position):
        answer = await food.send(api, customer, food.meal(place, tip={"amount": 150, "currency": "EUR"}))
        assert answer.status in (201, 202), answer.body
        body = await food.comes_to(api, answer, "confirmed", "fulfilled")
        sums = [body[name]["amount"] for name in ("subtotal", "tax", "shipping", "tip")]
        assert body["total"]["amount"] == sum(sums) - body["discount"]["amount"]
        await food.tell_code(api, answer, crew)
        await food.comes_to(api, answer, "delivered")
    assert crew[0].delivered == [body["id"]]

    async def all_mailed() -> bool:
        return len(await mails_of(api, customer, body["id"])) >= len(MAILS)

    await wait_until(all_mailed, BACK_WITHIN_S, "all mails", food.LOOK_EVERY_S)
    assert await mails_of(api, customer, body["id"]) == list(MAILS)
    await assert_clean(shop)


async def test_without_a_courier_nothing_is_charged(shop: RunningShop, api: Shop, admin: str) -> None:
    place = await food.kitchen(api, admin)
    [customer] = await api.sign_up_many(1)
    answer = await food.send(api, customer, food.meal(place))
    assert (answer.status, answer.code) == (503, "no_courier")
    assert await payments_of(api, admin, answer) == []
    await assert_clean(shop)


@pytest.mark.parametrize("noun", ["restaurant", "delivery"])
async def test_an_order_waits_for_a_service_that_is_away(shop: RunningShop, api: Shop, admin: str, noun: str) -> None:
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, 1, place.position)
    [customer] = await api.sign_up_many(1)
    async with shop.stopped(noun):
        answer = await food.send(api, customer, food.meal(place))
        assert (answer.status, answer.body["state"]) == (202, "pending"), answer.body
    async with food.at_work(api, crew, place.position):
        await food.comes_to(api, answer, "confirmed", "fulfilled")
        await food.tell_code(api, answer, crew)
        await food.comes_to(api, answer, "delivered")
    await assert_clean(shop)


async def test_killed_services_lose_no_meal(shop: RunningShop, api: Shop, admin: str) -> None:
    """Each service is killed once in the middle of the orders: every order is delivered, or refused and not charged,
    and its customer is informed of the confirmation and of the delivery, with no message twice. Those between are left
    out where a later event was consumed first."""
    place = await food.kitchen(api, admin)
    crew = await food.couriers(api, admin, CREW, place.position)
    buyers, gate, answers = await api.sign_up_many(AT_ONCE), asyncio.Semaphore(AT_ONCE), []

    async def eat(number: int) -> Answer:
        async with gate:
            answer = await food.insist(api, buyers[number % AT_ONCE], food.meal(place, number))
            answers.append(answer)
            if answer.status in (201, 202) and (await food.comes_to(api, answer, *ENDED))["state"] != "rejected":
                await food.tell_code(api, answer, crew)
                await food.comes_to(api, answer, "delivered", "cancelled")
            return answer

    def answered(share: int) -> bool:
        return len(answers) >= share or eating.done()

    async with food.at_work(api, crew, place.position):
        eating = asyncio.gather(*(eat(number) for number in range(ORDERS)))
        for number, noun in enumerate(KILLED, 1):
            await wait_until(partial(answered, ORDERS * number // (len(KILLED) + 1)), BACK_WITHIN_S * number)
            os.kill(shop.local.pid(noun), signal.SIGKILL)
        accepted = [answer for answer in await eating if answer.status in (201, 202)]
        states = Counter([(await food.comes_to(api, answer, "delivered", "rejected"))["state"] for answer in accepted])
    assert states["delivered"] >= ORDERS // 2, (states, Counter(answer.code for answer in answers))
    delivered = [order for courier in crew for order in courier.delivered]
    assert len(delivered) == len(set(delivered)), "delivered twice"
    await wait_until(shop.healthy, BACK_WITHIN_S, "a healthy shop", food.LOOK_EVERY_S)
    await assert_clean(shop)
    eaten = [answer for answer in accepted if answer.body["id"] in set(delivered)]
    for answer in eaten:
        await wait_until(partial(all_sent, api, answer), BACK_WITHIN_S, "the mails of an order", food.LOOK_EVERY_S)
    complete = [set(MAILS) == set(await mails_of(api, answer.token, answer.body["id"])) for answer in eaten]
    assert sum(complete) >= len(eaten) // 2, "most customers got each message"


async def all_sent(api: Shop, answer: Answer) -> bool:
    """AssertionError for a message that was sent twice; another courier is another message."""
    found = Counter(await mails_of(api, answer.token, answer.body["id"]))
    assert all(count == 1 for template, count in found.items() if template != "food-courier"), found
    return {MAILS[0], MAILS[-1]} <= set(found) <= set(MAILS)


ENDED = ("confirmed", "fulfilled", "delivered", "rejected", "cancelled")
