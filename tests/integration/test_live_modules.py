"""A module is turned off and on in a shop that sells: its data is kept, and what it does not concern goes on."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
import yaml

from shop.operator.errors import ShopctlError
from tests.conftest import RunningShop
from tests.integration import arcade, buyers
from tests.integration.audit import assert_clean
from tests.load.shoppers import Shop, ShopError

pytestmark = pytest.mark.shop

OF_ARCADE = {"achievement", "leaderboard", "player"}
USING_IT = {"gateway", "notification", "ops", "pricing", "storefront"}
"""Services that have other settings without the arcade."""
READ_EACH_S = 0.05


def processes(shop: RunningShop) -> dict[str, int]:
    """Process ids by service."""
    parts = shop.local.status()["components"]
    return {one["name"].rpartition("-")[0] or one["name"]: one["pid"] for one in parts}


def changed(shop: RunningShop, **modules: bool) -> str:
    document: dict[str, Any] = yaml.safe_load(shop.local.shop_file())
    document["spec"]["modules"].update(modules)
    return yaml.safe_dump(document)


@contextlib.asynccontextmanager
async def readers(shop: RunningShop) -> AsyncIterator[Counter[str]]:
    """Statuses of the front page and of the catalogue meanwhile, with the whole answer when it failed.

    The gateway is away for a moment, which is none.
    """
    statuses, done = Counter[str](), asyncio.Event()

    async def read(path: str) -> None:
        async with aiohttp.ClientSession() as session:
            while not done.is_set():
                with contextlib.suppress(aiohttp.ClientConnectionError):
                    async with session.get(shop.url + path) as answer:
                        statuses["200" if answer.ok else f"{path}: {answer.status} {await answer.text()}"] += 1
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(done.wait(), READ_EACH_S)

    reading = [asyncio.create_task(read(path)) for path in ("/", "/api/v1/products?limit=1")]
    try:
        yield statuses
    finally:
        done.set()
        await asyncio.gather(*reading)


async def front_page(shop: RunningShop) -> str:
    async with aiohttp.ClientSession() as session, session.get(shop.url) as answer:
        return await answer.text()


async def test_the_arcade_is_turned_off_and_on_while_the_shop_sells(shop: RunningShop, api: Shop, admin: str) -> None:
    [player] = await arcade.players(api, 1)
    await arcade.open_sessions(api, [player], 1)
    await arcade.insist(api, player, player.sessions[0])
    product = await buyers.new_product(api, admin, 5, price=2_000)
    with_arcade, before = shop.local.shop_file(), processes(shop)
    async with readers(shop) as statuses:
        try:
            off = await asyncio.to_thread(shop.local.apply, changed(shop, arcade=False))
            without = processes(shop)
            with pytest.raises(ShopError, match="unknown_service"):
                await api.call("GET", "/leaderboards/stack")
            assert "/arcade" not in await front_page(shop)
            order = await buyers.insist(api, player.token, product["id"])
            assert await buyers.ends_as(api, order) == "confirmed"
            await assert_clean(shop)
        finally:
            on = await asyncio.to_thread(shop.local.apply, with_arcade)
    assert set(off) == set(on) == OF_ARCADE | USING_IT
    assert before.keys() - without.keys() == OF_ARCADE
    others = without.keys() - USING_IT
    assert {noun: without[noun] for noun in others} == {noun: before[noun] for noun in others}
    assert statuses.keys() == {"200"}
    assert "/arcade" in await front_page(shop)
    await arcade.comes_to_board(api, "stack", {player.id: max(player.scores.values())})
    await arcade.comes_to_board(api, "buyers-all", {player.id: order.body["total"]["amount"] // 100})
    await assert_clean(shop)


def test_a_shop_is_changed_to_what_it_is_without_restarting_anything(shop: RunningShop) -> None:
    before = processes(shop)
    assert shop.local.apply(shop.local.shop_file()) == []
    assert processes(shop) == before


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ("name: bookshop", "name: another", "holds the shop bookshop, not another"),
        ("currency: EUR", "currency: CHF", "a shop's currency cannot change"),
        ("arcade: true", "arcade: perhaps", "spec.modules.arcade: must be true or false"),
    ],
)
def test_what_the_shop_cannot_become_is_refused(shop: RunningShop, old: str, new: str, why: str) -> None:
    text = shop.local.shop_file()
    assert old in text
    with pytest.raises(ShopctlError, match=why):
        shop.local.apply(text.replace(old, new))
    assert shop.local.shop_file() == text
