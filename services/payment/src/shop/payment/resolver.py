"""Completes what a crash, a timeout or an outage left pending, when no caller repeats its request.

It gets the outcomes of pending charges and refunds from the provider, and makes the refunds that voids need. It never
decides on a refund by itself: a capture that it finds is recorded like any other, and the order's saga decides.
"""

from __future__ import annotations

import logging

from shop.kit.clock import Clock
from shop.kit.tasks import poll
from shop.payment.charges import Charges
from shop.payment.metrics import RESOLVED
from shop.payment.provider import Provider
from shop.payment.refunds import Refunds
from shop.payment.repository import Claim, PaymentRepository

log = logging.getLogger(__name__)

BATCH_ITEMS = 64
POLL_S = 5.0
FIRST_BACKOFF_S = 10.0
MAX_BACKOFF_S = 900.0


class Resolver:
    def __init__(
        self, repository: PaymentRepository, charges: Charges, refunds: Refunds, provider: Provider, clock: Clock
    ) -> None:
        self._repository = repository
        self._charges = charges
        self._refunds = refunds
        self._provider = provider
        self._clock = clock

    async def run(self) -> None:
        await poll(self.resolve, POLL_S)

    async def resolve(self) -> int:
        """Claim up to BATCH_ITEMS payments and as many refunds; return how many there were.

        One statement when there is nothing to claim.
        """
        if not await self._repository.is_unsettled(self._provider.name, self._clock.now()):
            return 0
        claim = Claim(self._clock.now(), FIRST_BACKOFF_S, MAX_BACKOFF_S, BATCH_ITEMS)
        return await self._resolve_payments(claim) + await self._resolve_refunds(claim)

    async def _resolve_payments(self, claim: Claim) -> int:
        claimed = await self._repository.claim_payments(claim, self._provider.name)
        payments = {payment.order_id: payment for payment in claimed}
        await self._charges.resolve(payments)
        await self._refunds.refund_remaining(payments.values())
        for before in claimed:
            after = payments[before.order_id]
            if after.state != before.state:
                RESOLVED.labels(after.state).inc()
                log.warning(
                    "the payment of order %s was pending and is %s",
                    after.order_id,
                    after.state,
                    extra={"event": "pending_payment_resolved"},
                )
        return len(claimed)

    async def _resolve_refunds(self, claim: Claim) -> int:
        claimed = await self._repository.claim_refunds(claim)
        for refund in claimed:
            payment = await self._repository.find(refund.payment_id)
            if payment is not None:
                done, _ = await self._refunds.execute(refund, payment)
                RESOLVED.labels(f"refund_{done.state}").inc()
        return len(claimed)
