"""A shop that sells is backed up, and a new one begins with the backup: what was acknowledged before is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.embedded import free_port
from shop.devkit.testing import wait_until
from tests.audit_report import assert_holds
from tests.conftest import RunningShop
from tests.integration.audit import assert_clean
from tests.integration.buyers import Answer, ends_as, insist, new_product, order, stock_of
from tests.load import local_shop
from tests.load.local_shop import Json, ShopctlFailed, shopctl
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

BUYERS = 8
STOCK = 100_000
ORDERS_BEFORE = 60
WAIT_S = 60.0


PASSWORD = "correct horse battery"


@dataclass
class Sold:
    """Acknowledged orders: before the backup began, and later."""

    before: list[Answer]
    later: list[Answer]


async def sell_during(backup: Callable[[], str], api: Shop, tokens: list[str], product_id: str) -> Sold:
    """Buyers order without a pause; in the middle of it `backup` runs in a thread."""
    answers: list[Answer] = []
    ended = asyncio.Event()

    async def buy(token: str) -> None:
        while not ended.is_set():
            answers.append(await insist(api, token, product_id))

    buying = [asyncio.create_task(buy(token)) for token in tokens]
    try:
        await wait_until(lambda: len(answers) >= ORDERS_BEFORE, WAIT_S)
        before = len(answers)
        await asyncio.to_thread(backup)
        seen = len(answers)
        await wait_until(lambda: len(answers) > seen + BUYERS, WAIT_S)
    finally:
        ended.set()
        await asyncio.gather(*buying)
    return Sold(answers[:before], answers[before:])


@contextlib.asynccontextmanager
async def new_shop(folder: Path, backup: Path) -> AsyncIterator[RunningShop]:
    """A new shop in `folder` that begins with `backup`."""
    more = ["--restore-from", str(backup)]
    local = await asyncio.to_thread(local_shop.start, folder, free_port(), (), more)
    try:
        yield RunningShop(local, local.status()["url"], *local.admin_login())
    finally:
        await asyncio.to_thread(local.down)


async def audited(shop: RunningShop, acknowledged: Path) -> Json:
    """The audit's report, once all orders have ended."""
    options = ["--json", "--wait", "90", "--settle-seconds", "0", "--acknowledged", str(acknowledged)]
    data_dir = shop.local.data_dir
    report: Json = json.loads(await asyncio.to_thread(shopctl, "audit", *options, data_dir=data_dir, may_fail=True))
    return report


async def test_a_new_shop_goes_on_where_the_backup_ended(
    shop: RunningShop, api: Shop, admin: str, unique_email: str, tmp_path: Path, servers_folder: Path
) -> None:
    email = unique_email
    await api.call("POST", "/users", json={"email": email, "password": PASSWORD, "name": "Ada Buyer"})
    product = await new_product(api, admin, STOCK)
    tokens = [await api.token(email, PASSWORD), *await api.sign_up_many(BUYERS - 1)]

    def backup() -> str:
        return shopctl("backup", "--to", str(tmp_path / "backups"), data_dir=shop.local.data_dir)

    sold = await sell_during(backup, api, tokens, product["id"])
    acknowledged_ids = {str(answer.body["id"]) for answer in sold.before}
    acknowledged = tmp_path / "acknowledged"
    acknowledged.write_text("".join(f"{order_id}\n" for order_id in sorted(acknowledged_ids)))
    await assert_clean(shop)

    async with new_shop(servers_folder / "new", tmp_path / "backups") as again:
        assert_holds(await audited(again, acknowledged))
        client = Shop.at(again.url)
        try:
            token = await client.token(email, PASSWORD)
            first = next(answer for answer in sold.before if answer.token == tokens[0])
            assert (await client.call("GET", f"/orders/{first.body['id']}", token))["state"] == "confirmed"
            left = await stock_of(client, product["id"])
            sold_then = STOCK - left
            assert len(acknowledged_ids) <= sold_then <= len(sold.before) + len(sold.later)
            answer = await order(client, token, product["id"])
            assert answer.status == 201
            assert await ends_as(client, answer) == "confirmed"
            assert await stock_of(client, product["id"]) == left - 1
            assert await client.token(again.admin_email, again.admin_password)
        finally:
            await client.close()
        assert_holds(await audited(again, acknowledged))


async def test_a_shop_with_data_is_not_restored_over(shop: RunningShop, tmp_path: Path, servers_folder: Path) -> None:
    backups = tmp_path / "backups"
    await asyncio.to_thread(shopctl, "backup", "--to", str(backups), data_dir=shop.local.data_dir)
    other = local_shop.start(servers_folder / "other", free_port())
    shopctl("down", data_dir=other.data_dir)
    try:
        with pytest.raises(ShopctlFailed, match=r"shop_\w+ is not empty .* only fills the databases of a new shop"):
            local_shop.start(other.data_dir, free_port(), (), ["--restore-from", str(backups)])
    finally:
        other.down()
