"""Sagas: steps of several services, undone in reverse when one of them is refused.

What to do next is a pure function, ``decide``, of what is known so far; ``advance`` carries it out until there is
something that the caller has to write down. Every step and every compensation has to be idempotent, so nothing is
written between steps: whoever resumes a saga after a crash starts its steps anew. Three things must be written,
each before anything that follows from it: that the saga exists, that it is being compensated, and how it ended.

The rule that keeps this right is about doubt. A step is compensated unless it is certain that it never happened:
done, timed out or cut short by a crash all count as "may have happened", and a step that was refused this time but
timed out before is compensated too, since the lost request may still arrive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shop.kit import telemetry
from shop.kit.clock import Clock
from shop.kit.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)


class Status(StrEnum):
    """Where a saga stands; only these three are stored."""

    RUNNING = "running"
    COMPENSATING = "compensating"
    DONE = "done"


class Phase(StrEnum):
    ACTION = "action"
    COMPENSATION = "compensation"


class Outcome(StrEnum):
    DONE = "done"
    REJECTED = "rejected"
    UNAVAILABLE = "unavailable"
    """It did not happen."""
    UNKNOWN = "unknown"
    """It may have happened, or may still happen."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step's action took effect; what later steps need of it, the action keeps on the subject."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A step's action was refused for good; ``code`` is stable, ``extra`` is for the problem document."""

    code: str
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    step: str = ""


