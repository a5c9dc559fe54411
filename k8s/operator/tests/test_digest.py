"""The digest on objects as the API server shows them; against a real server see tests/operator/test_drift.py."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest

from shop.operator.engine.reconcile.drift import MAX_PATHS, difference, digest
from shop.operator.kube.objects import MANAGER, Object

PORT = 'k:{"containerPort":8000,"protocol":"TCP"}'
OURS: Object = {
    "f:metadata": {"f:labels": {"f:app": {}}, "f:finalizers": {'v:"keep"': {}}},
    "f:spec": {
        "f:paused": {},
        "f:strategy": {},
        "f:template": {
            "f:spec": {
                "f:containers": {
                    'k:{"name":"order"}': {
                        ".": {},
                        "f:name": {},
                        "f:args": {},
                        "f:env": {'k:{"name":"A"}': {".": {}, "f:name": {}, "f:value": {}}},
                        "f:ports": {PORT: {".": {}, "f:containerPort": {}}},
                    }
                }
            }
        },
        "f:hosts": {"i:1": {}},
    },
}


def live() -> Object:
    container = {
        "name": "order",
        "args": ["serve"],
        "image": "theirs",
        "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 8000, "protocol": "TCP"}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "order",
            "resourceVersion": "7",
            "labels": {"app": "shop", "team": "theirs"},
            "finalizers": ["foreign", "keep"],
            "managedFields": [
                {"manager": MANAGER, "operation": "Apply", "fieldsV1": OURS, "time": "2026-01-01T00:00:00Z"},
                {"manager": MANAGER, "operation": "Update", "subresource": "status", "fieldsV1": {"f:status": {}}},
                {"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:metadata": {"f:labels": {"f:team": {}}}}},
            ],
        },
        "spec": {
            "replicas": 3,
            "paused": False,
            "strategy": {},
            "hosts": ["a", "b"],
            "template": {"spec": {"containers": [{"name": "sidecar"}, container]}},
        },
        "status": {"readyReplicas": 3},
    }


def container(obj: Object) -> Any:
    return obj["spec"]["template"]["spec"]["containers"][1]


def add_annotation(obj: Object) -> None:
    obj["metadata"]["annotations"] = {"note": "theirs"}
    obj["metadata"]["managedFields"].append(
        {"manager": "x", "operation": "Update", "fieldsV1": {"f:metadata": {"f:annotations": {"f:note": {}}}}}
    )


def fill_our_empty_map(obj: Object) -> None:
    obj["spec"]["strategy"] = {"type": "Recreate"}
    obj["metadata"]["managedFields"].append(
        {"manager": "x", "operation": "Apply", "fieldsV1": {"f:spec": {"f:strategy": {"f:type": {}}}}}
    )


FOREIGN: dict[str, Callable[[Object], object]] = {
    "status": lambda obj: obj["status"].update(readyReplicas=0),
    "resource version": lambda obj: obj["metadata"].update(resourceVersion="8"),
    "replicas of the autoscaler": lambda obj: obj["spec"].update(replicas=9),
    "annotation": add_annotation,
    "a field in an empty map of ours": fill_our_empty_map,
    "image of another manager": lambda obj: container(obj).update(image="other"),
    "another finalizer": lambda obj: obj["metadata"]["finalizers"].insert(0, "more"),
    "another container": lambda obj: obj["spec"]["template"]["spec"]["containers"].insert(0, {"name": "x"}),
    "time of an entry": lambda obj: obj["metadata"]["managedFields"][0].update(time="2027-01-01T00:00:00Z"),
}
OUR: dict[str, Callable[[Object], object]] = {
    "value": lambda obj: container(obj)["env"][0].update(value="2"),
    "list": lambda obj: container(obj)["args"].append("--debug"),
    "label": lambda obj: obj["metadata"]["labels"].update(app="other"),
    "removed label": lambda obj: obj["metadata"]["labels"].pop("app"),
    "removed container": lambda obj: obj["spec"]["template"]["spec"]["containers"].pop(1),
    "removed finalizer": lambda obj: obj["metadata"]["finalizers"].remove("keep"),
    "item by place": lambda obj: obj["spec"].update(hosts=["a", "c"]),
    "missing place": lambda obj: obj["spec"].update(hosts=["a"]),
    "flag": lambda obj: obj["spec"].update(paused=True),
    "field taken by another": lambda obj: obj["metadata"]["managedFields"][0]["fieldsV1"]["f:spec"].pop("f:paused"),
    "all taken": lambda obj: obj["metadata"]["managedFields"].pop(0),
}


@pytest.mark.parametrize("change", FOREIGN.values(), ids=list(FOREIGN))
def test_what_is_not_ours_does_not_count(change: Callable[[Object], object]) -> None:
    changed = copy.deepcopy(live())
    change(changed)
    assert digest(changed) == digest(live())


@pytest.mark.parametrize("change", OUR.values(), ids=list(OUR))
def test_what_is_ours_counts(change: Callable[[Object], object]) -> None:
    changed = copy.deepcopy(live())
    change(changed)
    assert digest(changed) != digest(live())


def test_the_order_of_fields_and_of_keyed_items_does_not_count() -> None:
    turned = copy.deepcopy(live())
    turned["spec"]["template"]["spec"]["containers"].reverse()
    fields = turned["metadata"]["managedFields"][0]
    fields["fieldsV1"] = dict(reversed(list(fields["fieldsV1"].items())))
    assert digest(turned) == digest(live())


def test_an_object_without_managed_fields_has_a_digest() -> None:
    bare = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}
    assert digest(bare) == digest({**bare, "data": {"a": "b"}})


def test_paths_are_reported_as_people_write_them() -> None:
    inside = "spec.template.spec.containers[order]"
    bare_container = {"name": "order", "env": [{"name": "A"}], "ports": []}
    bare = {
        "metadata": {"labels": {}, "finalizers": []},
        "spec": {"template": {"spec": {"containers": [bare_container]}}, "hosts": []},
    }
    not_equal = ["metadata.finalizers", f"{inside}.ports", "spec.hosts"]
    no_longer_wanted = [
        "metadata.labels.app",
        "metadata.finalizers[keep]",
        "spec.paused",
        "spec.strategy",
        f"{inside}.args",
        f"{inside}.env[A].value",
        f"{inside}.ports[8000]",
        "spec.hosts[1]",
    ]
    assert difference(bare, live()) == not_equal + no_longer_wanted


def desired() -> Object:
    container = {
        "name": "order",
        "args": ["serve"],
        "env": [{"name": "A", "value": "1"}],
        "ports": [{"containerPort": 8000}],
    }
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "order", "labels": {"app": "shop"}, "finalizers": ["keep"]},
        "spec": {
            "paused": False,
            "strategy": {},
            "hosts": ["a", "b"],
            "template": {"spec": {"containers": [container]}},
        },
    }


def no_difference_but_the_finalizer(found: list[str]) -> list[str]:
    """Items without keys are compared by their place, so that a foreign finalizer shows."""
    return [path for path in found if path != "metadata.finalizers"]


def test_difference_names_what_changed() -> None:
    assert no_difference_but_the_finalizer(difference(desired(), live())) == []
    changed = live()
    container(changed)["env"][0]["value"] = "2"
    changed["metadata"]["labels"] = {}
    changed["spec"]["replicas"] = 9
    found = no_difference_but_the_finalizer(difference(desired(), changed))
    assert found == ["metadata.labels.app", "spec.template.spec.containers[order].env[A].value"]


def test_difference_names_what_an_apply_would_remove() -> None:
    wanted = desired()
    wanted["spec"]["template"]["spec"]["containers"][0]["env"] = []
    del wanted["metadata"]["labels"]
    found = no_difference_but_the_finalizer(difference(wanted, live()))
    assert found == [
        "spec.template.spec.containers[order].env",
        "metadata.labels",
        "spec.template.spec.containers[order].env[A]",
    ]


@pytest.mark.parametrize(
    ("ours", "servers"), [("1000m", "1"), ("0.5", "500m"), (1, "1"), ("1Gi", "1024Mi"), ("100k", "1e5"), ("x", "x")]
)
def test_two_spellings_of_a_quantity_are_no_difference(ours: object, servers: object) -> None:
    assert difference({"metadata": {}, "cpu": ours}, {"metadata": {}, "cpu": servers}) == []


@pytest.mark.parametrize(
    ("ours", "servers"), [("1", "2"), ("a", "b"), (True, 1.5), ("1m", "1M"), ("nan", "NaN"), (0, "")]
)
def test_different_values_are_a_difference(ours: object, servers: object) -> None:
    assert difference({"metadata": {}, "cpu": ours}, {"metadata": {}, "cpu": servers}) == ["cpu"]


def test_text_of_a_secret_is_compared_as_the_server_keeps_it() -> None:
    wanted = {"kind": "Secret", "metadata": {}, "stringData": {"a": "x"}}
    assert difference(wanted, {"kind": "Secret", "metadata": {}, "data": {"a": "eA=="}}) == []
    assert difference(wanted, {"kind": "Secret", "metadata": {}, "data": {"a": "eQ=="}}) == ["data.a"]


def test_a_difference_is_bounded() -> None:
    wanted = {"metadata": {}, "data": {f"k{number}": "x" for number in range(MAX_PATHS * 2)}}
    assert len(difference(wanted, {"metadata": {}, "data": {}})) == MAX_PATHS
