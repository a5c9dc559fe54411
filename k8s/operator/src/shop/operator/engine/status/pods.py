"""Why a pod is not running, in one sentence: the container, Kubernetes' reason, the program's last output.

The same problem always gives the same sentence: what alternates or counts up in a pod's status while nothing changes
(ErrImagePull and ImagePullBackOff, the seconds of a back-off, a restarted container that runs for a moment) is left
out. No right to read logs is needed: the end of a container's log is its termination message.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from shop.operator.kube.objects import Object, shortened

OUTPUT_CHARS = 300
"""How much of a program's last output is quoted."""
FATAL_REASONS = frozenset({"InvalidImageName", "ErrImageNeverPull"})
"""Reasons that waiting does not cure. A missing Secret or image is not among these: both can still come."""
STARTING = frozenset({"", "ContainerCreating", "PodInitializing"})
PULLING = frozenset({"ErrImagePull", "ImagePullBackOff"})
_PULL_PREFIX = re.compile(r'^(Back-off pulling image "[^"]*":? ?|ErrImagePull: ?)+')
_PREEMPTION = re.compile(r"\s*preemption: .*$", re.DOTALL)
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")
_TRACEBACK = "Traceback (most recent call last)"


@dataclass(frozen=True, slots=True)
class PodProblem:
    """What is wrong with one pod. `message` names owner, pod and cause; `owner` as in "Deployment shop-order"."""

    reason: str
    message: str
    fatal: bool = False
    owner: str = ""
    pod: str = ""


def pod_problem(pod: Object) -> PodProblem | None:
    """None for a pod that serves, has completed, only needs more time, or is being deleted.

    An evicted pod keeps its status after another has taken its place: ask only for pods of owners that are not READY.
    """
    status = pod.get("status") or {}
    if pod["metadata"].get("deletionTimestamp") or status.get("phase") == "Succeeded":
        return None
    cause = next(_causes(pod, status), None)
    if cause is None:
        return None
    reason, text, fatal = cause
    owner, name = _owner(pod), pod["metadata"]["name"]
    return PodProblem(reason, f"{owner}: pod {name}: {text}" if owner else f"pod {name}: {text}", fatal, owner, name)


Cause = tuple[str, str, bool]
"""Reason, text after the pod's name, and whether waiting does not cure it."""


def _causes(pod: Object, status: dict[str, Any]) -> Iterator[Cause]:
    """All causes, the one that explains the others first."""
    if status.get("phase") == "Failed" and status.get("reason"):
        yield _plain(str(status["reason"]), str(status.get("message", "")))
    for condition in status.get("conditions", ()):
        if condition.get("type") == "PodScheduled" and condition.get("status") == "False":
            message = _PREEMPTION.sub("", str(condition.get("message", "")))
            reason = str(condition.get("reason", "Unschedulable"))
            unbound = reason == "Unschedulable" and "PersistentVolumeClaim" in message
            yield _plain("UnboundVolume" if unbound else reason, message)
    spec = pod.get("spec") or {}
    containers = (*spec.get("initContainers", ()), *spec.get("containers", ()))
    images = {each["name"]: each.get("image", "") for each in containers}
    for each in (*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())):
        cause = _container(each, images.get(each["name"], ""))
        if cause:
            reason, text, fatal = cause
            yield reason, f"container {each['name']}: {text}", fatal


def _plain(reason: str, message: str) -> Cause:
    message = _cleaned(message)
    return reason, f"{reason}: {message}" if message else reason, reason in FATAL_REASONS


def _container(status: dict[str, Any], image: str) -> Cause | None:
    state = status.get("state") or {}
    waiting, ended = state.get("waiting") or {}, state.get("terminated")
    reason = str(waiting.get("reason", ""))
    if reason in PULLING:
        image = image or status.get("image", "")
        why = _cleaned(_PULL_PREFIX.sub("", str(waiting.get("message", ""))))
        text = f"ImagePullBackOff: image {image} cannot be pulled{': ' + why if why else ''}"
        return "ImagePullBackOff", text, False
    before = (status.get("lastState") or {}).get("terminated")
    if reason == "CrashLoopBackOff" or (
        reason in STARTING and status.get("restartCount", 0) and not status.get("ready")
    ):
        return _crashed(ended or before, again=True)
    if reason not in STARTING:
        return _plain(reason, str(waiting.get("message", "")))
    if ended and ended.get("exitCode", 0) != 0:
        return _crashed(ended, again=False)
    return None


def _crashed(ended: dict[str, Any] | None, *, again: bool) -> Cause | None:
    """A container that exited with an error, or exits repeatedly. Exiting once with success is what Jobs do."""
    if ended is None:
        return ("CrashLoopBackOff", "CrashLoopBackOff", False) if again else None
    code, why = ended.get("exitCode", 0), str(ended.get("reason", ""))
    status = f"signal {ended['signal']}" if ended.get("signal") else f"exit code {code}"
    output = last_output(str(ended.get("message", "")))
    special = why if why not in {"", "Error", "Completed"} else ""
    reason = special or ("CrashLoopBackOff" if again else "Error")
    return reason, f"{reason}: {status}{': ' + output if output else ''}", reason in FATAL_REASONS


def last_output(message: str) -> str:
    """The essence of a termination message, on one line.

    Of a traceback, and of the end of a long log, that is the last line; of a line of JSON log, its message.
    """
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    if len(lines) > 1 and (_TRACEBACK in message or len(message) > OUTPUT_CHARS or _logged(lines[-1])):
        lines = lines[-1:]
    logged = _logged(lines[0]) if len(lines) == 1 else ""
    return _cleaned(logged or " ".join(lines))


def _logged(line: str) -> str:
    """Message and exception of one line of JSON log; "" for any other line."""
    try:
        record = json.loads(line) if line.startswith("{") else None
    except ValueError:
        return ""
    if not isinstance(record, dict):
        return ""
    raised = str(record.get("exception", "")).strip().splitlines()
    return " ".join(part for part in (str(record.get("message", "")), *raised[-1:]) if part)


def _cleaned(text: str) -> str:
    """On one line, without colours and other control characters, at most OUTPUT_CHARS."""
    text = "".join(sign if sign.isprintable() else " " for sign in _COLOUR.sub("", text))
    return shortened(" ".join(text.split()), OUTPUT_CHARS)


def _owner(pod: Object) -> str:
    """The pod's owner: for a ReplicaSet, its Deployment. "" without one."""
    meta = pod["metadata"]
    ref = next((each for each in meta.get("ownerReferences", ()) if each.get("controller")), None)
    if ref is None:
        return ""
    if ref["kind"] != "ReplicaSet":
        return f"{ref['kind']} {ref['name']}"
    suffix = "-" + meta.get("labels", {}).get("pod-template-hash", "")
    return f"Deployment {ref['name'].removesuffix(suffix) if len(suffix) > 1 else ref['name'].rpartition('-')[0]}"
