"""What other projects define may come after the operator: Prometheus' kinds, say."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import RENDERED
from shop.operator.kube.objects import SHOP_LABEL
from tests.operator import conftest
from tests.operator.apiserver import ApiServer
from tests.operator.kept import SMALL, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators

OPERATOR = "operator"
SERVICE_MONITOR = next(kind for kind in RENDERED if kind.kind == "ServiceMonitor")
LIMIT_S = 180.0


@pytest.fixture
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that serves nothing of others yet."""
    with conftest.running(ApiServer(tmp_path_factory.mktemp("bare"))) as server:
        yield server


@pytest.fixture
async def api(apiserver: ApiServer) -> AsyncIterator[Kube]:
    async with Kube(apiserver.kubeconfig) as kube:
        await conftest.define(kube, conftest.shop_definition())
        yield kube


async def test_a_kind_that_is_defined_later_is_used_and_watched(
    apiserver: ApiServer, api: Kube, namespace: str, kubelet: Kubelet, operators: Operators
) -> None:
    """The Shop that waited for it becomes ready by itself; its objects are known from then on, not written twice."""
    login = apiserver.kubeconfig_for(OPERATOR, groups=["system:masters"])
    operator = operators.start(login, namespace, resync_s="1")
    await operator.leading()
    shop = Kept(api, namespace)
    await shop.apply({**SMALL, "observability": {"serviceMonitors": True}})
    refused = await shop.until("Ready", lambda found: found["status"] == "False", "False")
    assert "spec.observability.serviceMonitors" in refused["message"]
    await conftest.define(api, conftest.lenient_definition(SERVICE_MONITOR))
    await wait_until(lambda: api.list(SERVICE_MONITOR, namespace, labels=SHOP_LABEL), LIMIT_S, "ServiceMonitors")
    await shop.ready()
    await operator.resynced(2)
    mark = apiserver.mark()
    await operator.resynced(5)
    assert apiserver.writes(mark, user=OPERATOR) == []
    await operator.stop()
