"""The rules of payments, without a database."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shop.contracts.payment import PaymentState
from shop.kit.ids import new_id
from shop.payment import domain
from shop.payment.domain import ChargeRequest, NotRefundable, Payment, Refund, RefundExceedsPayment

NOW = datetime(2026, 3, 1, tzinfo=UTC)
STATES = tuple(PaymentState)
amounts = st.integers(min_value=1, max_value=10**12)


def payment(state: str = "captured", amount: int = 1000, refunded: int = 0, refunding: int = 0) -> Payment:
    return Payment(
        id=new_id(),
        order_id=new_id(),
        user_id=new_id(),
        state=PaymentState(state),
        amount=amount,
        refunded=refunded,
        refunding=refunding,
        currency="EUR",
        provider="simulator",
        provider_reference="reference",
        token=None,
        decline_code=None,
        traceparent="",
        voided_at=None,
        created_at=NOW,
        updated_at=NOW,
    )


def refund_of(held: Payment, amount: int) -> Refund:
    return Refund(new_id(), held.id, amount, "key", None, "pending", "", None, "", NOW)


def request_for(held: Payment) -> ChargeRequest:
    assert held.user_id is not None
    return ChargeRequest(held.order_id, held.user_id, held.amount, held.currency, "tok_visa")


@given(amounts)
def test_a_capture_has_equal_debits_and_credits(amount: int) -> None:
    held = payment(amount=amount)
    entries = domain.capture_entries(held)
    assert {(entry.account, entry.amount) for entry in entries} == {("provider", amount), ("sales", -amount)}
    assert {entry.transaction_id for entry in entries} == {held.id}


def test_a_free_order_is_not_booked() -> None:
    assert domain.capture_entries(payment(amount=0)) == []


@given(amounts, st.lists(st.tuples(st.integers(0, 10**12), st.booleans()), max_size=20))
def test_whatever_is_refunded_the_ledger_sums_to_zero_and_holds_what_is_not_refunded(
    amount: int, amounts_asked: list[tuple[int, bool]]
) -> None:
    held = payment(amount=amount)
    entries = domain.capture_entries(held)
    for asked, succeeds in amounts_asked:
        try:
            held, taken = domain.begin_refund(held, asked)
        except (RefundExceedsPayment, NotRefundable):
            continue
        assert taken == asked
        if succeeds:
            held = domain.finish_refund(held, taken)
            entries += domain.refund_entries(refund_of(held, taken))
        else:
            held = domain.fail_refund(held, taken)
        assert 0 <= held.refunded + held.refunding <= held.amount
    assert sum(entry.amount for entry in entries) == 0
    assert sum(entry.amount for entry in entries if entry.account == "provider") == held.amount - held.refunded


@given(amounts, st.lists(amounts, min_size=1, max_size=10))
def test_concurrent_refunds_together_never_exceed_the_capture(amount: int, amounts_asked: list[int]) -> None:
    held = payment(amount=amount)
    accepted = []
    for asked in amounts_asked:
        if asked > held.refundable:
            with pytest.raises(RefundExceedsPayment) as refusal:
                domain.begin_refund(held, asked)
            assert refusal.value.left == held.refundable
            continue
        held, taken = domain.begin_refund(held, asked)
        accepted.append(taken)
    assert sum(accepted) == held.refunding <= amount
    for taken in accepted:
        held = domain.finish_refund(held, taken)
    assert held.refunded == sum(accepted)
    assert held.refunding == 0


@given(amounts, st.data())
def test_the_state_follows_the_refunded_amount(amount: int, data: st.DataObject) -> None:
    held = payment(amount=amount)
    part = data.draw(st.integers(1, amount))
    before = held.state
    held = domain.finish_refund(*domain.begin_refund(held, part))
    assert held.state == ("refunded" if part == amount else "partially_refunded")
    assert held.state in domain.TRANSITIONS[before]
    if held.state == "partially_refunded":
        held = domain.finish_refund(*domain.begin_refund(held, None))
        assert (held.state, held.refunded, held.refundable) == ("refunded", amount, 0)


@pytest.mark.parametrize("state", ["pending", "declined", "voided"])
def test_what_was_not_captured_cannot_be_refunded(state: str) -> None:
    with pytest.raises(NotRefundable):
        domain.begin_refund(payment(state), 1)
    assert payment(state).refundable == 0


@pytest.mark.parametrize("amount", [None, 1])
def test_a_fully_refunded_payment_has_nothing_left(amount: int | None) -> None:
    with pytest.raises(RefundExceedsPayment) as refusal:
        domain.begin_refund(payment("refunded", refunded=1000), amount)
    assert refusal.value.left == 0


@pytest.mark.parametrize("amount", [0, -1, -(10**12)])
def test_zero_and_negative_amounts_cannot_be_refunded(amount: int) -> None:
    with pytest.raises(RefundExceedsPayment):
        domain.begin_refund(payment(), amount)


def test_every_state_has_its_transitions() -> None:
    assert set(domain.TRANSITIONS) == set(STATES)
    assert all(after in STATES and after != before for before, all_ in domain.TRANSITIONS.items() for after in all_)


@pytest.mark.parametrize(
    ("state", "refunded", "status", "code"),
    [
        ("pending", 0, "pending", None),
        ("captured", 0, "captured", None),
        ("partially_refunded", 400, "captured", None),
        ("declined", 0, "declined", "payment_declined"),
        ("refunded", 1000, "declined", "voided"),
        ("voided", 0, "declined", "voided"),
    ],
)
def test_the_answer_to_a_charge(state: str, refunded: int, status: str, code: str | None) -> None:
    held = payment(state, refunded=refunded)
    assert domain.charge_answer(held, request_for(held)) == (status, held.id, code)


@pytest.mark.parametrize("state", STATES)
def test_a_voided_payment_refuses_in_every_state(state: str) -> None:
    held = replace(payment(state), voided_at=NOW)
    assert domain.charge_answer(held, request_for(held)).code == "voided"


@pytest.mark.parametrize("changed", [{"amount": 999}, {"currency": "USD"}, {"user_id": new_id()}])
@pytest.mark.parametrize("state", ["pending", "captured", "declined"])
def test_a_charge_unlike_the_first_one_is_refused(state: str, changed: dict[str, object]) -> None:
    held = payment(state)
    answer = domain.charge_answer(held, replace(request_for(held), **changed))  # type: ignore[arg-type]
    assert (answer.status, answer.code) == ("declined", "payment_conflict")


def test_a_declined_payment_says_why() -> None:
    held = replace(payment("declined"), decline_code="insufficient_funds")
    assert domain.charge_answer(held, request_for(held)).code == "insufficient_funds"
    assert "insufficient funds" in domain.decline_detail("insufficient_funds")
    assert domain.decline_detail("stolen_card") == domain.decline_detail("payment_declined")


@pytest.mark.parametrize(
    ("state", "refunded", "refunding", "status"),
    [
        ("voided", 0, 0, "voided"),
        ("declined", 0, 0, "voided"),
        ("pending", 0, 0, "pending"),
        ("captured", 0, 0, "pending"),
        ("captured", 0, 1000, "pending"),
        ("partially_refunded", 400, 600, "pending"),
        ("refunded", 1000, 0, "refunded"),
    ],
)
def test_the_answer_to_a_void(state: str, refunded: int, refunding: int, status: str) -> None:
    assert domain.void_answer(payment(state, refunded=refunded, refunding=refunding)) == status


def test_a_free_order_is_voided_without_a_refund() -> None:
    assert domain.void_answer(payment("captured", amount=0)) == "refunded"
