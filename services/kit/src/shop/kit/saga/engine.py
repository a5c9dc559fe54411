"""A saga's definition and the decision what to do next: steps of several services, undone in reverse.

What to do next is a pure function, ``decide``, of what is known so far; ``advance`` carries it out until there is
something that the caller has to store. Every step and every compensation has to be idempotent, so nothing is
stored between steps: an attempt after a crash repeats the steps from the first one. Three facts are
stored, each before anything that follows from it: that the saga exists, that it is being compensated, how it ended.

A step is compensated unless it is certain that it never took effect. Done, timed out and interrupted by a crash
all count as "may have taken effect". So does a step that was rejected now but timed out before, since the lost
request may still arrive.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from enum import StrEnum
from typing import Any

from shop.kit import spans, telemetry
from shop.kit.clock import Clock
from shop.kit.errors import OutcomeUnknown, Unavailable

log = logging.getLogger(__name__)


class Status(StrEnum):
    """The state of a saga; only these three are stored."""

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
    """It did not take effect."""
    UNKNOWN = "unknown"
    """It may have taken effect, or may still do so."""


@dataclass(frozen=True, slots=True)
class Done:
    """A step's action took effect; its action stores what later steps need on the subject."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """A step's action was rejected for good; ``code`` is stable, ``extra`` is for the problem document."""

    code: str
    detail: str
    extra: Mapping[str, Any] = field(default_factory=dict)
    step: str = ""

    @classmethod
    def load(cls, stored: Mapping[str, Any] | None) -> Rejected | None:
        """From the JSON of ``dump``."""
        return None if stored is None else cls(**stored)

    def dump(self) -> dict[str, Any]:
        """The rejection as JSON values."""
        return {"code": self.code, "detail": self.detail, "extra": dict(self.extra), "step": self.step}


@dataclass(frozen=True, slots=True)
class Step[S]:
    """One step; its ``action`` and ``compensation`` raise Unavailable or OutcomeUnknown to be retried later.

    A step without a compensation has no effect that needs undoing.
    """

    name: str
    action: Callable[[S], Awaitable[Done | Rejected]]
    compensation: Callable[[S], Awaitable[None]] | None = None


@dataclass(frozen=True, slots=True)
class Saga[S]:
    """The steps of one kind of saga in their order; they are undone in reverse."""

    kind: str
    steps: Sequence[Step[S]]


@dataclass(frozen=True, slots=True)
class Record:
    """One outcome of one step. Equal outcomes of later attempts only increase ``times``.

    ``operation`` is what was being done to the saga's subject, such as placing or cancelling an order.
    """

    operation: str
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
        values = {name: value for name, value in stored.items() if name != "saga"}
        values |= {
            "operation": stored["saga"],
            "phase": Phase(stored["phase"]),
            "outcome": Outcome(stored["outcome"]),
            "at": datetime.fromisoformat(stored["at"]),
        }
        return cls(**values)

    def dump(self) -> dict[str, Any]:
        """As JSON values. Written out, because ``asdict`` copies deeply and this is called for every step.

        The operation's member is called ``saga``: stored histories and the order's API have it so.
        """
        return {
            "saga": self.operation,
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

    ``outcome_uncertain``: an earlier attempt ended without a record (a crash), or the operation undoes what another
    one did, so every step may have taken effect. ``expired``: the deadline has passed. ``refusal``: why it is undone.
    ``seen``: the outcomes of this attempt. ``measure`` is called with each of them.
    """

    operation: str
    attempt: int = 1
    status: Status = Status.RUNNING
    history: list[Record] = field(default_factory=list)
    outcome_uncertain: bool = False
    expired: bool = False
    refusal: Rejected | None = None
    seen: dict[tuple[str, Phase], Outcome] = field(default_factory=dict)
    measure: Callable[[Record], None] | None = None

    def record(self, record: Record) -> None:
        """Add an outcome of this attempt; the history stays as short as the list of distinct outcomes."""
        self.seen[record.step, record.phase] = record.outcome
        if self.measure is not None:
            self.measure(record)
        for index, old in enumerate(self.history):
            if _same(old, record):
                del self.history[index]
                record = replace(record, times=old.times + 1)
                break
        self.history.append(record)

    def has_outcome(self, step: str, phase: Phase, *outcomes: Outcome) -> bool:
        """Whether any attempt at this operation had one of ``outcomes`` in ``step``."""
        return any(
            old.operation == self.operation and old.step == step and old.phase is phase and old.outcome in outcomes
            for old in self.history
        )

    def waiting_for(self) -> str:
        """A code for people: what the saga is waiting for."""
        failed = [one for one in self.history if one.outcome in (Outcome.UNAVAILABLE, Outcome.UNKNOWN)]
        return f"{failed[-1].step}_unavailable" if failed else "busy"


