"""Health of objects, judged from status documents as a cluster's controllers write them."""

from __future__ import annotations

from typing import Any

import pytest

from k8s.operator.tests.health_others import ACCEPTED, CLUSTERS, OTHERS, ROUTES, cluster, route
from k8s.operator.tests.health_workloads import (
    AVAILABLE,
    BACKOFF,
    DEPLOYMENTS,
    JOBS,
    LATE,
    NEW_SET,
    READY,
    STARTED,
    STATEFUL_SETS,
    UNAVAILABLE,
    WAITING,
    an_object,
    condition,
    deployment,
    stateful_set,
)
from shop.operator.engine.status.health import Phase, assess, serves
from shop.operator.kube.kinds import RENDERED

TABLE = DEPLOYMENTS + STATEFUL_SETS + JOBS + ROUTES + CLUSTERS + OTHERS


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
        ("an autoscaler asks for five", deployment({"replicas": 5}, AVAILABLE, replicas=5, availableReplicas=2), True),
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
        ("a running job that nothing waits for", an_object("Job", {}, STARTED), True),
        ("a job that failed", an_object("Job", {}, {"conditions": [condition("Failed", "True", *BACKOFF)]}), False),
        ("an accepted route", route([ACCEPTED]), True),
        ("a route that no Gateway has accepted", route(), False),
        (
            "being deleted",
            an_object("Deployment", {"replicas": 0}, {}, deletionTimestamp="2026-01-02T03:04:05Z"),
            False,
        ),
    ],
)
def test_serving_requires_less_than_a_finished_rollout(what: str, obj: dict[str, Any], answer: bool) -> None:
    assert serves(obj) is answer, what
