"""The problems that the payment service answers with; their codes are part of the API."""

from __future__ import annotations

from shop.kit.errors import Problem
from shop.payment.domain import NotRefundable, RefundExceedsPayment


def payment_not_found() -> Problem:
    return Problem(404, "payment_not_found", "There is no such payment.")


def refund_exceeds_payment(error: RefundExceedsPayment) -> Problem:
    detail = "More would be refunded than is left of the payment."
    return Problem(409, "refund_exceeds_payment", detail, extra={"refundable": error.left})


def payment_not_refundable(error: NotRefundable) -> Problem:
    return Problem(409, "payment_not_refundable", "Nothing was captured.", extra={"state": error.state})


def refund_refused(code: str) -> Problem:
    detail = "The payment provider refused the refund."
    return Problem(409, "refund_refused", detail, extra={"provider_code": code})
