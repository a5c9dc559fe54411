"""What an operator looks after, and what it says when it may not even look."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import aiohttp
import pytest

from shop.devkit.processes import free_port
from shop.devkit.testing import wait_until
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import DEPLOYMENT, EVENT, LEASE, POD, RENDERED, Kind
from tests.operator.apiserver import ApiServer
from tests.operator.conftest import new_namespace
from tests.operator.kept import Kept
from tests.operator.kubelet import Kubelet
from tests.operator.operators import Operators

RBAC = "rbac.authorization.k8s.io"
ROLE = Kind(f"{RBAC}/v1", "Role", "roles")
ROLE_BINDING = Kind(f"{RBAC}/v1", "RoleBinding", "rolebindings")
BLIND = "operator-without-shops"
LIMIT_S = 180.0
FIRST_LIST_S = 3.0
REFUSED = f'shops.shops.shopkeeper.dev is forbidden: User "{BLIND}" cannot list resource "shops"'


async def test_several_namespaces_are_managed_and_no_other(
    api: Kube, apiserver: ApiServer, operators: Operators
) -> None:
    user = "operator-of-two"
    first, second, other = [Kept(api, await new_namespace(api)) for _ in range(3)]
    login = apiserver.kubeconfig_for(user, groups=["system:masters"])
    async with AsyncExitStack() as kubelets:
        for shop in (other, first, second):
            await kubelets.enter_async_context(Kubelet(api, shop.namespace))
            await shop.apply()
        watched = f"{first.namespace}, {second.namespace}"
        operator = operators.start(login, first.namespace, namespaces=watched, resync_s="1")
        for shop in (first, second):
            await shop.ready()
            await api.delete(DEPLOYMENT, shop.namespace, "bookshop-order")
            await wait_until(partial(shop.get, DEPLOYMENT, "order"), LIMIT_S, "the Deployment again")
        await operator.resynced()
    assert {write.namespace for write in apiserver.writes(user=user, quiet=True)} == {first.namespace, second.namespace}
    assert await other.objects() == {}
    assert "status" not in await other.resource()
    await operator.stop()


@pytest.fixture
async def blind(api: Kube, apiserver: ApiServer, namespace: str) -> Path:
    """The kubeconfig of a user who may do everything in the namespace except reading Shops."""
    groups = sorted({kind.group for kind in (*RENDERED, POD, EVENT, LEASE)})
    metadata = {"name": BLIND, "namespace": namespace}
    rules = [{"apiGroups": groups, "resources": ["*"], "verbs": ["*"]}]
    role = {"apiVersion": ROLE.api_version, "kind": ROLE.kind, "metadata": metadata, "rules": rules}
    await api.create(ROLE, role)
    binding = {
        "apiVersion": ROLE_BINDING.api_version,
        "kind": ROLE_BINDING.kind,
        "metadata": metadata,
        "roleRef": {"apiGroup": RBAC, "kind": ROLE.kind, "name": BLIND},
        "subjects": [{"apiGroup": RBAC, "kind": "User", "name": BLIND}],
    }
    await api.create(ROLE_BINDING, binding)
    return apiserver.kubeconfig_for(BLIND)


@dataclass(frozen=True)
class Process:
    """An operator whose exit status can be asked for."""

    process: asyncio.subprocess.Process
    port: int
    log: Path


@pytest.fixture
async def process(blind: Path, namespace: str, tmp_path: Path) -> AsyncIterator[Process]:
    port, log = free_port(), tmp_path / "operator.log"
    environment = {
        **os.environ,
        "KUBECONFIG": str(blind),
        "SHOP_OPERATOR_NAMESPACES": namespace,
        "SHOP_OPERATOR_NAMESPACE": namespace,
        "SHOP_OPERATOR_PORT": str(port),
        "SHOP_OPERATOR_IDENTITY": "blind",
        "SHOP_OPERATOR_FIRST_LIST_S": f"{FIRST_LIST_S:g}",
    }
    with log.open("wb") as file:
        command = sys.executable, "-m", "shop.operator.engine.main"
        process = await asyncio.create_subprocess_exec(*command, env=environment, stdout=file, stderr=file)
    yield Process(process, port, log)
    if process.returncode is None:
        process.kill()
        await process.wait()


async def probe(port: int, name: str) -> tuple[int, str]:
    """Status and body of a probe, 0 while nothing responds."""
    try:
        async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/health/{name}") as answer:
            return answer.status, await answer.text()
    except aiohttp.ClientError:
        return 0, ""


async def fails(port: int, name: str, words: str) -> None:
    """Return when the probe fails and says so."""

    async def failing() -> bool:
        status, body = await probe(port, name)
        return status == 503 and json.dumps(words).strip('"') in body

    await wait_until(failing, LIMIT_S, f"/health/{name} fails: {words}")


async def test_an_operator_that_may_not_list_shops_is_unready_and_ends_and_says_why(process: Process) -> None:
    await fails(process.port, "ready", f"have not been read yet: {REFUSED}")
    assert (await probe(process.port, "live"))[0] == 200
    await fails(process.port, "live", f"nothing has come for {FIRST_LIST_S:g} s: {REFUSED}")
    assert await asyncio.wait_for(process.process.wait(), LIMIT_S) == 1
    log = [json.loads(line)["message"] for line in process.log.read_text(encoding="utf-8").splitlines()]
    last = [message for message in log if message.startswith("the controller stops: shops in namespace")]
    assert len(last) == 1
    assert REFUSED in last[0]


async def test_a_leader_is_ready_when_it_has_read_everything_and_a_standby_at_once(
    namespace: str, operators: Operators, operator_login: Path, api: Kube
) -> None:
    async def ready(port: int) -> bool:
        return (await probe(port, "ready"))[0] == 200

    leader = operators.start(operator_login, namespace)
    await leader.leading()
    await wait_until(lambda: ready(leader.port), LIMIT_S, "the leader is ready")
    standby = operators.start(operator_login, namespace)
    await wait_until(lambda: ready(standby.port), LIMIT_S, "the standby is ready")
    assert not await asyncio.to_thread(standby.leads)
    await standby.stop()
    await leader.stop()
