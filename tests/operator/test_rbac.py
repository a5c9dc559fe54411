"""The chart's rights at work: an operator that has nothing else brings Shops up, repairs, changes and deletes them.

The audit log of its own API server then tells both: what it was denied (nothing may be), and what it never used.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from functools import partial
from pathlib import Path

import orjson
import pytest
import yaml

from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import CLAIM, CONFIG_MAP, DEPLOYMENT, RENDERED, SHOP, Kind
from shop.operator.kube.objects import Object, Ref
from shop.operator.resource import rbac
from tests.charts import helm
from tests.charts.rendering import registry
from tests.operator import audit_rights, conftest
from tests.operator.apiserver import ApiServer
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operator, Operators

MARKET, OPS, RELEASE = "market", "ops", "keeper"
USER = f"system:serviceaccount:{OPS}:{RELEASE}"
FAIR, RELEASE_FOR_ALL = "fair", "keeper-of-all"
USER_FOR_ALL = f"system:serviceaccount:{OPS}:{RELEASE_FOR_ALL}"
READY_TIMEOUT_S = 120
REPAIR_TIMEOUT_S = 60
EVERY_REQUEST = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [{"level": "Metadata", "users": [USER, USER_FOR_ALL]}, {"level": "None"}],
}
WITH_RIGHTS = {
    kind.kind: kind
    for kind in (
        Kind("v1", "ServiceAccount", "serviceaccounts"),
        Kind("rbac.authorization.k8s.io/v1", "Role", "roles"),
        Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings"),
        Kind("rbac.authorization.k8s.io/v1", "ClusterRole", "clusterroles"),
        Kind("rbac.authorization.k8s.io/v1", "ClusterRoleBinding", "clusterrolebindings"),
    )
}
BACKUPS = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "backups", "namespace": MARKET},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
CATALOGUE = {
    "apiVersion": "v1",
    "kind": "ConfigMap",
    "metadata": {"name": "catalogue", "namespace": MARKET},
    "data": {"catalog.json": "[]"},
}
# Between them they have every kind of object.
ON_STORES_OF_ITS_OWN = {
    "services": {"order": {"autoscaling": {"maxReplicas": 2}, "env": {"SHOP_DATABASE_POOL_SIZE": "4"}}},
    "exposure": {"type": "Ingress", "host": "books.example.com"},
    "observability": {"serviceMonitors": True, "rules": True, "dashboards": True},
    "networkPolicies": True,
    "podDisruptionBudgets": True,
    "backup": {"schedule": "0 3 * * *", "destination": "pvc://backups"},
    "store": {"catalog": {"configMap": "catalogue"}},
}
ON_OTHERS = {
    "database": {"mode": "CloudNativePG"},
    "exposure": {"type": "Gateway", "host": "games.example.com", "gatewayRef": {"name": "public"}},
}
BY_CHANCE = {f"get {SHOP.plural}.{SHOP.group}"}
"""Asked only when the end of a Shop and a pass meet, or when the watch has missed one."""
ORDER = "books-order"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """One that writes down every request of the operator."""
    server = ApiServer(tmp_path_factory.mktemp("audited"))
    (server.folder / "policy.json").write_text(json.dumps(EVERY_REQUEST), encoding="utf-8")
    with conftest.running(server):
        yield server


@pytest.fixture(scope="module")
async def admin(server: ApiServer) -> AsyncIterator[Kube]:
    """Everything that a cluster has before an operator comes, and the chart's rights."""
    async with Kube(server.kubeconfig) as kube:
        for definition in [conftest.shop_definition()] + [
            conftest.lenient_definition(kind) for kind in RENDERED if kind.optional
        ]:
            await conftest.define(kube, definition)
        for name in (MARKET, OPS, FAIR):
            await kube.create(conftest.NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
        for obj in (*installed(RELEASE, "--set", f"namespaces={{{MARKET}}}"), *installed(RELEASE_FOR_ALL)):
            await kube.create(WITH_RIGHTS[obj["kind"]], obj)
        yield kube


def installed(release: str, *options: str) -> list[Object]:
    """ServiceAccount, roles and bindings of charts/shop-operator."""
    done = helm.run(
        "template", release, "charts/shop-operator", "--namespace", OPS, *registry("shop-operator"), *options
    )
    assert done.returncode == 0, done.stderr
    objects = yaml.load_all(done.stdout, Loader=yaml.CSafeLoader)
    found = [obj for obj in objects if obj and obj["kind"] in WITH_RIGHTS]
    return [obj if obj["kind"].startswith("Cluster") else _placed(obj) for obj in found]


def _placed(obj: Object) -> Object:
    return {**obj, "metadata": {"namespace": OPS, **obj["metadata"]}}


@pytest.fixture(scope="module")
def kubeconfig(server: ApiServer) -> Path:
    """The operator's own account."""
    return account(server, USER)


def account(server: ApiServer, user: str) -> Path:
    return server.kubeconfig_for(user, groups=["system:serviceaccounts", f"system:serviceaccounts:{OPS}"])


@pytest.fixture(scope="module")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    operators = Operators(tmp_path_factory.mktemp("operators"))
    try:
        yield operators
    finally:
        operators.close()


def shop(name: str, spec: Object, namespace: str = MARKET) -> Object:
    metadata = {"name": name, "namespace": namespace}
    return {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": metadata, "spec": spec}


async def ready(admin: Kube, name: str, operator: Operator, namespace: str = MARKET) -> Object:
    found: Object = {}

    async def serves() -> bool:
        nonlocal found
        found = await admin.get(SHOP, namespace, name) or {}
        return any(
            one["type"] == "Ready" and one["status"] == "True" for one in found.get("status", {}).get("conditions", ())
        )

    try:
        await wait_until(serves, READY_TIMEOUT_S, f"Shop {name} ready")
    except AssertionError as error:
        raise AssertionError(f"{found.get('status')}\n{operator.log.read_text()[-3000:]}") from error
    return found


def one_of_each(shops: list[Object]) -> dict[Kind, str]:
    """The name of an object of each kind that the Shops are made of."""
    refs = [Ref.parse(entry["id"]) for shop in shops for entry in shop["status"]["inventory"]]
    by_name = {(kind.api_version, kind.kind): kind for kind in RENDERED}
    return {
        by_name[ref.api_version, ref.kind]: ref.name for ref in refs if not ref.name.endswith(("-seed", "-history"))
    }


async def spoil(admin: Kube, kind: Kind, name: str) -> None:
    """Change something that the operator has applied."""
    labels = {"app.kubernetes.io/part-of": "another-client"}
    await admin.patch(kind, MARKET, name, {"metadata": {"labels": labels}})


async def repaired(admin: Kube, kind: Kind, name: str) -> bool:
    live = await admin.get(kind, MARKET, name)
    return live is not None and live["metadata"]["labels"]["app.kubernetes.io/part-of"] != "another-client"


async def gone(admin: Kube, name: str) -> bool:
    return await admin.get(SHOP, MARKET, name) is None


def used(server: ApiServer, user: str = USER) -> frozenset[audit_rights.Use]:
    lines = (server.folder / "audit.log").read_bytes().splitlines()
    return audit_rights.uses((orjson.loads(line) for line in lines if line.endswith(b"}")), user)


async def contradict(admin: Kube) -> tuple[int, Object]:
    """Give a variable another source, which contradicts the operator's own value; index and original."""
    deployment = await admin.get(DEPLOYMENT, MARKET, ORDER) or {}
    env: list[Object] = deployment["spec"]["template"]["spec"]["containers"][0]["env"]
    index = next(index for index, one in enumerate(env) if "value" in one)
    other = {"name": env[index]["name"], "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}}
    path = f"/spec/template/spec/containers/0/env/{index}"
    await admin.patch(DEPLOYMENT, MARKET, ORDER, [{"op": "replace", "path": path, "value": other}])
    return index, env[index]


async def has_variable(admin: Kube, index: int, wanted: Object) -> bool:
    deployment = await admin.get(DEPLOYMENT, MARKET, ORDER) or {}
    return bool(deployment["spec"]["template"]["spec"]["containers"][0]["env"][index] == wanted)


async def repair_of(admin: Kube, spoiled: dict[Kind, str]) -> None:
    for kind, name in spoiled.items():
        await spoil(admin, kind, name)
    for kind, name in spoiled.items():
        await wait_until(partial(repaired, admin, kind, name), REPAIR_TIMEOUT_S, f"{kind.kind} {name} repaired")


async def test_the_charts_rights_are_enough_and_not_too_many(
    server: ApiServer, admin: Kube, operators: Operators, kubeconfig: Path
) -> None:
    await admin.create(CLAIM, BACKUPS)
    await admin.create(CONFIG_MAP, CATALOGUE)
    operator = operators.start(kubeconfig, MARKET, namespace=OPS, lease=RELEASE)
    async with Kubelet(admin, MARKET):
        for name, spec in (("books", ON_STORES_OF_ITS_OWN), ("games", ON_OTHERS)):
            await admin.create(SHOP, shop(name, spec))
        spoiled = one_of_each([await ready(admin, name, operator) for name in ("books", "games")])
        await repair_of(admin, spoiled)
        index, variable = await contradict(admin)
        await wait_until(partial(has_variable, admin, index, variable), REPAIR_TIMEOUT_S, "the variable is back")
        # Another process that says what has been said before adds to the Event that is there.
        await operator.stop()
        operator = operators.start(kubeconfig, MARKET, namespace=OPS, lease=RELEASE)
        await operator.leading()
        await repair_of(admin, {CONFIG_MAP: spoiled[CONFIG_MAP]})
        for name in ("books", "games"):
            await admin.delete(SHOP, MARKET, name)
        for name in ("books", "games"):
            await wait_until(partial(gone, admin, name), READY_TIMEOUT_S, f"Shop {name} gone")
    found = used(server)
    granted = rbac.shop_rights() | rbac.CREATE_LEASES | rbac.ONE_LEASE
    assert audit_rights.denied(found) == []
    assert set(audit_rights.unused(granted, found)) <= BY_CHANCE
    assert audit_rights.Use(rbac.Right("apps", "deployments", "update"), granted=True) in found
    assert set(RENDERED) == set(spoiled)


@pytest.mark.usefixtures("admin")
async def test_what_it_needs_not_it_may_not(kubeconfig: Path) -> None:
    async with Kube(kubeconfig) as kube:
        review = Kind("authorization.k8s.io/v1", "SelfSubjectAccessReview", "selfsubjectaccessreviews")

        async def allowed(verb: str, group: str, resource: str, namespace: str, name: str = "") -> bool:
            attributes = {"verb": verb, "group": group, "resource": resource, "namespace": namespace, "name": name}
            body = {"apiVersion": review.api_version, "kind": review.kind, "metadata": {}}
            answer = await kube.create(review, {**body, "spec": {"resourceAttributes": attributes}})
            return bool(answer["status"]["allowed"])

        assert await allowed("delete", "apps", "deployments", MARKET)
        assert await allowed("update", "coordination.k8s.io", "leases", OPS, RELEASE)
        assert not await allowed("update", "coordination.k8s.io", "leases", OPS, "another")
        assert not await allowed("get", "", "secrets", OPS)
        assert not await allowed("get", "", "secrets", "kube-system")
        assert not await allowed("create", "", "pods", MARKET)
        assert not await allowed("create", SHOP.group, SHOP.plural, MARKET)
        assert not await allowed("list", SHOP.group, SHOP.plural, "")
        assert not await allowed("list", "", "nodes", "")


async def test_an_operator_for_all_namespaces_is_denied_nothing(
    server: ApiServer, admin: Kube, operators: Operators
) -> None:
    operator = operators.start(account(server, USER_FOR_ALL), "", namespace=OPS, lease=RELEASE_FOR_ALL)
    async with Kubelet(admin, FAIR):
        await admin.create(SHOP, shop("toys", {}, FAIR))
        await ready(admin, "toys", operator, FAIR)
    await operator.stop()
    assert audit_rights.denied(used(server, USER_FOR_ALL)) == []
