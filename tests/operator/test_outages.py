"""The operator behind a network and an API server that fail: no change is missed, and no harm is done."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, SECRET, SERVICE, SHOP
from tests.operator.apiserver import QUIET, ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.faults import Proxy, Seen
from tests.operator.kept import SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

NAME = "app.kubernetes.io/name"
USER = "operator-with-outages"
LIMIT_S = 90.0
SHORT_OUTAGE_S = 3.0
"""The leader survives it; its Lease lasts longer."""


@dataclass
class Scene:
    """A ready Shop whose operator goes through a proxy; every test leaves it ready and every fault ended."""

    shop: Kept
    operator: Operator
    proxy: Proxy
    server: ApiServer
    operators: Operators

    async def disturb(self, replicas: int) -> None:
        """Four changes: of the Shop itself, of one of its objects, and two objects gone."""
        await self.shop.patch(services={"product": {"replicas": replicas}})
        await self.shop.change(SERVICE, "order", {"spec": {"selector": {NAME: "nothing"}}})
        await self.shop.api.delete(DEPLOYMENT, self.shop.namespace, "bookshop-pricing")
        await self.shop.api.delete(SECRET, self.shop.namespace, "bookshop-database-order")

    async def right(self, replicas: int) -> None:
        """Return when all four are dealt with."""

        async def right() -> bool:
            self.keep_alive()
            product, order = await self.shop.get(DEPLOYMENT, "product"), await self.shop.get(SERVICE, "order")
            there = [await self.shop.get(DEPLOYMENT, "pricing"), await self.shop.get(SECRET, "database-order")]
            assert product
            assert order
            found = product["spec"]["replicas"], order["spec"]["selector"][NAME]
            return found == (replicas, "order") and all(there)

        await wait_until(right, LIMIT_S, f"everything right again; log: {self.operator.log}")
        await self.shop.ready(LIMIT_S)

    async def rests(self) -> None:
        """Looks at the Shop find nothing to write, once the last repair has been reported."""

        async def quiet() -> bool:
            self.keep_alive()
            mark, passes = self.server.mark(), await self._passes()
            look = {"metadata": {"annotations": {"look": str(mark)}}}
            await self.shop.api.patch(SHOP, self.shop.namespace, "bookshop", look)
            await wait_until(lambda: self._more_passes(passes), LIMIT_S, "a pass")
            return not self.server.writes(mark, user=USER)

        await wait_until(quiet, LIMIT_S, "nothing to write")

    async def _more_passes(self, passes: float) -> bool:
        return await self._passes() > passes

    async def _passes(self) -> float:
        """-1 while no operator answers."""
        try:
            return await asyncio.to_thread(self.operator.metric, "shop_operator_reconcile_seconds_count")
        except OSError:
            self.keep_alive()
            return -1.0

    def keep_alive(self) -> None:
        """As Kubernetes does: one that has ended, its Lease lost, is started again."""
        if not self.operator.alive:
            self.operator = self.operators.start(self.proxy.kubeconfig, self.shop.namespace)


@pytest.fixture(scope="module")
async def scene(api: Kube, apiserver: ApiServer, operators: Operators) -> AsyncIterator[Scene]:
    namespace = await new_namespace(api)
    async with Kubelet(api, namespace), Proxy(apiserver, user=USER, groups=["system:masters"]) as proxy:
        operator = operators.start(proxy.kubeconfig, namespace)
        shop = Kept(api, namespace)
        await shop.apply(SMALL)
        await shop.ready(LIMIT_S)
        scene = Scene(shop, operator, proxy, apiserver, operators)
        yield scene
        scene.operator.kill()


def is_watch(seen: Seen) -> bool:
    return seen.watch


def is_list(seen: Seen) -> bool:
    return seen.method == "GET" and not seen.watch and not seen.name and seen.resource not in QUIET


def is_read_of_shops(seen: Seen) -> bool:
    return seen.method == "GET" and seen.resource == "shops" and not seen.name


def is_write(seen: Seen) -> bool:
    return seen.counted


def is_work(seen: Seen) -> bool:
    """All but the Lease, which has its own tests."""
    return seen.resource not in QUIET


async def cut_watches(scene: Scene) -> None:
    for _ in range(5):
        await wait_until(lambda: scene.proxy.watching > 0)
        scene.proxy.cut_watches()


async def gone(scene: Scene) -> None:
    """All watches break, and none may go on from where it was; the lists that follow expire while they are read."""
    scene.proxy.answer(410, is_watch, times=40)
    scene.proxy.answer(410, is_list, times=5)
    scene.proxy.cut_watches()


async def refused(scene: Scene) -> None:
    """Rights are being changed: for a moment the Shops may not be read."""
    scene.proxy.answer(403, is_read_of_shops, times=4)
    scene.proxy.cut_watches()


async def conflicts(scene: Scene) -> None:
    scene.proxy.answer(409, is_write, times=5, message="the object has been modified")


async def throttled(scene: Scene) -> None:
    scene.proxy.answer(429, is_work, times=10, retry_after_s=1)


async def broken(scene: Scene) -> None:
    for status in (500, 502, 503, 504):
        scene.proxy.answer(status, is_work, times=4)


async def slow(scene: Scene) -> None:
    scene.proxy.delay_s = 0.3


async def away(scene: Scene) -> None:
    """The network is away for a moment."""
    scene.proxy.down = True
    scene.proxy.cut_watches()
    asyncio.get_running_loop().call_later(SHORT_OUTAGE_S, setattr, scene.proxy, "down", False)


async def restarted(scene: Scene) -> None:
    """The API server restarts; what watches could go on from is gone with its memory."""
    scene.server.stop_server()
    await asyncio.to_thread(scene.server.start_server)


FAULTS: tuple[Callable[[Scene], Awaitable[None]], ...] = (
    cut_watches,
    gone,
    refused,
    conflicts,
    throttled,
    broken,
    slow,
    away,
    restarted,
)


@pytest.mark.parametrize("number", range(len(FAULTS)), ids=[fault.__name__ for fault in FAULTS])
async def test_no_change_is_missed(scene: Scene, number: int) -> None:
    replicas = 2 + number
    await FAULTS[number](scene)
    await scene.disturb(replicas)
    await scene.right(replicas)
    scene.proxy.reset()
    await scene.rests()


async def test_an_operator_that_is_cut_off_for_long_ends_and_the_next_goes_on(scene: Scene) -> None:
    scene.proxy.down = True
    scene.proxy.cut_watches()
    await scene.operator.gone()
    await scene.disturb(1)
    scene.proxy.reset()
    await scene.right(1)
    await scene.rests()
