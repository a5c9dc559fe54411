"""`shopctl plan` against a real API server: what applying a Shop would do, without doing it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from shop.operator.cluster import planner
from shop.operator.cluster.plan_result import Action, Item, Plan
from shop.operator.cluster.session import Session
from shop.operator.errors import ShopctlError
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE, SHOP, Kind
from shop.operator.kube.objects import SHOP_LABEL, Object
from tests.operator import shopctl
from tests.operator.apiserver import ApiServer

STATEFUL_SET = Kind("apps/v1", "StatefulSet", "statefulsets")


@pytest.fixture
def session(api: Kube, namespace: str) -> Session:
    return Session(api, namespace, True)


def of(plan: Plan, *actions: Action) -> list[str]:
    return [item.ref.display_name for item in plan.items if item.action in actions]


def item(plan: Plan, display_name: str) -> Item:
    return next(item for item in plan.items if item.ref.display_name == display_name)


def changed(plan: Plan) -> dict[str, list[str]]:
    """Changed fields by object."""
    found = [item for item in plan.items if item.action is Action.CHANGE]
    return {item.ref.display_name: [change.path for change in item.changes] for item in found}


async def test_a_new_shop_is_all_to_create_and_nothing_is_written(
    session: Session, apiserver: ApiServer, tmp_path: Path
) -> None:
    since = apiserver.mark()
    plan = await planner.make(session, shopctl.write_shop(tmp_path / "shop.yaml"))
    assert (plan.is_new, plan.code, of(plan, *set(Action) - {Action.CREATE})) == (True, 2, [])
    assert [note.partition(":")[0] for note in plan.notes] == [f"no operator watches namespace {session.namespace}"]
    assert {"Shop bookshop", "Deployment bookshop-order", "Secret bookshop-database-order"} <= set(
        of(plan, Action.CREATE)
    )
    writes = [write for write in apiserver.writes(since) if write.namespace == session.namespace]
    assert len(writes) == len(plan.items)
    assert all(write.dry_run for write in writes)
    assert await session.kube.list(SECRET, session.namespace) == []


async def test_an_installed_shop_has_nothing_to_change(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml", services={"order": {"replicas": 2}})
    await shopctl.install(session.kube, session.namespace, file)
    plan = await planner.make(session, file)
    assert (plan.code, changed(plan), list(plan.notes)) == (0, {}, [])
    assert len(of(plan, Action.NONE)) == len(plan.items) > 30


async def test_only_what_a_setting_concerns_changes(session: Session, tmp_path: Path) -> None:
    await shopctl.install(session.kube, session.namespace, shopctl.write_shop(tmp_path / "old.yaml"))
    plan = await planner.make(session, shopctl.write_shop(tmp_path / "new.yaml", services={"order": {"replicas": 3}}))
    assert changed(plan) == {"Shop bookshop": ["spec.services.order"], "Deployment bookshop-order": ["spec.replicas"]}
    (change,) = item(plan, "Deployment bookshop-order").changes
    assert (change.before, change.after) == (1, 3)
    assert plan.code == 2


async def test_drift_and_a_lost_object_are_to_be_repaired(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    selector = {"spec": {"selector": {"app.kubernetes.io/name": "elsewhere"}}}
    await session.kube.patch(SERVICE, session.namespace, "bookshop-order", selector)
    await session.kube.patch(DEPLOYMENT, session.namespace, "bookshop-user", {"metadata": {"annotations": {"a": "b"}}})
    await session.kube.delete(SECRET, session.namespace, "bookshop-nats")
    plan = await planner.make(session, file)
    assert changed(plan) == {"Service bookshop-order": ["spec.selector[app.kubernetes.io/name]"]}
    assert of(plan, Action.CREATE) == ["Secret bookshop-nats"]


async def test_replicas_that_go_to_an_autoscaler_are_no_change(session: Session, tmp_path: Path) -> None:
    await shopctl.install(session.kube, session.namespace, shopctl.write_shop(tmp_path / "old.yaml"))
    scaled = {"order": {"autoscaling": {"minReplicas": 2, "maxReplicas": 5}}}
    plan = await planner.make(session, shopctl.write_shop(tmp_path / "new.yaml", services=scaled))
    assert of(plan, Action.CREATE) == ["HorizontalPodAutoscaler bookshop-order"]
    assert set(changed(plan)) == {"Shop bookshop"}


def config_map(namespace: str, name: str, labels: dict[str, str]) -> Object:
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {}}


async def test_what_the_inventory_has_too_much_is_to_be_deleted_if_it_is_still_that_object(
    session: Session, tmp_path: Path
) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    ours = {SHOP_LABEL: "bookshop"}
    names = ("bookshop-old", "bookshop-gone", "bookshop-anew")
    old, gone, anew = (config_map(session.namespace, name, ours) for name in names)
    await shopctl.install(session.kube, session.namespace, file, old, gone, anew)
    await session.kube.delete(CONFIG_MAP, session.namespace, "bookshop-gone")
    await session.kube.delete(CONFIG_MAP, session.namespace, "bookshop-anew")
    await session.kube.create(CONFIG_MAP, anew)
    plan = await planner.make(session, file)
    assert of(plan, Action.DELETE) == ["ConfigMap bookshop-old"]
    assert plan.code == 2


async def test_a_foreign_object_of_the_same_name_is_a_refusal(session: Session, tmp_path: Path) -> None:
    foreign = config_map(session.namespace, "bookshop-streams", {}) | {"data": {"SHOP_STREAM_BYTES": "1"}}
    await session.kube.apply(CONFIG_MAP, foreign, force=True, manager="somebody")
    plan = await planner.make(session, shopctl.write_shop(tmp_path / "shop.yaml"))
    assert of(plan, Action.REFUSE) == ["ConfigMap bookshop-streams"]
    assert item(plan, "ConfigMap bookshop-streams").message == "exists already and was not made for this Shop"
    assert plan.code == 1


async def test_what_cannot_be_changed_is_a_refusal_with_the_api_servers_reason(
    session: Session, tmp_path: Path
) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    live = await session.kube.get(STATEFUL_SET, session.namespace, "bookshop-valkey")
    assert live is not None
    await session.kube.delete(STATEFUL_SET, session.namespace, "bookshop-valkey")
    kept = {name: live["metadata"][name] for name in ("name", "namespace", "labels")}
    another = {**live["spec"], "podManagementPolicy": "Parallel", "serviceName": "elsewhere"}
    await session.kube.create(STATEFUL_SET, {**live, "metadata": kept, "spec": another})
    plan = await planner.make(session, file)
    assert (plan.code, of(plan, Action.REFUSE)) == (1, ["StatefulSet bookshop-valkey"])
    assert "Forbidden: updates to statefulset spec" in item(plan, "StatefulSet bookshop-valkey").message


async def test_an_object_of_another_shop_is_a_refusal(session: Session, tmp_path: Path) -> None:
    await session.kube.create(CONFIG_MAP, config_map(session.namespace, "bookshop-streams", {SHOP_LABEL: "other"}))
    plan = await planner.make(session, shopctl.write_shop(tmp_path / "shop.yaml"))
    assert item(plan, "ConfigMap bookshop-streams").message == "belongs to the Shop other"


async def test_the_label_of_another_shop_on_an_object_is_repaired(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    for kind in (SECRET, CONFIG_MAP):
        name = {SECRET: "bookshop-nats", CONFIG_MAP: "bookshop-streams"}[kind]
        await session.kube.patch(kind, session.namespace, name, {"metadata": {"labels": {SHOP_LABEL: "other"}}})
    plan = await planner.make(session, file)
    assert of(plan, Action.CHANGE) == ["Secret bookshop-nats", "ConfigMap bookshop-streams"]


async def test_a_missing_object_that_the_shop_names_is_a_refusal(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml", store={"catalog": {"configMap": "books"}})
    plan = await planner.make(session, file)
    expected = f'spec.store.catalog.configMap: there is no ConfigMap "books" in namespace {session.namespace}'
    assert (plan.code, item(plan, "Shop bookshop").message) == (1, expected)
    await session.kube.create(CONFIG_MAP, config_map(session.namespace, "books", {}) | {"data": {"catalog.json": "[]"}})
    assert (await planner.make(session, file)).code == 2


async def test_a_changed_secret_is_named_and_its_value_is_not(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    await session.kube.patch(SECRET, session.namespace, "bookshop-nats", {"stringData": {"password": "tampered-with"}})
    live = await session.kube.get(SECRET, session.namespace, "bookshop-postgres")
    plan = await planner.make(session, file)
    assert changed(plan) == {"Secret bookshop-nats": ["data.password"]}
    shown = plan.text() + json.dumps(plan.document())
    assert "data.password: changed" in plan.text()
    assert live is not None
    for value in ("tampered-with", "dGFtcGVyZWQtd2l0aA==", live["data"]["password"]):
        assert value not in shown


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"store": {"currency": "USD"}}, "refuses the Shop: spec.store.currency: "),
        ({"cache": {"storage": "9Gi"}}, "refuses the Shop: spec.cache.storage: "),
        ({"exposure": {"type": "Gateway", "host": "a.example"}}, "spec.exposure: type Gateway needs gatewayRef"),
    ],
)
async def test_what_admission_refuses_is_said_first(
    session: Session, tmp_path: Path, spec: dict[str, Any], message: str
) -> None:
    await shopctl.install(session.kube, session.namespace, shopctl.write_shop(tmp_path / "old.yaml"))
    with pytest.raises(ShopctlError, match=message):
        await planner.make(session, shopctl.write_shop(tmp_path / "new.yaml", **spec))


async def test_a_kind_that_the_cluster_lacks_is_named(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml", database={"mode": "CloudNativePG", "instances": 2})
    with pytest.raises(ShopctlError, match=r"shop.yaml: spec.database.mode: CloudNativePG needs"):
        await planner.make(session, file)


async def test_a_suspended_shop_says_so(session: Session, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    await session.kube.patch(SHOP, session.namespace, "bookshop", {"spec": {"suspend": True}})
    plan = await planner.make(session, file)
    assert (plan.code, len(plan.notes)) == (0, 1)
    assert "the Shop is suspended" in plan.text()


async def test_a_missing_namespace_is_reported_with_what_to_do(api: Kube, tmp_path: Path) -> None:
    with pytest.raises(ShopctlError, match="kubectl create namespace nowhere"):
        await planner.make(Session(api, "nowhere", True), shopctl.write_shop(tmp_path / "shop.yaml"))


async def test_two_namespaces_are_one_too_many(api: Kube, tmp_path: Path) -> None:
    file = tmp_path / "shop.yaml"
    shopctl.write_shop(file)
    file.write_text(file.read_text().replace("name: bookshop", "name: bookshop\n  namespace: there"))
    with pytest.raises(ShopctlError, match=r"metadata.namespace is there, but --namespace says here"):
        await planner.make(Session(api, "here", True), file)


async def test_without_the_right_to_secrets_the_rest_is_planned(
    session: Session, apiserver: ApiServer, tmp_path: Path
) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    await shopctl.install(session.kube, session.namespace, file)
    groups = ["apps", "batch", "networking.k8s.io", "policy", "autoscaling", "shops.shopkeeper.dev"]
    everything_else = {"": ["configmaps", "services", "serviceaccounts"], **{group: ["*"] for group in groups}}
    await shopctl.allow(session.kube, session.namespace, "planner", everything_else, ["*"])
    changed_file = shopctl.write_shop(tmp_path / "new.yaml", services={"order": {"replicas": 3}})
    async with Kube(apiserver.kubeconfig_for("planner")) as kube:
        plan = await planner.make(Session(kube, session.namespace, True), changed_file)
    assert changed(plan)["Deployment bookshop-order"] == ["spec.replicas"]
    assert {item.ref.kind for item in plan.items if item.action is Action.UNKNOWN} == {"Secret"}
    assert any("no right to read Secret bookshop-seed" in note for note in plan.notes)


async def test_the_command_prints_json_and_ends_with_2(kubeconfig: Path, namespace: str, tmp_path: Path) -> None:
    file = shopctl.write_shop(tmp_path / "shop.yaml")
    done = await shopctl.run("plan", "-f", file, "-n", namespace, "--kubeconfig", kubeconfig, "--json")
    assert (done.code, done.err) == (2, "")
    found = json.loads(done.out)
    assert (found["shop"], found["namespace"], found["new"], found["changed"]) == ("bookshop", namespace, True, True)
    assert found["summary"]["create"] == len(found["objects"])
