"""The status that controllers and the kubelet write, for objects that do well and for those that do not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from shop.operator.kube.objects import Object

THEN = "2026-01-01T00:00:00Z"
Status = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """How pods fail. Without a `reason` they only never become ready."""

    reason: str = ""
    message: str = ""
    exit_code: int | None = None
    scheduled: bool = True
    init: bool = False

    @classmethod
    def image_pull(cls, message: str = "manifest unknown") -> Failure:
        return cls("ImagePullBackOff", f'Back-off pulling image "it": ErrImagePull: {message}')

    @classmethod
    def crash_loop(cls, last_output: str = "boom", exit_code: int = 1, *, init: bool = False) -> Failure:
        return cls("CrashLoopBackOff", last_output, exit_code, init=init)

    @classmethod
    def config_error(cls, message: str = 'secret "missing" not found') -> Failure:
        return cls("CreateContainerConfigError", message)

    @classmethod
    def unschedulable(cls, message: str = "0/1 nodes are available: 1 Insufficient cpu.") -> Failure:
        return cls("Unschedulable", message, scheduled=False)


def template_hash(obj: Object) -> str:
    """Identifies a pod template."""
    return hashlib.blake2b(
        orjson.dumps(obj["spec"]["template"], option=orjson.OPT_SORT_KEYS), digest_size=5
    ).hexdigest()


def condition(kind: str, value: bool, reason: str, message: str = "") -> Status:
    words = {"type": kind, "status": str(value), "reason": reason, "message": message}
    return {**words, "lastTransitionTime": THEN}


def wanted_replicas(obj: Object) -> int:
    return int(obj["spec"].get("replicas", 1))


def healthy(obj: Object) -> Status:
    """The status once everything is as the spec says."""
    return _HEALTHY[obj["kind"]](obj)


def failing(obj: Object, failure: Failure, *, old_serve: bool) -> Status:
    """The status while the pods of the present template fail; with `old_serve` those of the last one still run."""
    return _FAILING[obj["kind"]](obj, failure, old_serve)


def _deployment(obj: Object) -> Status:
    count = wanted_replicas(obj)
    return {
        "observedGeneration": obj["metadata"]["generation"],
        **dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), count),
        "unavailableReplicas": None,
        "conditions": [
            condition("Available", True, "MinimumReplicasAvailable"),
            condition("Progressing", True, "NewReplicaSetAvailable"),
        ],
    }


def _failing_deployment(obj: Object, _: Failure, old_serve: bool) -> Status:
    count = wanted_replicas(obj)
    serving = count if old_serve else 0
    reason = "MinimumReplicasAvailable" if old_serve else "MinimumReplicasUnavailable"
    return {
        "observedGeneration": obj["metadata"]["generation"],
        "replicas": serving + 1 if old_serve else count,
        "updatedReplicas": 1 if old_serve else count,
        "readyReplicas": serving,
        "availableReplicas": serving,
        "unavailableReplicas": 1 if old_serve else count,
        "conditions": [
            condition("Available", old_serve or not count, reason),
            condition("Progressing", True, "ReplicaSetUpdated"),
        ],
    }


def _stateful_set(obj: Object) -> Status:
    count, revision = wanted_replicas(obj), f"{obj['metadata']['name']}-{template_hash(obj)}"
    numbers = ("replicas", "readyReplicas", "availableReplicas", "currentReplicas", "updatedReplicas")
    return {
        "observedGeneration": obj["metadata"]["generation"],
        **dict.fromkeys(numbers, count),
        "currentRevision": revision,
        "updateRevision": revision,
    }


def _failing_stateful_set(obj: Object, _: Failure, old_serve: bool) -> Status:
    """A pod of a StatefulSet ends before the next one starts: none of one serves, whatever served before."""
    status = _stateful_set(obj)
    ready = max(0, wanted_replicas(obj) - 1) if old_serve else 0
    if old_serve:
        del status["currentRevision"]
    return {**status, "readyReplicas": ready, "availableReplicas": ready}


def _job(_: Object) -> Status:
    return {
        "startTime": THEN,
        "completionTime": THEN,
        "succeeded": 1,
        "active": None,
        "ready": 0,
        "conditions": [
            condition("SuccessCriteriaMet", True, "CompletionsReached"),
            condition("Complete", True, "CompletionsReached"),
        ],
    }


def _failing_job(_: Object, failure: Failure, __: bool) -> Status:
    if failure.exit_code is None:
        return {"startTime": THEN, "active": 1, "ready": 0}
    text = "Job has reached the specified backoff limit"
    conditions = [condition(kind, True, "BackoffLimitExceeded", text) for kind in ("FailureTarget", "Failed")]
    return {"startTime": THEN, "active": None, "ready": 0, "failed": 1, "conditions": conditions}


def _claim(obj: Object) -> Status:
    spec = obj["spec"]
    return {"phase": "Bound", "accessModes": spec["accessModes"], "capacity": spec["resources"]["requests"]}


def _cluster(obj: Object) -> Status:
    count = obj["spec"].get("instances", 1)
    return {"phase": "Cluster in healthy state", "instances": count, "readyInstances": count}


def _route(obj: Object) -> Status:
    seen = {"observedGeneration": obj["metadata"]["generation"]}
    conditions = [{**condition(kind, True, kind), **seen} for kind in ("Accepted", "ResolvedRefs")]
    parents = obj["spec"].get("parentRefs", [])
    return {
        "parents": [{"parentRef": ref, "controllerName": "tests/gateway", "conditions": conditions} for ref in parents]
    }


_HEALTHY: dict[str, Callable[[Object], Status]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "PersistentVolumeClaim": _claim,
    "Cluster": _cluster,
    "HTTPRoute": _route,
}
_FAILING: dict[str, Callable[[Object, Failure, bool], Status]] = {
    "Deployment": _failing_deployment,
    "StatefulSet": _failing_stateful_set,
    "Job": _failing_job,
    "PersistentVolumeClaim": lambda *_: {"phase": "Pending"},
    "Cluster": lambda *_: {"phase": "Setting up primary", "readyInstances": 0},
    "HTTPRoute": lambda *_: {"parents": []},
}


def pod_of(owner: Object, failure: Failure) -> Object:
    """A pod as the owner's controller would make it; its status is `pod_status`'s to say."""
    meta, template = owner["metadata"], owner["spec"]["template"]
    revision, name = template_hash(owner), meta["name"]
    labels = {**template["metadata"].get("labels", {})}
    controller = {"apiVersion": owner["apiVersion"], "kind": owner["kind"], "name": name, "uid": meta["uid"]}
    pod_name = f"{name}-{revision}-{_short(failure)}"
    if owner["kind"] == "Deployment":
        labels["pod-template-hash"] = revision
        controller |= {"kind": "ReplicaSet", "name": f"{name}-{revision}"}
    elif owner["kind"] == "StatefulSet":
        pod_name = f"{name}-0"
    metadata = {
        "name": pod_name,
        "namespace": meta["namespace"],
        "labels": labels,
        "ownerReferences": [{**controller, "controller": True}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}


def pod_status(pod: Object, failure: Failure, *, final: bool) -> Status:
    """`final`: the pod ended and is not started again, as that of a Job."""
    if not failure.scheduled:
        return {"phase": "Pending", "conditions": [condition("PodScheduled", False, failure.reason, failure.message)]}
    status: Status = {"phase": "Pending", "conditions": [condition("PodScheduled", True, "Scheduled")]}
    part = "initContainers" if failure.init else "containers"
    containers = pod["spec"].get(part) or pod["spec"]["containers"]
    field = "initContainerStatuses" if part == "initContainers" and pod["spec"].get(part) else "containerStatuses"
    broken = _container_status(containers[0], failure, final=final)
    if failure.exit_code is not None and not failure.init:
        status["phase"] = "Failed" if final else "Running"
    return {**status, "initContainerStatuses": None, "containerStatuses": None, field: [broken]}


def _container_status(container: Object, failure: Failure, *, final: bool) -> Status:
    common = {
        "name": container["name"],
        "image": container["image"],
        "imageID": "",
        "ready": False,
        "restartCount": 0 if failure.exit_code is None or final else 5,
    }
    ended = {"exitCode": failure.exit_code, "reason": "Error", "message": failure.message}
    if failure.exit_code is None:
        reason = failure.reason or "ContainerCreating"
        return {**common, "state": {"waiting": {"reason": reason, "message": failure.message}}}
    if final:
        return {**common, "state": {"terminated": ended}}
    waiting = {"reason": failure.reason, "message": "back-off 2m40s restarting failed container"}
    return {**common, "state": {"waiting": waiting}, "lastState": {"terminated": ended}}


def _short(failure: Failure) -> str:
    return hashlib.blake2b(repr(failure).encode(), digest_size=3).hexdigest()


def settled(conditions: Sequence[Object], generation: int) -> bool:
    """Whether nothing more is under way for a Shop's generation, whether it succeeded or failed."""
    progressing = next((one for one in conditions if one["type"] == "Progressing"), {})
    return (progressing.get("status"), progressing.get("observedGeneration")) == ("False", generation)
