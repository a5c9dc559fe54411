"""shopctl next to a real operator: what a plan says is what the operator does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from shop.devkit.testing import wait_until
from shop.operator.cluster import operator_requests, overview_reader, planner
from shop.operator.cluster.plan_result import Action, Plan
from shop.operator.cluster.session import Session
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, SHOP
from shop.operator.kube.objects import Object
from tests.operator import shopctl
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

READY_TIMEOUT_S = 120
REGISTRY = "registry.example.com/shops"


@pytest.fixture
async def operator(
    api: Kube, operators: Operators, operator_login: Path, namespace: str, kubelet: Kubelet
) -> AsyncIterator[Operator]:
    await api.create(DEPLOYMENT, deployment(namespace))
    operator = operators.start(operator_login, namespace, image_registry=REGISTRY)
    await operator.leading()
    yield operator
    await operator.stop()


def deployment(namespace: str) -> Object:
    """What charts/shop-operator makes for this operator, as far as shopctl looks at it."""
    env = [
        {"name": "SHOP_OPERATOR_NAMESPACES", "value": namespace},
        {"name": "SHOP_OPERATOR_IMAGE_REGISTRY", "value": REGISTRY},
    ]
    labels = {"app.kubernetes.io/name": "shop-operator", "app.kubernetes.io/version": version("shop-operator")}
    template = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "operator", "image": "x", "env": env}]},
    }
    spec = {"selector": {"matchLabels": labels}, "template": template}
    metadata = {"name": "shop-operator", "namespace": namespace, "labels": labels}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


async def apply(session: Session, file: Path) -> None:
    """As `kubectl apply` does, and until the operator has brought it up."""
    wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    wanted["metadata"]["namespace"] = session.namespace
    await session.kube.apply(SHOP, wanted, force=True, manager="kubectl")

    async def ready() -> bool:
        return (await overview_reader.overview(session, "bookshop")).ready

    await wait_until(ready, READY_TIMEOUT_S, "a ready Shop")


async def inventory(session: Session) -> set[str]:
    found = await session.shop("bookshop")
    return {entry["id"] for entry in found["status"]["inventory"]}


def ids(plan: Plan, action: Action) -> set[str]:
    return {str(item.ref) for item in plan.items if item.action is action and item.ref.kind != "Shop"}


async def test_a_plan_is_what_the_operator_does(api: Kube, namespace: str, operator: Operator, tmp_path: Path) -> None:
    session = Session(api, namespace, True)
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    first = await planner.make(session, file)
    await apply(session, file)
    assert (ids(first, Action.CREATE), list(first.notes)) == (await inventory(session), [])

    settled = await planner.make(session, file)
    assert (settled.code, settled.text().splitlines()[-1].endswith("Nothing would change.")) == (0, True)

    changed_file = shopctl.write_shop(
        tmp_path / "new.yaml", services={"order": {"replicas": 2}}, podDisruptionBudgets=False
    )
    before, plan = await inventory(session), await planner.make(session, changed_file)
    assert ids(plan, Action.CHANGE) == {"apps/v1/Deployment/bookshop-order"}
    assert {id_.split("/")[2] for id_ in ids(plan, Action.DELETE)} == {"PodDisruptionBudget"}
    await apply(session, changed_file)
    assert before - await inventory(session) == ids(plan, Action.DELETE)
    assert (await planner.make(session, changed_file)).code == 0


async def test_a_suspended_shop_is_left_alone_until_it_is_resumed(
    api: Kube, namespace: str, operator: Operator, tmp_path: Path
) -> None:
    session = Session(api, namespace, True)
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await apply(session, file)
    await operator_requests.set_suspended(session, "bookshop", suspended=True, timeout_s=READY_TIMEOUT_S)
    overview = await overview_reader.overview(session, "bookshop")
    assert (overview.ready, overview.document()["summary"].startswith("Paused, ready")) == (True, True)
    await api.delete(DEPLOYMENT, namespace, "bookshop-order")
    plan = await planner.make(session, file)
    assert ids(plan, Action.CREATE) == {"apps/v1/Deployment/bookshop-order"}
    assert "the Shop is suspended" in plan.text()
    await operator_requests.set_suspended(session, "bookshop", suspended=False, timeout_s=READY_TIMEOUT_S)

    async def back() -> bool:
        return await api.get(DEPLOYMENT, namespace, "bookshop-order") is not None

    await wait_until(back, READY_TIMEOUT_S, "the Deployment back")


async def test_a_plan_is_made_with_the_version_of_the_operator_and_not_that_of_what_serves(
    api: Kube, namespace: str, tmp_path: Path
) -> None:
    """They differ while a newer one is rolled out, and after it was rolled back."""
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(api, namespace, file)
    newer = deployment(namespace)
    newer["metadata"]["labels"]["app.kubernetes.io/version"] = "9.9.9"
    await api.create(DEPLOYMENT, newer)
    plan = await planner.make(Session(api, namespace, True), file)
    [order] = [item for item in plan.items if item.ref.display_name == "Deployment bookshop-order"]
    assert "spec.template.spec.containers[order].image" in {change.path for change in order.changes}
