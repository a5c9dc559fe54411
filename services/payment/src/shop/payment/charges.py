"""Charging orders: the intent is committed, the provider is called, the outcome is recorded.

Whatever fails between these three, the payment stays pending and its key the same. The next caller (the order's saga, a
void or the resolver) gets the outcome from the provider and records it once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from shop.contracts.payment import PaymentState
from shop.kit import telemetry
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.logging import decision
from shop.payment.domain import ChargeAnswer, ChargeRequest, Payment, capture_entries, charge_answer
from shop.payment.metrics import CAPTURED, CHARGES
from shop.payment.provider import Charge, ChargeOutcome, Provider
from shop.payment.repository import PaymentOutcome, PaymentRepository

log = logging.getLogger(__name__)

MAX_CALLS_PER_BATCH = 32
BATCH_TIMEOUT_S = 0.5
CLOSE_TIMEOUT_S = 5.0
LEASE = timedelta(seconds=10)
"""How long the caller of the provider has to record the answer before the resolver calls it, too."""


class Charges:
    def __init__(self, repository: PaymentRepository, provider: Provider, clock: Clock) -> None:
        self._repository = repository
        self._provider = provider
        self._clock = clock
        self._in_progress: set[asyncio.Task[None]] = set()
        self._calls = Batcher[Sequence[ChargeRequest], list[ChargeAnswer]](
            self._charge_calls, max_items=MAX_CALLS_PER_BATCH, max_inflight=provider.parallel_batches
        )

    async def charge(self, requests: Sequence[ChargeRequest]) -> list[ChargeAnswer]:
        """Charge each order once, however often it is requested. Concurrent calls share their statements."""
        return await self._calls.submit(requests)

    async def _charge_calls(self, calls: list[Sequence[ChargeRequest]]) -> list[list[ChargeAnswer]]:
        first = {request.order_id: request for call in reversed(calls) for request in reversed(call)}
        now = self._clock.now()
        payments = await self._repository.open(list(first.values()), self._provider.name, now + LEASE, now)
        # A single charge may take the provider's time; in a batch a slow one is answered as pending instead.
        await self.resolve(payments, timeout_s=BATCH_TIMEOUT_S if len(first) > 1 else None)
        return [[charge_answer(payments[request.order_id], request) for request in call] for call in calls]

    async def resolve(self, payments: dict[UUID, Payment], *, timeout_s: float | None = None) -> None:
        """Get the outcomes of the pending ones of ``payments`` from the provider and replace them in ``payments``.

        After ``timeout_s`` seconds the rest stays pending here; its outcomes are recorded when they arrive.
        """
        pending = [
            p for p in payments.values() if p.state is PaymentState.PENDING and p.provider == self._provider.name
        ]
        if not pending:
            return
        task = asyncio.create_task(self._request(pending, payments))
        self._in_progress.add(task)
        task.add_done_callback(self._call_ended)
        done, _ = await asyncio.wait({task}, timeout=timeout_s)
        if done:
            task.result()

    async def _request(self, pending: Sequence[Payment], payments: dict[UUID, Payment]) -> None:
        by_key = {_key(payment): payment for payment in pending}
        free = [ChargeOutcome(key, "captured") for key, payment in by_key.items() if payment.amount == 0]
        payments.update(await self._record(free, by_key))
        charges = [_charge(key, payment) for key, payment in by_key.items() if payment.amount > 0]
        if charges:
            async for outcomes in self._provider.charge_many(charges):
                payments.update(await self._record(outcomes, by_key))

    async def _record(self, outcomes: Iterable[ChargeOutcome], by_key: Mapping[str, Payment]) -> dict[UUID, Payment]:
        now = self._clock.now()
        known = [_outcome(by_key[one.key], one) for one in outcomes if one.status != "unknown"]
        if not known:
            return {}
        recorded = await self._repository.record_outcomes(known, now)
        for payment in recorded.values():
            CHARGES.labels(payment.state).inc()
            if payment.state is PaymentState.CAPTURED:
                CAPTURED.labels(payment.currency).inc(payment.amount)
            _log_outcome(payment)
        return recorded

    def _call_ended(self, task: asyncio.Task[None]) -> None:
        self._in_progress.discard(task)
        if not task.cancelled() and task.exception() is not None:
            log.warning("charges were left pending", exc_info=task.exception(), extra={"event": "charges_left_pending"})

    async def close(self) -> None:
        """Wait for outcomes of calls in progress to be recorded, at most CLOSE_TIMEOUT_S seconds."""
        await self._calls.close()
        if self._in_progress:
            await asyncio.wait(set(self._in_progress), timeout=CLOSE_TIMEOUT_S)


def _log_outcome(payment: Payment) -> None:
    decision(
        log,
        f"payment_{payment.state}",
        "the payment of order %s is %s",
        payment.order_id,
        payment.state,
        trace_id=telemetry.trace_id_of(payment.traceparent),
        order_id=payment.order_id,
        payment_id=payment.id,
        amount=payment.amount,
        currency=payment.currency,
        reason=payment.decline_code,
    )


def _key(payment: Payment) -> str:
    """One key per order, so that the provider itself refuses to capture an order twice."""
    return f"charge-{payment.order_id}"


def _charge(key: str, payment: Payment) -> Charge:
    token = payment.token or ""
    return Charge(key, payment.order_id, payment.amount, payment.currency, token, payment.created_at)


def _outcome(payment: Payment, outcome: ChargeOutcome) -> PaymentOutcome:
    if outcome.status == "declined":
        return PaymentOutcome(payment, PaymentState.DECLINED, outcome.reference, outcome.code, [])
    return PaymentOutcome(payment, PaymentState.CAPTURED, outcome.reference, None, capture_entries(payment))
