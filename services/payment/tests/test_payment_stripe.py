"""The Stripe provider against a server that answers like Stripe, over real HTTP and through Stripe's own library."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest

from services.payment.tests.conftest import Payments
from services.payment.tests.fake_stripe import API_KEY, FakeStripe, error
from shop.kit.clock import FixedClock
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.payment.domain import ChargeRequest, RefundRequest
from shop.payment.provider import Charge, ChargeOutcome, Repayment, RepaymentOutcome
from shop.payment.refunds import VoidRequest
from shop.payment.repository import PaymentRepository
from shop.payment.service import PaymentService
from shop.payment.settings import Settings
from shop.payment.stripe_provider import KEY_LIFETIME, StripeProvider

NOW = datetime(2026, 3, 1, tzinfo=UTC)
PATIENT_S = 30.0
IMPATIENT_S = 1.0
"""Of a call that will not be answered. It has to have arrived by then."""

# Stripe's library passes its form as text, which httpx would rather have by another name.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content:DeprecationWarning")

Served = Callable[..., AbstractAsyncContextManager[httpx.AsyncClient]]


@dataclass
class Stripe:
    """The provider and the fake at the other end of its connection."""

    fake: FakeStripe
    provider: StripeProvider
    api_base: str
    clock: FixedClock

    async def charge(self, charge: Charge) -> ChargeOutcome:
        outcomes = [outcome async for group in self.provider.charge_many([charge]) for outcome in group]
        assert len(outcomes) == 1
        return outcomes[0]

    @contextlib.contextmanager
    def impatient(self) -> Iterator[None]:
        """For a call that will never be answered."""
        self.provider.timeout_s = IMPATIENT_S
        yield
        self.provider.timeout_s = PATIENT_S

    async def captured(self) -> str:
        outcome = await self.charge(a_charge())
        assert outcome.reference is not None
        return outcome.reference

    def with_key(self, api_key: str) -> StripeProvider:
        return StripeProvider(api_key, api_base=self.api_base, clock=self.clock, timeout_s=PATIENT_S)


def a_charge(token: str = "pm_card_visa", amount: int = 1299, currency: str = "EUR") -> Charge:
    return Charge(f"charge-{new_id()}", new_id(), amount, currency, token, NOW)


def a_repayment(reference: str, amount: int = 1299, currency: str = "EUR") -> Repayment:
    return Repayment(f"refund-{new_id()}", reference, amount, currency, NOW)


@pytest.fixture
async def stripe(served: Served) -> AsyncIterator[Stripe]:
    fake, clock = FakeStripe(), FixedClock(NOW)
    async with served(fake.app()) as client:
        api_base = str(client.base_url).rstrip("/")
        provider = StripeProvider(API_KEY, api_base=api_base, clock=clock, timeout_s=PATIENT_S)
        yield Stripe(fake, provider, api_base, clock)
        fake.released.set()
        await provider.close()


@pytest.mark.parametrize(
    ("token", "parameter"),
    [("pm_card_visa", "payment_method"), ("tok_visa", "payment_method_data[card][token]")],
)
async def test_a_capture_is_one_confirmed_intent(stripe: Stripe, token: str, parameter: str) -> None:
    charge = a_charge(token)
    assert await stripe.charge(charge) == ChargeOutcome(charge.key, "captured", "pi_1")
    [(path, form)] = stripe.fake.requests
    assert path == "POST /v1/payment_intents"
    assert (
        form
        | {
            "amount": "1299",
            "currency": "eur",
            "confirm": "true",
            "error_on_requires_action": "true",
            "metadata[order_id]": str(charge.order_id),
            "metadata[shop_key]": charge.key,
            parameter: token,
        }
        == form
    )


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("pm_card_visa_chargeDeclined", "payment_declined"),
        ("pm_card_insufficient", "insufficient_funds"),
        ("pm_card_authentication", "authentication_required"),
        ("pm_unknown", "invalid_token"),
    ],
)
async def test_a_refused_card_is_declined(stripe: Stripe, token: str, code: str) -> None:
    charge = a_charge(token)
    assert await stripe.charge(charge) == ChargeOutcome(charge.key, "declined", code=code)
    assert await stripe.charge(charge) == ChargeOutcome(charge.key, "declined", code=code)


@pytest.mark.parametrize(
    ("amount", "currency", "sent"),
    [
        (5_300, "ISK", 530_000),
        (5_300, "UGX", 530_000),
        (2_414, "XOF", 2_414),
        (10_000, "MGA", 100),
        (4_310, "KWD", 4_310),
        (50, "EUR", 50),
    ],
)
async def test_stripe_takes_what_the_page_shows(stripe: Stripe, amount: int, currency: str, sent: int) -> None:
    """The number that is sent is the same amount at Stripe, also when it is refunded."""
    outcome = await stripe.charge(a_charge(amount=amount, currency=currency))
    assert (outcome.status, stripe.fake.intents["pi_1"]["amount"]) == ("captured", sent)
    assert outcome.reference is not None
    back = await stripe.provider.refund(a_repayment(outcome.reference, amount, currency))
    assert (back.status, stripe.fake.refunds["re_2"]["amount"]) == ("succeeded", sent)


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [
        (49, "EUR", "amount_below_minimum"),
        (17_499, "HUF", "amount_below_minimum"),
        (4_315, "KWD", "amount_not_payable"),
        (1_001, "JOD", "amount_not_payable"),
        (10_050, "MGA", "amount_not_payable"),
    ],
)
async def test_an_amount_that_stripe_cannot_take_is_not_sent(
    stripe: Stripe, amount: int, currency: str, code: str
) -> None:
    outcome = await stripe.charge(a_charge(amount=amount, currency=currency))
    assert (outcome.status, outcome.code, stripe.fake.requests) == ("declined", code, [])
    back = await stripe.provider.refund(a_repayment("pi_1", 1_001, "JOD"))
    assert (back.status, back.code, stripe.fake.requests) == ("failed", "amount_not_payable", [])


@pytest.mark.parametrize(
    ("amount", "currency", "code"),
    [(1_000, "IQD", "payment_refused"), (100_000_000, "EUR", "amount_not_payable")],
)
async def test_an_invalid_request_is_no_declined_card(stripe: Stripe, amount: int, currency: str, code: str) -> None:
    outcome = await stripe.charge(a_charge(amount=amount, currency=currency))
    assert (outcome.status, outcome.code) == ("declined", code)
    assert len(stripe.fake.requests) == 1


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        ("processing", "unknown"),
        ("requires_action", "declined"),
        ("requires_payment_method", "declined"),
        ("canceled", "declined"),
        ("something_new", "unknown"),
    ],
)
async def test_only_a_succeeded_intent_is_a_capture(stripe: Stripe, status: str, outcome: str) -> None:
    stripe.fake.intent_status = status
    assert (await stripe.charge(a_charge())).status == outcome


async def test_a_capture_whose_answer_timed_out_is_found_with_the_same_key(stripe: Stripe) -> None:
    stripe.fake.faults = ["lost"]
    charge = a_charge()
    with stripe.impatient():
        assert await stripe.charge(charge) == ChargeOutcome(charge.key, "unknown", code="timeout")
    assert await stripe.charge(charge) == ChargeOutcome(charge.key, "captured", "pi_1")
    assert len(stripe.fake.intents) == 1


@pytest.mark.parametrize(
    "fault",
    [
        "nonsense",
        "shapeless",
        error(500, "api_error"),
        error(503, "api_error"),
        error(429, "rate_limit_error", "rate_limit"),
        error(409, "idempotency_error", "idempotency_key_in_use"),
        error(403, "invalid_request_error"),
        (500, {"surprise": 1}),
    ],
    ids=str,
)
async def test_an_answer_that_does_not_decide_the_charge_is_unknown(stripe: Stripe, fault: Any) -> None:
    stripe.fake.faults = [fault]
    charge = a_charge()
    assert (await stripe.charge(charge)).status == "unknown"
    assert (await stripe.charge(charge)).status == "captured"
    assert len(stripe.fake.intents) == 1


async def test_a_time_out_before_the_capture_charges_with_the_next_request(stripe: Stripe) -> None:
    stripe.fake.faults = ["slow"]
    charge = a_charge()
    with stripe.impatient():
        assert (await stripe.charge(charge)).status == "unknown"
    assert stripe.fake.intents == {}
    assert (await stripe.charge(charge)).status == "captured"


async def test_a_key_used_for_another_charge_is_no_capture(stripe: Stripe) -> None:
    charge = a_charge()
    await stripe.charge(charge)
    assert (await stripe.charge(replace(charge, amount=5000))).status == "unknown"


async def test_a_wrong_api_key_neither_charges_nor_declines(stripe: Stripe) -> None:
    provider = stripe.with_key("sk_test_wrong")
    outcomes = [outcome async for group in provider.charge_many([a_charge()]) for outcome in group]
    assert [(outcome.status, outcome.code) for outcome in outcomes] == [("unknown", "provider_unavailable")]
    refund = await provider.refund(a_repayment("pi_1"))
    assert refund == RepaymentOutcome("unknown", code="provider_unavailable")
    await provider.close()


async def test_an_unreachable_provider_is_unknown() -> None:
    provider = StripeProvider(API_KEY, api_base="http://127.0.0.1:1", clock=FixedClock(NOW))
    outcomes = [outcome async for group in provider.charge_many([a_charge()]) for outcome in group]
    assert [outcome.status for outcome in outcomes] == ["unknown"]
    assert (await provider.refund(a_repayment("pi_1"))).status == "unknown"
    await provider.close()


async def test_a_slow_charge_does_not_delay_the_rest_of_its_batch(stripe: Stripe) -> None:
    stripe.fake.faults = ["slow"]
    charges = [a_charge() for _ in range(5)]
    known: dict[str, str] = {}
    async for group in stripe.provider.charge_many(charges):
        known |= {outcome.key: outcome.status for outcome in group}
        if len(known) == len(charges) - 1:
            stripe.fake.released.set()
    assert list(known.values()) == ["captured"] * 5


async def test_a_charge_older_than_its_key_is_looked_up_and_not_repeated(stripe: Stripe) -> None:
    made, never_made = a_charge(), a_charge()
    await stripe.charge(made)
    stripe.clock.advance(KEY_LIFETIME.total_seconds() + 1)
    stripe.fake.answered.clear()
    assert await stripe.charge(made) == ChargeOutcome(made.key, "captured", "pi_1")
    assert await stripe.charge(never_made) == ChargeOutcome(never_made.key, "declined", code="expired")
    assert len(stripe.fake.intents) == 1


@pytest.mark.parametrize("status", ["succeeded", "pending"])
async def test_a_refund_is_made_once_per_key(stripe: Stripe, status: str) -> None:
    stripe.fake.refund_status = status
    repayment = a_repayment(await stripe.captured(), 500)
    assert await stripe.provider.refund(repayment) == RepaymentOutcome("succeeded", "re_2")
    assert await stripe.provider.refund(repayment) == RepaymentOutcome("succeeded", "re_2")
    assert [refund["amount"] for refund in stripe.fake.refunds.values()] == [500]


async def test_a_lost_refund_is_found_with_the_same_key(stripe: Stripe) -> None:
    repayment = a_repayment(await stripe.captured())
    stripe.fake.faults = ["lost"]
    with stripe.impatient():
        assert await stripe.provider.refund(repayment) == RepaymentOutcome("unknown", code="timeout")
    assert (await stripe.provider.refund(repayment)).status == "succeeded"
    assert len(stripe.fake.refunds) == 1


@pytest.mark.parametrize("fault", ["nonsense", "shapeless", error(500, "api_error"), error(429, "x")], ids=str)
async def test_an_answer_that_does_not_decide_the_refund_is_unknown(stripe: Stripe, fault: Any) -> None:
    repayment = a_repayment(await stripe.captured())
    stripe.fake.faults = [fault]
    assert (await stripe.provider.refund(repayment)).status == "unknown"
    assert (await stripe.provider.refund(repayment)).status == "succeeded"


async def test_a_refund_that_stripe_refuses_has_failed(stripe: Stripe) -> None:
    reference = await stripe.captured()
    await stripe.provider.refund(a_repayment(reference, 1000))
    refused = await stripe.provider.refund(a_repayment(reference, 1000))
    assert refused == RepaymentOutcome("failed", code="charge_already_refunded")
    assert (await stripe.provider.refund(a_repayment("pi_none"))).status == "failed"
    stripe.fake.refund_status = "failed"
    assert (await stripe.provider.refund(a_repayment(reference, 100))).status == "failed"


async def test_a_refund_older_than_its_key_is_looked_up_and_not_repeated(stripe: Stripe) -> None:
    reference = await stripe.captured()
    made, never_made = a_repayment(reference, 300), a_repayment(reference, 300)
    await stripe.provider.refund(made)
    stripe.clock.advance(KEY_LIFETIME.total_seconds() + 1)
    stripe.fake.answered.clear()
    assert await stripe.provider.refund(made) == RepaymentOutcome("succeeded", "re_2")
    assert await stripe.provider.refund(never_made) == RepaymentOutcome("failed", code="expired")
    assert len(stripe.fake.refunds) == 1


async def test_the_service_charges_and_voids_through_stripe(
    stripe: Stripe, payments: Payments, payment_database: Database
) -> None:
    service = PaymentService(PaymentRepository(payment_database), stripe.provider, stripe.clock)
    good, bad, lost = new_id(), new_id(), new_id()

    def request(order_id: Any, token: str) -> ChargeRequest:
        return ChargeRequest(order_id, payments.user_id, 1299, "EUR", token)

    answers = await service.charges.charge([request(good, "pm_card_visa"), request(bad, "pm_card_insufficient")])
    assert [answer.code or answer.status for answer in answers] == ["captured", "insufficient_funds"]
    stripe.fake.faults = ["lost"]
    with stripe.impatient():
        assert (await service.charges.charge([request(lost, "tok_visa")]))[0].status == "pending"
    assert await service.refunds.void([VoidRequest(lost, ""), VoidRequest(bad, "")]) == ["refunded", "voided"]
    payment = await payments.payment(good)
    refund, after = await service.refund(RefundRequest(payment.id, "a", 300, ""))
    assert (refund.state, after.state) == ("succeeded", "partially_refunded")
    assert len(stripe.fake.intents) == 3
    assert sorted(refund["amount"] for refund in stripe.fake.refunds.values()) == [300, 1299]
    await asyncio.gather(*(service.refunds.void([VoidRequest(good, "")]) for _ in range(5)))
    assert sum(refund["amount"] for refund in stripe.fake.refunds.values()) == 2 * 1299


def test_stripe_needs_a_key() -> None:
    with pytest.raises(ValueError, match="SHOP_STRIPE_API_KEY"):
        Settings(payment_provider="stripe")


def test_the_smallest_charge_is_the_providers(stripe: Stripe) -> None:
    assert [stripe.provider.minimum(currency) for currency in ("EUR", "HUF", "ISK")] == [50, 17_500, 0]


def test_stripes_library_is_loaded_only_where_it_is_used() -> None:
    program = "import sys, shop.payment.main; print(sorted(name for name in sys.modules if name.startswith('stripe')))"
    loaded = subprocess.check_output([sys.executable, "-c", program], text=True, timeout=PATIENT_S)
    assert loaded.strip() == "[]"
