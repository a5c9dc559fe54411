"""What a payment is, its transitions, the ledger's entries and the answers to orders. No I/O.

Amounts are integer minor units of the payment's currency.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal, NamedTuple
from uuid import UUID

from shop.contracts.payment import ChargeStatus, PaymentState, VoidStatus

RefundState = Literal["pending", "succeeded", "failed"]

TRANSITIONS: Mapping[PaymentState, frozenset[PaymentState]] = {
    PaymentState.PENDING: frozenset({PaymentState.CAPTURED, PaymentState.DECLINED}),
    PaymentState.CAPTURED: frozenset({PaymentState.PARTIALLY_REFUNDED, PaymentState.REFUNDED}),
    PaymentState.PARTIALLY_REFUNDED: frozenset({PaymentState.REFUNDED}),
    PaymentState.DECLINED: frozenset(),
    PaymentState.VOIDED: frozenset(),
    PaymentState.REFUNDED: frozenset(),
}
"""The states that may follow each state; a payment that was never charged is created as voided."""

REFUNDABLE_STATES = frozenset({PaymentState.CAPTURED, PaymentState.PARTIALLY_REFUNDED})
CAPTURED_STATES = REFUNDABLE_STATES | {PaymentState.REFUNDED}

DECLINE_DETAILS = {
    "payment_declined": "The payment was declined.",
    "amount_below_minimum": "The total is below the smallest amount that can be paid by card.",
    "amount_not_payable": "The total is an amount that cannot be paid by card in this currency.",
    "payment_refused": "The payment could not be made. The card was not declined.",
    "insufficient_funds": "The payment was declined: insufficient funds.",
    "invalid_token": "The payment was declined: the payment token is not valid.",
    "authentication_required": "The payment was declined: the bank requires the customer to authenticate.",
    "expired": "The payment was declined: it was not made in time.",
    "voided": "The order was rejected or cancelled, so it can no longer be paid.",
    "payment_conflict": "The order was charged before with another amount or for another customer.",
}


class RefundExceedsPayment(Exception):
    """More was to be refunded than is left of the capture; ``left`` can be refunded."""

    def __init__(self, left: int) -> None:
        super().__init__(f"only {left} can be refunded")
        self.left = left


class NotRefundable(Exception):
    """Nothing was captured, so nothing can be refunded."""

    def __init__(self, state: PaymentState) -> None:
        super().__init__(f"a payment that is {state} cannot be refunded")
        self.state = state


@dataclass(frozen=True, slots=True)
class ChargeRequest:
    """The charge of one order; ``traceparent`` is the trace that the payment's events belong to."""

    order_id: UUID
    user_id: UUID
    amount: int
    currency: str
    token: str
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class Payment:
    """The payment of one order. ``refunding`` is being refunded, without an answer of the provider yet."""

    id: UUID
    order_id: UUID
    user_id: UUID | None
    state: PaymentState
    amount: int
    refunded: int
    refunding: int
    currency: str
    provider: str
    provider_reference: str | None
    token: str | None
    decline_code: str | None
    traceparent: str
    voided_at: datetime | None
    created_at: datetime
    updated_at: datetime

    @property
    def refundable(self) -> int:
        """What can still be refunded."""
        return self.amount - self.refunded - self.refunding if self.state in REFUNDABLE_STATES else 0


@dataclass(frozen=True, slots=True)
class RefundRequest:
    """An ``amount`` to refund, None for all that is left. The same ``key`` is the same refund."""

    payment_id: UUID
    key: str
    amount: int | None
    reason: str
    for_void: bool = False


@dataclass(frozen=True, slots=True)
class Refund:
    id: UUID
    payment_id: UUID
    amount: int
    idempotency_key: str
    provider_reference: str | None
    state: RefundState
    reason: str
    failure_code: str | None
    traceparent: str
    created_at: datetime


class Entry(NamedTuple):
    """One side of a ledger transaction: a debit is positive, a credit negative."""

    transaction_id: UUID
    account: str
    amount: int


class ChargeAnswer(NamedTuple):
    """``code`` says why the charge was declined."""

    status: ChargeStatus
    payment_id: UUID
    code: str | None = None


def capture_entries(payment: Payment) -> list[Entry]:
    """Money arrives at the provider, for a sale. A free order moves none."""
    return _entries(payment.id, "provider", "sales", payment.amount)


def refund_entries(refund: Refund) -> list[Entry]:
    """Money leaves the provider again. Refunds are an account of their own so that sales stay what was sold."""
    return _entries(refund.id, "refunds", "provider", refund.amount)


def _entries(transaction_id: UUID, debit: str, credit: str, amount: int) -> list[Entry]:
    if amount == 0:
        return []
    return [Entry(transaction_id, debit, amount), Entry(transaction_id, credit, -amount)]


def begin_refund(payment: Payment, amount: int | None) -> tuple[Payment, int]:
    """Set ``amount`` (None: all that is left) aside to be refunded; return the payment and the amount."""
    if payment.state not in CAPTURED_STATES:
        raise NotRefundable(payment.state)
    wanted = payment.refundable if amount is None else amount
    if not 0 < wanted <= payment.refundable:
        raise RefundExceedsPayment(payment.refundable)
    return replace(payment, refunding=payment.refunding + wanted), wanted


def finish_refund(payment: Payment, amount: int) -> Payment:
    """The provider refunded ``amount``."""
    refunded = payment.refunded + amount
    state = PaymentState.REFUNDED if refunded == payment.amount else PaymentState.PARTIALLY_REFUNDED
    return replace(payment, state=state, refunded=refunded, refunding=payment.refunding - amount)


def fail_refund(payment: Payment, amount: int) -> Payment:
    """The provider refused to refund ``amount``, so that it can be requested again."""
    return replace(payment, refunding=payment.refunding - amount)


def charge_answer(payment: Payment, request: ChargeRequest) -> ChargeAnswer:
    """The answer to the order's charge, however often and however late it is requested.

    A payment that was voided or refunded in full is declined: the order must not be confirmed without its money.
    A charge that differs from the first one is declined too, since the first is the one that was made.
    """
    if payment.voided_at is not None or payment.state in {PaymentState.VOIDED, PaymentState.REFUNDED}:
        return ChargeAnswer(ChargeStatus.DECLINED, payment.id, "voided")
    if (payment.user_id, payment.amount, payment.currency) != (request.user_id, request.amount, request.currency):
        return ChargeAnswer(ChargeStatus.DECLINED, payment.id, "payment_conflict")
    if payment.state is PaymentState.DECLINED:
        return ChargeAnswer(ChargeStatus.DECLINED, payment.id, payment.decline_code or "payment_declined")
    pending = payment.state is PaymentState.PENDING
    return ChargeAnswer(ChargeStatus.PENDING if pending else ChargeStatus.CAPTURED, payment.id)


def void_answer(payment: Payment) -> VoidStatus:
    """The answer to the order's void: nothing was captured, all was refunded, or not known yet."""
    if payment.state in {PaymentState.VOIDED, PaymentState.DECLINED}:
        return VoidStatus.VOIDED
    if payment.state is PaymentState.PENDING or payment.refundable or payment.refunding:
        return VoidStatus.PENDING
    return VoidStatus.REFUNDED


def decline_detail(code: str) -> str:
    return DECLINE_DETAILS.get(code, DECLINE_DETAILS["payment_declined"])
