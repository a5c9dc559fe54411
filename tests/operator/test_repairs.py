"""Drift: what another client changes in a Shop's objects is repaired within moments, what is not ours is kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, JOB, SECRET, SERVICE, Kind
from shop.operator.kube.objects import SHOP_LABEL, Object, Ref
from tests.operator.conftest import new_namespace
from tests.operator.kept import LIMIT_S, SMALL, Kept, essence
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

SCALER = Kind("autoscaling/v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers")
STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")
POLICY = Kind("networking.k8s.io/v1", "NetworkPolicy", "networkpolicies")
SPEC = {
    **SMALL,
    "networkPolicies": True,
    "services": {"product": {"autoscaling": {"minReplicas": 1, "maxReplicas": 5}}, "order": {"replicas": 2}},
}
type Change = Callable[[Kept], Awaitable[object]]


@dataclass(frozen=True)
class Scene:
    """A ready Shop and what it was made of; every test leaves it so."""

    shop: Kept
    operator: Operator
    before: dict[str, Object]

    async def repaired(self) -> None:
        async def same() -> bool:
            return essence(await self.shop.objects()) == self.before

        await wait_until(same, LIMIT_S, "the Shop as it was")
        await self.shop.ready()


@pytest.fixture(scope="module")
async def scene(api: Kube, operators: Operators, operator_login: Path) -> AsyncIterator[Scene]:
    namespace = await new_namespace(api)
    async with Kubelet(api, namespace):
        operator = operators.start(operator_login, namespace)
        shop = Kept(api, namespace)
        await shop.apply(SPEC)
        await shop.ready()
        yield Scene(shop, operator, essence(await shop.objects()))
        operator.kill()


def patched(kind: Kind, name: str, body: Object, subresource: str = "") -> Change:
    async def change(shop: Kept) -> Object:
        return await shop.api.patch(kind, shop.namespace, f"bookshop-{name}", body, subresource=subresource)

    return change


def removed(kind: Kind, name: str) -> Change:
    async def change(shop: Kept) -> object:
        return await shop.api.delete(kind, shop.namespace, f"bookshop-{name}")

    return change


def edited(kind: Kind, name: str, *operations: Object) -> Change:
    async def change(shop: Kept) -> object:
        return await shop.api.patch(kind, shop.namespace, f"bookshop-{name}", list(operations))

    return change


ENV = "/spec/template/spec/containers/0/env/0"
DRIFTS: dict[str, tuple[Change, str]] = {
    "deleted Deployment": (removed(DEPLOYMENT, "order"), "Deployment bookshop-order was deleted"),
    "deleted StatefulSet": (removed(STATEFUL_SET, "nats"), "StatefulSet bookshop-nats was deleted"),
    "deleted Secret": (removed(SECRET, "database-order"), "Secret bookshop-database-order was deleted"),
    "deleted Service": (removed(SERVICE, "gateway"), "Service bookshop-gateway was deleted"),
    "edited env": (
        edited(DEPLOYMENT, "user", {"op": "replace", "path": ENV, "value": {"name": "SHOP_ADMIN_EMAIL", "value": "x"}}),
        "Deployment bookshop-user: spec.template.spec.containers",
    ),
    "edited image": (
        edited(
            DEPLOYMENT, "payment", {"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil"}
        ),
        "Deployment bookshop-payment: spec.template.spec.containers",
    ),
    "changed Service port": (
        edited(SERVICE, "order", {"op": "replace", "path": "/spec/ports/0/port", "value": 81}),
        "Service bookshop-order: spec.ports",
    ),
    "removed label": (
        patched(SERVICE, "user", {"metadata": {"labels": {"app.kubernetes.io/part-of": None}}}),
        "Service bookshop-user: metadata.labels",
    ),
    "changed label": (
        patched(CONFIG_MAP, "streams", {"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}}),
        "ConfigMap bookshop-streams: metadata.labels",
    ),
    "labelled as another Shop's": (
        patched(SERVICE, "order", {"metadata": {"labels": {SHOP_LABEL: "arcade"}}}),
        "Service bookshop-order: metadata.labels",
    ),
    "password labelled as another Shop's": (
        patched(SECRET, "database-order", {"metadata": {"labels": {SHOP_LABEL: "arcade"}}}),
        "Secret bookshop-database-order: metadata.labels",
    ),
    "changed without the Shop's label": (
        edited(
            SERVICE,
            "payment",
            {"op": "remove", "path": f"/metadata/labels/{SHOP_LABEL.replace('/', '~1')}"},
            {"op": "replace", "path": "/spec/ports/0/port", "value": 81},
        ),
        "Service bookshop-payment: metadata.labels",
    ),
    "scaled without an autoscaler": (
        patched(DEPLOYMENT, "order", {"spec": {"replicas": 5}}, "scale"),
        "Deployment bookshop-order: spec.replicas",
    ),
    "edited ConfigMap": (
        patched(CONFIG_MAP, "streams", {"data": {"SHOP_STREAM_BYTES": "1"}}),
        "ConfigMap bookshop-streams: data.SHOP_STREAM_BYTES",
    ),
    "edited password": (
        patched(SECRET, "database-user", {"data": {"password": "eA=="}}),
        "Secret bookshop-database-user: data.password",
    ),
    "opened policy": (
        patched(POLICY, "postgres", {"spec": {"ingress": [{}]}}),
        "NetworkPolicy bookshop-postgres: spec.ingress",
    ),
    "autoscaler edited": (
        patched(SCALER, "product", {"spec": {"maxReplicas": 50}}),
        "HorizontalPodAutoscaler bookshop-product: spec.maxReplicas",
    ),
}


@pytest.mark.parametrize(("change", "message"), DRIFTS.values(), ids=list(DRIFTS))
async def test_drift_is_repaired_and_reported(scene: Scene, change: Change, message: str) -> None:
    await change(scene.shop)
    await scene.repaired()
    drifted = await scene.shop.until("Drifted", lambda found: message in found["message"], message)
    assert drifted["reason"] in {"Repaired", "Repairing"}


async def test_an_object_that_is_refused_keeps_no_other_from_its_repair(scene: Scene) -> None:
    shop = scene.shop
    await shop.patch(suspend=True)
    await shop.comes_to("Paused", "Suspended")
    for name in ("gateway", "user"):
        await removed(SERVICE, name)(shop)
    metadata = {"name": "bookshop-gateway", "namespace": shop.namespace}
    theirs = {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 1}]}}
    await shop.api.create(SERVICE, theirs)
    await shop.patch(suspend=False)
    degraded = await shop.comes_to("Degraded", "NameTaken")
    assert "Service bookshop-gateway exists already" in degraded["message"]
    assert await shop.get(SERVICE, "user")
    assert "Service bookshop-user was deleted" in (await shop.condition("Drifted"))["message"]
    await removed(SERVICE, "gateway")(shop)
    await scene.repaired()


FOREIGN: dict[str, Change] = {
    "annotation": patched(DEPLOYMENT, "order", {"metadata": {"annotations": {"example.com/note": "mine"}}}),
    "label": patched(SERVICE, "order", {"metadata": {"labels": {"example.com/team": "books"}}}),
    "replicas of an autoscaler": patched(DEPLOYMENT, "product", {"spec": {"replicas": 4}}, "scale"),
    "restart": patched(
        DEPLOYMENT,
        "pricing",
        {"spec": {"template": {"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}}}},
    ),
    "key in a ConfigMap": patched(CONFIG_MAP, "streams", {"data": {"MINE": "1"}}),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=list(FOREIGN))
async def test_what_is_not_ours_is_left_alone(scene: Scene, change: Change) -> None:
    """A drift that comes afterwards is repaired, so the operator has seen the foreign change too."""
    await change(scene.shop)
    changed = essence(await scene.shop.objects())
    await removed(POLICY, "user")(scene.shop)

    async def same() -> bool:
        return essence(await scene.shop.objects()) == changed

    await wait_until(same, LIMIT_S, "the policy back, the foreign change kept")
    scene.before.clear()
    scene.before.update(changed)


async def test_a_lost_seed_and_history_come_back_the_same(scene: Scene) -> None:
    seed = await scene.shop.get(SECRET, "seed")
    for name in ("seed", "history"):
        await removed(SECRET, name)(scene.shop)
    await scene.repaired()
    again = await scene.shop.get(SECRET, "seed")
    assert seed is not None
    assert again is not None
    assert again["data"] == seed["data"]


@pytest.mark.parametrize("label", [None, "arcade"])
@pytest.mark.parametrize("name", ["seed", "history"])
async def test_a_seed_and_a_history_without_their_label_get_it_back(scene: Scene, name: str, label: str | None) -> None:
    await scene.shop.change(SECRET, name, {"metadata": {"labels": {SHOP_LABEL: label}}})
    await scene.repaired()
    assert (await scene.shop.condition("Degraded"))["status"] == "False"


async def test_what_drifts_while_no_operator_runs_is_repaired_by_the_next(
    scene: Scene, operators: Operators, operator_login: Path
) -> None:
    """All but a Job that has completed: it has nothing left to do."""
    scene.operator.kill()
    await scene.operator.gone()
    for ref in (Ref("v1", "Secret", "bookshop-seed"), Ref("apps/v1", "Deployment", "bookshop-user")):
        await scene.shop.remove(ref)
    await patched(SERVICE, "user", {"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}})(scene.shop)
    jobs = [obj for obj in await scene.shop.api.list(JOB, scene.shop.namespace) if "migrate" in obj["metadata"]["name"]]
    completed = Ref.of(jobs[0])
    await scene.shop.remove(completed)
    del scene.before[str(completed)]
    again = operators.start(operator_login, scene.shop.namespace)
    await scene.repaired()
    assert completed not in await scene.shop.objects()
    object.__setattr__(scene, "operator", again)


async def test_an_object_that_another_client_keeps_changing_is_skipped_for_a_while(scene: Scene) -> None:
    """Without a limit two controllers would write against each other as fast as the API server lets them."""
    fighting = asyncio.Event()

    async def fight() -> None:
        while not fighting.is_set():
            await patched(SERVICE, "payment", {"metadata": {"labels": {"app.kubernetes.io/part-of": "else"}}})(
                scene.shop
            )
            await asyncio.sleep(0.05)

    task = asyncio.create_task(fight())
    message = "Service bookshop-payment is changed again and again"
    await scene.shop.until("Drifted", lambda found: message in found["message"], message)
    label = {SHOP_LABEL: "bookshop"}
    assert (await scene.shop.get(SERVICE, "gateway") or {})["metadata"]["labels"].items() >= label.items()
    fighting.set()
    await task
