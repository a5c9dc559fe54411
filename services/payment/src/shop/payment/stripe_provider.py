"""Payments through Stripe's own library: a PaymentIntent per charge, created and confirmed in one request.

Stripe forgets idempotency keys after a day, after which a repeated request would charge again. An older charge or
refund is therefore never repeated but looked up by its metadata, where the key stands too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, cast

import stripe

from shop.kit.clock import Clock
from shop.payment.provider import REFUSED, Charge, ChargeOutcome, Repayment, RepaymentOutcome
from shop.payment.settings import STRIPE_API_BASE
from shop.payment.stripe_amounts import (
    BELOW_MINIMUM,
    MINIMUMS,
    NOT_PAYABLE,
    AmountRefused,
    charge_amount,
    stripe_amount,
)

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, PaymentIntentCreateParamsPaymentMethodData

log = logging.getLogger(__name__)

CALL_TIMEOUT_S = 1.5
"""For a call as a whole; shorter than the order's timeout, so that the order gets `pending` instead of none."""
TRANSPORT_TIMEOUT_S = 30.0
MAX_CONCURRENT_CALLS = 32
PARALLEL_BATCHES = 32
KEY_LIFETIME = timedelta(hours=23)
MAX_REFUNDS_LISTED = 100

DECLINE_CODES = {
    "insufficient_funds": "insufficient_funds",
    "authentication_required": "authentication_required",
}
"""Stripe's decline codes that the shop tells apart; every other one is ``payment_declined``."""

INVALID_CODES = {"amount_too_small": BELOW_MINIMUM, "amount_too_large": NOT_PAYABLE}
"""Stripe's codes of a request that it finds wrong; every other one is ``payment_refused``, never a declined card."""

REFUSED_INTENTS = frozenset({"requires_payment_method", "canceled", "requires_capture", "requires_confirmation"})


class StripeProvider:
    """``api_base`` is Stripe's address or a stand-in; tokens are Stripe's ``pm_...`` and ``tok_...``."""

    name = "stripe"
    parallel_batches = PARALLEL_BATCHES

    def __init__(
        self, api_key: str, *, api_base: str = STRIPE_API_BASE, clock: Clock, timeout_s: float = CALL_TIMEOUT_S
    ) -> None:
        stripe.enable_telemetry = False
        self._http = stripe.HTTPXClient(timeout=TRANSPORT_TIMEOUT_S)
        self._client = stripe.StripeClient(
            api_key, base_addresses={"api": api_base}, http_client=self._http, max_network_retries=0
        )
        self._clock = clock
        self.timeout_s = timeout_s
        self._calls = asyncio.Semaphore(MAX_CONCURRENT_CALLS)

    def minimum(self, currency: str) -> int:
        return MINIMUMS.get(currency, 0)

    async def charge_many(self, charges: Sequence[Charge]) -> AsyncIterator[Sequence[ChargeOutcome]]:
        asking = {asyncio.create_task(self._charge(charge)) for charge in charges}
        try:
            while asking:
                done, asking = await asyncio.wait(asking, return_when=asyncio.FIRST_COMPLETED)
                yield [task.result() for task in done]
        finally:
            for task in asking:
                task.cancel()

    async def _charge(self, charge: Charge) -> ChargeOutcome:
        late = self._clock.now() - charge.requested_at > KEY_LIFETIME
        async with self._calls:
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await (self._find_charge(charge) if late else self._create_charge(charge))
            except AmountRefused as refusal:
                return ChargeOutcome(charge.key, "declined", code=refusal.code)
            except stripe.CardError as error:
                return ChargeOutcome(charge.key, "declined", code=_decline_code(error))
            except stripe.InvalidRequestError as error:
                _log_failure(error, "charge", charge.key)
                return ChargeOutcome(charge.key, "declined", code=_invalid_code(error))
            except (stripe.StripeError, TimeoutError) as error:
                _log_failure(error, "charge", charge.key)
                return ChargeOutcome(charge.key, "unknown", code=_unknown_code(error))
            except (AttributeError, KeyError, TypeError, ValueError):
                log.exception(
                    "Stripe's answer to the charge %s cannot be read",
                    charge.key,
                    extra={"event": "provider_answer_unreadable"},
                )
                return ChargeOutcome(charge.key, "unknown", code="malformed_answer")

    async def _create_charge(self, charge: Charge) -> ChargeOutcome:
        intent = await self._client.v1.payment_intents.create_async(
            _intent_params(charge), {"idempotency_key": charge.key}
        )
        return _intent_outcome(charge.key, intent)

    async def _find_charge(self, charge: Charge) -> ChargeOutcome:
        found = await self._client.v1.payment_intents.search_async({"query": f"metadata['shop_key']:'{charge.key}'"})
        if not found.data:
            return ChargeOutcome(charge.key, "declined", code="expired")
        return _intent_outcome(charge.key, found.data[0])

    async def refund(self, repayment: Repayment) -> RepaymentOutcome:
        late = self._clock.now() - repayment.requested_at > KEY_LIFETIME
        async with self._calls:
            try:
                async with asyncio.timeout(self.timeout_s):
                    return await (self._find_refund(repayment) if late else self._create_refund(repayment))
            except AmountRefused as refusal:
                return RepaymentOutcome("failed", code=refusal.code)
            except (stripe.InvalidRequestError, stripe.CardError) as error:
                _log_failure(error, "refund", repayment.key)
                return RepaymentOutcome("failed", code=error.code or "refund_refused")
            except (stripe.StripeError, TimeoutError) as error:
                _log_failure(error, "refund", repayment.key)
                return RepaymentOutcome("unknown", code=_unknown_code(error))
            except (AttributeError, KeyError, TypeError, ValueError):
                log.exception(
                    "Stripe's answer to the refund %s cannot be read",
                    repayment.key,
                    extra={"event": "provider_answer_unreadable"},
                )
                return RepaymentOutcome("unknown", code="malformed_answer")

    async def _create_refund(self, repayment: Repayment) -> RepaymentOutcome:
        refund = await self._client.v1.refunds.create_async(
            {
                "payment_intent": repayment.reference,
                "amount": stripe_amount(repayment.amount, repayment.currency),
                "metadata": {"shop_key": repayment.key},
            },
            {"idempotency_key": repayment.key},
        )
        return _refund_outcome(refund)

    async def _find_refund(self, repayment: Repayment) -> RepaymentOutcome:
        refunds = await self._client.v1.refunds.list_async(
            {"payment_intent": repayment.reference, "limit": MAX_REFUNDS_LISTED}
        )
        for refund in refunds.data:
            if getattr(refund.metadata, "shop_key", None) == repayment.key:
                return _refund_outcome(refund)
        return RepaymentOutcome("failed", code="expired")

    async def close(self) -> None:
        await self._http.close_async()  # type: ignore[no-untyped-call]


