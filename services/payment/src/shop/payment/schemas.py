"""What the payment service reads and writes as JSON. Amounts are integers of minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field

from shop.contracts.money import Money
from shop.contracts.payment import MAX_AMOUNT, MAX_REASON_LENGTH, ChargeResult, PaymentState
from shop.contracts.payment import ChargeRequest as ChargeItem
from shop.kit.bodies import RequestBody, example
from shop.kit.text import Typed
from shop.payment import domain
from shop.payment.domain import ChargeAnswer, ChargeRequest, Payment, Refund, RefundRequest, RefundState

MAX_ORDERS = 100

Reason = Annotated[str, Typed(MAX_REASON_LENGTH, 0)]


def charge_request(item: ChargeItem, traceparent: str) -> ChargeRequest:
    """The charge of one order, in the trace of the order or of the request."""
    amount = item.amount
    trace = item.traceparent or traceparent
    return ChargeRequest(item.order_id, item.user_id, amount.amount, amount.currency, item.token, trace)


def charge_result(order_id: UUID, answer: ChargeAnswer) -> ChargeResult:
    detail = domain.decline_detail(answer.code) if answer.code else None
    status, payment_id, code = answer.status, answer.payment_id, answer.code
    return ChargeResult(order_id=order_id, status=status, payment_id=payment_id, code=code, detail=detail)


class PaymentView(BaseModel):
    id: UUID
    order_id: UUID
    state: PaymentState
    amount: Money
    refunded: Money
    decline_code: str | None
    provider: str
    created_at: datetime
    updated_at: datetime

    @classmethod
    def of(cls, payment: Payment) -> Self:
        return cls(
            id=payment.id,
            order_id=payment.order_id,
            state=payment.state,
            amount=Money(amount=payment.amount, currency=payment.currency),
            refunded=Money(amount=payment.refunded, currency=payment.currency),
            decline_code=payment.decline_code,
            provider=payment.provider,
            created_at=payment.created_at,
            updated_at=payment.updated_at,
        )


class RefundBody(RequestBody):
    """``amount`` in minor units of the payment's currency, at most what has not been refunded yet."""

    model_config = example(amount=100, reason="damaged on arrival")

    amount: Annotated[int, Field(ge=1, le=MAX_AMOUNT, strict=True)]
    reason: Reason = ""

    def request(self, payment_id: UUID, key: str) -> RefundRequest:
        return RefundRequest(payment_id, key, self.amount, self.reason)


class RefundView(BaseModel):
    """A refund, with the payment as it is then. ``pending``: the provider has not answered yet; it is tried again."""

    id: UUID
    payment_id: UUID
    amount: Money
    state: RefundState
    reason: str
    created_at: datetime
    payment: PaymentView

    @classmethod
    def of(cls, refund: Refund, payment: Payment) -> Self:
        return cls(
            id=refund.id,
            payment_id=refund.payment_id,
            amount=Money(amount=refund.amount, currency=payment.currency),
            state=refund.state,
            reason=refund.reason,
            created_at=refund.created_at,
            payment=PaymentView.of(payment),
        )


class AccountBalance(BaseModel):
    """Debits are positive: what lies at the provider, and what was refunded; sales are negative."""

    account: Literal["provider", "sales", "refunds"]
    balance: Money


class Ledger(BaseModel):
    """The balance of every account; per currency they sum to zero."""

    items: list[AccountBalance]
