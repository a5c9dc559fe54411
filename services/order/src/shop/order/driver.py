"""Drives one saga to its end, or to where it must wait, and stores each decision before acting on it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shop.kit import telemetry
from shop.kit.clock import Clock
from shop.kit.events import OutboxRow
from shop.kit.logging import decision
from shop.kit.saga.engine import (
    Compensate,
    Complete,
    Failed,
    Outcome,
    Progress,
    Record,
    Rejected,
    Status,
    Wait,
    advance,
)
from shop.kit.tasks import backoff_s
from shop.order import messages, metrics
from shop.order.domain import Order, State
from shop.order.repository import OrderRepository
from shop.order.rows import Claimed, Save
from shop.order.saga import CANCEL, CANCELLED, PLACE, OrderSaga, Subject

log = logging.getLogger(__name__)


class Superseded(Exception):
    """Another worker has taken the saga over: what this one found out counts no more."""


@dataclass(slots=True)
class Run:
    """One attempt at one saga. ``inline``: the customer waits for its outcome; ``refusal``: why it was rejected."""

    kind: str
    subject: Subject
    fence: int
    inline: bool
    progress: Progress = field(default_factory=Progress)
    refusal: Mapping[str, Any] | None = None

    @property
    def order(self) -> Order:
        return self.subject.order

    @classmethod
    def resume(cls, claimed: Claimed, *, inline: bool = False) -> Run:
        """The attempt that a claim allows."""
        refusal = CANCELLED if claimed.kind == CANCEL else load_refusal(claimed.refusal)
        progress = Progress(
            attempt=claimed.attempt,
            status=Status(claimed.status),
            history=[Record.load(stored) for stored in claimed.history],
            doubtful=claimed.doubtful,
            expired=claimed.expired,
            refusal=refusal,
        )
        return cls(claimed.kind, Subject(claimed.order, claimed.traceparent), claimed.fence, inline, progress)


class Driver:
    """``retry_first_s`` and ``retry_max_s`` bound the pause before another attempt."""

    def __init__(
        self, repository: OrderRepository, saga: OrderSaga, clock: Clock, retry_first_s: float, retry_max_s: float
    ) -> None:
        self._repository = repository
        self._saga = saga
        self._clock = clock
        self._retry_first_s = retry_first_s
        self._retry_max_s = retry_max_s

    async def drive(self, run: Run) -> None:
        """Go on until the saga has ended or waits; ``run.order`` is then the order as it is stored.

        Raises Superseded, or Unavailable when a decision could not be stored. Everything may be tried again.
        """
        verdict = await self._advance(run)
        if isinstance(verdict, Compensate):
            await self._decide_to_compensate(run, verdict.refusal)
            verdict = await self._advance(run)
        match verdict:
            case Complete():
                await self._confirm(run)
            case Failed(refusal):
                await self._undone(run, refusal)
            case _:
                await self.park(run)

    async def _advance(self, run: Run) -> Complete | Compensate | Failed | Wait:
        return await advance(self._saga.named(run.kind), run.progress, run.subject, self._clock)

    async def _decide_to_compensate(self, run: Run, refusal: Rejected) -> None:
        await self._save(run, Status.COMPENSATING, refusal=refusal)
        run.progress.status = Status.COMPENSATING
        run.progress.refusal = refusal

    async def _confirm(self, run: Run) -> None:
        lines, totals = run.subject.priced or ((), run.subject.totals)
        order = run.order.moved(State.CONFIRMED, self._clock.now(), lines=lines, totals=totals)
        await self._end(run, order, messages.confirmed(order))

    async def _undone(self, run: Run, refusal: Rejected) -> None:
        now = self._clock.now()
        if run.kind == CANCEL:
            order = run.order.moved(State.CANCELLED, now, reason=refusal.code)
            await self._end(run, order, messages.cancelled(order))
        else:
            order = run.order.moved(State.REJECTED, now, reason=refusal.code)
            late = not run.inline and order.cancel_requested_at is None
            await self._end(run, order, messages.rejected(order, late=late), refusal)
            run.refusal = dump_refusal(refusal)

    async def _end(self, run: Run, order: Order, event: OutboxRow, refusal: Rejected | None = None) -> None:
        await self._save(run, Status.DONE, refusal=refusal, moved=order, event=event, release=True)
        since = run.order.cancel_requested_at if run.kind == CANCEL else None
        age_s = (order.updated_at - (since or order.created_at)).total_seconds()
        metrics.DURATION.labels(run.kind, order.state).observe(age_s)
        metrics.count(order.state, order.reason)
        log_state(order, attempt=run.progress.attempt)
        run.subject.order = order

    async def park(self, run: Run) -> None:
        """Give the saga back for a later attempt; the customer of a new order is told that it is pending."""
        event, reason = None, waiting_for(run.progress)
        if run.inline and run.kind == PLACE and run.order.cancel_requested_at is None:
            event = messages.pending(run.order, reason)
        delay_s = backoff_s(run.progress.attempt - 1, self._retry_first_s, self._retry_max_s)
        await self._save(run, run.progress.status, event=event, release=True, delay_s=delay_s)
        if event is not None:
            decision(log, "order_pending", "order %s is pending: %s", run.order.id, reason, order_id=run.order.id)

    async def _save(
        self,
        run: Run,
        status: Status,
        *,
        refusal: Rejected | None = None,
        moved: Order | None = None,
        event: OutboxRow | None = None,
        release: bool = False,
        delay_s: float | None = None,
    ) -> None:
        decision = Save(
            order_id=run.order.id,
            fence=run.fence,
            was=run.progress.status,
            status=status,
            history=[record.dump() for record in run.progress.history],
            release=release,
            delay_s=delay_s,
            refusal=None if refusal is None else dump_refusal(refusal),
            state_was=run.order.state,
            moved=moved,
            event=event,
            trace_id=telemetry.trace_id(),
        )
        if not await self._repository.save(decision):
            metrics.SUPERSEDED.inc()
            raise Superseded(f"order {run.order.id}, fence {run.fence}")


def log_state(order: Order, **fields: Any) -> None:
    """The line about an order that has come to another state."""
    because = f": {order.reason}" if order.reason else ""
    about = {"order_id": order.id, "reason": order.reason, **fields}
    decision(log, f"order_{order.state}", "order %s is %s%s", order.id, order.state, because, **about)


def waiting_for(progress: Progress) -> str:
    """A code for people: what the order waits for."""
    troubled = [record for record in progress.history if record.outcome in (Outcome.UNAVAILABLE, Outcome.UNKNOWN)]
    return f"{troubled[-1].step}_unavailable" if troubled else "busy"


def dump_refusal(refusal: Rejected) -> dict[str, Any]:
    """A refusal as it is stored; ``errors.rejected`` makes the answer of it."""
    return {"code": refusal.code, "detail": refusal.detail, "extra": dict(refusal.extra), "step": refusal.step}


def load_refusal(stored: Mapping[str, Any] | None) -> Rejected | None:
    return None if stored is None else Rejected(**stored)