def _intent_params(charge: Charge) -> PaymentIntentCreateParams:
    params: PaymentIntentCreateParams = {
        "amount": charge_amount(charge.amount, charge.currency),
        "currency": charge.currency.lower(),
        "confirm": True,
        "error_on_requires_action": True,
        "automatic_payment_methods": {"enabled": True, "allow_redirects": "never"},
        "metadata": {"order_id": str(charge.order_id), "shop_key": charge.key},
    }
    if charge.token.startswith("tok_"):
        card = {"type": "card", "card": {"token": charge.token}}
        params["payment_method_data"] = cast("PaymentIntentCreateParamsPaymentMethodData", card)
    else:
        params["payment_method"] = charge.token
    return params


def _intent_outcome(key: str, intent: stripe.PaymentIntent) -> ChargeOutcome:
    if intent.status == "succeeded":
        return ChargeOutcome(key, "captured", intent.id)
    if intent.status == "requires_action":
        return ChargeOutcome(key, "declined", code="authentication_required")
    if intent.status in REFUSED_INTENTS:
        return ChargeOutcome(key, "declined", code="payment_declined")
    return ChargeOutcome(key, "unknown", code=str(intent.status))


def _refund_outcome(refund: stripe.Refund) -> RepaymentOutcome:
    """A refund that Stripe has accepted is done for the shop; the bank takes days for its part."""
    if refund.status in {"succeeded", "pending"}:
        return RepaymentOutcome("succeeded", refund.id)
    return RepaymentOutcome("failed", refund.id, "refund_refused")


def _decline_code(error: stripe.CardError) -> str:
    reason = getattr(error.error, "decline_code", None) or error.code
    return DECLINE_CODES.get(reason or "", "payment_declined")


def _invalid_code(error: stripe.InvalidRequestError) -> str:
    """Nothing was charged, and repeating the request would not help. Only a wrong token is the customer's error."""
    about_token = (error.param or "").startswith("payment_method") or error.code == "resource_missing"
    return "invalid_token" if about_token else INVALID_CODES.get(error.code or "", REFUSED)


def _unknown_code(error: Exception) -> str:
    timed_out = isinstance(error, (TimeoutError, stripe.APIConnectionError))
    return "timeout" if timed_out else "provider_unavailable"


def _log_failure(error: Exception, what: str, key: str) -> None:
    """Log a refused API key or an outage; the token and the card stay out of the log."""
    log.warning(
        "Stripe did not execute a %s: %s",
        what,
        type(error).__name__,
        extra={
            "event": "provider_refused",
            "key": key,
            "code": getattr(error, "code", None),
            "stripe_request": getattr(error, "request_id", None),
        },
    )
