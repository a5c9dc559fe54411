"""Health of objects, judged from status documents as a cluster's controllers write them."""

from __future__ import annotations

from typing import Any

import pytest

from shop.operator.engine.health import Phase, assess, serves
from shop.operator.engine.kinds import RENDERED

READY, WAITING, FAILED = Phase.READY, Phase.WAITING, Phase.FAILED
CLUSTER_FAILED = "Cluster cannot proceed to reconciliation due to an unknown plugin being required"


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

DEPLOYMENTS = [
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
        "paused by somebody",
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
STATEFUL_SETS = [
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
JOBS = [
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

CLAIM = {"resources": {"requests": {"storage": "5Gi"}}}
CLAIMS = [
    ("bound", an_object("PersistentVolumeClaim", CLAIM, {"phase": "Bound"}), READY, "Ready", ""),
    (
        "pending",
        an_object("PersistentVolumeClaim", CLAIM | {"storageClassName": "fast"}, {"phase": "Pending"}),
        WAITING,
        "VolumePending",
        "PersistentVolumeClaim a: waits for a volume of 5Gi of storage class fast",
    ),
    (
        "pending without a class",
        an_object("PersistentVolumeClaim", CLAIM, {"phase": "Pending"}),
        WAITING,
        "VolumePending",
        "names no storage class",
    ),
    ("new", an_object("PersistentVolumeClaim", CLAIM, None), WAITING, "VolumePending", ""),
    ("lost", an_object("PersistentVolumeClaim", CLAIM, {"phase": "Lost"}), FAILED, "VolumeLost", "its data"),
]

ROUTE = {"parentRefs": [{"name": "public", "namespace": "edge"}]}


def route(*parents: list[dict[str, Any]]) -> dict[str, Any]:
    return an_object("HTTPRoute", ROUTE, {"parents": [{"conditions": conditions} for conditions in parents]})


def said(kind: str, status: str, reason: str, message: str = "", generation: int = 2) -> dict[str, Any]:
    return condition(kind, status, reason, message, observedGeneration=generation)


ACCEPTED, RESOLVED = said("Accepted", "True", "Accepted"), said("ResolvedRefs", "True", "ResolvedRefs")
ROUTES = [
    ("new", an_object("HTTPRoute", ROUTE, None), WAITING, "NotAccepted", "not been taken up by Gateway public"),
    ("no parent has it", route(), WAITING, "NotAccepted", "HTTPRoute a: has not been taken up by Gateway public"),
    ("accepted", route([ACCEPTED, RESOLVED]), READY, "Ready", ""),
    ("accepted, nothing said of its targets", route([ACCEPTED]), READY, "Ready", ""),
    ("accepted in an older form", route([said("Accepted", "True", "Accepted", "", 1)]), WAITING, "NotAccepted", ""),
    (
        "the gateway does not allow it",
        route([said("Accepted", "False", "NotAllowedByListeners", "No listener allows namespace shop"), RESOLVED]),
        WAITING,
        "NotAllowedByListeners",
        "HTTPRoute a: is not accepted by Gateway public: No listener allows namespace shop",
    ),
    ("pending", route([said("Accepted", "False", "Pending", "Waiting for controller")]), WAITING, "Pending", ""),
    (
        "the route itself is refused",
        route([said("Accepted", "False", "UnsupportedValue", "unsupported match")]),
        FAILED,
        "UnsupportedValue",
        "unsupported match",
    ),
    (
        "leads nowhere",
        route([ACCEPTED, said("ResolvedRefs", "False", "BackendNotFound", 'Service "a" not found')]),
        WAITING,
        "BackendNotFound",
        'HTTPRoute a: leads to something unknown: Service "a" not found',
    ),
    (
        "leads to a kind that is none",
        route([ACCEPTED, said("ResolvedRefs", "False", "InvalidKind", "kind Pod")]),
        FAILED,
        "InvalidKind",
        "",
    ),
    (
        "one of two gateways has it",
        route([said("Accepted", "False", "Pending")], [ACCEPTED, RESOLVED]),
        READY,
        "Ready",
        "",
    ),
    (
        "of two refusals the final one is told",
        route([said("Accepted", "False", "Pending")], [said("Accepted", "False", "UnsupportedValue")]),
        FAILED,
        "UnsupportedValue",
        "",
    ),
]


def cluster(phase: str, ready: int = 3, reason: str = "") -> dict[str, Any]:
    return an_object("Cluster", {"instances": 3}, {"phase": phase, "phaseReason": reason, "readyInstances": ready})


CLUSTERS = [
    ("new", an_object("Cluster", {"instances": 3}, None), WAITING, "NotObserved", "Cluster a"),
    ("first instance", cluster("Setting up primary", 0), WAITING, "ClusterNotHealthy", "Cluster a: Setting up primary"),
    ("replicas join", cluster("Creating a new replica", 1), WAITING, "ClusterNotHealthy", "Creating a new replica"),
    ("healthy", cluster("Cluster in healthy state"), READY, "Ready", ""),
    ("healthy, one short", cluster("Cluster in healthy state", 2), WAITING, "LessReady", "2 of 3 instances ready"),
    ("upgrade", cluster("Upgrading cluster"), WAITING, "ClusterNotHealthy", ""),
    (
        "failover",
        cluster("Failing over", 2, "primary a-1 is gone"),
        WAITING,
        "ClusterNotHealthy",
        "primary a-1 is gone",
    ),
    ("a person must act", cluster("Waiting for user action"), WAITING, "ClusterNotHealthy", "Waiting for user action"),
    ("it gave up", cluster(CLUSTER_FAILED), FAILED, "ClusterFailed", CLUSTER_FAILED),
    (
        "data gone",
        cluster("Cluster is unrecoverable and needs manual intervention", 0),
        FAILED,
        "ClusterFailed",
        "manual intervention",
    ),
    (
        "cannot create",
        cluster("Unable to create required cluster objects", 0, "no rights"),
        FAILED,
        "ClusterFailed",
        "no rights",
    ),
]

NO_METRICS = [
    condition("AbleToScale", "True", "SucceededGetScale"),
    condition("ScalingActive", "False", "FailedGetResourceMetric", "unable to get metrics for resource cpu"),
]
OTHERS = [
    (
        "autoscaler without metrics",
        an_object("HorizontalPodAutoscaler", {}, {"conditions": NO_METRICS}),
        READY,
        "Ready",
        "",
    ),
    ("new autoscaler", an_object("HorizontalPodAutoscaler", {}, None), READY, "Ready", ""),
    ("budget not seen", an_object("PodDisruptionBudget", {}, None), READY, "Ready", ""),
    ("budget seen", an_object("PodDisruptionBudget", {}, {"observedGeneration": 2}), READY, "Ready", ""),
    ("budget seen before", an_object("PodDisruptionBudget", {}, {"observedGeneration": 1}), WAITING, "NotObserved", ""),
    (
        "budget without room",
        an_object(
            "PodDisruptionBudget",
            {},
            {
                "observedGeneration": 2,
                "currentHealthy": 1,
                "desiredHealthy": 1,
                "conditions": [condition("DisruptionAllowed", "False", "InsufficientPods")],
            },
        ),
        READY,
        "Ready",
        "",
    ),
    (
        "budget that cannot be computed",
        an_object(
            "PodDisruptionBudget",
            {},
            {
                "observedGeneration": 2,
                "conditions": [condition("DisruptionAllowed", "False", "SyncFailed", "two owners")],
            },
        ),
        WAITING,
        "SyncFailed",
        "PodDisruptionBudget a: cannot be computed: two owners",
    ),
    (
        "service",
        an_object("Service", {"type": "ClusterIP", "clusterIP": "10.0.0.1"}, {"loadBalancer": {}}),
        READY,
        "Ready",
        "",
    ),
    ("headless service", an_object("Service", {"clusterIP": "None"}, {}), READY, "Ready", ""),
    ("balancer", an_object("Service", {"type": "LoadBalancer", "clusterIP": "10.0.0.2"}, {}), READY, "Ready", ""),
    ("balancer without an address", an_object("Service", {"type": "LoadBalancer"}, {}), WAITING, "NoAddress", ""),
    ("ingress without an address", an_object("Ingress", {}, {"loadBalancer": {}}), READY, "Ready", ""),
    ("cron job", an_object("CronJob", {"suspend": True}, {}), READY, "Ready", ""),
    ("secret", an_object("Secret", {}, None), READY, "Ready", ""),
    ("monitor", an_object("ServiceMonitor", {}, None), READY, "Ready", ""),
    (
        "anything on its way out",
        an_object("Secret", {}, None, deletionTimestamp="2026-01-02T03:04:05Z"),
        WAITING,
        "Terminating",
        "Secret a: is being deleted",
    ),
]
TABLE = DEPLOYMENTS + STATEFUL_SETS + JOBS + CLAIMS + ROUTES + CLUSTERS + OTHERS


@pytest.mark.parametrize(
    ("obj", "phase", "reason", "words"),
    [row[1:] for row in TABLE],
    ids=[f"{row[1]['kind']}: {row[0]}" for row in TABLE],
)
def test_health(obj: dict[str, Any], phase: Phase, reason: str, words: str) -> None:
    health = assess(obj)
    assert (health.phase, health.reason) == (phase, reason), health
    assert words in health.message
    assert (health.message == "") == (phase is READY)


@pytest.mark.parametrize("kind", RENDERED, ids=lambda kind: kind.kind)
def test_every_kind_of_a_shop_can_be_judged_without_a_status(kind: Any) -> None:
    assert assess(an_object(kind.kind, {}, None)).phase in {READY, WAITING}


@pytest.mark.parametrize(
    ("what", "obj", "answer"),
    [
        (
            "one of two lost",
            deployment(None, AVAILABLE, NEW_SET, replicas=2, updatedReplicas=2, availableReplicas=1),
            True,
        ),
        ("an autoscaler wants five", deployment({"replicas": 5}, AVAILABLE, replicas=5, availableReplicas=2), True),
        (
            "a rollout that is stuck beside old pods",
            deployment(None, AVAILABLE, LATE, replicas=3, availableReplicas=2),
            True,
        ),
        ("none available", deployment(None, UNAVAILABLE, NEW_SET, replicas=2, updatedReplicas=2), False),
        ("new", an_object("Deployment", {"replicas": 1}, None), False),
        ("wants no pods", deployment({"replicas": 0}), True),
        ("a database of two, one ready", stateful_set(readyReplicas=1), True),
        ("a database of two, none ready", stateful_set(), False),
        ("a cluster that fails over", cluster("Failing over", 2), True),
        ("a cluster without instances", cluster("Failing over", 0), False),
        ("a job at work, which nobody depends on", an_object("Job", {}, STARTED), True),
        ("a job that failed", an_object("Job", {}, {"conditions": [condition("Failed", "True", *BACKOFF)]}), False),
        ("an accepted route", route([ACCEPTED]), True),
        ("a route nobody takes", route(), False),
        (
            "on its way out",
            an_object("Deployment", {"replicas": 0}, {}, deletionTimestamp="2026-01-02T03:04:05Z"),
            False,
        ),
    ],
)
def test_a_shop_that_stands_needs_less_than_one_that_rolls_out(what: str, obj: dict[str, Any], answer: bool) -> None:
    assert serves(obj) is answer, what
