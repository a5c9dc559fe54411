"""What the tests of shopctl on a cluster have in common: a Shop as the operator would leave it, and the command."""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from shop.operator.cluster.session import Session
from shop.operator.engine.reconcile.history import seed_secret
from shop.operator.engine.render.renderer import Renderer, find_charts, find_helm
from shop.operator.kube.client import Kube
from shop.operator.kube.kinds import SECRET, SHOP, Kind, kind_of
from shop.operator.kube.objects import SHOP_LABEL, NamespacedName, Object, Ref
from shop.operator.resource import shopfile
from shop.operator.resource.spec import API_VERSION

COMMAND_TIMEOUT_S = 90
ROLE = Kind("rbac.authorization.k8s.io/v1", "Role", "roles")
BINDING = Kind("rbac.authorization.k8s.io/v1", "RoleBinding", "rolebindings")
SEED = b"a seed for tests of thirty-two b"
VERSION = "0.7.0"


@dataclass(frozen=True)
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


async def run(*arguments: str | Path, module: str = "shop.operator.cli", env: Mapping[str, str] | None = None) -> Done:
    """shopctl in a process of its own; the API server's tests go on meanwhile."""
    environment = {**os.environ, "KUBECONFIG": "/nonexistent", **(env or {})}
    command = (sys.executable, "-m", module, *map(str, arguments))
    process = await asyncio.create_subprocess_exec(*command, stdout=-1, stderr=-1, env=environment)
    async with asyncio.timeout(COMMAND_TIMEOUT_S):
        out, err = await process.communicate()
    return Done(process.returncode or 0, out.decode(), err.decode())


def write_shop(path: Path, name: str = "bookshop", **spec: Any) -> Path:
    """A Shop's file."""
    shop = {"apiVersion": API_VERSION, "kind": "Shop", "metadata": {"name": name}, "spec": spec}
    path.write_text(yaml.safe_dump(shop), encoding="utf-8")
    return path


async def bare(session: Session) -> Object:
    """A Shop without objects, as it is before any operator has seen it."""
    metadata = {"name": "bookshop", "namespace": session.namespace}
    return await session.kube.create(
        SHOP, {"apiVersion": SHOP.api_version, "kind": SHOP.kind, "metadata": metadata, "spec": {}}
    )


async def install(api: Kube, namespace: str, file: Path, *more: Object) -> Object:
    """The Shop of `file` with its objects and `more`, as the operator would leave it; the Shop with its status."""
    wanted = yaml.safe_load(file.read_text(encoding="utf-8"))
    wanted["metadata"]["namespace"] = namespace
    live = await api.create(SHOP, wanted)
    key = NamespacedName(namespace, live["metadata"]["name"])
    await api.create(SECRET, seed_secret(key, SEED))
    renderer = Renderer(find_helm(), find_charts(), VERSION)
    objects = await renderer.render(shopfile.load(file), namespace, live["metadata"]["uid"], SEED, frozenset())
    applied = [await api.apply(kind_of(obj), obj, force=True) for obj in (*objects, *more)]
    inventory = [{"id": str(Ref.of(obj)), "uid": obj["metadata"]["uid"]} for obj in applied]
    generation = live["metadata"]["generation"]
    status = {"observedGeneration": generation, "version": VERSION, "revision": 1, "inventory": inventory}
    return await api.patch(SHOP, namespace, key.name, {"status": status}, subresource="status")


def condition(kind: str, status: str, generation: int, reason: str = "Tested", message: str = "") -> Object:
    return {
        "type": kind,
        "status": status,
        "reason": reason,
        "message": message,
        "observedGeneration": generation,
        "lastTransitionTime": "2026-11-22T08:00:00Z",
    }


def pod(namespace: str, name: str, noun: str, *containers: str) -> Object:
    """A pod of the Shop bookshop, with a port by the name of its service."""
    labels = {SHOP_LABEL: "bookshop", "app.kubernetes.io/name": noun}
    found = [
        {"name": one, "image": "x", "ports": [{"name": noun, "containerPort": 5432}]} for one in containers or (noun,)
    ]
    metadata = {"name": name, "namespace": namespace, "labels": labels}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": {"containers": found}}


async def allow(
    api: Kube, namespace: str, user: str, resources: Mapping[str, Sequence[str]], verbs: Sequence[str]
) -> None:
    """Give rights in the namespace, resources by group, and take nothing away."""
    rules = [
        {"apiGroups": [group], "resources": list(names), "verbs": list(verbs)} for group, names in resources.items()
    ]
    head = {"name": user, "namespace": namespace}
    await api.create(ROLE, {"apiVersion": ROLE.api_version, "kind": ROLE.kind, "metadata": head, "rules": rules})
    reference = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": user}
    subjects = [{"apiGroup": "rbac.authorization.k8s.io", "kind": "User", "name": user}]
    binding = {"apiVersion": BINDING.api_version, "kind": BINDING.kind, "metadata": head}
    await api.create(BINDING, {**binding, "roleRef": reference, "subjects": subjects})
