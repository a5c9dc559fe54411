"""What the payment service reads and writes as JSON. Amounts are integers of minor units."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self
from uuid import UUID

from pydantic import BaseModel, Field, StringConstraints

from shop.contracts.money import Money
from shop.kit.bodies import RequestBody, example
from shop.kit.text import Typed
from shop.payment import domain
from shop.payment.domain import (
    ChargeAnswer,
    ChargeRequest,
    ChargeStatus,
    Payment,
    Refund,
    RefundRequest,
    RefundState,
    VoidStatus,
)
from shop.payment.refunds import VoidRequest

MAX_AMOUNT = 10**12
MAX_BATCH = 256
MAX_ORDERS = 100
MAX_TOKEN_LENGTH = 255
MAX_REASON_LENGTH = 200
MAX_KEY_LENGTH = 255

Reason = Annotated[str, Typed(MAX_REASON_LENGTH, 0)]
Traceparent = Annotated[str, StringConstraints(pattern=r"^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$")]


class ChargeAmount(BaseModel):
    """Zero is an order that costs nothing: it is captured without asking the provider."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class ChargeItem(BaseModel):
    """``traceparent`` is the order's own trace, when a batch carries orders of several."""

    order_id: UUID
    user_id: UUID
    amount: ChargeAmount
    token: Annotated[str, StringConstraints(pattern=r"^[\x21-\x7e]+$", max_length=MAX_TOKEN_LENGTH)]
    traceparent: Traceparent = ""

    def request(self, traceparent: str) -> ChargeRequest:
        return ChargeRequest(
            self.order_id,
            self.user_id,
            self.amount.amount,
            self.amount.currency,
            self.token,
            self.traceparent or traceparent,
        )


class ChargeBatch(BaseModel):
    items: Annotated[list[ChargeItem], Field(min_length=1, max_length=MAX_BATCH)]


class ChargeResult(BaseModel):
    """``pending``: the provider gave no answer yet; ask again. ``code`` and ``detail`` stand with ``declined``."""

    order_id: UUID
    status: ChargeStatus
    payment_id: UUID
    code: str | None = None
    detail: str | None = None

    @classmethod
    def of(cls, order_id: UUID, answer: ChargeAnswer) -> Self:
        detail = domain.decline_detail(answer.code) if answer.code else None
        return cls(
            order_id=order_id, status=answer.status, payment_id=answer.payment_id, code=answer.code, detail=detail
        )


class ChargeResults(BaseModel):
    results: list[ChargeResult]


class StateItem(BaseModel):
    order_id: UUID


class StateBatch(BaseModel):
    items: Annotated[list[StateItem], Field(min_length=1, max_length=MAX_BATCH)]


class StateResult(BaseModel):
    order_id: UUID
    state: domain.PaymentState | None


class StateResults(BaseModel):
    results: list[StateResult]


class VoidItem(BaseModel):
    order_id: UUID
    reason: Reason = ""

    def request(self) -> VoidRequest:
        return VoidRequest(self.order_id, self.reason)


class VoidBatch(BaseModel):
    items: Annotated[list[VoidItem], Field(min_length=1, max_length=MAX_BATCH)]


class VoidResult(BaseModel):
    """``voided``: nothing was taken. ``refunded``: all was given back. ``pending``: not known yet; ask again."""

    order_id: UUID
    status: VoidStatus


class VoidResults(BaseModel):
    results: list[VoidResult]


class PaymentView(BaseModel):
    id: UUID
    order_id: UUID
    state: domain.PaymentState
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
    """A refund, with the payment as it is then. ``pending``: the provider gave no answer yet, it is asked again."""

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
