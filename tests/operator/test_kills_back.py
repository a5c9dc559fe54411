"""The operator is killed at every write on the way back, of a rollback and of a deletion, and the next one ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM
from shop.operator.kube.objects import SHOP_LABEL
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.faults import Proxy
from tests.operator.kept import Kept, essence
from tests.operator.killing import USER, rests, spared, through
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators
from tests.operator.statuses import Failure


@pytest.fixture
async def proxy(apiserver: ApiServer) -> AsyncIterator[Proxy]:
    async with Proxy(apiserver, user=USER, groups=["system:masters"]) as proxy:
        yield proxy


async def serving(operators: Operators, login: Path, shop: Kept) -> None:
    """Bring a Shop up in peace, and leave it without an operator."""
    operator = operators.start(login, shop.namespace, identity=USER)
    await shop.apply()
    await shop.ready()
    await operator.stop()


async def test_killed_at_every_write_of_a_rollback(
    api: Kube, apiserver: ApiServer, operators: Operators, operator_login: Path, proxy: Proxy
) -> None:
    shop = Kept(api, await new_namespace(api))
    async with Kubelet(api, shop.namespace) as kubelet:
        await serving(operators, operator_login, shop)
        before = await shop.objects()
        await kubelet.fail("bookshop-catalogue-*", Failure.crash_loop("no such table"), image="*:0.2.0")
        await shop.patch(version="0.2.0")

        async def back() -> bool:
            status = await shop.status()
            found = await shop.condition("Ready")
            return found.get("reason") == "RolledBack" and "rollout" not in status

        kills = await through(operators, proxy, shop.namespace, back)
        assert essence(await shop.objects()) == essence(before)
        await rests(operators, operator_login, apiserver, shop)
    assert spared(kills, "PATCH", (ref for ref in before if ref.kind == "Deployment")) == set()


async def test_killed_at_every_write_of_a_deletion(
    api: Kube, operators: Operators, operator_login: Path, proxy: Proxy
) -> None:
    shop = Kept(api, await new_namespace(api))
    async with Kubelet(api, shop.namespace):
        await serving(operators, operator_login, shop)
        before = await shop.objects()

        async def gone() -> bool:
            return await shop.resource() == {}

        await shop.delete()
        kills = await through(operators, proxy, shop.namespace, gone)
    assert await shop.objects() == {}
    assert await api.list(CLAIM, shop.namespace, labels=SHOP_LABEL) == []
    assert spared(kills, "DELETE", before) == set()
