"""What other projects define may come after the operator: Prometheus' kinds, say."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from shop.kit.testing import wait_until
from shop.operator.engine.kinds import RENDERED
from shop.operator.engine.kube import Kube
from shop.operator.engine.objects import SHOP_LABEL, Object
from tests.operator import apiserver as servers
from tests.operator import conftest
from tests.operator.apiserver import ApiServer
from tests.operator.kept import SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators

OPERATOR = "operator"
NAMESPACE = "market"
SERVICE_MONITOR = next(kind for kind in RENDERED if kind.kind == "ServiceMonitor")
LIMIT_S = 60.0


@pytest.fixture
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that serves nothing of others yet."""
    if reason := servers.missing():
        pytest.skip(reason)
    server = ApiServer(tmp_path_factory.mktemp("bare"))
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture
async def api(apiserver: ApiServer) -> AsyncIterator[Kube]:
    async with Kube.connect(apiserver.kubeconfig) as kube:
        await conftest.define(kube, conftest.shop_definition())
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        await kube.create(conftest.NAMESPACE, body)
        yield kube


async def monitors(api: Kube) -> list[Object]:
    return await api.list(SERVICE_MONITOR, NAMESPACE, labels=SHOP_LABEL)


async def test_a_kind_that_is_defined_later_is_used_and_watched(
    apiserver: ApiServer, api: Kube, operators: Operators
) -> None:
    """The Shop that waited for it becomes ready by itself; its objects are known from then on, not written twice."""
    login = apiserver.kubeconfig_for(OPERATOR, groups=["system:masters"])
    operator = operators.start(login, NAMESPACE, resync_s="1")
    await operator.leading()

    async def resyncs(count: int) -> None:
        before = await asyncio.to_thread(operator.metric, "shop_operator_resyncs_total")
        await wait_until(
            lambda: asyncio.to_thread(lambda: operator.metric("shop_operator_resyncs_total") >= before + count),
            LIMIT_S,
            f"{count} resyncs",
        )

    async with Kubelet(api, NAMESPACE):
        shop = Kept(api, NAMESPACE)
        await shop.apply({**SMALL, "observability": {"serviceMonitors": True}})
        refused = await shop.until("Ready", lambda found: found["status"] == "False", "False")
        assert "spec.observability.serviceMonitors" in refused["message"]
        await conftest.define(api, conftest.lenient_definition(SERVICE_MONITOR))
        await wait_until(lambda: monitors(api), LIMIT_S, "ServiceMonitors")
        await shop.ready()
        await resyncs(2)
        mark = apiserver.mark()
        await resyncs(5)
        assert apiserver.writes(mark, user=OPERATOR) == []
    await operator.stop()
