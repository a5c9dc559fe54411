"""Resumes sagas that no worker holds: their process died, or a participant was unavailable.

Every replica runs this loop. A claim is a lease; FOR UPDATE SKIP LOCKED keeps replicas from claiming the same saga, and
the fence in every later statement keeps a worker that lost its lease from storing anything.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence

from shop.kit import telemetry
from shop.kit.errors import Problem, Unavailable
from shop.kit.logging import bind
from shop.kit.saga.metrics import SagaMetrics
from shop.kit.saga.runner import LeaseLost, SagaRun, SagaRunner
from shop.kit.saga.store import SagaLease, SagaStore
from shop.kit.tasks import poll

log = logging.getLogger(__name__)

LEASE_SHARE = 0.7
"""The part of a lease that an attempt may use; the rest is for storing its result."""
PARK_TIMEOUT_S = 2.0
MEASURE_EVERY_S = 5.0
GATHER_S = 0.02
"""Sagas that are due within so many seconds are claimed together."""


class SagaRecovery[S]:
    """``lease_s``: how long a process that vanished keeps a saga from the others; ``concurrency``: attempts at a time.

    ``poll_s``: the longest pause between two looks. The store ends it when a saga is due that this process parked, or
    that `measure` has seen.
    """

    def __init__(
        self,
        store: SagaStore[S],
        runner: SagaRunner[S],
        metrics: SagaMetrics,
        *,
        lease_s: float,
        poll_s: float,
        concurrency: int,
    ) -> None:
        self._store = store
        self._runner = runner
        self._metrics = metrics
        self._lease_s = lease_s
        self._poll_s = poll_s
        self._concurrency = concurrency
        self._attempts: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Claim and drive until cancelled; database errors end the loop, whose supervisor starts it again."""
        try:
            await poll(self._claim_and_wait, self._poll_s, wake=self._store.due, gather_s=GATHER_S)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def _claim_and_wait(self) -> int:
        """Claim once and, at full concurrency, wait until an attempt ends."""
        claimed = await self.claim_once()
        if claimed and len(self._attempts) >= self._concurrency:
            await asyncio.wait(self._attempts, return_when=asyncio.FIRST_COMPLETED)
        return claimed

    async def claim_once(self) -> int:
        """Start an attempt at each saga that is due, as many as the concurrency allows; return how many."""
        capacity = self._concurrency - len(self._attempts)
        if not capacity:
            return 0
        claiming = asyncio.create_task(self._store.claim(capacity, self._lease_s))
        try:
            return self._begin(await asyncio.shield(claiming))
        except asyncio.CancelledError:
            # What is claimed by then would be kept from others until the lease ends; `close` releases it.
            with contextlib.suppress(Unavailable):
                self._begin(await claiming)
            raise

    def _begin(self, leases: Sequence[SagaLease[S]]) -> int:
        for lease in leases:
            # Eager: an attempt that is cancelled before it began would not release its saga.
            task = asyncio.Task(self._attempt(lease), loop=asyncio.get_running_loop(), eager_start=True)
            if not task.done():
                self._attempts.add(task)
                task.add_done_callback(self._attempts.discard)
        return len(leases)

    async def drain(self) -> None:
        """Wait for the attempts in progress."""
        while self._attempts:
            await asyncio.wait(set(self._attempts))

    async def measure(self) -> None:
        """Keep the gauges of waiting sagas up to date until cancelled."""
        while True:
            await self.measure_once()
            await asyncio.sleep(MEASURE_EVERY_S)

    async def measure_once(self) -> None:
        self._metrics.waiting(await self._store.waiting())

    async def close(self) -> None:
        """Interrupt the attempts; each releases its saga."""
        for task in self._attempts:
            task.cancel()
        await self.drain()

    async def _attempt(self, lease: SagaLease[S]) -> None:
        telemetry.begin(lease.traceparent)
        bind(**{self._store.id_name: lease.saga_id})
        try:
            await self._drive_or_park(SagaRun.resume(lease))
        except LeaseLost as error:
            log.info("another worker took over: %s", error, extra={"event": "saga_lease_lost"})
        except (Unavailable, Problem, TimeoutError) as error:
            log.warning(
                "saga %s is resumed when its lease ends: %s",
                lease.saga_id,
                error,
                extra={"event": "saga_attempt_postponed"},
            )
        except Exception:
            log.exception("the attempt at saga %s failed", lease.saga_id, extra={"event": "saga_attempt_failed"})

    async def _drive_or_park(self, run: SagaRun[S]) -> None:
        try:
            async with asyncio.timeout(self._lease_s * LEASE_SHARE):
                await self._runner.drive(run)
        except (TimeoutError, asyncio.CancelledError) as error:
            async with asyncio.timeout(PARK_TIMEOUT_S):
                await self._runner.park(run)
            if isinstance(error, asyncio.CancelledError):
                raise
