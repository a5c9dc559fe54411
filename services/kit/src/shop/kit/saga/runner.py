"""Drives one saga to its end, or to where it must wait, and stores each decision before acting on it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial
from typing import Any, Protocol
from uuid import UUID

from shop.kit.backoff import backoff_s
from shop.kit.clock import Clock
from shop.kit.events import OutboxRow
from shop.kit.saga.engine import (
    Compensate,
    Compensated,
    Complete,
    Progress,
    Record,
    Rejected,
    Saga,
    Status,
    advance,
)
from shop.kit.saga.metrics import SagaMetrics
from shop.kit.saga.store import SagaLease, SagaStore, SagaUpdate


class LeaseLost(Exception):
    """Another worker has taken the saga over: what this one found out must not be stored."""


@dataclass(slots=True)
class SagaRun[S]:
    """One attempt at one saga. ``inline``: a caller waits for its result.

    ``refusal`` is set at the end of a saga that was compensated, if its lifecycle keeps one.
    """

    saga_id: UUID
    kind: str
    subject: S
    fence: int
    requested_at: datetime
    inline: bool
    progress: Progress
    refusal: Rejected | None = None

    @classmethod
    def resume(cls, lease: SagaLease[S], *, inline: bool = False) -> SagaRun[S]:
        """The attempt that a lease allows."""
        progress = Progress(
            operation=lease.operation,
            attempt=lease.attempt,
            status=Status(lease.status),
            history=[Record.load(stored) for stored in lease.history],
            outcome_uncertain=lease.outcome_uncertain,
            expired=lease.expired,
            refusal=Rejected.load(lease.refusal),
        )
        return cls(lease.saga_id, lease.kind, lease.subject, lease.fence, lease.requested_at, inline, progress)


@dataclass(frozen=True, slots=True)
class Changes:
    """What a service stores and publishes together with the end of a saga, or with its pause.

    ``row`` has the service's own columns (`SagaTable.change_columns`), ``result`` labels the end in metrics,
    ``refusal`` is kept as the reason, ``on_stored`` is called once all of it is stored.
    """

    row: Mapping[str, Any] = field(default_factory=dict)
    event: OutboxRow | None = None
    result: str = ""
    refusal: Rejected | None = None
    on_stored: Callable[[], None] | None = None


class Lifecycle[S](Protocol):
    """What a service defines for its sagas: their steps, and what their end means for it."""

    def saga_for(self, kind: str) -> Saga[S]:
        """The steps of a stored kind."""
        ...

    def completed(self, run: SagaRun[S]) -> Changes:
        """Every step is done."""
        return Changes(result="completed")

    def compensated(self, run: SagaRun[S], refusal: Rejected) -> Changes:
        """Every step that may have taken effect is undone."""
        return Changes(result="compensated", refusal=refusal)

    def parked(self, run: SagaRun[S]) -> Changes:
        """The saga waits for a participant."""
        return Changes()


class SagaRunner[S]:
    """``retry_first_s`` and ``retry_max_s`` bound the pause before another attempt."""

    def __init__(
        self,
        store: SagaStore[S],
        lifecycle: Lifecycle[S],
        metrics: SagaMetrics,
        clock: Clock,
        retry_first_s: float,
        retry_max_s: float,
    ) -> None:
        self._store = store
        self._lifecycle = lifecycle
        self._metrics = metrics
        self._clock = clock
        self._retry_first_s = retry_first_s
        self._retry_max_s = retry_max_s

    async def drive(self, run: SagaRun[S]) -> None:
        """Go on until the saga has ended or waits.

        Raises LeaseLost, or Unavailable when a decision could not be stored. Everything may be tried again.
        """
        saga, progress = self._lifecycle.saga_for(run.kind), run.progress
        progress.measure = partial(self._metrics.step, run.kind)
        verdict = await advance(saga, progress, run.subject, self._clock)
        if isinstance(verdict, Compensate):
            await self._save(run, Status.COMPENSATING, Changes(refusal=verdict.refusal))
            progress.status, progress.refusal = Status.COMPENSATING, verdict.refusal
            verdict = await advance(saga, progress, run.subject, self._clock)
        match verdict:
            case Complete():
                await self._end(run, self._lifecycle.completed(run))
            case Compensated(refusal):
                await self._end(run, self._lifecycle.compensated(run, refusal))
            case _:
                await self.park(run)

    async def _end(self, run: SagaRun[S], changes: Changes) -> None:
        await self._save(run, Status.DONE, changes, release=True)
        seconds = (self._clock.now() - run.requested_at).total_seconds()
        self._metrics.ended(run.progress.operation, changes.result, seconds)
        run.refusal = changes.refusal

    async def park(self, run: SagaRun[S]) -> None:
        """Release the saga for a later attempt."""
        delay_s = backoff_s(run.progress.attempt - 1, self._retry_first_s, self._retry_max_s)
        await self._save(run, run.progress.status, self._lifecycle.parked(run), release=True, delay_s=delay_s)

    async def _save(
        self,
        run: SagaRun[S],
        status: Status,
        changes: Changes,
        *,
        release: bool = False,
        delay_s: float | None = None,
    ) -> None:
        update = SagaUpdate(
            saga_id=run.saga_id,
            fence=run.fence,
            status_before=run.progress.status,
            status=status,
            history=[record.dump() for record in run.progress.history],
            release=release,
            delay_s=delay_s,
            refusal=None if changes.refusal is None else changes.refusal.dump(),
            changes=changes.row,
            event=changes.event,
        )
        if not await self._store.save(update):
            self._metrics.lease_lost()
            raise LeaseLost(f"saga {run.saga_id}, fence {run.fence}")
        if changes.on_stored is not None:
            changes.on_stored()