def _same(old: Record, new: Record) -> bool:
    return (old.operation, old.step, old.phase, old.outcome, old.detail) == (
        new.operation, new.step, new.phase, new.outcome, new.detail,
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
    """Every step is done: store that the saga is completed."""


@dataclass(frozen=True, slots=True)
class Compensate:
    """Store the decision, set the progress to COMPENSATING, and advance again."""

    refusal: Rejected


@dataclass(frozen=True, slots=True)
class Compensated:
    """Nothing is left to undo: store that the saga ended, with no effect left."""

    refusal: Rejected


@dataclass(frozen=True, slots=True)
class Wait:
    """A participant is unavailable: try again later."""

    detail: str


Verdict = Complete | Compensate | Compensated | Wait


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


def _give_up[S](saga: Saga[S], progress: Progress, refusal: Rejected) -> Compensate | Compensated:
    return Compensate(refusal) if to_undo(saga, progress) else Compensated(refusal)


def _backward[S](saga: Saga[S], progress: Progress) -> Undo[S] | Compensated | Wait:
    left = to_undo(saga, progress)
    for step in left:
        if (step.name, Phase.COMPENSATION) not in progress.seen:
            return Undo(step)
    if left:
        return Wait(left[0].name)
    return Compensated(progress.refusal or Rejected("rejected", ""))


def to_undo[S](saga: Saga[S], progress: Progress) -> list[Step[S]]:
    """The steps to compensate, last first. One that fails does not keep the others from being undone."""

    def may_have_taken_effect(step: Step[S]) -> bool:
        return progress.outcome_uncertain or progress.has_outcome(
            step.name, Phase.ACTION, Outcome.DONE, Outcome.UNKNOWN
        )

    return [
        step
        for step in reversed(saga.steps)
        if step.compensation is not None
        and may_have_taken_effect(step)
        and not progress.has_outcome(step.name, Phase.COMPENSATION, Outcome.DONE)
    ]


async def advance[S](saga: Saga[S], progress: Progress, subject: S, clock: Clock) -> Verdict:
    """Do what ``decide`` says until something has to be stored; outcomes are recorded in ``progress``.

    A caller may cancel this (a time budget): the outcome of the step in progress is then recorded as unknown.
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
    raise AssertionError(f"a {saga.kind} saga does not reach a verdict")


async def _carried_out[S](step: Step[S], phase: Phase, subject: S) -> Done | Rejected:
    with spans.span(f"saga.{step.name}", {"shop.saga.phase": phase.value}):
        result: Done | Rejected = Done()
        if phase is Phase.ACTION:
            result = await step.action(subject)
        elif step.compensation is not None:
            await step.compensation(subject)
        if isinstance(result, Rejected):
            spans.annotate(attributes={"shop.saga.rejection": result.code})
    return result


async def _perform[S](saga: Saga[S], progress: Progress, step: Step[S], phase: Phase, subject: S, clock: Clock) -> None:
    started = time.perf_counter()

    def record(outcome: Outcome, detail: str = "") -> None:
        seconds, trace_id = round(time.perf_counter() - started, 4), telemetry.trace_id()
        operation, attempt, at = progress.operation, progress.attempt, clock.now()
        progress.record(Record(operation, step.name, phase, outcome, at, attempt, trace_id, seconds, detail))

    try:
        result = await _carried_out(step, phase, subject)
    except asyncio.CancelledError:
        record(Outcome.UNKNOWN, "interrupted")
        raise
    except OutcomeUnknown as error:
        record(Outcome.UNKNOWN, error.service)
    except Unavailable as error:
        record(Outcome.UNAVAILABLE, error.service)
    except Exception as error:
        log.exception("step %s of a %s saga failed", step.name, saga.kind, extra={"event": "saga_step_failed"})
        record(Outcome.UNKNOWN, type(error).__name__)
    else:
        if isinstance(result, Rejected):
            progress.refusal = replace(result, step=step.name)
            record(Outcome.REJECTED, result.code)
        else:
            record(Outcome.DONE)
