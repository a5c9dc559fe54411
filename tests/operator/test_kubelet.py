"""The fake kubelet itself: the operator's health rules take what it writes for ready, or for the problem."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.status.health import Phase, assess, serves
from shop.operator.engine.status.pods import pod_problem
from shop.operator.kube.client import WATCH_S, Event, Kube, Objects
from shop.operator.kube.kinds import CLAIM, DEPLOYMENT, JOB, POD, Kind
from shop.operator.kube.objects import SHOP_LABEL, Object
from tests.operator.kubelet import STATEFUL_SET, Kubelet
from tests.operator.statuses import Failure

LABELS = {SHOP_LABEL: "bookshop", "app": "order"}
LIMIT_S = 20


@pytest.fixture
async def kubelet(api: Kube, namespace: str) -> AsyncIterator[Kubelet]:
    async with Kubelet(api, namespace) as kubelet:
        yield kubelet


def workload(kind: Kind, namespace: str, *, image: str = "shop-order:1", **spec: Any) -> Object:
    container = {"name": "order", "image": image}
    template: Object = {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}}
    if kind is JOB:
        template["spec"]["restartPolicy"] = "Never"
    else:
        spec["selector"] = {"matchLabels": LABELS}
    metadata = {"name": "order", "namespace": namespace, "labels": LABELS}
    return {
        "apiVersion": kind.api_version,
        "kind": kind.kind,
        "metadata": metadata,
        "spec": {**spec, "template": template},
    }


def claim_template() -> Object:
    spec = {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
    return {"metadata": {"name": "data"}, "spec": spec}


async def until(api: Kube, kind: Kind, namespace: str, phase: Phase, name: str = "order") -> Object:
    found: Object = {}

    async def there() -> bool:
        nonlocal found
        found = await api.get(kind, namespace, name) or {}
        return bool(found) and assess(found).phase is phase

    await wait_until(there, LIMIT_S, f"{kind.kind} {phase}")
    return found


async def problems(api: Kube, namespace: str) -> list[str]:
    """What the operator would say of the pods."""
    found = [pod_problem(pod) for pod in await api.list(POD, namespace, SHOP_LABEL)]
    return [re.sub(r"-[0-9a-f]{6,}", "-*", each.message) for each in found if each]


async def until_problems(api: Kube, namespace: str, *messages: str) -> None:
    async def said() -> bool:
        return await problems(api, namespace) == list(messages)

    await wait_until(said, LIMIT_S, f"problems {messages}")


@pytest.mark.parametrize(
    ("kind", "spec"),
    [
        (DEPLOYMENT, {"replicas": 2}),
        (DEPLOYMENT, {"replicas": 0}),
        (STATEFUL_SET, {"serviceName": "order", "volumeClaimTemplates": [claim_template()]}),
        (JOB, {"backoffLimit": 1}),
    ],
    ids=lambda value: value.kind if isinstance(value, Kind) else "",
)
async def test_workloads_become_ready(api: Kube, namespace: str, kubelet: Kubelet, kind: Kind, spec: Object) -> None:
    await api.apply(kind, workload(kind, namespace, **spec), force=True)
    await until(api, kind, namespace, Phase.READY)
    assert await problems(api, namespace) == []
    if kind is STATEFUL_SET:
        await until(api, CLAIM, namespace, Phase.READY, "data-order-0")
        await api.delete(CLAIM, namespace, "data-order-0")
        await wait_until(lambda: _gone(api, CLAIM, namespace, "data-order-0"), LIMIT_S)


async def _gone(api: Kube, kind: Kind, namespace: str, name: str = "order") -> bool:
    return await api.get(kind, namespace, name) is None


@pytest.mark.parametrize(
    ("failure", "words"),
    [
        (
            Failure.image_pull(),
            "container order: ImagePullBackOff: image shop-order:2 cannot be pulled: manifest unknown",
        ),
        (Failure.crash_loop("no database"), "container order: CrashLoopBackOff: exit code 1: no database"),
        (Failure.unschedulable("no cpu"), "Unschedulable: no cpu"),
        (Failure.config_error("no secret"), "container order: CreateContainerConfigError: no secret"),
    ],
    ids=lambda value: value.reason if isinstance(value, Failure) else "",
)
async def test_a_failing_upgrade_leaves_the_old_pods_and_heals(
    api: Kube, namespace: str, kubelet: Kubelet, failure: Failure, words: str
) -> None:
    await kubelet.fail("*", failure, image="*:2")
    await api.apply(DEPLOYMENT, workload(DEPLOYMENT, namespace, replicas=2), force=True)
    await until(api, DEPLOYMENT, namespace, Phase.READY)
    await api.apply(DEPLOYMENT, workload(DEPLOYMENT, namespace, replicas=2, image="shop-order:2"), force=True)
    broken = await until(api, DEPLOYMENT, namespace, Phase.WAITING)
    assert serves(broken)
    await until_problems(api, namespace, f"Deployment order: pod order-*-*: {words}")
    await kubelet.heal()
    await until(api, DEPLOYMENT, namespace, Phase.READY)
    await until_problems(api, namespace)


async def test_a_failure_without_any_change_stops_the_service(api: Kube, namespace: str, kubelet: Kubelet) -> None:
    await api.apply(DEPLOYMENT, workload(DEPLOYMENT, namespace), force=True)
    await until(api, DEPLOYMENT, namespace, Phase.READY)
    await kubelet.fail("ord*", Failure.crash_loop())
    assert not serves(await until(api, DEPLOYMENT, namespace, Phase.WAITING))
    await api.delete(DEPLOYMENT, namespace, "order")
    await until_problems(api, namespace)


async def test_a_failing_job_has_failed_for_good(api: Kube, namespace: str, kubelet: Kubelet) -> None:
    await kubelet.fail("order", Failure.crash_loop("column exists"))
    await api.apply(JOB, workload(JOB, namespace), force=True)
    failed = await until(api, JOB, namespace, Phase.FAILED)
    assert "backoff limit" in assess(failed).message
    await until_problems(api, namespace, "Job order: pod order-*-*: container order: Error: exit code 1: column exists")
    await api.delete(JOB, namespace, "order", propagation="Foreground")
    await wait_until(lambda: _gone(api, JOB, namespace), LIMIT_S)
    await until_problems(api, namespace)


class SlowLists(Kube):
    """A connection on which a Deployment is deleted, and its event seen, between the reading of a list and its end."""

    def __init__(self, kubeconfig: Path | None = None, context: str | None = None) -> None:
        super().__init__(kubeconfig, context)
        self._seen = asyncio.Event()

    async def list(self, kind: Kind, namespace: str | None, labels: str = "") -> Objects:
        found = await super().list(kind, namespace, labels)
        if kind is DEPLOYMENT:
            await self.delete(kind, namespace, "order", propagation="Foreground")
            await asyncio.wait_for(self._seen.wait(), LIMIT_S)
        return found

    async def watch(
        self, kind: Kind, namespace: str | None, labels: str, resource_version: str, timeout_s: float = WATCH_S
    ) -> AsyncGenerator[Event]:
        async with aclosing(super().watch(kind, namespace, labels, resource_version, timeout_s)) as events:
            async for what, obj in events:
                yield what, obj
                if obj["metadata"].get("deletionTimestamp"):
                    self._seen.set()


async def test_what_is_deleted_while_the_rules_change_still_goes(api: Kube, namespace: str, kubeconfig: Path) -> None:
    """`heal` reads lists: an older state in one must not displace the deletion that is to be worked on."""
    async with SlowLists(kubeconfig) as kube, Kubelet(kube, namespace, start_s=1.0) as kubelet:
        await api.apply(DEPLOYMENT, workload(DEPLOYMENT, namespace), force=True)
        await until(api, DEPLOYMENT, namespace, Phase.READY)
        await kubelet.heal()
        await wait_until(lambda: _gone(api, DEPLOYMENT, namespace), LIMIT_S, "gone")
