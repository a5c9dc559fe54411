"""Why a pod does not start, from pod documents as kubelets write them."""

from __future__ import annotations

import json
from typing import Any

import pytest

from shop.operator.engine.status.pods import OUTPUT_CHARS, PodProblem, last_output, pod_problem

TRACEBACK = """\
2026-01-02 applying 0007.prices
Traceback (most recent call last):
  File "/app/migrate.py", line 31, in <module>
    apply()
psycopg.errors.UndefinedColumn: column "sku" does not exist

"""
NOT_FOUND = (
    "rpc error: code = NotFound desc = failed to pull and unpack image "
    '"example.org/shop-order:9": failed to resolve reference "example.org/shop-order:9": not found'
)
IMAGE = "example.org/shop-order:9"
Status = dict[str, Any]


def pod(*containers: Status, init: tuple[Status, ...] = (), owner: str = "ReplicaSet", **status: Any) -> dict[str, Any]:
    owners = {
        "ReplicaSet": [{"kind": "ReplicaSet", "name": "bookshop-order-7c9", "controller": True}],
        "StatefulSet": [{"kind": "StatefulSet", "name": "bookshop-postgres", "controller": True}],
        "Job": [{"kind": "Job", "name": "bookshop-order-migrate-1f", "controller": True}],
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": "bookshop-order-7c9-x",
            "labels": {"pod-template-hash": "7c9"},
            "ownerReferences": owners.get(owner, []),
        },
        "spec": {
            "initContainers": [{"name": each["name"], "image": IMAGE} for each in init],
            "containers": [{"name": each["name"], "image": IMAGE} for each in containers],
        },
        "status": {"phase": "Pending", "initContainerStatuses": [*init], "containerStatuses": [*containers]} | status,
    }


def container(
    state: Status, last: Status | None = None, *, name: str = "order", restarts: int = 0, ready: bool = False
) -> Status:
    lasting = {} if last is None else {"terminated": last}
    return {"name": name, "state": state, "lastState": lasting, "restartCount": restarts, "ready": ready}


def waiting(reason: str, message: str = "") -> Status:
    return {"waiting": {"reason": reason, "message": message} if message else {"reason": reason}}


def ended(code: int, reason: str = "Error", message: str = "", **more: Any) -> Status:
    return {"exitCode": code, "reason": reason, "message": message} | more


RUNNING: Status = {"running": {"startedAt": "2026-01-02T03:04:05Z"}}
BACKOFF = "back-off {} restarting failed container=order pod=bookshop-order-7c9-x_shop(0a1b)"
UNSCHEDULABLE = (
    "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims."
)


def unscheduled(reason: str, message: str) -> dict[str, Any]:
    return pod(conditions=[{"type": "PodScheduled", "status": "False", "reason": reason, "message": message}])


