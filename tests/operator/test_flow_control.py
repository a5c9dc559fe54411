"""The client within the API server's priority and fairness, with the share of a service account: the tests'
administrators are exempt from it."""

from __future__ import annotations

import asyncio

from shop.devkit.testing import wait_until
from shop.operator.engine.leader import ATTEMPT_S, RETRY_S
from shop.operator.kube.client import MAX_IN_FLIGHT, MAX_SLOW, Kube
from shop.operator.kube.kinds import CONFIG_MAP, LEASE, Kind
from tests.operator.apiserver import ApiServer
from tests.operator.refusals import LONGEST_WEBHOOK_S, webhook, webhook_without_response

BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
USER = "system:serviceaccount:default:slow"
LIMIT_S = 180.0


async def allow_everything(api: Kube, namespace: str) -> None:
    role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"}
    subject = {"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": USER}
    binding = {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "roleRef": role, "subjects": [subject]}
    await api.create(BINDING, {**binding, "metadata": {"name": "slow", "namespace": namespace}})


async def test_the_lease_is_renewed_while_as_many_requests_as_there_may_be_wait_for_a_webhook(
    api: Kube, apiserver: ApiServer, namespace: str
) -> None:
    await allow_everything(api, namespace)
    authority = apiserver.authority.path.read_bytes()
    login = apiserver.kubeconfig_for(USER, groups=["system:serviceaccounts"])
    lease = {"apiVersion": LEASE.api_version, "kind": LEASE.kind, "metadata": {"name": "slow", "namespace": namespace}}

    async def renew(kube: Kube) -> None:
        while True:
            async with asyncio.timeout(ATTEMPT_S):
                await kube.apply(LEASE, lease, force=True)
            await asyncio.sleep(RETRY_S)

    async def create(kube: Kube, number: int) -> None:
        metadata = {"name": f"slow-{number}", "namespace": namespace}
        await kube.create(CONFIG_MAP, {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata})

    most = MAX_IN_FLIGHT + MAX_SLOW
    async with (
        webhook_without_response(apiserver) as hook,
        webhook(api, namespace, authority, hook.port, ["configmaps"], LONGEST_WEBHOOK_S),
        Kube(login) as kube,
    ):
        renewing = asyncio.create_task(renew(kube))
        waiting = [asyncio.create_task(create(kube, number)) for number in range(most + 1)]
        await wait_until(lambda: renewing.done() or hook.waiting == most, LIMIT_S, "requests that all wait")
        for task in (*waiting, renewing):
            task.cancel()
        results = await asyncio.gather(*waiting, renewing, return_exceptions=True)
        assert isinstance(results[-1], asyncio.CancelledError), f"the Lease was not renewed: {results[-1]!r}"
