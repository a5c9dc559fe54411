"""Processes are killed and servers stopped during orders: every order ends, and the audit is clean."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections import Counter

import pytest

from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import Answer, decided, ends_as, insist, new_product, order, stock_of
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

ORDERS = 120
AT_ONCE = 20
KILL_AFTER = 40
BACK_WITHIN_S = 60.0
ANSWER_WITHIN_S = 4.0
BROKER_AWAY_S = float(os.environ.get("SHOP_BROKER_AWAY_S", "10"))
"""Seconds; `SHOP_BROKER_AWAY_S=180` outlasts the broker's window for recognising duplicates."""
OUTAGE_PAUSE_S = 0.05
LOOK_EVERY_S = 0.5
"""At the health of the whole shop and at the messages of all buyers, which are many requests each."""


class Crowd:
    """Orders under way, a bounded number at once; ``done`` counts those answered."""

    def __init__(self, api: Shop, buyers: list[str], product_id: str) -> None:
        self._api = api
        self._buyers = buyers
        self._product_id = product_id
        self._gate = asyncio.Semaphore(AT_ONCE)
        self.done = 0

    async def buy(self, number: int) -> Answer:
        async with self._gate:
            answer = await insist(self._api, self._buyers[number % len(self._buyers)], self._product_id)
            self.done += 1
            return answer


@pytest.mark.parametrize("noun", ["order", "payment", "product", "pricing", "gateway"])
async def test_a_killed_process_loses_no_order(shop: RunningShop, api: Shop, admin: str, noun: str) -> None:
    product = await new_product(api, admin, ORDERS)
    crowd = Crowd(api, await api.sign_up_many(AT_ONCE), product["id"])
    restarts = shop.restarts(noun)
    orders = asyncio.gather(*(crowd.buy(number) for number in range(ORDERS)))
    await wait_until(lambda: crowd.done >= KILL_AFTER or orders.done(), BACK_WITHIN_S)
    os.kill(shop.local.pid(noun), signal.SIGKILL)
    answers = await orders
    assert Counter(answer.status for answer in answers).keys() <= {201, 202}
    states = Counter([await ends_as(api, answer) for answer in answers])
    assert states == {"confirmed": ORDERS}, await reasons(api, answers)
    assert len({answer.body["id"] for answer in answers}) == ORDERS
    assert await stock_of(api, product["id"]) == 0
    await wait_until(lambda: shop.is_back(noun, restarts), BACK_WITHIN_S, f"{noun} being back", LOOK_EVERY_S)
    await assert_clean(shop)


async def test_an_order_waits_for_pricing_and_ends_by_itself(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, 5)
    [buyer] = await api.sign_up_many(1)
    async with shop.stopped("pricing"):
        answer = await asyncio.wait_for(order(api, buyer, product["id"]), ANSWER_WITHIN_S)
        assert (answer.status, answer.body["state"]) == (202, "pending")
    assert await ends_as(api, answer) == "confirmed"
    await assert_clean(shop)


@pytest.mark.parametrize("component", ["postgres", "valkey"])
async def test_a_restarted_store_loses_no_order(shop: RunningShop, api: Shop, admin: str, component: str) -> None:
    product = await new_product(api, admin, ORDERS)
    crowd = Crowd(api, await api.sign_up_many(AT_ONCE), product["id"])
    orders = asyncio.gather(*(crowd.buy(number) for number in range(ORDERS)))
    await wait_until(lambda: crowd.done >= KILL_AFTER or orders.done(), BACK_WITHIN_S)
    async with shop.stopped(component):
        pass
    states = Counter([await ends_as(api, answer) for answer in await orders])
    assert states == {"confirmed": ORDERS}
    await wait_until(shop.healthy, BACK_WITHIN_S, "a healthy shop", LOOK_EVERY_S)
    await assert_clean(shop)


async def test_orders_go_on_without_the_broker_and_each_event_arrives_once(
    shop: RunningShop, api: Shop, admin: str
) -> None:
    product = await new_product(api, admin, 100_000)
    buyers = await api.sign_up_many(AT_ONCE)
    answers: list[Answer] = []
    async with shop.stopped("nats"):
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(BROKER_AWAY_S):
                while True:
                    answers.append(await decided(api, buyers[len(answers) % AT_ONCE], product["id"]))
                    await asyncio.sleep(OUTAGE_PAUSE_S)
    assert {answer.status for answer in answers} == {201}
    wanted = {answer.body["id"] for answer in answers}

    async def is_notified() -> bool:
        return wanted <= (await _confirmations(api, buyers)).keys()

    await wait_until(is_notified, BACK_WITHIN_S, "every confirmation", LOOK_EVERY_S)
    confirmations = await _confirmations(api, buyers)
    assert {confirmations[order_id] for order_id in wanted} == {1}
    await assert_clean(shop)


async def reasons(api: Shop, answers: list[Answer]) -> Counter[str]:
    """Why orders ended as they did, for the message of a failure."""
    orders = [await api.call("GET", f"/orders/{answer.body['id']}", answer.token) for answer in answers]
    return Counter(f"{order['state']} {order.get('reason') or ''}" for order in orders)


async def _confirmations(api: Shop, buyers: list[str]) -> Counter[str]:
    """How many confirmation mails were sent per order."""
    sent: Counter[str] = Counter()
    for buyer in buyers:
        cursor = ""
        while True:
            page = await api.call("GET", "/notifications?limit=100" + (f"&cursor={cursor}" if cursor else ""), buyer)
            sent.update(
                message["order_id"]
                for message in page["items"]
                if message["template"] == "order-confirmed" and message["state"] == "sent"
            )
            cursor = page["next_cursor"]
            if not cursor:
                break
    return sent
