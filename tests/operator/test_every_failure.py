"""Whatever keeps a Shop from its spec is in its conditions and Events, counts for its deadline, and slows no other."""

from __future__ import annotations

import contextlib
import itertools
from pathlib import Path

import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import EVENT, SHOP
from tests.operator import conftest
from tests.operator.apiserver import ApiServer
from tests.operator.kept import LIMIT_S, Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators
from tests.operator.refusals import (
    LONGEST_WEBHOOK_S,
    QUOTA,
    REASONS,
    REFUSALS,
    RefusedShops,
    quota_without_secrets,
    webhook,
    webhook_without_response,
)

DEADLINE_S = 60
WORKERS, BROKEN_EACH, HEALTHY = 2, 3, 3


@pytest.fixture
def authority(apiserver: ApiServer) -> bytes:
    return apiserver.authority.path.read_bytes()


async def reasons(api: Kube, namespace: str) -> dict[str, str]:
    """Reason and message of every Warning on a Shop of the namespace."""
    events = await api.list(EVENT, namespace)
    return {event["reason"]: event["message"] for event in events if event["type"] == "Warning"}


async def test_a_quota_that_refuses_the_first_secret_is_in_the_conditions(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator
) -> None:
    await quota_without_secrets(api, namespace)
    shop = Kept(api, namespace)
    await shop.apply()
    refused = await shop.until("Degraded", lambda found: found["status"] == "True", "a report")
    assert refused["reason"] == "Forbidden"
    assert "exceeded quota: none" in refused["message"]

    async def reported() -> bool:
        return "exceeded quota" in (await reasons(api, namespace)).get("Forbidden", "")

    await wait_until(reported, LIMIT_S, "an Event")
    await api.delete(QUOTA, namespace, "none")
    await shop.ready()
    assert (await shop.condition("Degraded"))["status"] == "False"


async def test_a_webhook_that_cannot_be_reached_is_in_the_conditions(
    api: Kube, namespace: str, kubelet: Kubelet, operator: Operator, authority: bytes
) -> None:
    shop = Kept(api, namespace)
    async with webhook(api, namespace, authority, free_port(), ["services"]):
        await shop.apply()
        refused = await shop.until("Degraded", lambda found: found["status"] == "True", "a report")
        assert refused["reason"] == "ServerError"
        assert refused["message"].startswith("Service bookshop-")
        assert 'failed calling webhook "policy.example.com"' in refused["message"]
    await shop.ready()


async def test_a_change_that_a_webhook_stops_is_rolled_back_at_its_deadline(
    shop: Kept, api: Kube, authority: bytes
) -> None:
    await shop.patch(progressDeadlineSeconds=DEADLINE_S)
    await shop.ready()
    async with webhook(api, shop.namespace, authority, free_port(), ["deployments"]):
        await shop.patch(services={"order": {"replicas": 2}})
        await shop.until("Degraded", lambda found: found["status"] == "True", "a report")
        await make_late(shop)
        await shop.until("Degraded", lambda found: "given up" in found["message"], "given up", 2 * LIMIT_S)
    rolled_back = await shop.comes_to("Ready", "RolledBack")
    assert "Deployment bookshop-order" in rolled_back["message"]


async def make_late(shop: Kept) -> None:
    """As if the rollout had begun long ago."""
    rollout = (await shop.status())["rollout"]
    body = {"status": {"rollout": {**rollout, "startedAt": "2020-01-01T00:00:00Z"}}}
    await shop.api.patch(SHOP, shop.namespace, shop.name, body, subresource="status")


async def test_a_deletion_that_a_webhook_stops_says_so(shop: Kept, api: Kube, authority: bytes) -> None:
    async with webhook(api, shop.namespace, authority, free_port(), ["deployments"]):
        await shop.delete()

        async def reported() -> bool:
            return "failed calling webhook" in (await shop.condition("Ready")).get("message", "")

        await wait_until(reported, LIMIT_S, "the reason")
    await shop.gone()


async def test_broken_shops_do_not_hold_up_healthy_ones(
    api: Kube, operators: Operators, operator_login: Path, apiserver: ApiServer
) -> None:
    """Many more Shops than the operator has workers are refused, in every way; those that come after get ready."""
    namespaces = {way: await conftest.new_namespace(api) for way in (*REFUSALS, "healthy")}
    watched = ",".join(namespaces.values())
    healthy = namespaces.pop("healthy")
    good = [Kept(api, healthy, f"healthy-{number}") for number in range(HEALTHY)]
    broken = {
        way: [Kept(api, namespace, f"{way}-{number}") for number in range(BROKEN_EACH)]
        for way, namespace in namespaces.items()
    }
    operator = operators.start(operator_login, healthy, namespaces=watched, workers=str(WORKERS))
    await operator.leading()
    async with contextlib.AsyncExitStack() as stack:
        for way, shops in broken.items():
            refused = RefusedShops(api, apiserver, namespaces[way], [shop.name for shop in shops])
            await stack.enter_async_context(REFUSALS[way](refused))
        await stack.enter_async_context(Kubelet(api, healthy))
        for shop in (*itertools.chain.from_iterable(broken.values()), *good):
            await shop.apply()
        for shop in good:
            await shop.ready()
        for way, shops in broken.items():
            for shop in shops:
                await shop.comes_to("Degraded", REASONS[way], 4 * LIMIT_S)
                assert (await shop.condition("Ready")).get("status") != "True"
    await operator.stop()


async def test_webhooks_that_do_not_respond_delay_no_other_shop(
    api: Kube, operators: Operators, operator_login: Path, apiserver: ApiServer, authority: bytes
) -> None:
    """More Shops than the operator has workers wait in their first pass, before anything is known about them."""
    silent, healthy = await conftest.new_namespace(api), await conftest.new_namespace(api)
    watched = f"{silent},{healthy}"
    stuck = [Kept(api, silent, f"silent-{number}") for number in range(WORKERS + 1)]
    operator = operators.start(operator_login, healthy, namespaces=watched, workers=str(WORKERS))
    await operator.leading()
    async with (
        Kubelet(api, healthy),
        webhook_without_response(apiserver) as hook,
        webhook(api, silent, authority, hook.port, ["services"], LONGEST_WEBHOOK_S),
    ):
        for shop in stuck:
            await shop.apply()
        await wait_until(lambda: hook.waiting > 0, LIMIT_S, "a webhook that is asked")
        good = Kept(api, healthy)
        await good.apply()
        await good.ready()
        statuses = [(await shop.condition("Degraded")).get("status") for shop in stuck]
        assert "True" not in statuses, "they have not waited for as long as it took"
    await operator.stop()
