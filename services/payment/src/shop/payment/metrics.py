"""What payment counts. Amounts are in minor units of their currency."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter

from shop.contracts.payment import PaymentState
from shop.kit.exposition import start_at_zero
from shop.payment.domain import RefundState

CHARGES = Counter("shop_payment_charges_total", "Outcomes of charges as they were recorded", ["state"])
CAPTURED = Counter("shop_payment_captured_total", "Amounts captured, in minor units of their currency", ["currency"])
REFUNDS = Counter("shop_payment_refunds_total", "Outcomes of refunds as they were recorded", ["state"])
REFUNDED = Counter("shop_payment_refunded_total", "Amounts refunded, in minor units of their currency", ["currency"])
RESOLVED = Counter("shop_payment_resolved_total", "Payments and refunds resolved after their lease", ["state"])

start_at_zero(CHARGES, PaymentState)
start_at_zero(REFUNDS, set(get_args(RefundState)) - {"pending"})
start_at_zero(RESOLVED, set(PaymentState) - {PaymentState.PENDING})
start_at_zero(RESOLVED, [f"refund_{state}" for state in get_args(RefundState)])


def expect(currency: str) -> None:
    """Make the time series of the shop's currency."""
    for counter in (CAPTURED, REFUNDED):
        counter.labels(currency)
