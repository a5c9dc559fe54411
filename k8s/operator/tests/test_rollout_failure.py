"""When a rollout counts as failed, and what is said of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from shop.operator.engine.reconcile.rollout import Progress, rollout_failure
from shop.operator.engine.status.health import PROGRESS_DEADLINE
from shop.operator.engine.status.pods import PodProblem
from shop.operator.engine.status.shop_view import DeadlineTracker, Rollout
from shop.operator.kube.kinds import Wave

ORDER, USER = "Deployment a-order: 0 of 1 pod available", "Deployment a-user: 0 of 1 pod available"
PULL = PodProblem(
    "ImagePullBackOff", "Deployment a-user: pod a-user-1: not found", owner="Deployment a-user", pod="a-user-1"
)
NEVER = PodProblem(
    "InvalidImageName",
    "Deployment a-order: pod a-order-1: no name",
    fatal=True,
    owner="Deployment a-order",
    pod="a-order-1",
)
JOB = ("BackoffLimitExceeded", "Job a-migrate: failed")
SLOW = (PROGRESS_DEADLINE, "Deployment a-order: exceeded its progress deadline")


def progress(failed: tuple[str, str] | None = None) -> Progress:
    return Progress(Wave.SERVICES, (ORDER, USER), failed)


@pytest.mark.parametrize(
    ("what", "found", "pod_problems", "late", "verdict"),
    [
        ("in progress", progress(), (), False, None),
        ("a pod with problems may still recover", progress(), (PULL,), False, None),
        ("a pod that cannot", progress(), (PULL, NEVER), False, ("InvalidImageName", NEVER.message)),
        ("a job gave up", progress(JOB), (PULL,), False, JOB),
        (
            "a job gave up and said why",
            progress(JOB),
            (PodProblem("Error", "Job a-migrate: pod m-1: no column", owner="Job a-migrate", pod="m-1"),),
            False,
            ("BackoffLimitExceeded", "Job a-migrate: failed (pod m-1: no column)"),
        ),
        ("Kubernetes' deadline is over, the Shop's is not", progress(SLOW), (PULL,), False, None),
        ("both deadlines are over", progress(SLOW), (), True, SLOW),
        (
            "late without a known reason",
            progress(),
            (),
            True,
            ("DeadlineExceeded", f"not healthy within 900 s: {ORDER}"),
        ),
        (
            "late, and a pod says why",
            progress(),
            (PULL,),
            True,
            ("DeadlineExceeded", f"not healthy within 900 s: {USER} (pod a-user-1: not found)"),
        ),
    ],
)
def test_failure(
    what: str, found: Progress, pod_problems: tuple[PodProblem, ...], late: bool, verdict: tuple[str, str] | None
) -> None:
    assert rollout_failure(found, pod_problems, 900, late=late) == verdict, what


def test_pods_that_cannot_start_do_not_count_where_they_are_not_waited_for() -> None:
    """Such as those of the revision before, which are being replaced."""
    elsewhere = PodProblem(
        "InvalidImageName", "StatefulSet b: pod b-0: no name", fatal=True, owner="StatefulSet b", pod="b-0"
    )
    assert rollout_failure(progress(), (elsewhere,), 900, late=False) is None


DEADLINE = timedelta(minutes=10)


def rollout(hash_: str, minutes_ago: int) -> Rollout:
    return Rollout(revision=2, hash=hash_, started_at=datetime.now(UTC) - timedelta(minutes=minutes_ago))


def is_late(tracker: DeadlineTracker, found: Rollout) -> bool:
    return tracker.remaining(found, DEADLINE) <= timedelta()


def test_a_rollout_that_was_worked_on_all_the_time_is_late_after_its_deadline() -> None:
    tracker = DeadlineTracker()
    tracker.start("a")
    assert not is_late(tracker, rollout("a", 9))
    assert is_late(tracker, rollout("a", 11))


def test_time_in_which_no_operator_worked_on_a_rollout_does_not_count() -> None:
    tracker = DeadlineTracker()
    assert not is_late(tracker, rollout("a", 60)), "begun by another process"
    assert not is_late(tracker, rollout("a", 69)), "which this one has had for nine minutes"
    assert is_late(tracker, rollout("a", 71))
    tracker.stop()
    assert not is_late(tracker, rollout("a", 71)), "suspended for a while"
    tracker.start("b")
    assert not is_late(tracker, rollout("a", 71)), "another was begun meanwhile"
