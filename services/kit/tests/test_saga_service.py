"""A second service has sagas by defining steps alone, and is killed at every write, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import pytest

from services.kit.tests.trip_service import LEASE_S, METRICS, PARTICIPANTS, STEPS, TripBooked, Trips, trips_on
from shop.devkit.testing import DatabaseFor, wait_until
from shop.kit.db import STATEMENTS
from shop.kit.ids import new_id
from shop.kit.saga.engine import Status
from shop.kit.saga.recovery import SagaRecovery
from shop.kit.saga.runner import LeaseLost, SagaRun
from shop.kit.saga.store import SagaUpdate

ROOT = Path(__file__).parents[3]

Killed = Callable[..., None]


@pytest.fixture(scope="module")
def killed() -> Iterator[Killed]:
    """``killed(url, trip, at, when)``: a process that worked on the trip until it was killed at that write."""
    command = [sys.executable, "-m", "services.kit.tests.trip_service"]
    with subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as workers:
        assert workers.stdin
        assert workers.stdout

        def kill(url: str, trip: dict[str, Any], at: int, when: str, *, resume: bool = False) -> None:
            assert workers.stdin
            assert workers.stdout
            arguments = {"url": url, "trip": trip, "at": at, "when": when, "resume": resume}
            print(json.dumps(arguments), file=workers.stdin, flush=True)
            assert int(workers.stdout.readline()) == signal.SIGKILL

        yield kill
        workers.stdin.close()


@pytest.fixture
async def url(database_for: DatabaseFor) -> str:
    url = await database_for("kit")
    connection = await asyncpg.connect(url)
    await connection.execute(PARTICIPANTS)
    await connection.close()
    return url


def trip(**script: str) -> dict[str, Any]:
    return {"id": str(new_id()), **script}


async def rows(url: str, sql: str, *args: Any) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(url)
    try:
        return await connection.fetch(sql, *args)
    finally:
        await connection.close()


async def saga_of(url: str, asked: dict[str, Any]) -> asyncpg.Record:
    (row,) = await rows(url, "SELECT * FROM saga WHERE id = $1", UUID(asked["id"]))
    return row


async def recovered(url: str, asked: dict[str, Any]) -> asyncpg.Record:
    """The saga after another process completed it."""
    async with trips_on(url) as trips:
        trips.steps.attempt = 2

        async def ended() -> asyncpg.Record | None:
            await trips.recovery.claim_once()
            await trips.recovery.drain()
            saga = await saga_of(url, asked)
            return saga if saga["status"] == "done" else None

        saga: asyncpg.Record = await wait_until(ended, what="the end of the saga")
        return saga


async def effects(url: str) -> Counter[tuple[str, str]]:
    return Counter((row["step"], row["effect"]) for row in await rows(url, "SELECT step, effect FROM effects"))


async def check_end(url: str, saga: asyncpg.Record, rejects: str | None) -> None:
    """Each effect happened once and was undone once, or is still there; the event was published once, or never."""
    booked = set(STEPS) if rejects is None else set(STEPS[: STEPS.index(rejects)])
    expected = {(step, "booked"): 1 for step in booked}
    if rejects is not None:
        expected |= {(step, "cancelled"): 1 for step in booked}
    assert await effects(url) == expected
    assert (saga["refusal"] is None) == (rejects is None)
    published = await rows(url, "SELECT type FROM outbox")
    assert [row["type"] for row in published] == ([] if rejects else [TripBooked.TYPE])


async def test_a_saga_runs_to_its_end(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip()
        await trips.book(asked)
        await check_end(url, await saga_of(url, asked), None)


async def test_a_rejected_step_undoes_the_others_and_says_why(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip(rejects="car")
        run = await trips.book(asked)
        assert run.refusal
        assert (run.refusal.code, run.refusal.step) == ("sold_out", "car")
        await check_end(url, await saga_of(url, asked), "car")


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize(
    ("script", "at"),
    [
        ({}, 1), ({}, 2),
        ({"rejects": "car"}, 1), ({"rejects": "car"}, 2), ({"rejects": "car"}, 3),
        ({"rejects": "flight"}, 2),
        ({"silent": "hotel"}, 2),
    ],
)  # fmt: skip
async def test_another_process_completes_the_saga_of_a_killed_one(
    url: str, killed: Killed, script: dict[str, str], at: int, when: str
) -> None:
    asked = trip(**script)
    killed(url, asked, at, when)
    if at == 1 and when == "before":
        assert await rows(url, "SELECT FROM saga") == await rows(url, "SELECT FROM effects") == []
        return
    await check_end(url, await recovered(url, asked), script.get("rejects"))


@pytest.mark.parametrize("when", ["before", "after"])
@pytest.mark.parametrize("at", [1, 2, 3])
async def test_a_killed_recovery_is_recovered_by_another_process(url: str, killed: Killed, at: int, when: str) -> None:
    """Its writes: the claim, the decision to compensate, the end."""
    asked = trip(rejects="hotel")
    killed(url, asked, 2, "before")
    killed(url, asked, at, when, resume=True)
    await check_end(url, await recovered(url, asked), "hotel")


async def test_every_step_of_a_killed_process_counts_as_possibly_done(url: str, killed: Killed) -> None:
    """It booked everything and stored nothing; when the first step is rejected later, all of it is undone."""
    asked = trip()
    killed(url, asked, 2, "before")
    await rows(url, """UPDATE saga SET subject = subject || '{"rejects": "flight"}'""")
    saga = await recovered(url, asked)
    assert saga["outcome_uncertain"]
    assert await effects(url) == {(step, effect): 1 for step in STEPS for effect in ("booked", "cancelled")}


async def test_a_saga_is_started_once(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip()
        lease = {"operation": "book", "lease_s": LEASE_S, "deadline_s": 1.0, "traceparent": ""}
        started = [await trips.sagas.start(UUID(asked["id"]), "trip", asked, **lease) for _ in range(2)]  # type: ignore[arg-type]
        assert started == [True, False]


async def test_a_worker_whose_lease_was_taken_stores_and_publishes_nothing(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip(silent="hotel")
        await trips.book(asked)
        trips.steps.attempt = 2
        (slow,) = await wait_until(lambda: trips.sagas.claim(1, 0.0))
        (quick,) = await trips.sagas.claim(1, 30.0)
        assert (quick.fence, quick.outcome_uncertain) == (slow.fence + 1, True)
        before = await saga_of(url, asked)
        with pytest.raises(LeaseLost):
            await trips.runner.drive(SagaRun.resume(slow))
        assert await saga_of(url, asked) == before
        assert await rows(url, "SELECT FROM outbox") == []
        await trips.runner.drive(SagaRun.resume(quick))
        await check_end(url, await saga_of(url, asked), None)


async def test_a_saga_of_an_unknown_kind_is_left_for_a_process_that_knows_it(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip()
        lease = {"operation": "book", "lease_s": 0.0, "deadline_s": 1.0, "traceparent": ""}
        await trips.sagas.start(UUID(asked["id"]), "cruise", asked, **lease)  # type: ignore[arg-type]
        await trips.recovery.claim_once()
        await trips.recovery.drain()
        assert (await saga_of(url, asked))["status"] == "running"


async def test_waiting_sagas_are_counted_by_operation(url: str) -> None:
    async with trips_on(url) as trips:
        await trips.book(trip(silent="hotel"))
        count, oldest_s = (await trips.sagas.waiting())["book"]
        assert count == 1
        assert oldest_s >= 0
        await trips.recovery.measure_once()


async def test_recovery_waits_until_a_saga_is_due_that_this_process_parked(url: str) -> None:
    async with trips_on(url) as trips, recovering(trips):
        asked = trip(silent="hotel")
        await trips.book(asked)
        attempts = (await saga_of(url, asked))["attempts"]

        async def tried_again() -> bool:
            return bool((await saga_of(url, asked))["attempts"] > attempts)

        await wait_until(tried_again)


async def test_recovery_learns_when_a_saga_is_due_that_another_process_left(url: str) -> None:
    async with trips_on(url) as trips, recovering(trips):
        asked = trip()
        lease = {"operation": "book", "lease_s": 0.1, "deadline_s": 60.0, "traceparent": ""}
        await trips.sagas.start(UUID(asked["id"]), "trip", asked, **lease)  # type: ignore[arg-type]
        await trips.recovery.measure_once()
        await wait_until(lambda: _is_done(url, asked))


async def test_what_a_stopping_process_is_just_claiming_is_released(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise it would stay with this process until the lease ends."""
    async with trips_on(url) as trips:
        asked = trip(silent="hotel")
        await trips.book(asked)
        claim, claimed, go_on = trips.sagas.claim, asyncio.Event(), asyncio.Event()

        async def claim_late(limit: int, lease_s: float) -> list[Any]:
            leases = await claim(limit, lease_s)
            if leases:
                claimed.set()
                await go_on.wait()
            return leases

        monkeypatch.setattr(trips.sagas, "claim", claim_late)
        stopping = SagaRecovery(trips.sagas, trips.runner, METRICS, lease_s=3_600.0, poll_s=0.01, concurrency=4)
        running = asyncio.create_task(stopping.run())
        await asyncio.wait_for(claimed.wait(), 10.0)
        running.cancel()
        await asyncio.sleep(0)
        go_on.set()
        await asyncio.wait([running])
        assert running.cancelled()
        assert (await saga_of(url, asked))["lease_owner"] is None
    await recovered(url, asked)


