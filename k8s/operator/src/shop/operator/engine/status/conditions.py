"""The five conditions of a Shop, from the facts that a reconcile has found.

Pure: the same facts give the same conditions, so that an unchanged Shop's status is not written. A message is one or a
few sentences for a person; it holds no time and nothing that counts up by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any, Literal

from shop.operator.engine.status.pods import PodProblem
from shop.operator.kube.objects import shortened, timestamp

MESSAGE_CHARS = 1_024
MAX_PROBLEM_SENTENCES = 3
"""Owners of pods with problems that a message names; of more it gives the number."""
TYPES = ("Ready", "Progressing", "Degraded", "Drifted", "Paused")

Condition = dict[str, Any]
Verdict = tuple[Literal["True", "False", "Unknown"], str, str]
"""Status, reason, message."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Everything that the conditions follow from. Sentences name the object they are about.

    - `blocked`: reason and sentence for why the spec cannot be read, or for what blocks it from outside.
    - `rolling`: how far the rollout of a revision is, "" without one. `pod_problems`: of pods whose owner is not ready.
    - `failed`: reason and sentence of a revision that failed; `rolled_back_to`: the one that replaces it, under way
      as long as there is `rolling`. Without it, the failed one stays and may still become healthy.
    - `serving`: whether a revision has become healthy. `unready`: objects that served and no longer do.
    - `drift`: what another client had changed, repaired by this reconcile.
    - `deleting`: how far the deletion is.
    - `waits`: reason and sentence for why the operator's new version is not rolled out yet.
    """

    generation: int
    paused: bool = False
    blocked: tuple[str, str] | None = None
    rolling: str = ""
    pod_problems: tuple[PodProblem, ...] = ()
    failed: tuple[str, str] | None = None
    rolled_back_to: int | None = None
    serving: bool = False
    unready: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()
    deleting: str | None = None
    waits: tuple[str, str] | None = None


def conditions(previous: Sequence[Condition], facts: Facts, now: datetime) -> list[Condition]:
    """All five, in the order of TYPES. lastTransitionTime is `now` only where the status has changed.

    While paused, Ready keeps the generation that it was made for, as that is what was applied: `kubectl wait` then
    does not take an old spec's Ready for the new one's.
    """
    facts = replace(facts, unready=tuple(sorted(facts.unready)))
    before = {condition["type"]: condition for condition in previous}
    problem = _first_problem(facts) if facts.deleting is None else None
    degraded: Verdict = ("True", *problem) if problem else ("False", "AsExpected", "Nothing is known to be wrong.")
    paused: Verdict = "False", "Active", "The operator keeps this Shop as its spec says."
    if facts.paused:
        paused = "True", "Suspended", "spec.suspend is true: the operator changes nothing."
    verdicts = (_ready(facts), _progressing(facts), degraded, _drifted(facts, before.get("Drifted")), paused)
    result = []
    for kind, (status, reason, message) in zip(TYPES, verdicts, strict=True):
        old = before.get(kind, {})
        pinned = facts.paused and kind == "Ready" and "observedGeneration" in old
        since = old.get("lastTransitionTime") if old.get("status") == status else None
        result.append(
            {
                "type": kind,
                "status": status,
                "reason": reason,
                "message": shortened(message, MESSAGE_CHARS),
                "observedGeneration": old["observedGeneration"] if pinned else facts.generation,
                "lastTransitionTime": since or timestamp(now),
            }
        )
    return result


def with_pod_cause(sentence: str, pod_problems: Sequence[PodProblem]) -> str:
    """A sentence about an object ("Job a: failed"), with the problem of one of its pods, if any, as the cause."""
    about = sentence.partition(":")[0]
    cause = next((each for each in _order(pod_problems) if each.owner == about), None)
    return f"{sentence} ({cause.message.removeprefix(f'{about}: ')})" if cause else sentence


def _ready(facts: Facts) -> Verdict:
    if facts.deleting is not None:
        return "False", "Deleting", _sentence(facts.deleting)
    if facts.rolling and not (facts.blocked or facts.failed):
        return _ready_while_rolling(facts)
    if problem := _first_problem(facts):
        return "False", *problem
    if facts.paused and not facts.serving:
        return "False", "Paused", "Nothing has been installed: spec.suspend is true."
    if not facts.serving:
        return "False", "Installing", "Nothing has been applied yet."
    return "True", "AllReady", "Every object is as the spec says, and serves."


def _ready_while_rolling(facts: Facts) -> Verdict:
    """A part may be missing for a moment during an upgrade: not ready only when a pod has a problem."""
    problems = _problems(facts)
    if not facts.serving or (facts.unready and facts.pod_problems):
        reason = _order(facts.pod_problems)[0].reason if facts.pod_problems else "Installing"
        return "False", reason, _joined(*problems, facts.rolling)
    goes_on = () if facts.unready else ("What served before goes on.",)
    return "Unknown", "RollingOut", _joined(facts.rolling, *problems, *goes_on)


def _progressing(facts: Facts) -> Verdict:
    if facts.deleting is not None:
        return "True", "Deleting", _sentence(facts.deleting)
    if facts.paused:
        return "False", "Paused", "Nothing is changed while spec.suspend is true."
    # Why nothing is under way although the spec is not met.
    if facts.blocked:
        return "False", facts.blocked[0], _sentence(facts.blocked[1])
    if facts.failed and not (facts.rolling and facts.rolled_back_to is not None):
        return "False", *_failure(facts, facts.failed)
    if facts.rolling:
        reason = "RollingBack" if facts.failed else "RollingOut" if facts.serving else "Installing"
        return "True", reason, _sentence(facts.rolling)
    if not facts.serving:
        return "True", "Installing", "Nothing has been applied yet."
    reason, why = facts.waits or ("Complete", "No change is under way.")
    return "False", reason, _sentence(why)


def _drifted(facts: Facts, old: Condition | None) -> Verdict:
    """After the repair the message stays, so that one can read later what was changed, and when."""
    if facts.drift:
        return "True", "Repairing", " ".join(_sentence(each) for each in sorted(facts.drift))
    if old and old["reason"] in {"Repairing", "Repaired"}:
        return "False", "Repaired", "Last repaired: " + str(old["message"]).removeprefix("Last repaired: ")
    return "False", "InStep", "What the operator applied is unchanged."


def _first_problem(facts: Facts) -> tuple[str, str] | None:
    """Reason and message of what a person should look at first; None when there is no problem."""
    goes_on = "What was applied before goes on." if facts.serving and not facts.unready else ""
    if facts.blocked:
        return facts.blocked[0], _joined(facts.blocked[1], *facts.unready, goes_on)
    if facts.failed:
        return _failure(facts, facts.failed)
    if facts.pod_problems:
        return _order(facts.pod_problems)[0].reason, _joined(*_problems(facts))
    if facts.unready and not facts.rolling:
        return "NotReady", _joined(*facts.unready)
    return None


def _failure(facts: Facts, failed: tuple[str, str]) -> tuple[str, str]:
    """A revision that failed, and what replaced it."""
    reason, why = failed
    if facts.rolled_back_to is not None and facts.rolling:
        return "RollingBack", _joined(why, facts.rolling, *_problems(facts))
    if facts.rolled_back_to is not None:
        return "RolledBack", _joined(f"Revision {facts.rolled_back_to} serves again", why, *facts.unready)
    unnamed = replace(facts, pod_problems=tuple(each for each in facts.pod_problems if each.pod not in why))
    return reason, _joined(why, *_problems(unnamed))


def _problems(facts: Facts) -> list[str]:
    """Problems of pods, worst first and one for each owner; then the objects that are not ready without one."""
    pod_problems = _order(facts.pod_problems)
    sentences = [_sentence(each.message) for each in pod_problems[:MAX_PROBLEM_SENTENCES]]
    if len(pod_problems) > MAX_PROBLEM_SENTENCES:
        sentences.append(f"{len(pod_problems) - MAX_PROBLEM_SENTENCES} more of its parts have such problems.")
    named = tuple(f"{each.owner}:" for each in pod_problems if each.owner)
    return sentences + [each for each in facts.unready if not each.startswith(named)]


def _order(pod_problems: Sequence[PodProblem]) -> list[PodProblem]:
    first: dict[str, PodProblem] = {}
    for each in sorted(pod_problems, key=lambda problem: (not problem.fatal, problem.message)):
        first.setdefault(each.owner or each.pod, each)
    return list(first.values())


def _joined(*sentences: str) -> str:
    return " ".join(_sentence(each) for each in sentences if each)


def _sentence(text: str) -> str:
    """Ends in a full stop, so that several can stand in a row."""
    text = text.strip()
    return text if not text or text[-1] in ".!?…" else text + "."