PROBLEMS: list[tuple[str, dict[str, Any], str, str, bool]] = [
    (
        "no such image",
        pod(container(waiting("ErrImagePull", NOT_FOUND))),
        "ImagePullBackOff",
        f"container order: ImagePullBackOff: image {IMAGE} cannot be pulled: {NOT_FOUND}",
        False,
    ),
    (
        "waits before it pulls again",
        pod(container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {NOT_FOUND}'))),
        "ImagePullBackOff",
        f"container order: ImagePullBackOff: image {IMAGE} cannot be pulled: {NOT_FOUND}",
        False,
    ),
    (
        "waits before it pulls again, on an older cluster",
        pod(container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}"'))),
        "ImagePullBackOff",
        f"container order: ImagePullBackOff: image {IMAGE} cannot be pulled",
        False,
    ),
    (
        "an image's name that is none",
        pod(container(waiting("InvalidImageName", 'Failed to apply default image tag "A:": invalid reference format'))),
        "InvalidImageName",
        'container order: InvalidImageName: Failed to apply default image tag "A:": invalid reference format',
        True,
    ),
    (
        "an image that may not be pulled",
        pod(container(waiting("ErrImageNeverPull", "Container image is not present with pull policy of Never"))),
        "ErrImageNeverPull",
        "pull policy of Never",
        True,
    ),
    (
        "a Secret is missing",
        pod(container(waiting("CreateContainerConfigError", 'secret "bookshop-database-order" not found'))),
        "CreateContainerConfigError",
        'container order: CreateContainerConfigError: secret "bookshop-database-order" not found',
        False,
    ),
    (
        "it cannot be made",
        pod(container(waiting("CreateContainerError", "no space"))),
        "CreateContainerError",
        "no space",
        False,
    ),
    (
        "it cannot be run",
        pod(container(waiting("RunContainerError", "exec: no such file"))),
        "RunContainerError",
        "exec",
        False,
    ),
    (
        "a migration that cannot begin",
        pod(container(waiting("PodInitializing")), init=(container(waiting("ImagePullBackOff"), name="migrate"),)),
        "ImagePullBackOff",
        "container migrate: ImagePullBackOff",
        False,
    ),
    (
        "a migration that failed",
        pod(
            container(waiting("PodInitializing")),
            init=(container({"terminated": ended(1, message=TRACEBACK)}, name="migrate"),),
        ),
        "Error",
        'container migrate: Error: exit code 1: psycopg.errors.UndefinedColumn: column "sku" does not exist',
        False,
    ),
    (
        "a migration that fails again and again",
        pod(
            container(waiting("PodInitializing")),
            init=(container(waiting("CrashLoopBackOff"), ended(1, message=TRACEBACK), name="migrate", restarts=3),),
        ),
        "CrashLoopBackOff",
        'container migrate: CrashLoopBackOff: exit code 1: psycopg.errors.UndefinedColumn: column "sku" does not exist',
        False,
    ),
    (
        "a crash without a word",
        pod(container(waiting("CrashLoopBackOff", BACKOFF.format("10s")), ended(137), restarts=1)),
        "CrashLoopBackOff",
        "container order: CrashLoopBackOff: exit code 137",
        False,
    ),
    (
        "a server that ends well is no server",
        pod(container(waiting("CrashLoopBackOff"), ended(0, "Completed"), restarts=1)),
        "CrashLoopBackOff",
        "container order: CrashLoopBackOff: exit code 0",
        False,
    ),
    (
        "out of memory",
        pod(container(waiting("CrashLoopBackOff"), ended(137, "OOMKilled"), restarts=4)),
        "OOMKilled",
        "container order: OOMKilled: exit code 137",
        False,
    ),
    (
        "out of memory, this moment",
        pod(container({"terminated": ended(137, "OOMKilled")})),
        "OOMKilled",
        "container order: OOMKilled: exit code 137",
        False,
    ),
    (
        "a signal",
        pod(container({"terminated": ended(139, signal=11)})),
        "Error",
        "container order: Error: signal 11",
        False,
    ),
    (
        "a program that is not in the image",
        pod(container({"terminated": ended(128, "StartError", 'exec: "shop": executable file not found in $PATH')})),
        "StartError",
        "StartError: exit code 128: exec:",
        False,
    ),
    ("no node", unscheduled("Unschedulable", UNSCHEDULABLE), "Unschedulable", "available: 3 Insufficient cpu.", False),
    (
        "no volume",
        unscheduled("Unschedulable", "0/1 nodes are available: pod has unbound immediate PersistentVolumeClaims."),
        "UnboundVolume",
        "pod bookshop-order-7c9-x: UnboundVolume: 0/1 nodes are available: pod has unbound immediate",
        False,
    ),
    (
        "gated",
        unscheduled("SchedulingGated", "Scheduling is blocked"),
        "SchedulingGated",
        "Scheduling is blocked",
        False,
    ),
    (
        "evicted",
        pod(phase="Failed", reason="Evicted", message="The node was low on resource: memory."),
        "Evicted",
        "pod bookshop-order-7c9-x: Evicted: The node was low on resource: memory.",
        False,
    ),
    ("its node is gone", pod(phase="Failed", reason="NodeLost"), "NodeLost", "bookshop-order-7c9-x: NodeLost", False),
    (
        "one of two containers",
        pod(container(RUNNING, ready=True), container(waiting("ImagePullBackOff"), name="proxy")),
        "ImagePullBackOff",
        "container proxy",
        False,
    ),
]


@pytest.mark.parametrize(
    ("document", "reason", "words", "fatal"), [row[1:] for row in PROBLEMS], ids=[row[0] for row in PROBLEMS]
)
def test_pod_problem(document: dict[str, Any], reason: str, words: str, fatal: bool) -> None:
    found = pod_problem(document)
    assert found is not None
    assert (found.reason, found.fatal) == (reason, fatal)
    assert found.message.startswith("Deployment bookshop-order: pod bookshop-order-7c9-x: ")
    assert words in found.message


@pytest.mark.parametrize(
    ("what", "document"),
    [
        ("serves", pod(container(RUNNING, ready=True), phase="Running")),
        ("serves after a crash", pod(container(RUNNING, ended(1), restarts=3, ready=True), phase="Running")),
        ("has just been made", pod(phase="Pending")),
        ("is being made", pod(container(waiting("ContainerCreating")))),
        ("migrates", pod(container(waiting("PodInitializing")), init=(container(RUNNING, name="migrate"),))),
        ("starts for the first time", pod(container(RUNNING), phase="Running")),
        (
            "has migrated",
            pod(container(RUNNING), init=(container({"terminated": ended(0, "Completed")}, name="migrate"),)),
        ),
        ("has done its work", pod(container({"terminated": ended(0, "Completed")}), phase="Succeeded")),
        ("is scheduled", pod(conditions=[{"type": "PodScheduled", "status": "True"}])),
        ("has no status", {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
    ],
)
def test_no_pod_problem(what: str, document: dict[str, Any]) -> None:
    assert pod_problem(document) is None, what


def test_a_terminating_pod_has_no_problem() -> None:
    leaving = pod(container({"terminated": ended(143)}))
    leaving["metadata"]["deletionTimestamp"] = "2026-01-02T03:04:05Z"
    assert pod_problem(leaving) is None


CRASH = ended(1, message="could not connect")


@pytest.mark.parametrize(
    "states",
    [
        [
            container(waiting("CrashLoopBackOff", BACKOFF.format("10s")), CRASH, restarts=1),
            container(waiting("CrashLoopBackOff", BACKOFF.format("5m0s")), CRASH, restarts=9),
            container(RUNNING, CRASH, restarts=2),
            container({"terminated": CRASH}, CRASH, restarts=3),
        ],
        [
            container(waiting("ErrImagePull", NOT_FOUND)),
            container(waiting("ImagePullBackOff", f'Back-off pulling image "{IMAGE}": ErrImagePull: {NOT_FOUND}')),
        ],
    ],
    ids=["crash loop", "image"],
)
def test_the_same_problem_is_reported_the_same_way_at_every_moment(states: list[Status]) -> None:
    assert len({pod_problem(pod(state)) for state in states}) == 1


@pytest.mark.parametrize(
    ("owner", "display_name"),
    [("ReplicaSet", "Deployment bookshop-order"), ("StatefulSet", "StatefulSet bookshop-postgres"), ("", "")],
)
def test_a_problem_names_the_owner(owner: str, display_name: str) -> None:
    found = pod_problem(pod(container(waiting("ErrImageNeverPull")), owner=owner))
    lead = f"{display_name}: " if display_name else ""
    text = f"{lead}pod bookshop-order-7c9-x: container order: ErrImageNeverPull"
    assert found == PodProblem("ErrImageNeverPull", text, True, display_name, "bookshop-order-7c9-x")


def test_a_failed_migration_is_reported_with_the_name_of_its_job() -> None:
    found = pod_problem(
        pod(container({"terminated": ended(1, message=TRACEBACK)}, name="migrate"), owner="Job", phase="Failed")
    )
    assert found is not None
    assert found.owner == "Job bookshop-order-migrate-1f"
    assert found.message.endswith('exit code 1: psycopg.errors.UndefinedColumn: column "sku" does not exist')


def log(**fields: str) -> str:
    return json.dumps({"time": "2026-01-02T03:04:05.678+00:00", "level": "error", "service": "order"} | fields)


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("", ""),
        (" \n\n", ""),
        ("no database\n", "no database"),
        ("no database\nat db:5432", "no database at db:5432"),
        (TRACEBACK, 'psycopg.errors.UndefinedColumn: column "sku" does not exist'),
        (log(message="cannot start"), "cannot start"),
        (log(message="ready") + "\n" + log(message="cannot start"), "cannot start"),
        (
            log(message="gave up", exception="Traceback\n  File\nOSError: [Errno 111] refused"),
            "gave up OSError: [Errno 111] refused",
        ),
        ('{"cut": "of', '{"cut": "of'),
        ("[1, 2]", "[1, 2]"),
        ("\n".join(f"line {number} of a long log" for number in range(80)), "line 79 of a long log"),
        ("x" * 2_000, "x" * (OUTPUT_CHARS - 1) + "…"),
        ("\x1b[31mred\x1b[0m\x00 and\ta tab", "red and a tab"),
    ],
)
def test_the_last_output_of_a_container(message: str, words: str) -> None:
    assert last_output(message) == words
