"""Processes of services come, go and are restarted while the shop is used; nobody else is restarted."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any

import aiohttp
import pytest

from shop.devkit.testing import wait_until
from shop.operator.errors import ShopctlError
from shop.operator.local import monitoring
from shop.operator.local.data_dir import DataDir
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import Answer, ends_as, insist, new_product, order
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

SCALED = ("product", "order")
ORDERS_EACH = 12
STOCK = 10_000
WAIT_S = 60.0
LOOK_EVERY_S = 0.2


async def instances(shop: RunningShop, admin: str, noun: str) -> list[dict[str, Any]]:
    """What the gateway knows of a service's instances."""
    headers = {"Authorization": f"Bearer {admin}"}
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{shop.url}/api/v1/services", headers=headers) as answer,
    ):
        services = {one["name"]: one for one in (await answer.json())["items"]}
    found: list[dict[str, Any]] = services[noun]["instances"]
    return found


async def knows(shop: RunningShop, admin: str, noun: str, count: int) -> None:
    async def counted() -> bool:
        return len(await instances(shop, admin, noun)) == count

    await wait_until(counted, WAIT_S, f"{count} of {noun} at the gateway", LOOK_EVERY_S)


def pids(shop: RunningShop) -> dict[str, int]:
    return {one["name"]: one["pid"] for one in shop.local.status()["components"]}


def scraped(shop: RunningShop) -> set[str]:
    """What Prometheus would find."""
    path = DataDir(shop.local.data_dir).targets / monitoring.TARGETS_FILE
    return {one["labels"]["pod"] for one in json.loads(path.read_text(encoding="utf-8"))}


async def read(shop: RunningShop, statuses: Counter[int], done: asyncio.Event) -> None:
    async with aiohttp.ClientSession() as session:
        while not done.is_set():
            async with session.get(f"{shop.url}/api/v1/products?limit=1") as answer:
                statuses[answer.status] += 1


async def order_while(work: asyncio.Task[None], api: Shop, buyers: list[str], product_id: str) -> list[Answer]:
    """The answers to orders that are sent once each, one after the other by each buyer, until ``work`` is done."""
    answers: list[Answer] = []

    async def buy(buyer: str) -> None:
        while not work.done():
            answers.append(await order(api, buyer, product_id))

    await asyncio.gather(work, *map(buy, buyers))
    return answers


async def test_services_are_scaled_and_restarted_under_load_and_one_of_several_may_be_killed(
    shop: RunningShop, api: Shop, admin: str
) -> None:
    before, statuses, done = pids(shop), Counter[int](), asyncio.Event()
    product = await new_product(api, admin, STOCK)
    buyers = await api.sign_up_many(ORDERS_EACH)
    readers = [asyncio.create_task(read(shop, statuses, done)) for _ in range(2)]

    async def buy() -> set[str]:
        answers = await asyncio.gather(*(insist(api, buyer, product["id"]) for buyer in buyers))
        return {await ends_as(api, answer) for answer in answers}

    for noun in SCALED:
        names = await asyncio.to_thread(shop.local.scale, noun, 3)
        assert names == [f"{noun}-{number}" for number in (1, 2, 3)]
    for noun in SCALED:
        await knows(shop, admin, noun, 3)
    assert scraped(shop) >= {f"{noun}-{number}" for noun in SCALED for number in (1, 2, 3)}
    assert await buy() == {"confirmed"}
    restarts = shop.restarts("product")
    os.kill(pids(shop)["product-2"], signal.SIGKILL)
    assert await buy() == {"confirmed"}
    await wait_until(lambda: shop.is_back("product", restarts), WAIT_S, "product being back", LOOK_EVERY_S)
    old = pids(shop)

    async def first_is_replaced_and_last_is_not() -> bool:
        now = await asyncio.to_thread(pids, shop)
        return (now["product-1"] != old["product-1"], now["product-3"] != old["product-3"]) == (True, False)

    restarting = asyncio.create_task(asyncio.to_thread(shop.local.restart, "product"))
    ordered, _ = await asyncio.gather(
        order_while(restarting, api, buyers[:2], product["id"]),
        wait_until(first_is_replaced_and_last_is_not, WAIT_S, "one after the other", LOOK_EVERY_S),
    )
    assert ordered
    assert {answer.status for answer in ordered} <= {201, 202}
    assert {answer.body["state"] for answer in ordered if answer.status == 201} == {"confirmed"}
    assert {await ends_as(api, answer) for answer in ordered if answer.status == 202} <= {"confirmed"}
    assert all(pids(shop)[name] != pid for name, pid in old.items() if name.startswith("product-"))
    for noun in SCALED:
        await asyncio.to_thread(shop.local.scale, noun, 1)
        await knows(shop, admin, noun, 1)
    assert await buy() == {"confirmed"}
    done.set()
    await asyncio.gather(*readers)
    assert statuses.keys() == {200}
    assert pids(shop) == before | {"product-1": pids(shop)["product-1"]}
    assert scraped(shop) == {one["name"] for one in shop.local.status()["components"] if one["kind"] == "service"}
    await assert_clean(shop)


@pytest.mark.parametrize(
    ("noun", "count", "why"),
    [
        ("gateway", 2, "runs once on one machine"),
        ("unicorn", 1, "no service unicorn"),
        ("order", 17, r"within 1\.\.16"),
    ],
)
def test_what_cannot_be_scaled_is_refused(shop: RunningShop, noun: str, count: int, why: str) -> None:
    with pytest.raises(ShopctlError, match=f"scale: .*{why}"):
        shop.local.scale(noun, count)
