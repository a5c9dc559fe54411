"""An API server for the tests of the operator, started once; each test has a namespace of its own."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import yaml

from shop.devkit.testing import wait_until
from shop.kit.ids import new_id
from shop.operator.cluster.session import Session
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import Kind
from shop.operator.kube.objects import Object
from shop.operator.resource import crd
from tests.operator import apiserver as servers
from tests.operator import node as nodes
from tests.operator.apiserver import ApiServer
from tests.operator.kept import Kept
from tests.operator.kubelet import Kubelet
from tests.operator.node import Node
from tests.operator.operators import Operator, Operators

NAMESPACE = Kind("v1", "Namespace", "namespaces")
DEFINITION = Kind("apiextensions.k8s.io/v1", "CustomResourceDefinition", "customresourcedefinitions")
ESTABLISH_TIMEOUT_S = 30


@pytest.fixture(scope="session")
def apiserver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ApiServer]:
    """The server with the Shop's definition in it."""
    with running(ApiServer(tmp_path_factory.mktemp("apiserver"))) as server:
        yield server


@contextlib.contextmanager
def running(server: ApiServer) -> Iterator[ApiServer]:
    """Started, and gone with the block; tests are skipped where its programs are not to be had."""
    if reason := servers.missing():
        pytest.skip(reason)
    try:
        server.start()
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="session")
def kubeconfig(apiserver: ApiServer) -> Path:
    """The administrator's."""
    return apiserver.kubeconfig


@pytest.fixture(scope="session")
async def api(apiserver: ApiServer, kubeconfig: Path) -> AsyncIterator[Kube]:
    """The administrator's connection; Shops can be applied."""
    async with Kube(kubeconfig) as kube:
        await define(kube, shop_definition())
        yield kube


@pytest.fixture
async def namespace(api: Kube) -> str:
    """A fresh namespace."""
    return await new_namespace(api)


@pytest.fixture
async def kubelet(api: Kube, namespace: str) -> AsyncIterator[Kubelet]:
    """Workloads of the namespace become ready."""
    async with Kubelet(api, namespace) as kubelet:
        yield kubelet


@pytest.fixture(scope="session")
def operators(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Operators]:
    """Starts operators as processes."""
    found = Operators(tmp_path_factory.mktemp("operators"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def operator_login(apiserver: ApiServer) -> Path:
    """The kubeconfig of the user "operator", who may do everything; test_rbac.py has one who may not."""
    return apiserver.kubeconfig_for("operator", groups=["system:masters"])


@pytest.fixture
async def operator(operators: Operators, operator_login: Path, namespace: str) -> AsyncIterator[Operator]:
    """One that leads in the namespace."""
    operator = operators.start(operator_login, namespace)
    await operator.leading()
    yield operator
    await operator.stop()


@pytest.fixture
def new(api: Kube, namespace: str, kubelet: Kubelet, operator: Operator) -> Kept:
    """A Shop that has not been applied yet."""
    return Kept(api, namespace)


@pytest.fixture
async def shop(new: Kept) -> Kept:
    """A Shop that is ready."""
    await new.apply()
    await new.ready()
    return new


@pytest.fixture
def session(api: Kube, namespace: str) -> Session:
    """What a command of shopctl gets."""
    return Session(api, namespace, True)


@pytest.fixture
async def node(api: Kube, apiserver: ApiServer, namespace: str) -> AsyncIterator[Node]:
    """Where pods can run, as far as commands of shopctl can tell."""
    async with nodes.running(api, apiserver.authority, f"node-{namespace}") as found:
        yield found


async def new_namespace(api: Kube) -> str:
    """A namespace that no other test uses."""
    name = f"t-{new_id().hex[-12:]}"
    await api.create(NAMESPACE, {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return name


def shop_definition() -> Object:
    """The Shop's definition as `python -m shop.operator.resource.crd` prints it."""
    definition: Object = yaml.safe_load(crd.text())
    return definition


def lenient_definition(kind: Kind) -> Object:
    """A definition that takes anything: for kinds that other projects define."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {
        "name": kind.api_version.rpartition("/")[2],
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {"openAPIV3Schema": schema},
    }
    return {
        "apiVersion": DEFINITION.api_version,
        "kind": DEFINITION.kind,
        "metadata": {
            "name": f"{kind.plural}.{kind.group}",
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": kind.group,
            "scope": "Namespaced",
            "names": {"kind": kind.kind, "plural": kind.plural, "singular": kind.kind.lower()},
            "versions": [version],
        },
    }


async def define(api: Kube, definition: Object) -> None:
    """Apply a definition and wait until its kind is served."""
    await api.apply(DEFINITION, definition, force=True)
    name = definition["metadata"]["name"]

    async def established() -> bool:
        found = await api.get(DEFINITION, None, name) or {}
        conditions = found.get("status", {}).get("conditions") or []
        return any(entry["type"] == "Established" and entry["status"] == "True" for entry in conditions)

    await wait_until(established, ESTABLISH_TIMEOUT_S, what=f"{name} served")
