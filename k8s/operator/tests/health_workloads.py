"""Deployments, StatefulSets and Jobs as a cluster's controllers write them, and how each should be judged."""

from __future__ import annotations

from typing import Any

from shop.operator.engine.status.health import Phase
from shop.operator.kube.kinds import RENDERED

READY, WAITING, FAILED = Phase.READY, Phase.WAITING, Phase.FAILED
Row = tuple[str, dict[str, Any], Phase, str, str]
"""What it shows, the object, and the phase, reason and words of its health."""


def an_object(kind: str, spec: dict[str, Any], status: dict[str, Any] | None, **metadata: Any) -> dict[str, Any]:
    api_version = next((each.api_version for each in RENDERED if each.kind == kind), "v1")
    found = {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {"name": "a", "generation": 2} | metadata,
        "spec": spec,
    }
    return found if status is None else found | {"status": status}


def condition(kind: str, status: str, reason: str = "", message: str = "", **more: Any) -> dict[str, Any]:
    return {"type": kind, "status": status, "reason": reason, "message": message} | more


def deployment(spec: dict[str, Any] | None = None, *conditions: dict[str, Any], **counts: int) -> dict[str, Any]:
    """`counts` as the controller writes them: a zero is left out."""
    written = {"observedGeneration": 2} | {name: count for name, count in counts.items() if count}
    return an_object("Deployment", {"replicas": 2} | (spec or {}), written | {"conditions": list(conditions)})


NEW_SET = condition("Progressing", "True", "NewReplicaSetAvailable", 'ReplicaSet "a-7c9" has successfully progressed.')
UPDATING = condition("Progressing", "True", "ReplicaSetUpdated", 'ReplicaSet "a-7c9" is progressing.')
LATE = condition("Progressing", "False", "ProgressDeadlineExceeded", 'ReplicaSet "a-7c9" has timed out progressing.')
AVAILABLE = condition("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.")
UNAVAILABLE = condition(
    "Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability."
)
FORBIDDEN = condition("ReplicaFailure", "True", "FailedCreate", 'pods "a-7c9-" is forbidden: exceeded quota: small')

DEPLOYMENTS: list[Row] = [
    ("new, no status", an_object("Deployment", {"replicas": 2}, None), WAITING, "NotObserved", "not been seen by its"),
    (
        "empty status",
        an_object("Deployment", {"replicas": 2}, {}),
        WAITING,
        "NotObserved",
        "Deployment a: has not been",
    ),
    (
        "numbers of the generation before",
        an_object(
            "Deployment",
            {"replicas": 1},
            {"observedGeneration": 1, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1},
        ),
        WAITING,
        "NotObserved",
        "",
    ),
    (
        "none updated",
        deployment(None, UPDATING, AVAILABLE, replicas=2, readyReplicas=2, availableReplicas=2),
        WAITING,
        "LessUpdated",
        "Deployment a: 0 of 2 pods updated",
    ),
    (
        "half updated",
        deployment(None, UPDATING, AVAILABLE, replicas=3, updatedReplicas=1, readyReplicas=2, availableReplicas=2),
        WAITING,
        "LessUpdated",
        "1 of 2 pods updated",
    ),
    (
        "updated, none available",
        deployment(None, UPDATING, UNAVAILABLE, replicas=2, updatedReplicas=2, unavailableReplicas=2),
        WAITING,
        "LessAvailable",
        "Deployment a: 0 of 2 pods available",
    ),
    (
        "ready, but not for minReadySeconds",
        deployment(None, UPDATING, UNAVAILABLE, replicas=2, updatedReplicas=2, readyReplicas=2, unavailableReplicas=2),
        WAITING,
        "LessAvailable",
        "",
    ),
    (
        "an old pod still serves",
        deployment(None, UPDATING, AVAILABLE, replicas=3, updatedReplicas=2, readyReplicas=3, availableReplicas=3),
        WAITING,
        "OldReplicas",
        "Deployment a: 1 old pod still to end",
    ),
    (
        "complete",
        deployment(None, AVAILABLE, NEW_SET, replicas=2, updatedReplicas=2, readyReplicas=2, availableReplicas=2),
        READY,
        "Ready",
        "",
    ),
    (
        "complete, observed later than asked",
        deployment(None, AVAILABLE, NEW_SET, observedGeneration=3, replicas=2, updatedReplicas=2, availableReplicas=2),
        READY,
        "Ready",
        "",
    ),
    ("scaled to nothing", deployment({"replicas": 0}, AVAILABLE, NEW_SET), READY, "Ready", ""),
    (
        "one lost after it was complete",
        deployment(None, AVAILABLE, NEW_SET, replicas=2, updatedReplicas=2, readyReplicas=1, availableReplicas=1),
        WAITING,
        "LessAvailable",
        "1 of 2 pods available",
    ),
    (
        "past its deadline",
        deployment(None, UNAVAILABLE, LATE, replicas=3, updatedReplicas=1, readyReplicas=2, availableReplicas=2),
        FAILED,
        "ProgressDeadlineExceeded",
        'Deployment a: exceeded its progress deadline: ReplicaSet "a-7c9" has timed out progressing.',
    ),
    (
        "pods refused",
        deployment(None, UPDATING, UNAVAILABLE, FORBIDDEN),
        WAITING,
        "FailedCreate",
        'Deployment a: cannot create pods: pods "a-7c9-" is forbidden: exceeded quota: small',
    ),
    (
        "one refused, the others suffice",
        deployment(None, AVAILABLE, NEW_SET, FORBIDDEN, replicas=2, updatedReplicas=2, availableReplicas=2),
        READY,
        "Ready",
        "",
    ),
    (
        "paused by a user",
        deployment({"paused": True}, AVAILABLE, replicas=2, readyReplicas=2, availableReplicas=2),
        WAITING,
        "DeploymentPaused",
        "spec.paused",
    ),
    (
        "replicas not given means one",
        an_object(
            "Deployment", {}, {"observedGeneration": 2, "replicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
        ),
        READY,
        "Ready",
        "",
    ),
]


def stateful_set(spec: dict[str, Any] | None = None, **status: Any) -> dict[str, Any]:
    base = {"observedGeneration": 2, "replicas": 2, "currentRevision": "a-1", "updateRevision": "a-1"}
    return an_object("StatefulSet", {"replicas": 2} | (spec or {}), base | status)


PARTITION = {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 1}}}
STATEFUL_SETS: list[Row] = [
    ("new", an_object("StatefulSet", {"replicas": 1}, {"replicas": 0}), WAITING, "NotObserved", "StatefulSet a"),
    ("none ready", stateful_set(), WAITING, "LessReady", "StatefulSet a: 0 of 2 pods ready"),
    ("one ready", stateful_set(readyReplicas=1, currentReplicas=2), WAITING, "LessReady", "1 of 2 pods ready"),
    ("all ready", stateful_set(readyReplicas=2, currentReplicas=2, updatedReplicas=2), READY, "Ready", ""),
    (
        "update begun, old pods all ready",
        stateful_set(readyReplicas=2, currentReplicas=2, updateRevision="a-2"),
        WAITING,
        "LessUpdated",
        "StatefulSet a: 0 of 2 pods updated",
    ),
    (
        "update half done",
        stateful_set(readyReplicas=2, currentReplicas=1, updatedReplicas=1, updateRevision="a-2"),
        WAITING,
        "LessUpdated",
        "1 of 2 pods updated",
    ),
    (
        "update of the generation before",
        stateful_set(readyReplicas=2, observedGeneration=1),
        WAITING,
        "NotObserved",
        "",
    ),
    (
        "partition reached",
        stateful_set(PARTITION, readyReplicas=2, currentReplicas=1, updatedReplicas=1, updateRevision="a-2"),
        READY,
        "Ready",
        "",
    ),
    (
        "partition not reached",
        stateful_set(PARTITION, readyReplicas=2, currentReplicas=2, updateRevision="a-2"),
        WAITING,
        "LessUpdated",
        "0 of 1 pod updated",
    ),
    (
        "partition beyond all replicas",
        stateful_set(
            {"updateStrategy": {"type": "RollingUpdate", "rollingUpdate": {"partition": 5}}},
            readyReplicas=2,
            updateRevision="a-2",
        ),
        READY,
        "Ready",
        "",
    ),
    (
        "OnDelete keeps old pods on purpose",
        stateful_set({"updateStrategy": {"type": "OnDelete"}}, readyReplicas=2, updateRevision="a-2"),
        READY,
        "Ready",
        "",
    ),
    (
        "OnDelete must still be ready",
        stateful_set({"updateStrategy": {"type": "OnDelete"}}, readyReplicas=1),
        WAITING,
        "LessReady",
        "",
    ),
    ("scaled down", stateful_set({"replicas": 1}, readyReplicas=2), WAITING, "ExtraPods", "1 pod still to end"),
    ("scaled to nothing", stateful_set({"replicas": 0}, replicas=0), READY, "Ready", ""),
]

