"""Every kind of drift, made on a real API server: the digest notices what concerns us and nothing else."""

from __future__ import annotations

import copy
from collections.abc import Awaitable, Callable
from typing import Any

import orjson
import pytest

from shop.operator.engine.reconcile.drift import difference, digest
from shop.operator.kube.api_errors import Invalid
from shop.operator.kube.client import Kube, Request, path_of
from shop.operator.kube.kinds import CONFIG_MAP, DEPLOYMENT, SECRET, SERVICE, Kind
from shop.operator.kube.objects import MANAGER, Object

LABELS = {"app": "order"}
Change = Callable[[Kube, str], Awaitable[object]]
STRATEGIC, MERGE, JSON = "strategic-merge-patch+json", "merge-patch+json", "json-patch+json"
CONTAINERS = "spec.template.spec.containers[order]"


def deployment(namespace: str, *, replicas: int | None = 2) -> Object:
    container = {
        "name": "order",
        "image": "shop-order:1",
        "args": ["serve", "order"],
        "env": [
            {"name": "SHOP_LOG_LEVEL", "value": "info"},
            {"name": "POD", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        ],
        "ports": [{"name": "http", "containerPort": 8000}],
        "resources": {"requests": {"cpu": "1000m", "memory": "128Mi"}, "limits": {"memory": "0.25Gi"}},
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
        "securityContext": {"capabilities": {"drop": ["ALL"]}},
    }
    template = {
        "metadata": {"labels": LABELS},
        "spec": {"containers": [container], "volumes": [{"name": "tmp", "emptyDir": {}}], "securityContext": {}},
    }
    spec: Object = {"selector": {"matchLabels": LABELS}, "template": template}
    if replicas is not None:
        spec["replicas"] = replicas
    metadata = {"name": "order", "namespace": namespace, "labels": LABELS, "annotations": {"applied": "x"}}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}


def service(namespace: str) -> Object:
    spec = {"selector": LABELS, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}
    metadata = {"name": "order", "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": spec}


def secret(namespace: str) -> Object:
    metadata = {"name": "order", "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"password": "p"}}


def config_map(namespace: str) -> Object:
    metadata = {"name": "order", "namespace": namespace, "labels": LABELS}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"a": "1", "b": "2"}}


MADE = {DEPLOYMENT: deployment, SERVICE: service, SECRET: secret, CONFIG_MAP: config_map}


def edited(
    kind: Kind, body: Any, *, content: str = STRATEGIC, subresource: str = "", manager: str = "kubectl-edit"
) -> Change:
    """As kubectl edits: a patch under another field manager."""

    async def change(api: Kube, namespace: str) -> None:
        path = path_of(kind, namespace, "order", subresource)
        await api.send(Request("PATCH", path, {"fieldManager": manager}, orjson.dumps(body), content))

    return change


def container(**fields: object) -> Object:
    return {"spec": {"template": {"spec": {"containers": [{"name": "order", **fields}]}}}}


def removed(kind: Kind, path: str) -> Change:
    return edited(kind, [{"op": "remove", "path": path}], content=JSON)


OURS: dict[str, tuple[Kind, Change, list[str]]] = {
    "edited environment": (
        DEPLOYMENT,
        edited(DEPLOYMENT, container(env=[{"name": "SHOP_LOG_LEVEL", "value": "debug"}])),
        [f"{CONTAINERS}.env[SHOP_LOG_LEVEL].value"],
    ),
    "removed environment": (
        DEPLOYMENT,
        removed(DEPLOYMENT, "/spec/template/spec/containers/0/env/0"),
        [f"{CONTAINERS}.env[SHOP_LOG_LEVEL]"],
    ),
    "edited image": (DEPLOYMENT, edited(DEPLOYMENT, container(image="other:2")), [f"{CONTAINERS}.image"]),
    "edited arguments": (
        DEPLOYMENT,
        edited(DEPLOYMENT, container(args=["serve", "order", "--debug"])),
        [f"{CONTAINERS}.args"],
    ),
    "edited resources": (
        DEPLOYMENT,
        edited(DEPLOYMENT, container(resources={"requests": {"cpu": "2"}})),
        [f"{CONTAINERS}.resources.requests.cpu"],
    ),
    "removed label": (DEPLOYMENT, removed(DEPLOYMENT, "/metadata/labels/app"), ["metadata.labels"]),
    "removed annotation": (
        DEPLOYMENT,
        removed(DEPLOYMENT, "/metadata/annotations/applied"),
        ["metadata.annotations"],
    ),
    "scaled": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"spec": {"replicas": 5}}, content=MERGE, subresource="scale"),
        ["spec.replicas"],
    ),
    "scaled by an edit": (DEPLOYMENT, edited(DEPLOYMENT, {"spec": {"replicas": 5}}), ["spec.replicas"]),
    "edited by our own name": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"spec": {"replicas": 5}}, manager=MANAGER),
        ["spec.replicas"],
    ),
    "changed target of a service": (
        SERVICE,
        edited(SERVICE, [{"op": "replace", "path": "/spec/ports/0/targetPort", "value": 1}], content=JSON),
        ["spec.ports[http].targetPort"],
    ),
    "changed selector": (SERVICE, edited(SERVICE, {"spec": {"selector": {"app": "x"}}}), ["spec.selector.app"]),
    "edited password": (SECRET, edited(SECRET, {"stringData": {"password": "q"}}), ["data.password"]),
    "removed setting": (CONFIG_MAP, removed(CONFIG_MAP, "/data/a"), ["data.a"]),
    "all settings removed": (CONFIG_MAP, removed(CONFIG_MAP, "/data"), ["data"]),
}
FOREIGN: dict[str, tuple[Kind, Change]] = {
    "annotation": (DEPLOYMENT, edited(DEPLOYMENT, {"metadata": {"annotations": {"note": "theirs"}}})),
    "label": (SERVICE, edited(SERVICE, {"metadata": {"labels": {"team": "theirs"}}})),
    "restart of the pods": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"spec": {"template": {"metadata": {"annotations": {"restartedAt": "now"}}}}}),
    ),
    "another environment variable": (
        DEPLOYMENT,
        edited(DEPLOYMENT, container(env=[{"name": "THEIRS", "value": "1"}])),
    ),
    "a field in an empty map of ours": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"spec": {"template": {"spec": {"securityContext": {"runAsUser": 7}}}}}),
    ),
    "another container": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"spec": {"template": {"spec": {"containers": [{"name": "sidecar", "image": "x"}]}}}}),
    ),
    "status": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"status": {"replicas": 2, "observedGeneration": 1}}, subresource="status"),
    ),
    "status under our own name": (
        DEPLOYMENT,
        edited(DEPLOYMENT, {"status": {"replicas": 2}}, subresource="status", manager=MANAGER),
    ),
    "the same value again": (DEPLOYMENT, edited(DEPLOYMENT, {"spec": {"replicas": 2}})),
    "another setting": (CONFIG_MAP, edited(CONFIG_MAP, {"data": {"c": "3"}})),
}


