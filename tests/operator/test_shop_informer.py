"""The informer reports every Shop, however many there are."""

from __future__ import annotations

import asyncio

from shop.devkit.testing import wait_until
from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.store import Cache, StoredShop
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SHOP
from shop.operator.kube.objects import NamespacedName
from tests.operator.kept import Kept

MANY = 400
WITHIN_S = 30.0


async def test_many_shops_are_in_the_cache_within_seconds_and_every_change_is_reported(
    api: Kube, namespace: str
) -> None:
    first, later = ({f"{what}-{number}" for number in range(MANY)} for what in ("first", "later"))
    await asyncio.gather(*(Kept(api, namespace, name).apply() for name in first))
    changed: list[NamespacedName] = []
    cache = Cache(changed.append)
    informing = asyncio.create_task(
        Informer(api, SHOP, namespace, "", StoredShop.of, cache.shop_changed, page=100).run()
    )
    try:
        await wait_until(lambda: {key.name for key in cache.shops()} == first, WITHIN_S, f"{MANY} Shops listed")
        await asyncio.gather(*(Kept(api, namespace, name).apply() for name in later))
        await wait_until(
            lambda: {key.name for key in cache.shops()} == first | later, WITHIN_S, "as many from the watch"
        )
        assert {key.name for key in changed} == first | later
        gone = NamespacedName(namespace, "first-0")
        await api.delete(SHOP, *gone)
        await wait_until(lambda: gone not in cache.shops(), WITHIN_S, "a deletion reported")
    finally:
        informing.cancel()
        await asyncio.gather(informing, return_exceptions=True)
