"""A second watch of the Shops, which reports what kopf does not.

kopf gives a watch up for good, and says so nowhere, when the API server refuses to list or goes on with another error
than it knows: a 403 while rights are being changed, a 404 while the definition is replaced, a 410 between two pages.
So an informer follows the Shops too. It keeps only their versions, and speaks up when kopf has not after GRACE_S.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence

from shop.operator.engine.cache.informer import Informer
from shop.operator.engine.cache.store import Cache
from shop.operator.engine.cache.work_queue import WorkQueue
from shop.operator.engine.kube.api_errors import ApiError
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import SHOP
from shop.operator.engine.kube.objects import NamespacedName, Object

GRACE_S = 3.0
"""kopf's share; it gathers events for a moment, and shares the processor with the engine."""

log = logging.getLogger(__name__)


class ShopWatch:
    """`see` is called with a Shop that the cache does not know so, `gone` with one that it should not know."""

    def __init__(
        self, kube: Kube, cache: Cache, see: Callable[[Object], object], gone: Callable[[NamespacedName], object]
    ) -> None:
        self._kube, self._cache = kube, cache
        self._see, self._gone = see, gone
        self._queue = WorkQueue[NamespacedName]()
        self.informers: dict[str | None, Informer[int]] = {}
        self.told = 0
        """How often it had to speak up."""

    async def run(self, namespaces: Sequence[str]) -> None:
        """Watch until cancelled; no namespaces are all."""
        for namespace in namespaces or (None,):
            self.informers[namespace] = Informer(self._kube, SHOP, namespace, "", _version, self._changed)
        async with asyncio.TaskGroup() as tasks:
            for informer in self.informers.values():
                tasks.create_task(informer.run())
            tasks.create_task(self._work())

    @property
    def complete(self) -> bool:
        """Whether the cache knows every Shop that there is."""
        read = self.informers and all(informer.synced.is_set() for informer in self.informers.values())
        places = (place for informer in self.informers.values() for place in informer.items)
        return bool(read) and all(self._cache.version(NamespacedName(*place)) for place in places)

    def _changed(self, place: NamespacedName, _: int | None, __: int | None) -> None:
        self._queue.add_after(NamespacedName(*place), GRACE_S)

    async def _work(self) -> None:
        while (key := await self._queue.get()) is not None:
            try:
                await self._check(key)
                self._queue.succeeded(key)
            except ApiError as error:
                log.warning("%s: %s", key, error.message)
                self._queue.failed(key)
            finally:
                self._queue.done(key)

    async def _check(self, key: NamespacedName) -> None:
        known, real = self._cache.version(key), self._real(key)
        if known == real or (real and known > real):
            return
        shop = await self._kube.get(SHOP, key.namespace, key.name)
        if shop is not None and _version(shop) > self._cache.version(key):
            self._speak_up(key)
            self._see(shop)
        elif shop is None and self._cache.version(key):
            self._speak_up(key)
            self._gone(key)

    def _real(self, key: NamespacedName) -> int:
        """The version that the informer knows, 0 when the Shop is gone."""
        informer = self.informers.get(key.namespace) or self.informers[None]
        return informer.items.get(key, 0)

    def _speak_up(self, key: NamespacedName) -> None:
        self.told += 1
        log.warning("%s: kopf has not told of a change within %g s", key, GRACE_S)


def _version(shop: Object) -> int:
    return int(shop["metadata"]["resourceVersion"])
