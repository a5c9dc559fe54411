"""The disk of a whole shop is full for a while: no request gets a 500, and everything recovers without help."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import Answer, ends_as, insist, new_product, order
from tests.load import local_shop
from tests.load.shoppers import Shop
from tests.small_disk import SmallDisk, mounted

pytestmark = pytest.mark.shop

DISK_MIB = 640
BUYERS = 10
REFUSED = 20
"""Orders that must have met the full disk."""
REFUSED_WITHIN_S = 90.0
BACK_WITHIN_S = 120.0
LOOK_EVERY_S = 0.5
"""At the health of the whole shop."""
TAKEN = frozenset({201, 202})


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[SmallDisk]:
    with mounted(tmp_path, DISK_MIB) as found:
        yield found


@pytest.fixture
async def own(disk: SmallDisk) -> AsyncIterator[tuple[RunningShop, Shop]]:
    """A shop on that disk."""
    local = await asyncio.to_thread(local_shop.start, disk.folder / "shop", free_port())
    shop = RunningShop(local, local.status()["url"], *local.admin_login())
    api = Shop.at(shop.url)
    try:
        yield shop, api
    finally:
        await api.close()
        await asyncio.to_thread(local.down)


async def test_a_full_disk_loses_no_order_and_answers_no_500(disk: SmallDisk, own: tuple[RunningShop, Shop]) -> None:
    shop, api = own
    product = await new_product(api, await api.token(shop.admin_email, shop.admin_password), 100_000)
    buyers = await api.sign_up_many(BUYERS)
    answers = [await order(api, buyers[0], product["id"])]
    disk.fill()
    await bought_until_refused(disk, api, buyers, product["id"], answers)
    disk.free()
    assert Counter(answer.status for answer in answers).keys() <= {*TAKEN, 503}
    await wait_until(shop.healthy, BACK_WITHIN_S, "every component healthy again", LOOK_EVERY_S)
    again = [await insist(api, answer.token, product["id"], key=answer.key) for answer in answers]
    assert {answer.status for answer in again} <= TAKEN
    assert Counter([await ends_as(api, answer) for answer in again]) == {"confirmed": len(answers)}
    await assert_clean(shop)


async def bought_until_refused(
    disk: SmallDisk, api: Shop, buyers: list[str], product_id: str, answers: list[Answer]
) -> None:
    async with asyncio.timeout(REFUSED_WITHIN_S):
        while sum(answer.status not in TAKEN for answer in answers) < REFUSED:
            asked = (order(api, buyer, product_id) for buyer in buyers)
            answers += await asyncio.gather(*asked)
            disk.fill()
