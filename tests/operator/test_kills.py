"""The operator is killed (SIGKILL) at every write that it makes, and the next one ends what it began.

A killed operator leaves either a write that the server never saw, or one whose answer it never heard; the two kinds
take turns. After each kill a new process begins and is killed at its own first or second write, until a whole
creation, upgrade or deletion is through: so there is no write at which none has died.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

from shop.kit.testing import wait_until
from shop.operator.engine.informer import Informer, Place
from shop.operator.engine.kinds import CLAIM, DEPLOYMENT, JOB, SECRET, Kind
from shop.operator.engine.kube import Kube
from shop.operator.engine.objects import SHOP_LABEL, Object, Ref
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.faults import Proxy, When
from tests.operator.kept import Kept, essence
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators
from tests.operator.statuses import Failure

USER = "operator"
MAX_KILLS = 120
STEP_LIMIT_S = 60
ONCE = (JOB, DEPLOYMENT, SECRET)
"""Kinds of which an object must never be made twice."""
type Test = Callable[[], Awaitable[bool]]


@pytest.fixture
async def proxy(apiserver: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(apiserver, user=USER, groups=["system:masters"]) as proxy:
        yield proxy


class Births:
    """How many objects of a name have ever been there."""

    def __init__(self, api: Kube, namespace: str) -> None:
        self.uids: defaultdict[tuple[Kind, str], set[str]] = defaultdict(set)
        self._informers = [Informer(api, kind, namespace, SHOP_LABEL, self._uid, self._of(kind)) for kind in ONCE]
        self.tasks = [asyncio.create_task(informer.run()) for informer in self._informers]

    @staticmethod
    def _uid(obj: Object) -> str:
        uid: str = obj["metadata"]["uid"]
        return uid

    def _of(self, kind: Kind) -> Callable[[Place, str | None, str | None], None]:
        def changed(place: Place, _: str | None, uid: str | None) -> None:
            if uid is not None:
                self.uids[kind, place[1]].add(uid)

        return changed

    def twice(self) -> list[str]:
        return [name for (_, name), uids in self.uids.items() if len(uids) > 1]

    def close(self) -> None:
        for task in self.tasks:
            task.cancel()


async def through(operators: Operators, proxy: Proxy, namespace: str, over: Test) -> int:
    """Operators one after the other, each killed at a write, until one finds `over`; how many were killed."""
    for kills in range(MAX_KILLS):
        operator = operators.start(proxy.kubeconfig, namespace, identity="operator")
        number, when = (1, When.AFTER) if kills % 2 else (2, When.BEFORE)
        proxy.kill_at(number, operator.kill, when)

        async def step() -> bool:
            return proxy.killed.is_set() or await over()

        await wait_until(step, STEP_LIMIT_S, f"a write after {kills} kills; log: {operator.log}")
        if not proxy.killed.is_set():
            operator.kill()
            await operator.gone()
            return kills
        await operator.gone()
    raise AssertionError(f"not through after {MAX_KILLS} kills")


async def rests(operators: Operators, login: Path, apiserver: ApiServer, shop: Kept) -> None:
    """An operator that is left alone finds nothing to do."""
    mark = apiserver.mark()
    operator = operators.start(login, shop.namespace, identity="operator", resync_s="1")
    await operator.leading()
    await wait_until(
        lambda: asyncio.to_thread(lambda: operator.metric("shop_operator_resyncs_total") >= 1), STEP_LIMIT_S
    )
    assert apiserver.writes(mark, user=USER) == []
    await operator.stop()


async def test_killed_at_every_write_of_a_creation_an_upgrade_and_a_deletion(
    api: Kube, apiserver: ApiServer, operators: Operators, operator_login: Path, proxy: Proxy
) -> None:
    namespace = await new_namespace(api)
    shop, births = Kept(api, namespace), Births(api, namespace)
    async with Kubelet(api, namespace):

        async def ready() -> bool:
            resource = await shop.resource()
            found = await shop.condition("Ready")
            same = found.get("observedGeneration") == resource["metadata"]["generation"]
            return same and found.get("status") == "True" and "rollout" not in resource["status"]

        await shop.apply()
        created = await through(operators, proxy, namespace, ready)
        await rests(operators, operator_login, apiserver, shop)
        assert births.twice() == []
        first = await shop.objects()
        inventory = {entry["id"] for entry in (await shop.status())["inventory"]}
        assert inventory == {str(ref) for ref in first} - {"v1/Secret/bookshop-seed", "v1/Secret/bookshop-history"}

        await shop.patch(version="0.2.0", services={"order": {"replicas": 2}})
        upgraded = await through(operators, proxy, namespace, ready)
        await rests(operators, operator_login, apiserver, shop)
        assert births.twice() == []
        second = await shop.objects()
        assert (await shop.status())["revision"] == 2
        assert len(second) == len(first), "nothing of the first revision is left over"

        straight = Kept(api, await new_namespace(api))
        async with Kubelet(api, straight.namespace):
            operator = operators.start(operator_login, straight.namespace)
            await straight.apply({"store": {"catalog": {"sample": "books"}}, "version": "0.2.0"})
            await straight.patch(services={"order": {"replicas": 2}})
            await straight.ready()
            operator.kill()
        assert names(second) == names(await straight.objects())

        async def gone() -> bool:
            return await shop.resource() == {}

        await shop.delete()
        deleted = await through(operators, proxy, namespace, gone)
    assert await shop.objects() == {}
    assert await api.list(CLAIM, namespace, labels=SHOP_LABEL) == []
    births.close()
    assert created > 10
    assert upgraded > 5
    assert deleted > 5
    print(f"killed {created} + {upgraded} + {deleted} times")


def names(objects: Mapping[Ref, Object]) -> set[str]:
    """Kinds and names, without the hashes that follow from a namespace."""
    return {f"{obj['kind']}/{obj['metadata']['name']}" for obj in objects.values() if obj["kind"] != "Job"}


async def test_killed_during_a_rollback(
    api: Kube, apiserver: ApiServer, operators: Operators, operator_login: Path, proxy: Proxy
) -> None:
    namespace = await new_namespace(api)
    shop = Kept(api, namespace)
    async with Kubelet(api, namespace) as kubelet:
        operator = operators.start(operator_login, namespace, identity="operator")
        await shop.apply()
        await shop.ready()
        await operator.stop()
        before = essence(await shop.objects())
        await kubelet.fail("bookshop-catalogue-*", Failure.crash_loop("no such table"), image="*:0.2.0")
        await shop.patch(version="0.2.0")

        async def back() -> bool:
            status = await shop.status()
            found = await shop.condition("Ready")
            return found.get("reason") == "RolledBack" and "rollout" not in status

        killed = await through(operators, proxy, namespace, back)
        assert essence(await shop.objects()) == before
        await rests(operators, operator_login, apiserver, shop)
        assert killed > 10
