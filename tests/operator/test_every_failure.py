"""Whatever keeps a Shop from its spec is in its conditions and Events, counts for its deadline, and slows no other."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import ssl
from collections.abc import AsyncIterator

import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.operator.engine.kube.client import Kube
from shop.operator.engine.kube.kinds import EVENT, SECRET, SHOP, Kind
from shop.operator.engine.kube.objects import Object
from tests.operator import conftest
from tests.operator.apiserver import ApiServer
from tests.operator.kept import LIMIT_S, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

QUOTA = Kind("v1", "ResourceQuota", "resourcequotas")
WEBHOOK = Kind("admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", "validatingwebhookconfigurations")
DEADLINE_S = 60
WORKERS, BROKEN, HEALTHY = 2, 6, 3
HANGS_S = 2
"""How long the API server waits for the webhook that never answers."""


async def no_more_secrets(api: Kube, namespace: str) -> None:
    """A quota as its controller leaves it: no controller runs here."""
    body: Object = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "none", "namespace": namespace}}
    body["spec"] = {"hard": {"count/secrets": "0"}}
    await api.create(QUOTA, body)
    status = {"status": {"hard": {"count/secrets": "0"}, "used": {"count/secrets": "0"}}}
    await api.patch(QUOTA, namespace, "none", status, content="merge", subresource="status")


@contextlib.asynccontextmanager
async def webhook(api: Kube, namespace: str, authority: bytes, port: int, *resources: str) -> AsyncIterator[None]:
    """Every write of these resources in the namespace is asked about at the port."""
    rule = {"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["CREATE", "UPDATE", "DELETE"]}
    body: Object = {
        "apiVersion": WEBHOOK.api_version,
        "kind": WEBHOOK.kind,
        "metadata": {"name": f"hook-{namespace}"},
        "webhooks": [
            {
                "name": "policy.example.com",
                "clientConfig": {"url": f"https://127.0.0.1:{port}/", "caBundle": base64.b64encode(authority).decode()},
                "rules": [{**rule, "resources": list(resources)}],
                "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": namespace}},
                "failurePolicy": "Fail",
                "sideEffects": "None",
                "timeoutSeconds": HANGS_S,
                "admissionReviewVersions": ["v1"],
            }
        ],
    }
    await api.create(WEBHOOK, body)
    try:
        yield
    finally:
        await api.delete(WEBHOOK, None, f"hook-{namespace}")


@pytest.fixture
def authority(apiserver: ApiServer) -> bytes:
    return apiserver.authority.path.read_bytes()


@pytest.fixture
async def silent(apiserver: ApiServer) -> AsyncIterator[int]:
    """The port of a webhook that takes requests and never answers."""
    certificate, key = apiserver.authority.issue("webhook")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    never = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await never.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0, ssl=context)
    yield server.sockets[0].getsockname()[1]
    never.set()
    server.close()


async def reasons(api: Kube, namespace: str) -> dict[str, str]:
    """Reason and message of every Warning on a Shop of the namespace."""
    events = await api.list(EVENT, namespace)
    return {event["reason"]: event["message"] for event in events if event["type"] == "Warning"}


async def test_a_quota_that_refuses_the_first_secret_is_in_the_conditions(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    await no_more_secrets(api, namespace)
    shop = Kept(api, namespace)
    await shop.apply()
    refused = await shop.until("Degraded", lambda found: found["status"] == "True", "told")
    assert refused["reason"] == "Forbidden"
    assert "exceeded quota: none" in refused["message"]

    async def told() -> bool:
        return "exceeded quota" in (await reasons(api, namespace)).get("Forbidden", "")

    await wait_until(told, LIMIT_S, "an Event")
    await api.delete(QUOTA, namespace, "none")
    await shop.ready()
    assert (await shop.condition("Degraded"))["status"] == "False"


async def test_a_webhook_that_cannot_be_reached_is_in_the_conditions(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator, authority: bytes
) -> None:
    shop = Kept(api, namespace)
    async with webhook(api, namespace, authority, free_port(), "services"):
        await shop.apply()
        refused = await shop.until("Degraded", lambda found: found["status"] == "True", "told")
        assert refused["reason"] == "ServerError"
        assert refused["message"].startswith("Service bookshop-")
        assert 'failed calling webhook "policy.example.com"' in refused["message"]
    await shop.ready()


async def test_a_change_that_a_webhook_stops_is_rolled_back_at_its_deadline(
    shop: Kept, api: Kube, authority: bytes
) -> None:
    await shop.patch(progressDeadlineSeconds=DEADLINE_S)
    await shop.ready()
    async with webhook(api, shop.namespace, authority, free_port(), "deployments"):
        await shop.patch(services={"order": {"replicas": 2}})
        await shop.until("Degraded", lambda found: found["status"] == "True", "told")
        await make_late(shop)
        await shop.until("Degraded", lambda found: "given up" in found["message"], "given up", 2 * LIMIT_S)
    rolled_back = await shop.comes_to("Ready", "RolledBack")
    assert "Deployment bookshop-order" in rolled_back["message"]


async def make_late(shop: Kept) -> None:
    """As if the rollout had begun long ago."""
    rollout = (await shop.status())["rollout"]
    body = {"status": {"rollout": {**rollout, "startedAt": "2020-01-01T00:00:00Z"}}}
    await shop.api.patch(SHOP, shop.namespace, shop.name, body, content="merge", subresource="status")


async def test_a_deletion_that_a_webhook_stops_says_so(shop: Kept, api: Kube, authority: bytes) -> None:
    async with webhook(api, shop.namespace, authority, free_port(), "deployments"):
        await shop.delete()

        async def told() -> bool:
            return "failed calling webhook" in (await shop.condition("Ready")).get("message", "")

        await wait_until(told, LIMIT_S, "the reason")
    await shop.gone()


async def test_broken_shops_do_not_hold_up_healthy_ones(
    api: Kube, operators: Operators, apiserver: ApiServer, silent: int, authority: bytes
) -> None:
    """More Shops than the operator has workers wait for a webhook in vain; those that come after them get ready."""
    broken, healthy = await conftest.new_namespace(api), await conftest.new_namespace(api)
    login = apiserver.kubeconfig_for("operator", groups=["system:masters"])
    operator = operators.start(login, broken, namespaces=f"{broken},{healthy}", workers=str(WORKERS))
    await operator.leading()
    async with Kubelet(api, broken), Kubelet(api, healthy), webhook(api, broken, authority, silent, "services"):
        stuck = [Kept(api, broken, f"broken-{number}") for number in range(BROKEN)]
        good = [Kept(api, healthy, f"healthy-{number}") for number in range(HEALTHY)]
        for shop in (*stuck, *good):
            await shop.apply()
        for shop in good:
            await shop.ready()
        assert not any([(await shop.condition("Ready")).get("status") == "True" for shop in stuck])
        for shop in stuck:
            await shop.until("Degraded", lambda found: found["reason"] == "ServerError", "told", 4 * LIMIT_S)
    await operator.stop()
    assert await api.list(SECRET, healthy)
