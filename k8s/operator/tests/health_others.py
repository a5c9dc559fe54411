"""Routes, database clusters and the rest as controllers write them, and how each should be judged."""

from __future__ import annotations

from typing import Any

from k8s.operator.tests.health_workloads import FAILED, READY, WAITING, Row, an_object, condition

CLUSTER_FAILED = "Cluster cannot proceed to reconciliation due to an unknown plugin being required"

ROUTE = {"parentRefs": [{"name": "public", "namespace": "edge"}]}


def route(*parents: list[dict[str, Any]]) -> dict[str, Any]:
    return an_object("HTTPRoute", ROUTE, {"parents": [{"conditions": conditions} for conditions in parents]})


def said(kind: str, status: str, reason: str, message: str = "", generation: int = 2) -> dict[str, Any]:
    return condition(kind, status, reason, message, observedGeneration=generation)


ACCEPTED, RESOLVED = said("Accepted", "True", "Accepted"), said("ResolvedRefs", "True", "ResolvedRefs")
ROUTES: list[Row] = [
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
        "refers to an unknown kind",
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
        "of two refusals the final one is reported",
        route([said("Accepted", "False", "Pending")], [said("Accepted", "False", "UnsupportedValue")]),
        FAILED,
        "UnsupportedValue",
        "",
    ),
]


def cluster(phase: str, ready: int = 3, reason: str = "") -> dict[str, Any]:
    return an_object("Cluster", {"instances": 3}, {"phase": phase, "phaseReason": reason, "readyInstances": ready})


CLUSTERS: list[Row] = [
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
OTHERS: list[Row] = [
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
        "anything being deleted",
        an_object("Secret", {}, None, deletionTimestamp="2026-01-02T03:04:05Z"),
        WAITING,
        "Terminating",
        "Secret a: is being deleted",
    ),
]
