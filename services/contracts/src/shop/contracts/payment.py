"""Calls from order to payment: charging an order, voiding its payment, and reading the payment's state."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated
from uuid import UUID

from pydantic import Field, TypeAdapter

from shop.contracts.calls import BatchCall, Message, OrderItem, OrderResult, ReadCall
from shop.contracts.money import Money, Price
from shop.contracts.store import Currency

MAX_AMOUNT = 10**12
"""Minor units of one charge."""
MAX_TOKEN_LENGTH = 255
MAX_REASON_LENGTH = 200


class ChargeAmount(Price):
    """Zero is an order that costs nothing: it is captured without asking the provider."""

    amount: Annotated[int, Field(ge=0, le=MAX_AMOUNT, strict=True)]


class ChargeRequest(OrderItem):
    """``token`` stands for a card at the payment provider."""

    user_id: UUID
    amount: ChargeAmount
    token: Annotated[str, Field(pattern=r"^[\x21-\x7e]+$", max_length=MAX_TOKEN_LENGTH)]
    traceparent: Annotated[str, Field(pattern=r"^(00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2})?$")] = ""


class ChargeStatus(StrEnum):
    CAPTURED = "captured"
    DECLINED = "declined"
    PENDING = "pending"
    """The provider has not answered yet; send the request again."""


class ChargeResult(OrderResult):
    """``code`` and ``detail`` say why a charge was declined."""

    status: ChargeStatus
    payment_id: UUID
    code: str | None = None
    detail: str | None = None


class VoidRequest(OrderItem):
    """End the charge of an order and refund what was captured; a later charge is declined."""

    reason: Annotated[str, Field(max_length=MAX_REASON_LENGTH)] = ""


class VoidStatus(StrEnum):
    VOIDED = "voided"
    """Nothing was captured."""
    REFUNDED = "refunded"
    """All that was captured was refunded."""
    PENDING = "pending"
    """Not known yet; send the request again."""


class VoidResult(OrderResult):
    status: VoidStatus


class PaymentState(StrEnum):
    PENDING = "pending"
    CAPTURED = "captured"
    DECLINED = "declined"
    VOIDED = "voided"
    PARTIALLY_REFUNDED = "partially_refunded"
    REFUNDED = "refunded"


class StateRequest(OrderItem):
    pass


class StateResult(OrderResult):
    """``state`` is null for an order that was never charged."""

    state: PaymentState | None


class MinimumQuery(Message):
    currency: Currency


CHARGE = BatchCall("payment.charge", "/internal/charges", TypeAdapter(ChargeRequest), TypeAdapter(ChargeResult))
VOID = BatchCall("payment.void", "/internal/charges/void", TypeAdapter(VoidRequest), TypeAdapter(VoidResult))
STATE = BatchCall("payment.state", "/internal/charges/state", TypeAdapter(StateRequest), TypeAdapter(StateResult))
MINIMUM = ReadCall("payment.minimum", "/internal/charges/minimum", TypeAdapter(MinimumQuery), TypeAdapter(Money))
"""The smallest amount that can be charged; 0 where there is none."""