async def _is_done(url: str, asked: dict[str, Any]) -> bool:
    return bool((await saga_of(url, asked))["status"] == "done")


@contextlib.asynccontextmanager
async def recovering(trips: Trips) -> AsyncIterator[None]:
    """A recovery that only looks when something may be due."""
    slow = SagaRecovery(trips.sagas, trips.runner, METRICS, lease_s=LEASE_S, poll_s=3_600.0, concurrency=4)
    before = STATEMENTS._value.get()
    running = asyncio.create_task(slow.run())
    await wait_until(lambda: STATEMENTS._value.get() > before, what="its first look")
    yield
    running.cancel()
    await asyncio.wait([running])


async def test_an_update_that_the_database_refuses_fails_alone(url: str) -> None:
    async with trips_on(url) as trips:
        asked = trip(silent="hotel")
        await trips.book(asked)
        row = await saga_of(url, asked)
        known = {"saga_id": row["id"], "fence": row["fence"], "history": [], "release": False}
        wrong = SagaUpdate(status_before=Status.RUNNING, status="lost", **known)  # type: ignore[arg-type]
        right = SagaUpdate(status_before=Status.RUNNING, status=Status.COMPENSATING, **known)
        results = await asyncio.gather(*map(trips.sagas.save, (wrong, right)), return_exceptions=True)
        assert isinstance(results[0], asyncpg.CheckViolationError)
        assert results[1] is True
