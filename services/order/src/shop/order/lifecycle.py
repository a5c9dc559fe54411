"""What the end of a saga means for its order: the next state, the event, and a line in the log."""

from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

from shop.kit import telemetry
from shop.kit.clock import Clock
from shop.kit.events import OutboxRow
from shop.kit.logging import decision
from shop.kit.saga.engine import Rejected, Saga
from shop.kit.saga.runner import Changes, Lifecycle, SagaRun
from shop.order import messages, metrics
from shop.order.domain import CANCEL, PLACE, Food, Order, State, Subject
from shop.order.food_saga import FoodSteps, UndoFood
from shop.order.rows import changes_row

log = logging.getLogger(__name__)

CANCELLED = Rejected("cancelled", "The order was cancelled.")
WAITING_FOR_STAFF = "waiting_for_restaurant"
"""Why an order is pending whose restaurant accepts by hand."""


class OrderLifecycle(Lifecycle[Subject]):
    """Placing an order runs the saga of its kind; cancelling it undoes that saga."""

    def __init__(self, steps: FoodSteps | UndoFood, clock: Clock) -> None:
        self._sagas: dict[str, Saga[Subject]] = {saga.kind: saga for saga in (steps.retail, steps.food)}
        self._food_is_off = isinstance(steps, UndoFood)
        self._clock = clock

    def saga_for(self, kind: str) -> Saga[Subject]:
        return self._sagas[kind]

    def completed(self, run: SagaRun[Subject]) -> Changes:
        lines, totals = run.subject.priced or ((), run.subject.totals)
        food = _confirmed_food(run.subject)
        order = run.subject.order.moved(State.CONFIRMED, self._clock.now(), lines=lines, totals=totals, food=food)
        return _moved(run, order, messages.confirmed(order))

    def compensated(self, run: SagaRun[Subject], refusal: Rejected) -> Changes:
        now = self._clock.now()
        if run.progress.operation == CANCEL:
            reason = (run.progress.refusal or CANCELLED).code
            order = run.subject.order.moved(State.CANCELLED, now, reason=reason)
            return self._undone(run, order, messages.cancelled(order))
        order = run.subject.order.moved(State.REJECTED, now, reason=refusal.code)
        late = not run.inline and order.cancel_requested_at is None
        return self._undone(run, order, messages.rejected(order, late=late), refusal)

    def _undone(
        self, run: SagaRun[Subject], order: Order, event: OutboxRow, refusal: Rejected | None = None
    ) -> Changes:
        changes = _moved(run, order, event, refusal)
        if order.food is None or not self._food_is_off:
            return changes
        return replace(changes, row={**changes.row, "release_due": True})

    def parked(self, run: SagaRun[Subject]) -> Changes:
        """A new order that has to wait publishes `order.pending`, which notification mails to the customer."""
        order, reason = run.subject.order, run.progress.waiting_for()
        if run.subject.waiting_for_staff:
            reason = WAITING_FOR_STAFF
        if not run.inline or run.progress.operation != PLACE or order.cancel_requested_at is not None:
            return Changes()
        return Changes(event=messages.pending(order, reason), on_stored=partial(_log_pending, order, reason))


def _confirmed_food(subject: Subject) -> Food | None:
    food, ticket = subject.order.food, subject.accepted
    if food is None or ticket is None:
        return food
    return replace(food, restaurant_name=ticket.restaurant_name, promised_at=subject.eta)


def _moved(run: SagaRun[Subject], order: Order, event: OutboxRow, refusal: Rejected | None = None) -> Changes:
    row = changes_row(run.subject.order, order, telemetry.trace_id())
    return Changes(row, event, order.state, refusal, partial(_record_end, run, order))


def _record_end(run: SagaRun[Subject], order: Order) -> None:
    metrics.count(order)
    log_state(order, attempt=run.progress.attempt)
    run.subject.order = order


def _log_pending(order: Order, reason: str) -> None:
    decision(log, "order_pending", "order %s is pending: %s", order.id, reason, order_id=order.id)


def log_state(order: Order, **fields: Any) -> None:
    """Log the order's new state."""
    because = f": {order.reason}" if order.reason else ""
    about = {"order_id": order.id, "reason": order.reason, **fields}
    decision(log, f"order_{order.state}", "order %s is %s%s", order.id, order.state, because, **about)