STARTED = {"startTime": "2026-01-02T03:04:05Z"}
BACKOFF = ("BackoffLimitExceeded", "Job has reached the specified backoff limit")
JOBS: list[Row] = [
    ("new", an_object("Job", {}, {}), WAITING, "NotStarted", "Job a: has not started"),
    (
        "running",
        an_object("Job", {}, STARTED | {"active": 1, "ready": 1}),
        WAITING,
        "Running",
        "Job a: is not finished",
    ),
    (
        "retrying",
        an_object("Job", {}, STARTED | {"active": 1, "failed": 2}),
        WAITING,
        "Running",
        "Job a: is not finished",
    ),
    (
        "criteria met, pods still to end",
        an_object("Job", {}, STARTED | {"conditions": [condition("SuccessCriteriaMet", "True", "CompletionsReached")]}),
        WAITING,
        "Running",
        "",
    ),
    (
        "complete",
        an_object("Job", {}, STARTED | {"succeeded": 1, "conditions": [condition("Complete", "True")]}),
        READY,
        "Ready",
        "",
    ),
    (
        "failed",
        an_object("Job", {}, STARTED | {"failed": 4, "conditions": [condition("Failed", "True", *BACKOFF)]}),
        FAILED,
        "BackoffLimitExceeded",
        "Job a: failed: Job has reached the specified backoff limit",
    ),
    (
        "about to fail, pods still to end",
        an_object("Job", {}, STARTED | {"conditions": [condition("FailureTarget", "True", *BACKOFF)]}),
        FAILED,
        "BackoffLimitExceeded",
        "Job a: failed",
    ),
    (
        "too late",
        an_object(
            "Job",
            {},
            STARTED
            | {
                "conditions": [
                    condition("Failed", "True", "DeadlineExceeded", "Job was active longer than specified deadline")
                ]
            },
        ),
        FAILED,
        "DeadlineExceeded",
        "longer than specified deadline",
    ),
    (
        "suspended",
        an_object("Job", {"suspend": True}, {"conditions": [condition("Suspended", "True", "JobSuspended")]}),
        WAITING,
        "Suspended",
        "spec.suspend",
    ),
    (
        "resumed",
        an_object(
            "Job",
            {},
            STARTED | {"active": 1, "conditions": [condition("Suspended", "False", "JobResumed", "Job resumed")]},
        ),
        WAITING,
        "Running",
        "",
    ),
]