async def made(api: Kube, kind: Kind, namespace: str) -> Object:
    return await api.apply(kind, MADE[kind](namespace), force=True)


async def found(api: Kube, kind: Kind, namespace: str) -> Object:
    obj = await api.get(kind, namespace, "order")
    assert obj is not None
    return obj


@pytest.mark.parametrize(("kind", "change", "paths"), OURS.values(), ids=list(OURS))
async def test_drift_is_noticed_named_and_repaired(
    api: Kube, namespace: str, kind: Kind, change: Change, paths: list[str]
) -> None:
    before = await made(api, kind, namespace)
    await change(api, namespace)
    drifted = await found(api, kind, namespace)
    assert digest(drifted) != digest(before)
    assert difference(MADE[kind](namespace), drifted) == paths
    repaired = await made(api, kind, namespace)
    assert digest(repaired) == digest(before)
    assert difference(MADE[kind](namespace), repaired) == []


async def test_a_changed_service_port_is_noticed_and_needs_more_than_an_apply(api: Kube, namespace: str) -> None:
    before = await made(api, SERVICE, namespace)
    await edited(SERVICE, [{"op": "replace", "path": "/spec/ports/0/port", "value": 81}], content=JSON)(api, namespace)
    drifted = await found(api, SERVICE, namespace)
    assert digest(drifted) != digest(before)
    assert difference(service(namespace), drifted) == ["spec.ports[http].port"]
    with pytest.raises(Invalid, match="Duplicate value"):  # the port is a key: ours would stand beside theirs
        await made(api, SERVICE, namespace)


@pytest.mark.parametrize(("kind", "change"), FOREIGN.values(), ids=list(FOREIGN))
async def test_what_others_add_is_left_alone(api: Kube, namespace: str, kind: Kind, change: Change) -> None:
    before = await made(api, kind, namespace)
    await change(api, namespace)
    after = await found(api, kind, namespace)
    assert digest(after) == digest(before)
    assert difference(MADE[kind](namespace), after) == []


async def test_replicas_belong_to_the_autoscaler(api: Kube, namespace: str) -> None:
    before = await api.apply(DEPLOYMENT, deployment(namespace, replicas=None), force=True)
    scale = edited(DEPLOYMENT, {"spec": {"replicas": 7}}, content=MERGE, subresource="scale")
    await scale(api, namespace)
    assert digest(await found(api, DEPLOYMENT, namespace)) == digest(before)
    again = await api.apply(DEPLOYMENT, deployment(namespace, replicas=None), force=True)
    assert (again["spec"]["replicas"], digest(again)) == (7, digest(before))


@pytest.mark.parametrize("kind", MADE, ids=lambda kind: kind.kind)
async def test_an_apply_of_the_same_changes_nothing(api: Kube, namespace: str, kind: Kind) -> None:
    first = await made(api, kind, namespace)
    second = await made(api, kind, namespace)
    assert first == second
    listed, _, _ = await api.page(kind, namespace, "app=order")
    assert digest(listed[0]) == digest(first)


async def test_a_new_owner_and_the_object_without_one_differ(api: Kube, namespace: str) -> None:
    owner = await made(api, CONFIG_MAP, namespace)
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "order", "uid": owner["metadata"]["uid"]}
    owned = copy.deepcopy(secret(namespace))
    owned["metadata"]["ownerReferences"] = [reference]
    first = await api.apply(SECRET, owned, force=True)
    await edited(SECRET, {"metadata": {"ownerReferences": None}}, content=MERGE)(api, namespace)
    assert digest(await found(api, SECRET, namespace)) != digest(first)
