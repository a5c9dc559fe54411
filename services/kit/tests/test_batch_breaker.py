"""Micro-batching and the circuit breaker, without any I/O."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.kit.balancing.breaker import Breaker, State
from shop.kit.batch import Batcher
from shop.kit.errors import Problem


class Recorder:
    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()

    async def __call__(self, items: list[int]) -> list[int | Exception]:
        self.batches.append(items)
        await self.gate.wait()
        return [ValueError(str(item)) if item < 0 else item * 2 for item in items]


async def test_items_gather_while_a_batch_is_in_flight() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, max_items=4, max_inflight=1)
    first = asyncio.create_task(batcher.submit(1))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    others = [asyncio.create_task(batcher.submit(number)) for number in range(2, 8)]
    await asyncio.sleep(0)
    recorder.gate.set()
    assert await asyncio.gather(first, *others) == [2, 4, 6, 8, 10, 12, 14]
    assert recorder.batches == [[1], [2, 3, 4, 5], [6, 7]]


async def test_shared_batches_are_spaced_and_single_items_are_not() -> None:
    recorder = Recorder()
    recorder.gate.set()
    batcher = Batcher(recorder, max_distance_s=0.008)
    for _ in range(5):
        await asyncio.gather(*(batcher.submit(number) for number in range(3)))
    assert batcher._distance_s == 0.008
    for number in range(20):
        await batcher.submit(number)
    assert batcher._distance_s == 0.0


async def test_an_items_failure_affects_that_item_alone() -> None:
    recorder = Recorder()
    recorder.gate.set()
    batcher = Batcher(recorder)
    results = await asyncio.gather(*(batcher.submit(number) for number in (1, -2, 3)), return_exceptions=True)
    assert results[0] == 2
    assert isinstance(results[1], ValueError)
    assert results[2] == 6
    assert len(recorder.batches) == 1


async def test_a_failing_batch_fails_every_caller_and_the_next_one_works() -> None:
    async def fail(items: list[int]) -> list[int | Exception]:
        if 0 in items:
            raise OSError("down")
        return [*items]

    batcher = Batcher(fail)
    results = await asyncio.gather(batcher.submit(0), batcher.submit(1), return_exceptions=True)
    assert [type(result) for result in results] == [OSError, OSError]
    assert await batcher.submit(5) == 5


async def test_a_wrong_number_of_results_is_an_error_for_all() -> None:
    async def short(items: list[int]) -> list[int | Exception]:
        return [*items[1:]]

    with pytest.raises(RuntimeError, match="1 items got 0"):
        await Batcher(short).submit(1)


async def test_a_full_queue_refuses() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder, max_items=1, max_inflight=1, max_queued=2)
    tasks = [asyncio.create_task(batcher.submit(1))]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks += [asyncio.create_task(batcher.submit(number)) for number in (2, 3)]
    await asyncio.sleep(0)
    with pytest.raises(Problem, match="overloaded"):
        await batcher.submit(4)
    recorder.gate.set()
    assert await asyncio.gather(*tasks) == [2, 4, 6]


async def test_a_cancelled_caller_does_not_affect_its_batch() -> None:
    recorder = Recorder()
    batcher = Batcher(recorder)
    tasks = [asyncio.create_task(batcher.submit(number)) for number in (1, 2)]
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    tasks[0].cancel()
    recorder.gate.set()
    assert await tasks[1] == 4
    await batcher.close()


class ManualClock:
    """A clock that a test sets."""

    at = 0.0

    def __call__(self) -> float:
        return self.at


def opened(clock: ManualClock) -> Breaker:
    breaker = Breaker(failures_to_open=3, reset_s=5.0, now=clock)
    for _ in range(3):
        assert breaker.allows()
        breaker.failed()
    return breaker


def test_the_breaker_opens_after_consecutive_failures_only() -> None:
    breaker = Breaker(failures_to_open=3)
    for _ in range(10):
        breaker.failed()
        breaker.failed()
        breaker.succeeded()
    assert breaker.state is State.CLOSED
    assert opened(ManualClock()).state is State.OPEN


def test_half_open_lets_exactly_one_probe_through() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    assert not breaker.allows()
    assert breaker.retry_after_s == 5.0
    clock.at = 5.0
    assert breaker.state is State.HALF_OPEN
    assert [breaker.allows() for _ in range(3)] == [True, False, False]


def test_the_probe_decides() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.at = 5.0
    assert breaker.allows()
    breaker.failed()
    assert (breaker.state, breaker.allows()) == (State.OPEN, False)
    clock.at = 10.0
    assert breaker.allows()
    breaker.succeeded()
    assert (breaker.state, breaker.allows()) == (State.CLOSED, True)


def test_a_probe_that_never_reports_does_not_keep_it_open() -> None:
    clock = ManualClock()
    breaker = opened(clock)
    clock.at = 5.0
    assert breaker.allows()
    clock.at = 10.0
    assert breaker.allows()


@given(st.lists(st.tuples(st.booleans(), st.floats(0, 3)), max_size=60))
def test_an_open_breaker_allows_no_request(steps: list[tuple[bool, float]]) -> None:
    clock = ManualClock()
    breaker = Breaker(failures_to_open=2, reset_s=4.0, now=clock)
    failures, opened_at = 0, None
    for works, seconds in steps:
        clock.at += seconds
        allowed = breaker.allows()
        if opened_at is not None:
            assert allowed == (clock.at >= opened_at + 4.0)
        else:
            assert allowed
        if not allowed:
            continue
        if works:
            breaker.succeeded()
            failures, opened_at = 0, None
        else:
            breaker.failed()
            failures += 1
            if failures >= 2:
                opened_at = clock.at
