"""Refunds by administrators, and voids: the end of the charge of an order that is undone.

A refund's amount is set aside in its payment before the provider is called, under the payment's lock, so that
concurrent refunds never exceed the capture. Its id is the provider's key, so that repeated calls refund once.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from uuid import UUID

from shop.contracts.events import PaymentRefunded
from shop.contracts.money import Money
from shop.contracts.payment import VoidStatus
from shop.kit import outbox, telemetry
from shop.kit.batch import Batcher
from shop.kit.clock import Clock
from shop.kit.ids import new_id
from shop.kit.logging import decision
from shop.payment.charges import LEASE, MAX_CALLS_PER_BATCH, Charges
from shop.payment.domain import NotRefundable, Payment, Refund, RefundExceedsPayment, RefundRequest, void_answer
from shop.payment.metrics import REFUNDED, REFUNDS
from shop.payment.provider import Provider, Repayment, RepaymentOutcome
from shop.payment.repository import PaymentRepository

log = logging.getLogger(__name__)

MAX_CONCURRENT_REFUNDS = 16
MAX_VOID_BATCHES = 4


@dataclass(frozen=True, slots=True)
class VoidRequest:
    order_id: UUID
    reason: str


class Refunds:
    def __init__(self, repository: PaymentRepository, charges: Charges, provider: Provider, clock: Clock) -> None:
        self._repository = repository
        self._charges = charges
        self._provider = provider
        self._clock = clock
        self._slots = asyncio.Semaphore(MAX_CONCURRENT_REFUNDS)
        self._calls = Batcher[Sequence[VoidRequest], list[VoidStatus]](
            self._void_calls, max_items=MAX_CALLS_PER_BATCH, max_inflight=MAX_VOID_BATCHES
        )

    async def void(self, requests: Sequence[VoidRequest]) -> list[VoidStatus]:
        """End the charge of each order: decline later charges, and refund in full, once, what was captured."""
        return await self._calls.submit(requests)

    async def _void_calls(self, calls: list[Sequence[VoidRequest]]) -> list[list[VoidStatus]]:
        reasons = {request.order_id: request.reason for call in reversed(calls) for request in reversed(call)}
        now = self._clock.now()
        payments = await self._repository.mark_void(reasons, self._provider.name, now + LEASE, now)
        await self._charges.resolve(payments)
        for payment in await self.refund_remaining(payments.values()):
            payments[payment.order_id] = payment
        return [[void_answer(payments[request.order_id]) for request in call] for call in calls]

    async def refund_remaining(self, payments: Iterable[Payment]) -> list[Payment]:
        """Refund what is left of each voided payment, and return the payments as they are then.

        A failure is raised after all were tried.
        """
        owed = [p for p in payments if p.voided_at is not None and (p.refundable or p.refunding)]
        results = await asyncio.gather(*(self._refund_rest(payment) for payment in owed), return_exceptions=True)
        for result in results:
            if isinstance(result, BaseException):
                raise result
        return [result for result in results if isinstance(result, Payment)]

    async def _refund_rest(self, payment: Payment) -> Payment:
        """Under the payment's lock only one void finds something left; the others repeat its refund's call."""
        if payment.refundable:
            try:
                await self.open(RefundRequest(payment.id, f"void-{new_id()}", None, "voided", for_void=True))
            except (NotRefundable, RefundExceedsPayment):
                log.debug(
                    "the payment %s was refunded by another caller",
                    payment.id,
                    extra={"event": "payment_refunded_elsewhere"},
                )
        for refund in await self._repository.pending_refunds(payment.id):
            await self.execute(refund, payment)
        return await self._repository.find(payment.id) or payment

    async def open(self, request: RefundRequest) -> Refund:
        """Commit the intent to refund; see PaymentRepository.open_refund."""
        now = self._clock.now()
        return await self._repository.open_refund(request, now + LEASE, now)

    async def execute(self, refund: Refund, payment: Payment) -> tuple[Refund, Payment]:
        """Have the provider make a pending refund of ``payment`` and record the outcome; unknown leaves it pending."""
        if refund.state != "pending" or payment.provider != self._provider.name:
            return refund, payment
        repayment = Repayment(
            f"refund-{refund.id}",
            payment.provider_reference or "",
            refund.amount,
            payment.currency,
            refund.created_at,
        )
        async with self._slots:
            outcome = await self._provider.refund(repayment)
        if outcome.status == "unknown":
            return refund, payment
        return await self._record(refund, payment, outcome)

    async def _record(self, refund: Refund, payment: Payment, outcome: RepaymentOutcome) -> tuple[Refund, Payment]:
        now = self._clock.now()
        event = PaymentRefunded(
            payment_id=payment.id,
            order_id=payment.order_id,
            user_id=_owner(payment),
            amount=Money(amount=refund.amount, currency=payment.currency),
            occurred_at=now,
        )
        row = outbox.row(event, refund.traceparent or None)
        closed = await self._repository.close_refund(refund, outcome, row, now)
        REFUNDS.labels(outcome.status).inc()
        if outcome.status == "succeeded":
            REFUNDED.labels(payment.currency).inc(refund.amount)
        _log_outcome(refund, payment, outcome)
        return closed

    async def close(self) -> None:
        await self._calls.close()


def _log_outcome(refund: Refund, payment: Payment, outcome: RepaymentOutcome) -> None:
    refused = outcome.status == "failed"
    decision(
        log,
        "refund_refused" if refused else "payment_refunded",
        "the provider %s the refund of order %s",
        "refused" if refused else "carried out",
        payment.order_id,
        level=logging.ERROR if refused else logging.INFO,
        trace_id=telemetry.trace_id_of(refund.traceparent),
        order_id=payment.order_id,
        payment_id=payment.id,
        refund_id=refund.id,
        amount=refund.amount,
        currency=payment.currency,
        reason=outcome.code,
    )


def _owner(payment: Payment) -> UUID:
    if payment.user_id is None:
        raise ValueError(f"payment {payment.id} was never charged")
    return payment.user_id
