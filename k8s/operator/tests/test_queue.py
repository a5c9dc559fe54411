"""The queue's promises: each key once, never by two at a time, backoff that changes cannot get around."""

from __future__ import annotations

import asyncio

import pytest

from shop.devkit.testing import wait_until
from shop.operator.engine.cache import work_queue as queues
from shop.operator.engine.cache.work_queue import FIRST_BACKOFF_S, MAX_BACKOFF_S, MIN_BACKOFF_S, WorkQueue

SOON_S = 0.02
LIMIT_S = 5.0


async def next_of(queue: WorkQueue[str]) -> str | None:
    return await asyncio.wait_for(queue.get(), LIMIT_S)


async def nothing_waits(queue: WorkQueue[str]) -> bool:
    """Whether a worker would have to wait; the loop has turned a few times by then."""
    waiting = asyncio.ensure_future(queue.get())
    for _ in range(5):
        await asyncio.sleep(0)
    waiting.cancel()
    return not waiting.done()


async def test_keys_come_once_and_in_order() -> None:
    queue = WorkQueue[str]()
    for key in "abab":
        queue.add(key)
    assert len(queue) == 2
    assert [await next_of(queue), await next_of(queue)] == ["a", "b"]
    assert (len(queue), queue.oldest_s) == (0, 0.0)


async def test_urgent_keys_come_first_and_others_are_not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MAX_PRIORITY_RUN", 2)
    queue = WorkQueue[str](str.isupper)
    for key in "abCDEF":
        queue.add(key)
    assert len(queue) == 6
    assert [await next_of(queue) for _ in range(6)] == list("CDaEFb")
    assert (len(queue), queue.oldest_s) == (0, 0.0)


async def test_a_key_is_never_worked_on_by_two() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    key = await next_of(queue)
    queue.add("a")
    queue.add("a")
    assert await nothing_waits(queue)
    assert len(queue) == 1
    queue.done("a")
    assert await next_of(queue) == key
    queue.done("a")
    assert await nothing_waits(queue)


async def test_a_waiting_worker_is_woken() -> None:
    queue = WorkQueue[str]()
    workers = [asyncio.ensure_future(queue.get()) for _ in range(3)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    done, waiting = await asyncio.wait(workers, timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
    while len(done) < 2:
        more, waiting = await asyncio.wait(waiting, timeout=LIMIT_S, return_when=asyncio.FIRST_COMPLETED)
        done |= more
    assert {task.result() for task in done} == {"a", "b"}
    for task in waiting:
        task.cancel()


async def test_the_earliest_delay_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 1_000)
    queue.add_after("a", SOON_S)
    queue.add_after("a", 2_000)
    assert len(queue) == 0
    assert await next_of(queue) == "a"
    queue.done("a")
    assert not queue._later


async def test_work_replaces_a_later_delay() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 1_000)
    queue.add("a")
    assert await next_of(queue) == "a"
    assert not queue._later


async def test_a_delay_during_the_work_outlasts_it() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await next_of(queue)
    queue.add_after("a", SOON_S)
    queue.succeeded("a")
    queue.done("a")
    assert await next_of(queue) == "a"


async def test_failures_in_a_row_wait_longer_and_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("random.uniform", lambda _, high: high)
    queue = WorkQueue[str]()
    delays = [queue.failed("a") for _ in range(12)]
    assert delays == [min(FIRST_BACKOFF_S * 2**n, MAX_BACKOFF_S) for n in range(12)]
    queue.succeeded("a")
    assert queue.failed("a") == FIRST_BACKOFF_S


async def test_backoff_is_jittered() -> None:
    queue = WorkQueue[int]()
    delays = {queue.failed(key) for key in range(50)}
    assert len(delays) > 40
    assert all(FIRST_BACKOFF_S / 2 <= delay <= FIRST_BACKOFF_S for delay in delays)


async def test_a_change_does_not_shorten_the_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "MIN_BACKOFF_S", SOON_S * 10)
    queue = WorkQueue[str]()
    queue.add("a")
    await next_of(queue)
    queue.add("a")  # the failing pass itself changed something
    for _ in range(10):
        delay_s = queue.failed("a")
    queue.done("a")
    assert delay_s > MIN_BACKOFF_S * 10
    assert await nothing_waits(queue)
    assert await next_of(queue) == "a"  # in MIN_BACKOFF_S, not in minutes


async def test_the_number_of_keys_is_bounded(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(queues, "MAX_KEYS", 3)
    queue = WorkQueue[str]()
    queue.add_after("a", 1_000)
    for key in "bcdebc":
        queue.add(key)
    queue.add_after("f", 1)
    assert len(queue) == 2
    queue.add("a")  # it is in there already
    assert [await next_of(queue) for _ in range(3)] == ["b", "c", "a"]
    assert [record.message.split(";")[0] for record in caplog.records] == ["the queue is full with 3 keys"]


async def test_a_closed_queue_returns_no_key() -> None:
    queue = WorkQueue[str]()
    waiting = asyncio.ensure_future(queue.get())
    await asyncio.sleep(0)
    queue.close()
    assert await asyncio.wait_for(waiting, LIMIT_S) is None
    queue.add("a")
    queue.add_after("a", 0)
    assert await next_of(queue) is None


async def test_many_workers_and_changes_lose_nothing() -> None:
    queue = WorkQueue[int]()
    wanted = dict.fromkeys(range(50), 0)
    seen = dict.fromkeys(range(50), 0)
    working: set[int] = set()

    async def work() -> None:
        while (key := await queue.get()) is not None:
            assert key not in working
            working.add(key)
            seen[key] = wanted[key]
            await asyncio.sleep(0)
            working.discard(key)
            queue.succeeded(key)
            queue.done(key)

    workers = [asyncio.ensure_future(work()) for _ in range(4)]
    for change in range(2_000):
        wanted[change % 50] = change
        queue.add(change % 50)
        if change % 7 == 0:
            await asyncio.sleep(0)
    await wait_until(lambda: not queue and not working)
    assert seen == wanted
    queue.close()
    await asyncio.gather(*workers)


async def fail(queue: WorkQueue[str], key: str) -> None:
    """Fail on `key` once, and let its backoff end."""
    queue.add(key)
    assert await next_of(queue) == key
    queue.failed(key)
    queue._failures[key].not_before = 0.0
    queue.done(key)


async def test_only_so_many_failing_keys_are_worked_on_at_once() -> None:
    queue = WorkQueue[str](max_failing=1)
    for key in "ab":
        await fail(queue, key)
    for key in "abc":
        queue.add(key)
    assert [await next_of(queue), await next_of(queue)] == ["c", "a"]
    assert await nothing_waits(queue), "b waits for a"
    queue.done("a")
    assert await next_of(queue) == "b"


async def test_failing_keys_come_after_the_others_and_are_not_starved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queues, "FAILING_SHARE", 3)
    queue = WorkQueue[str](max_failing=1)
    await fail(queue, "x")
    for key in "xabcd":
        queue.add(key)
    # The take in `fail` was the first of three.
    assert [await next_of(queue) for _ in range(5)] == list("axbcd")


async def test_a_key_that_succeeds_again_is_like_all_others() -> None:
    queue = WorkQueue[str](max_failing=1)
    await fail(queue, "x")
    queue.succeeded("x")
    for key in "xa":
        queue.add(key)
    assert [await next_of(queue), await next_of(queue)] == ["x", "a"]
