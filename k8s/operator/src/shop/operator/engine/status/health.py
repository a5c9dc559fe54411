"""The health of an object, as `kubectl rollout status` and kstatus define it.

A wave is over when all of its objects are READY. `serves` requires less and is for a Shop that is installed: a
Deployment that an autoscaler enlarges, or that lost one pod of three, is not READY and still serves.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Any

from shop.operator.kube.objects import Object, Ref

PROGRESS_DEADLINE = "ProgressDeadlineExceeded"
"""Reason of a Deployment that took longer than its own spec allows."""
HEALTHY_CLUSTER = "Cluster in healthy state"
DEAD_CLUSTER = (
    "Cluster cannot ",
    "Cluster has incomplete ",
    "Cluster is in an unrecoverable ",
    "Cluster is unrecoverable ",
    "Unable to create ",
)
"""Beginnings of CloudNativePG's phases in which it has given up."""
REFUSED_ROUTE = frozenset({"UnsupportedValue", "IncompatibleFilters", "InvalidKind"})
"""Reasons of an HTTPRoute that only a change of the route cures; others may pass when the Gateway changes."""


class Phase(StrEnum):
    READY = "Ready"
    WAITING = "Waiting"
    FAILED = "Failed"
    """Waiting does not help: the object must change."""


@dataclass(frozen=True, slots=True)
class Health:
    """`reason` is one CamelCase word; `message` a sentence that begins with the object, and "" when it is READY."""

    phase: Phase
    reason: str
    message: str = ""


READY = Health(Phase.READY, "Ready")
_waiting, _failed = partial(Health, Phase.WAITING), partial(Health, Phase.FAILED)
NOT_OBSERVED = _waiting("NotObserved", "has not been seen by its controller")


def assess(obj: Object) -> Health:
    """Health of an object as the API server returns it; kinds without a status are READY once they exist."""
    if obj["metadata"].get("deletionTimestamp"):
        found = _waiting("Terminating", "is being deleted")
    elif obj["kind"] in _ASSESSORS:
        found = _ASSESSORS[obj["kind"]](obj)
    else:
        return READY
    return found if found is READY else replace(found, message=f"{Ref.of(obj).display_name}: {found.message}")


def serves(obj: Object) -> bool:
    """Whether what depends on `obj` can still do its work: enough pods, whatever their revision."""
    if obj["metadata"].get("deletionTimestamp"):
        return False
    status, spec = _status(obj), obj.get("spec", {})
    match obj["kind"]:
        case "Deployment":
            return spec.get("replicas") == 0 or _is(status, "Available") or assess(obj).phase is Phase.READY
        case "StatefulSet":
            return bool(spec.get("replicas") == 0 or status.get("readyReplicas", 0) >= 1)
        case "Job":
            return assess(obj).phase is not Phase.FAILED
        case "Cluster":
            return bool(status.get("readyInstances", 0) >= 1)
        case _:
            return assess(obj).phase is Phase.READY


def _deployment(obj: Object) -> Health:
    spec, status = obj["spec"], _status(obj)
    progress, failure = _condition(status, "Progressing"), _condition(status, "ReplicaFailure")
    if _unobserved(obj):
        return NOT_OBSERVED
    if progress.get("reason") == PROGRESS_DEADLINE:
        return _failed(PROGRESS_DEADLINE, f"exceeded its progress deadline{_quoted(progress)}")
    want, updated, have = spec.get("replicas", 1), status.get("updatedReplicas", 0), status.get("replicas", 0)
    available = status.get("availableReplicas", 0)
    too_few = updated < want or available < want
    # Why pods cannot be created says more than their number.
    if too_few and failure.get("status") == "True":
        return _waiting(failure.get("reason", "ReplicaFailure"), f"cannot create pods{_quoted(failure)}")
    if too_few and spec.get("paused"):
        return _waiting("DeploymentPaused", "is paused (spec.paused), so its pods are not replaced")
    if updated < want:
        return _waiting("LessUpdated", f"{updated} of {want} {_pods(want)} updated")
    if available < want:
        return _waiting("LessAvailable", f"{available} of {want} {_pods(want)} available")
    if have > updated:
        return _waiting("OldReplicas", f"{have - updated} old {_pods(have - updated)} still to end")
    return READY


def _stateful_set(obj: Object) -> Health:
    spec, status = obj["spec"], _status(obj)
    if _unobserved(obj):
        return NOT_OBSERVED
    want, ready, have = spec.get("replicas", 1), status.get("readyReplicas", 0), status.get("replicas", 0)
    if ready < want:
        return _waiting("LessReady", f"{ready} of {want} {_pods(want)} ready")
    if have > want:
        return _waiting("ExtraPods", f"{have - want} {_pods(have - want)} still to end")
    strategy = spec.get("updateStrategy", {})
    if strategy.get("type") == "OnDelete":
        return READY
    # Pods below the partition keep their revision on purpose.
    partition = strategy.get("rollingUpdate", {}).get("partition", 0)
    updated, due = status.get("updatedReplicas", 0), max(0, want - partition)
    done = updated >= due if partition else status.get("currentRevision") == status.get("updateRevision")
    return READY if done else _waiting("LessUpdated", f"{min(updated, due)} of {due} {_pods(due)} updated")