@dataclass(frozen=True, slots=True)
class Step[S]:
    """One step; ``action`` and ``compensation`` raise Unavailable or OutcomeUnknown to be asked again later.

    A step without a compensation has no effect that needs undoing.
    """

    name: str
    action: Callable[[S], Awaitable[Done | Rejected]]
    compensation: Callable[[S], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Saga[S]:
    """Steps in the order in which they are done; they are undone the other way round."""

    name: str
    steps: Sequence[Step[S]]


@dataclass(frozen=True, slots=True)
class Record:
    """What came of one step, for people and for ``decide``; equal outcomes of later attempts only count up."""

    saga: str
    step: str
    phase: Phase
    outcome: Outcome
    at: datetime
    attempt: int
    trace_id: str
    seconds: float
    detail: str = ""
    times: int = 1

    @classmethod
    def load(cls, stored: Mapping[str, Any]) -> Record:
        """From the JSON of ``dump``."""
        typed = {
            "phase": Phase(stored["phase"]),
            "outcome": Outcome(stored["outcome"]),
            "at": datetime.fromisoformat(stored["at"]),
        }
        return cls(**{**stored, **typed})

    def dump(self) -> dict[str, Any]:
        """As JSON's own values; by hand, since ``asdict`` copies deeply and this is made per step."""
        return {
            "saga": self.saga,
            "step": self.step,
            "phase": self.phase,
            "outcome": self.outcome,
            "at": self.at.isoformat(),
            "attempt": self.attempt,
            "trace_id": self.trace_id,
            "seconds": self.seconds,
            "detail": self.detail,
            "times": self.times,
        }


@dataclass(slots=True)
class Progress:
    """What is known of one saga during one attempt at it.

    ``doubtful``: an earlier attempt ended without a record (a crash), or the saga undoes what another one did,
    so every step counts as possibly done. ``expired``: its deadline has passed. ``refusal``: why it is undone.
    """

    attempt: int = 1
    status: Status = Status.RUNNING
    history: list[Record] = field(default_factory=list)
    doubtful: bool = False
    expired: bool = False
    refusal: Rejected | None = None
    seen: dict[tuple[str, Phase], Outcome] = field(default_factory=dict)

    def note(self, record: Record) -> None:
        """Add what this attempt saw; the history stays as short as the list of distinct outcomes."""
        self.seen[record.step, record.phase] = record.outcome
        for index, old in enumerate(self.history):
            if _same(old, record):
                del self.history[index]
                record = replace(record, times=old.times + 1)
                break
        self.history.append(record)

    def ever(self, saga: str, step: str, phase: Phase, outcomes: Iterable[Outcome]) -> bool:
        wanted = set(outcomes)
        return any(
            old.saga == saga and old.step == step and old.phase is phase and old.outcome in wanted
            for old in self.history
        )


def _same(old: Record, new: Record) -> bool:
    return (old.saga, old.step, old.phase, old.outcome, old.detail) == (
        new.saga, new.step, new.phase, new.outcome, new.detail,
    )  # fmt: skip


DEADLINE_EXCEEDED = Rejected("deadline_exceeded", "It could not be completed in time.")


@dataclass(frozen=True, slots=True)
class Act[S]:
    step: Step[S]


@dataclass(frozen=True, slots=True)
class Undo[S]:
    step: Step[S]


@dataclass(frozen=True, slots=True)
class Complete:
    """Every step is done: store that the saga ended well."""


@dataclass(frozen=True, slots=True)
class Compensate:
    """Store the decision, set the progress to COMPENSATING, and advance again."""

    refusal: Rejected


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing is left to undo: store that the saga ended without effect."""

    refusal: Rejected


@dataclass(frozen=True, slots=True)
class Wait:
    """A participant is unavailable: try again later."""

    detail: str


Verdict = Complete | Compensate | Failed | Wait


def decide[S](saga: Saga[S], progress: Progress) -> Act[S] | Undo[S] | Verdict:
    """The next thing to do, from what is known alone."""
    if progress.status is Status.COMPENSATING:
        return _backward(saga, progress)
    if progress.expired:
        return _give_up(saga, progress, DEADLINE_EXCEEDED)
    for step in saga.steps:
        match progress.seen.get((step.name, Phase.ACTION)):
            case None:
                return Act(step)
            case Outcome.REJECTED:
                return _give_up(saga, progress, progress.refusal or Rejected("rejected", "", step=step.name))
            case Outcome.UNAVAILABLE | Outcome.UNKNOWN:
                return Wait(step.name)
    return Complete()


def _give_up[S](saga: Saga[S], progress: Progress, refusal: Rejected) -> Compensate | Failed:
    return Compensate(refusal) if to_undo(saga, progress) else Failed(refusal)


def _backward[S](saga: Saga[S], progress: Progress) -> Undo[S] | Failed | Wait:
    left = to_undo(saga, progress)
    for step in left:
        if (step.name, Phase.COMPENSATION) not in progress.seen:
            return Undo(step)
    if left:
        return Wait(left[0].name)
    return Failed(progress.refusal or Rejected("rejected", ""))


def to_undo[S](saga: Saga[S], progress: Progress) -> list[Step[S]]:
    """The steps to compensate, last first. One that fails does not keep the others from being undone."""
    return [
        step
        for step in reversed(saga.steps)
        if step.compensation is not None
        and (progress.doubtful or progress.ever(saga.name, step.name, Phase.ACTION, (Outcome.DONE, Outcome.UNKNOWN)))
        and not progress.ever(saga.name, step.name, Phase.COMPENSATION, (Outcome.DONE,))
    ]


async def advance[S](saga: Saga[S], progress: Progress, subject: S, clock: Clock) -> Verdict:
    """Do what ``decide`` says until it wants something stored; ``progress`` is noted as it goes.

    A caller may cancel this (a time budget): the step under way is then noted as unknown.
    """
    for _ in range(2 * len(saga.steps) + 1):
        move = decide(saga, progress)
        match move:
            case Act(step):
                await _perform(saga, progress, step, Phase.ACTION, subject, clock)
            case Undo(step):
                await _perform(saga, progress, step, Phase.COMPENSATION, subject, clock)
            case _:
                return move
    raise AssertionError(f"saga {saga.name} does not come to a verdict")


async def _perform[S](saga: Saga[S], progress: Progress, step: Step[S], phase: Phase, subject: S, clock: Clock) -> None:
    started = time.perf_counter()

    def note(outcome: Outcome, detail: str = "") -> None:
        seconds = round(time.perf_counter() - started, 4)
        trace_id = telemetry.trace_id()
        progress.note(
            Record(saga.name, step.name, phase, outcome, clock.now(), progress.attempt, trace_id, seconds, detail)
        )

    try:
        with telemetry.span(f"saga.{step.name}", phase=phase.value):
            result = await _call(step, phase, subject)
    except asyncio.CancelledError:
        note(Outcome.UNKNOWN, "cut short")
        raise
    except OutcomeUnknown as error:
        note(Outcome.UNKNOWN, error.service)
    except Unavailable as error:
        note(Outcome.UNAVAILABLE, error.service)
    except Exception as error:
        log.exception("step %s of saga %s failed", step.name, saga.name)
        note(Outcome.UNKNOWN, type(error).__name__)
    else:
        if isinstance(result, Rejected):
            progress.refusal = replace(result, step=step.name)
            note(Outcome.REJECTED, result.code)
        else:
            note(Outcome.DONE)


async def _call[S](step: Step[S], phase: Phase, subject: S) -> Done | Rejected:
    if phase is Phase.ACTION:
        return await step.action(subject)
    if step.compensation is not None:
        await step.compensation(subject)
    return Done()
