"""The payment service: charges, voids, refunds, and what can be read of them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast
from uuid import UUID

from shop.contracts.payment import PaymentState
from shop.kit.app import Context
from shop.kit.auth import Principal
from shop.kit.clock import Clock
from shop.kit.idempotency import key_reused
from shop.payment import errors, metrics
from shop.payment.charges import Charges
from shop.payment.domain import NotRefundable, Payment, Refund, RefundExceedsPayment, RefundRequest
from shop.payment.provider import Provider
from shop.payment.refunds import Refunds
from shop.payment.repository import PaymentRepository
from shop.payment.resolver import Resolver
from shop.payment.settings import Settings
from shop.payment.simulator import Simulator


class PaymentService:
    def __init__(self, repository: PaymentRepository, provider: Provider, clock: Clock) -> None:
        self._repository = repository
        self._provider = provider
        self.charges = Charges(repository, provider, clock)
        self.refunds = Refunds(repository, self.charges, provider, clock)
        self.resolver = Resolver(repository, self.charges, self.refunds, provider, clock)

    @classmethod
    def build(cls, context: Context) -> PaymentService:
        settings = cast(Settings, context.settings)
        metrics.expect(settings.store.currency)
        provider = make_provider(context)
        service = cls(PaymentRepository(context.database), provider, context.clock)
        context.tasks.start("resolver", service.resolver.run)
        return service

    def minimum(self, currency: str) -> int:
        """The smallest amount that the provider charges, in minor units; 0 where there is none."""
        return self._provider.minimum(currency)

    async def refund(self, request: RefundRequest) -> tuple[Refund, Payment]:
        """Refund a payment; the same key gets the same refund.

        The refund is pending when the provider gave no answer. Problems: 404, 409 and 422 of errors.py.
        """
        payment = await self._repository.find(request.payment_id)
        if payment is None:
            raise errors.payment_not_found()
        try:
            refund = await self.refunds.open(request)
        except RefundExceedsPayment as error:
            raise errors.refund_exceeds_payment(error) from error
        except NotRefundable as error:
            raise errors.payment_not_refundable(error) from error
        if request.amount is not None and refund.amount != request.amount:
            raise key_reused()
        refund, payment = await self.refunds.execute(refund, payment)
        if refund.state == "failed":
            raise errors.refund_refused(refund.failure_code or "refund_refused")
        return refund, payment

    async def payment(self, payment_id: UUID, person: Principal) -> Payment:
        payment = await self._repository.find(payment_id)
        if payment is None or not _may_see(person, payment):
            raise errors.payment_not_found()
        return payment

    async def payments_of(self, order_ids: Sequence[UUID], person: Principal) -> list[Payment]:
        """The payments of these orders that are the person's own; an administrator may see every one."""
        return [payment for payment in await self._repository.find_by_orders(order_ids) if _may_see(person, payment)]

    async def states(self, order_ids: Sequence[UUID]) -> dict[UUID, PaymentState]:
        """The state of the payment of each of these orders that has one."""
        return await self._repository.states(order_ids)

    async def balances(self) -> list[tuple[str, str, int]]:
        return await self._repository.balances()

    async def close(self) -> None:
        await self.refunds.close()
        await self.charges.close()
        await self._provider.close()


def make_provider(context: Context) -> Provider:
    settings: Settings = context.settings
    if settings.payment_provider == "stripe":
        # Stripe's library takes 4 MiB of each process that loads it.
        from shop.payment.stripe_provider import StripeProvider

        return StripeProvider(settings.stripe_api_key, api_base=settings.stripe_api_base, clock=context.clock)
    return Simulator(context.database, answer_delay_s=settings.simulator_answer_delay_s)


def _may_see(person: Principal, payment: Payment) -> bool:
    return person.role == "admin" or payment.user_id == person.user_id
