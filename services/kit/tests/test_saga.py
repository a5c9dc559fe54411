"""The saga: its decisions without any I/O, then the runner with scripted steps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.clock import FixedClock
from shop.kit.errors import OutcomeUnknown, Unavailable
from shop.kit.saga.engine import (
    DEADLINE_EXCEEDED,
    Act,
    Compensate,
    Compensated,
    Complete,
    Done,
    Outcome,
    Phase,
    Progress,
    Record,
    Rejected,
    Saga,
    Status,
    Step,
    Undo,
    Verdict,
    Wait,
    advance,
    decide,
    to_undo,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
CLOCK = FixedClock(NOW)
OPERATION = "book"
NO = Rejected("no", "It was refused.", {"left": 3})


class Participants:
    """Participants that answer as scripted and record what took effect."""

    def __init__(self, **script: Sequence[object]) -> None:
        self.script = {name: list(answers) for name, answers in script.items()}
        self.calls: list[str] = []

    def _answer(self, name: str) -> Done | Rejected:
        self.calls.append(name)
        answers = self.script.get(name, [])
        answer = answers.pop(0) if answers else Done()
        if isinstance(answer, BaseException):
            raise answer
        assert isinstance(answer, Done | Rejected)
        return answer

    def do(self, name: str) -> Callable[["Participants"], Awaitable[Done | Rejected]]:
        async def action(participants: Participants) -> Done | Rejected:
            return participants._answer(name)

        return action

    def undo(self, name: str) -> Callable[["Participants"], Awaitable[None]]:
        async def compensation(participants: Participants) -> None:
            participants._answer(f"un{name}")

        return compensation


def saga_of(participants: Participants) -> Saga[Participants]:
    steps = [Step(name, participants.do(name), participants.undo(name)) for name in ("a", "b")]
    return Saga("trip", [*steps, Step("c", participants.do("c"))])


SAGA = saga_of(Participants())


def record(
    step: str, outcome: Outcome, phase: Phase = Phase.ACTION, *, attempt: int = 1, operation: str = OPERATION
) -> Record:
    return Record(operation, step, phase, outcome, NOW, attempt, "t", 0.0)


def progress(*records: Record, status: Status = Status.RUNNING, **known: object) -> Progress:
    found = Progress(OPERATION, status=status)
    for item in records:
        found.record(item)
    for name, value in known.items():
        setattr(found, name, value)
    return found


def names(steps: list[Step[Participants]]) -> list[str]:
    return [step.name for step in steps]


DONE, REJECTED, UNKNOWN, UNAVAILABLE = Outcome.DONE, Outcome.REJECTED, Outcome.UNKNOWN, Outcome.UNAVAILABLE
UNDONE = Phase.COMPENSATION


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        (progress(), Act(SAGA.steps[0])),
        (progress(record("a", DONE)), Act(SAGA.steps[1])),
        (progress(record("a", DONE), record("b", DONE)), Act(SAGA.steps[2])),
        (progress(record("a", DONE), record("b", DONE), record("c", DONE)), Complete()),
        (progress(record("a", UNAVAILABLE)), Wait("a")),
        (progress(record("a", DONE), record("b", UNKNOWN)), Wait("b")),
        (progress(record("a", REJECTED), refusal=NO), Compensated(NO)),
        (progress(record("a", DONE), record("b", REJECTED), refusal=NO), Compensate(NO)),
        (progress(expired=True), Compensated(DEADLINE_EXCEEDED)),
        (progress(expired=True, outcome_uncertain=True), Compensate(DEADLINE_EXCEEDED)),
    ],
)  # fmt: skip
def test_the_next_decision(known: Progress, expected: object) -> None:
    assert decide(SAGA, known) == expected


def test_an_attempt_that_reached_no_participant_leaves_nothing_to_undo() -> None:
    known = progress(record("a", UNAVAILABLE), attempt=2, expired=True, seen={})
    assert decide(SAGA, known) == Compensated(DEADLINE_EXCEEDED)


def test_a_step_rejected_after_an_unknown_outcome_is_undone() -> None:
    known = progress(record("a", UNKNOWN))
    known.attempt, known.seen, known.refusal = 2, {}, NO
    known.record(record("a", REJECTED, attempt=2))
    assert decide(SAGA, known) == Compensate(NO)
    assert names(to_undo(SAGA, known)) == ["a"]


def test_compensation_goes_backwards_and_skips_what_needs_none() -> None:
    known = progress(status=Status.COMPENSATING, outcome_uncertain=True, refusal=NO)
    assert decide(SAGA, known) == Undo(SAGA.steps[1])
    known.record(record("b", DONE, UNDONE))
    assert decide(SAGA, known) == Undo(SAGA.steps[0])
    known.record(record("a", DONE, UNDONE))
    assert decide(SAGA, known) == Compensated(NO)


def test_a_failed_compensation_does_not_block_the_others_and_is_retried() -> None:
    known = progress(status=Status.COMPENSATING, outcome_uncertain=True, refusal=NO)
    known.record(record("b", UNAVAILABLE, UNDONE))
    assert decide(SAGA, known) == Undo(SAGA.steps[0])
    known.record(record("a", DONE, UNDONE))
    assert decide(SAGA, known) == Wait("b")
    known.seen = {}
    assert decide(SAGA, known) == Undo(SAGA.steps[1])


def test_another_sagas_records_do_not_count() -> None:
    known = progress(record("a", DONE, UNDONE, operation="other"), status=Status.COMPENSATING, outcome_uncertain=True)
    assert names(to_undo(SAGA, known)) == ["b", "a"]


def test_equal_outcomes_count_up_and_the_last_is_kept() -> None:
    known = progress()
    for attempt in range(1, 6):
        known.record(record("a", DONE, attempt=attempt))
        known.record(record("b", UNAVAILABLE, attempt=attempt))
    assert [(r.step, r.times, r.attempt) for r in known.history] == [("a", 5, 5), ("b", 5, 5)]


def test_a_record_survives_its_json() -> None:
    once = record("a", UNKNOWN, attempt=3)
    assert Record.load(once.dump()) == once


outcomes = st.sampled_from([DONE, REJECTED, UNKNOWN, UNAVAILABLE])


@given(st.lists(st.tuples(outcomes, outcomes, outcomes), min_size=1, max_size=6))
def test_every_step_that_may_have_taken_effect_is_undone(attempts: list[tuple[Outcome, ...]]) -> None:
    known = Progress(OPERATION)
    possibly_done: set[str] = set()
    for number, answers in enumerate(attempts, 1):
        known.attempt, known.seen = number, {}
        for answer in answers:
            move = decide(SAGA, known)
            if not isinstance(move, Act):
                break
            if answer in (DONE, UNKNOWN):
                possibly_done.add(move.step.name)
            known.refusal = NO if answer is REJECTED else known.refusal
            known.record(record(move.step.name, answer, attempt=number))
    assert set(names(to_undo(SAGA, known))) == possibly_done - {"c"}


async def run(participants: Participants, known: Progress) -> Verdict:
    return await advance(saga_of(participants), known, participants, CLOCK)


async def test_all_steps_in_order() -> None:
    participants, known = Participants(), Progress(OPERATION)
    assert await run(participants, known) == Complete()
    assert participants.calls == ["a", "b", "c"]
    assert [(r.step, r.outcome, r.at) for r in known.history] == [(s, DONE, NOW) for s in "abc"]


async def test_a_rejection_is_returned_before_anything_is_undone() -> None:
    participants, known = Participants(b=[NO]), Progress(OPERATION)
    verdict = await run(participants, known)
    assert verdict == Compensate(Rejected("no", NO.detail, NO.extra, step="b"))
    assert participants.calls == ["a", "b"]
    known.status = Status.COMPENSATING
    assert isinstance(await run(participants, known), Compensated)
    assert participants.calls == ["a", "b", "una"]


@pytest.mark.parametrize(
    ("error", "outcome", "detail"),
    [
        (Unavailable("x"), UNAVAILABLE, "x"),
        (OutcomeUnknown("x"), UNKNOWN, "x"),
        (KeyError("bug"), UNKNOWN, "KeyError"),
    ],
)
@pytest.mark.parametrize("step", ["a", "b", "c"])
async def test_a_failed_step_is_repeated_in_the_next_attempt(
    step: str, error: Exception, outcome: Outcome, detail: str
) -> None:
    participants, known = Participants(**{step: [error]}), Progress(OPERATION)
    assert await run(participants, known) == Wait(step)
    assert (known.history[-1].outcome, known.history[-1].detail) == (outcome, detail)
    again = Progress(OPERATION, attempt=2, history=known.history)
    assert await run(participants, again) == Complete()


async def test_a_compensation_that_fails_once_is_done_the_next_time() -> None:
    participants = Participants(una=[Unavailable("x")])
    known = Progress(OPERATION, status=Status.COMPENSATING, outcome_uncertain=True, refusal=NO)
    assert await run(participants, known) == Wait("a")
    again = Progress(OPERATION, 2, Status.COMPENSATING, known.history, outcome_uncertain=True, refusal=NO)
    assert await run(participants, again) == Compensated(NO)
    assert participants.calls == ["unb", "una", "una"]


async def test_a_cancelled_step_has_an_unknown_outcome() -> None:
    started = asyncio.Event()

    async def hang(_: None) -> Done:
        started.set()
        await asyncio.Event().wait()
        return Done()

    known = Progress(OPERATION)
    task = asyncio.create_task(advance(Saga("trip", [Step("a", hang)]), known, None, CLOCK))
    await started.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [(r.step, r.outcome) for r in known.history] == [("a", UNKNOWN)]
