"""A service whose sagas book trips: it consists of steps and a lifecycle, everything else is the kit's.

Run as a program it works on sagas in child processes, which kill themselves at a given write of the saga's state.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar
from uuid import UUID

from pydantic import BaseModel

from shop.devkit.testing import wait_until
from shop.kit import outbox
from shop.kit.bus import Bus
from shop.kit.clock import Clock
from shop.kit.db import Database
from shop.kit.errors import OutcomeUnknown
from shop.kit.outbox import Outbox
from shop.kit.saga.engine import Done, Progress, Rejected, Saga, Step
from shop.kit.saga.metrics import SagaMetrics
from shop.kit.saga.recovery import SagaRecovery
from shop.kit.saga.runner import Changes, Lifecycle, SagaRun, SagaRunner
from shop.kit.saga.store import OWN_TABLE, START, SagaRepository

Trip = dict[str, Any]

STEPS = ("flight", "hotel", "car")
BOOK = "book"
"""The operation."""
LEASE_S = 0.2
DEADLINE_S = 60.0
METRICS = SagaMetrics("trip", (BOOK,))

PARTICIPANTS = """
CREATE TABLE bookings (saga_id uuid, step text, state text, PRIMARY KEY (saga_id, step));
CREATE TABLE effects (saga_id uuid, step text, effect text)"""
RESERVE = """
WITH booked AS (INSERT INTO bookings VALUES ($1, $2, 'booked') ON CONFLICT DO NOTHING RETURNING 1),
effect AS (INSERT INTO effects SELECT $1, $2, 'booked' FROM booked)
SELECT state FROM bookings WHERE saga_id = $1 AND step = $2"""
CANCEL = """
WITH effect AS (
    INSERT INTO effects SELECT saga_id, step, 'cancelled' FROM bookings
    WHERE saga_id = $1 AND step = $2 AND state = 'booked'
)
INSERT INTO bookings VALUES ($1, $2, 'cancelled') ON CONFLICT (saga_id, step) DO UPDATE SET state = 'cancelled'"""


class TripBooked(BaseModel):
    TYPE: ClassVar[str] = "trip.booked.v1"

    trip_id: UUID

    def subject_id(self) -> str:
        return str(self.trip_id)


class TripSteps(Lifecycle[Trip]):
    """``trip["rejects"]`` names the step that is rejected, ``trip["silent"]`` one that does not answer at first."""

    def __init__(self, participants: Database) -> None:
        self.participants = participants
        self._saga = Saga("trip", [self._step(name) for name in STEPS])
        self.attempt = 1

    def saga_for(self, kind: str) -> Saga[Trip]:
        return {"trip": self._saga}[kind]

    def completed(self, run: SagaRun[Trip]) -> Changes:
        return Changes(event=outbox.row(TripBooked(trip_id=run.saga_id)), result="completed")

    def _step(self, name: str) -> Step[Trip]:
        async def book(trip: Trip) -> Done | Rejected:
            if trip.get("rejects") == name:
                return Rejected("sold_out", f"No {name} is left.")
            state = await self.participants.fetchval(RESERVE, UUID(trip["id"]), name)
            if trip.get("silent") == name and self.attempt == 1:
                raise OutcomeUnknown(name)
            return Rejected("cancelled", "It was cancelled.") if state == "cancelled" else Done()

        async def cancel(trip: Trip) -> None:
            await self.participants.execute(CANCEL, UUID(trip["id"]), name)

        return Step(name, book, cancel)


class Dying:
    """A database whose process is killed at the ``at``-th write of a saga's state, before it or after it."""

    def __init__(self, real: Database, at: int, when: str) -> None:
        self._real = real
        self._left = at
        self._when = when

    @property
    def quick(self) -> Any:
        return self

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        async def statement(sql: str, *args: Any) -> Any:
            self._left -= sql in (START, OWN_TABLE.save, OWN_TABLE.claim)
            dies = self._left == 0
            if dies and self._when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            result = await method(sql, *args)
            if dies:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return statement


class Trips:
    """The service: everything that it needs for its sagas."""

    def __init__(self, database: Database, saga_database: Any) -> None:
        self.steps = TripSteps(database)
        relay = Outbox(saga_database, Bus("nats://127.0.0.1:1", "trip"), "trip", retention_s=3_600.0)
        self.sagas = SagaRepository(saga_database, relay, owner=f"process {os.getpid()}")
        self.runner = SagaRunner(self.sagas, self.steps, METRICS, Clock(), retry_first_s=0.01, retry_max_s=0.02)
        self.recovery = SagaRecovery(self.sagas, self.runner, METRICS, lease_s=LEASE_S, poll_s=0.01, concurrency=4)

    async def book(self, trip: Trip) -> SagaRun[Trip]:
        """Start a saga and make its first attempt."""
        trip_id, clock = UUID(trip["id"]), Clock()
        lease = {"operation": BOOK, "lease_s": LEASE_S, "deadline_s": DEADLINE_S, "traceparent": ""}
        assert await self.sagas.start(trip_id, "trip", trip, **lease)  # type: ignore[arg-type]
        run = SagaRun(trip_id, "trip", trip, 1, clock.now(), inline=True, progress=Progress(BOOK))
        await self.runner.drive(run)
        return run


@asynccontextmanager
async def trips_on(url: str, at: int = 0, when: str = "") -> AsyncIterator[Trips]:
    """The service over the database at ``url``; it dies as `Dying` says."""
    database = await Database.connect(url, pool_size=4, application="trip")
    trips = Trips(database, Dying(database, at, when))
    try:
        yield trips
    finally:
        await trips.sagas.close()
        await database.close()


async def work(url: str, trip: Trip, at: int, when: str, resume: bool) -> None:
    async with trips_on(url, at, when) as trips:
        if not resume:
            await trips.book(trip)
            return
        trips.steps.attempt = 2
        while True:  # an attempt that takes longer than its lease is followed by another
            await wait_until(lambda: trips.steps.participants.fetchval("SELECT due_at <= now() FROM saga"))
            await trips.recovery.claim_once()
            await trips.recovery.drain()


def main() -> None:
    """For each line of arguments in JSON: work in a child process, then write by which signal it ended."""
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            asyncio.run(work(**json.loads(line)))
            os._exit(0)
        _, status = os.waitpid(child, 0)
        print(os.WTERMSIG(status), flush=True)


if __name__ == "__main__":
    main()
