"""Reads through the gateway: nothing older than the change that was answered, and nothing twice that the client has."""

from __future__ import annotations

import pytest

from tests.conftest import RunningShop
from tests.integration.buyers import decided, new_product, stock_of
from tests.load.shoppers import Shop

pytestmark = pytest.mark.shop

COPIES = 8


async def test_a_buyer_sees_the_stock_after_the_order(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, COPIES)
    [buyer] = await api.sign_up_many(1)
    for left in range(COPIES - 1, COPIES - 4, -1):
        assert (await decided(api, buyer, product["id"])).status == 201
        assert await stock_of(api, product["id"]) == left


async def test_a_tag_works_through_the_gateway(shop: RunningShop, api: Shop, admin: str) -> None:
    product = await new_product(api, admin, COPIES)
    path = f"{api.url}/api/v1/products/{product['id']}"
    async with api.session.get(path) as first:
        tag = first.headers["ETag"]
    async with api.session.get(path, headers={"If-None-Match": tag}) as again:
        assert (again.status, await again.read()) == (304, b"")
        assert again.headers["Cache-Control"] == "public, no-cache"
    await api.call("PATCH", f"/products/{product['id']}", admin, json={"name": "Another name"})
    async with api.session.get(path, headers={"If-None-Match": tag}) as changed:
        assert (changed.status, (await changed.json())["name"]) == (200, "Another name")