def _job(obj: Object) -> Health:
    status = _status(obj)
    if _is(status, "Complete"):
        return READY
    for kind in ("Failed", "FailureTarget"):
        failure = _condition(status, kind)
        if failure.get("status") == "True":
            return _failed(failure.get("reason", "Failed"), f"failed{_quoted(failure)}")
    if _is(status, "Suspended"):
        return _waiting("Suspended", "is suspended (spec.suspend)")
    if "startTime" not in status:
        return _waiting("NotStarted", "has not started")
    return _waiting("Running", "is not finished")


def _service(obj: Object) -> Health:
    spec = obj.get("spec", {})
    if spec.get("type") == "LoadBalancer" and not spec.get("clusterIP"):
        return _waiting("NoAddress", "has no address")
    return READY


def _budget(obj: Object) -> Health:
    """Nothing depends on a budget, so one that no controller has seen yet does not delay a wave."""
    allowed = _condition(_status(obj), "DisruptionAllowed")
    if allowed.get("reason") == "SyncFailed":
        return _waiting("SyncFailed", f"cannot be computed{_quoted(allowed)}")
    return NOT_OBSERVED if "observedGeneration" in _status(obj) and _unobserved(obj) else READY


def _route(obj: Object) -> Health:
    """READY when one Gateway has accepted this generation and resolved its references."""
    names = sorted(str(parent.get("name")) for parent in obj.get("spec", {}).get("parentRefs", []))
    gateways = "Gateway " + (", ".join(names) or "(none named)")
    # A Gateway that has not taken the route up says nothing of it.
    found = [_parent(obj, parent, gateways) for parent in _status(obj).get("parents", []) or [{}]]
    return min(found, key=lambda health: (health.phase is not Phase.READY, health.phase is not Phase.FAILED))


def _parent(obj: Object, parent: Object, gateways: str) -> Health:
    for kind, reason in (("Accepted", "NotAccepted"), ("ResolvedRefs", "UnresolvedRefs")):
        condition = _condition(parent, kind)
        seen = condition.get("observedGeneration", 0) >= obj["metadata"].get("generation", 0)
        if not seen and (kind == "Accepted" or condition):
            return _waiting("NotAccepted", f"has not been taken up by {gateways}")
        if condition.get("status", "True") != "True":
            verdict = _failed if condition.get("reason") in REFUSED_ROUTE else _waiting
            text = f"is not accepted by {gateways}" if kind == "Accepted" else "leads to something unknown"
            return verdict(condition.get("reason", reason), f"{text}{_quoted(condition)}")
    return READY


def _cluster(obj: Object) -> Health:
    """CloudNativePG has no observedGeneration, only a phase and a number of instances."""
    status, want = _status(obj), obj["spec"].get("instances", 1)
    phase, ready = str(status.get("phase", "")), status.get("readyInstances", 0)
    why = f": {status['phaseReason']}" if status.get("phaseReason") else ""
    if phase.startswith(DEAD_CLUSTER):
        return _failed("ClusterFailed", f"{phase}{why}")
    if not phase:
        return NOT_OBSERVED
    if phase != HEALTHY_CLUSTER:
        return _waiting("ClusterNotHealthy", f"{phase}{why}")
    return READY if ready >= want else _waiting("LessReady", f"{ready} of {want} instances ready")


_ASSESSORS: dict[str, Callable[[Object], Health]] = {
    "Deployment": _deployment,
    "StatefulSet": _stateful_set,
    "Job": _job,
    "Service": _service,
    "PodDisruptionBudget": _budget,
    "HTTPRoute": _route,
    "Cluster": _cluster,
}
"""By kind; a Shop has no two kinds of one name. An autoscaler without metrics leaves the replicas as they are, an
Ingress may never get an address, a CronJob's runs do not concern it: those are READY once they exist."""


def _status(obj: Object) -> dict[str, Any]:
    return obj.get("status") or {}


def _condition(status: dict[str, Any], kind: str) -> dict[str, Any]:
    """The condition of that type; {} when there is none."""
    return next((each for each in status.get("conditions") or [] if each.get("type") == kind), {})


def _is(status: dict[str, Any], kind: str) -> bool:
    return bool(_condition(status, kind).get("status") == "True")


def _unobserved(obj: Object) -> bool:
    """Its controller has not observed this generation: every number in the status is about another one."""
    return bool(_status(obj).get("observedGeneration", 0) < obj["metadata"].get("generation", 1))


def _pods(count: int) -> str:
    return "pod" if count == 1 else "pods"


def _quoted(condition: dict[str, Any]) -> str:
    message = str(condition.get("message", "")).strip()
    return f": {message}" if message else ""
