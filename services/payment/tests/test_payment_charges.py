"""Charges against a real database: each order is captured at most once, whatever goes wrong."""

from __future__ import annotations

import asyncio
from uuid import UUID

import orjson
import pytest
from prometheus_client import REGISTRY

from services.payment.tests.conftest import Crash, Payments
from shop.devkit.testing import Logged, wait_until
from shop.kit.ids import new_id
from shop.payment import charges
from shop.payment.domain import ChargeRequest


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [
        ("tok_visa", "captured", None),
        ("tok_declined", "declined", "payment_declined"),
        ("tok_insufficient", "declined", "insufficient_funds"),
        ("tok_nonsense", "declined", "invalid_token"),
    ],
)
async def test_the_test_tokens(payments: Payments, logged: Logged, token: str, status: str, code: str | None) -> None:
    order_id = new_id()
    answer = await payments.charge(order_id, token)
    assert (answer.status, answer.code) == (status, code)
    payment = await payments.payment(order_id)
    assert (payment.state, payment.decline_code, payment.token) == (status, code, None)
    assert answer.payment_id == payment.id
    assert await payments.amount_at_provider(order_id) == (1299 if status == "captured" else 0)
    assert await payments.ledger_transactions(order_id) == (["capture"] if status == "captured" else [])
    assert await payments.charge(order_id, token) == answer
    assert len(logged(event=f"payment_{status}", order_id=str(order_id), reason=code)) == 1


@pytest.mark.parametrize(
    ("token", "status", "code"),
    [("tok_timeout", "captured", None), ("tok_timeout_declined", "declined", "payment_declined")],
)
async def test_a_repeated_request_finds_the_outcome_of_a_lost_answer(
    payments: Payments, token: str, status: str, code: str | None
) -> None:
    order_id = new_id()
    assert (await payments.charge(order_id, token)).status == "pending"
    assert (await payments.payment(order_id)).state == "pending"
    assert await payments.ledger_transactions(order_id) == []
    answer = await payments.charge(order_id, token)
    assert (answer.status, answer.code) == (status, code)
    assert await payments.provider_captures(order_id) == (1 if status == "captured" else 0)


async def test_the_event_of_a_refund_names_the_payment_and_has_the_trace_of_the_charge(
    payments: Payments, logged: Logged
) -> None:
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    request = ChargeRequest(new_id(), payments.user_id, 4200, "EUR", "tok_visa", trace)
    await payments.service.charges.charge([request])
    (line,) = logged(event="payment_captured", trace_id=trace[3:35])
    assert line["order_id"] == str(request.order_id)
    assert await payments.void(request.order_id) == "refunded"
    envelope = orjson.loads(await payments.database.fetchval("SELECT payload FROM outbox"))
    assert envelope["traceparent"] == trace
    payment = await payments.payment(request.order_id)
    assert envelope["data"] == {
        "payment_id": str(payment.id),
        "order_id": str(request.order_id),
        "user_id": str(payments.user_id),
        "amount": {"amount": 4200, "currency": "EUR"},
        "occurred_at": envelope["data"]["occurred_at"],
    }


async def test_a_hundred_requests_for_one_order_are_one_capture(payments: Payments) -> None:
    order_id = new_id()
    answers = await asyncio.gather(*(payments.charge(order_id) for _ in range(100)))
    assert len(set(answers)) == 1
    assert answers[0].status == "captured"
    assert await payments.provider_captures(order_id) == 1
    assert await payments.ledger_transactions(order_id) == ["capture"]


async def test_a_hundred_requests_at_two_replicas_are_one_capture(payments: Payments) -> None:
    order_ids = [new_id() for _ in range(5)]
    replicas = [payments, payments.restarted()]
    jobs = [replicas[n % 2].charge(order_ids[n % 5]) for n in range(100)]
    answers = await asyncio.gather(*jobs)
    assert {answer.status for answer in answers} == {"captured"}
    assert [await payments.provider_captures(order_id) for order_id in order_ids] == [1] * 5


async def test_overlapping_batches_in_opposite_orders_do_not_deadlock(payments: Payments) -> None:
    order_ids = [new_id() for _ in range(50)]
    forward = [payments.request(order_id) for order_id in order_ids]
    replicas = [payments.restarted() for _ in range(6)]
    batches = [forward if n % 2 else forward[::-1] for n in range(6)]
    results = await asyncio.gather(*(r.service.charges.charge(b) for r, b in zip(replicas, batches, strict=True)))
    assert {answer.status for answers in results for answer in answers} == {"captured"}


async def test_a_batch_answers_in_order_and_decides_each_on_its_own(payments: Payments) -> None:
    tokens = ["tok_visa", "tok_declined", "tok_timeout", "tok_insufficient", "nonsense", "tok_visa"]
    requests = [payments.request(new_id(), token) for token in tokens]
    answers = await payments.service.charges.charge(requests)
    assert [a.code or a.status for a in answers] == [
        "captured", "payment_declined", "pending", "insufficient_funds", "invalid_token", "captured",
    ]  # fmt: skip


async def test_one_order_twice_in_a_batch_is_one_capture(payments: Payments) -> None:
    request = payments.request(new_id())
    first, second = await payments.service.charges.charge([request, request])
    assert first == second
    assert await payments.provider_captures(request.order_id) == 1


async def test_another_amount_for_a_charged_order_is_refused(payments: Payments) -> None:
    order_id = new_id()
    await payments.charge(order_id, amount=1000)
    answer = await payments.charge(order_id, amount=2000)
    assert (answer.status, answer.code) == ("declined", "payment_conflict")
    assert await payments.amount_at_provider(order_id) == 1000


async def test_a_free_order_needs_no_provider(payments: Payments) -> None:
    payments.provider.down = True
    order_id = new_id()
    assert (await payments.charge(order_id, amount=0)).status == "captured"
    assert await payments.ledger_transactions(order_id) == []
    assert await payments.void(order_id) == "refunded"
    assert await payments.service.resolver.resolve() == 0


async def test_a_slow_charge_does_not_delay_the_rest_of_its_batch(
    payments: Payments, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(charges, "BATCH_TIMEOUT_S", 0.05)
    payments.provider.hold("tok_visa")
    slow, quick = new_id(), new_id()
    batch = [payments.request(slow), payments.request(quick, "tok_declined")]
    assert (await payments.service.charges.charge(batch))[0].status == "pending"
    await until_state(payments, quick, "declined")
    assert (await payments.payment(slow)).state == "pending"
    payments.provider.gate.set()
    await until_state(payments, slow, "captured")


async def until_state(payments: Payments, order_id: UUID, state: str) -> None:
    async def reached() -> bool:
        return (await payments.payment(order_id)).state == state

    await wait_until(reached, what=f"the payment being {state}")


async def test_closing_waits_for_calls_to_the_provider(payments: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(charges, "BATCH_TIMEOUT_S", 0.01)
    payments.provider.hold("tok_visa")
    order_id = new_id()
    await payments.service.charges.charge([payments.request(order_id), payments.request(new_id(), "tok_declined")])
    closing = asyncio.create_task(payments.service.close())
    payments.provider.gate.set()
    await closing
    assert (await payments.payment(order_id)).state == "captured"


@pytest.mark.parametrize("moment", ["before the provider", "after the provider"])
async def test_a_crash_between_intent_and_outcome_is_resolved_by_the_next_request(
    payments: Payments, moment: str
) -> None:
    payments.provider.crash = moment
    order_id = new_id()
    with pytest.raises((Crash, ConnectionAbortedError)):
        await payments.charge(order_id)
    assert (await payments.payment(order_id)).state == "pending"
    assert await payments.provider_captures(order_id) == (1 if moment == "after the provider" else 0)
    again = payments.restarted()
    assert (await again.charge(order_id)).status == "captured"
    assert await payments.provider_captures(order_id) == 1
    assert await payments.ledger_transactions(order_id) == ["capture"]


async def test_an_outage_of_the_provider_leaves_the_charge_pending(payments: Payments) -> None:
    payments.provider.down = True
    order_id = new_id()
    assert (await payments.charge(order_id)).status == "pending"
    payments.provider.down = False
    assert (await payments.charge(order_id)).status == "captured"


def statements() -> int:
    """SQL statements that this process has sent so far."""
    return int(REGISTRY.get_sample_value("shop_database_statements_total") or 0)


async def test_a_batch_takes_three_statements_provider_included(payments: Payments) -> None:
    before = statements()
    requests = [payments.request(new_id(), token) for token in ["tok_visa", "tok_declined"] * 50]
    await payments.service.charges.charge(requests)
    assert statements() - before == 3


async def test_concurrent_calls_share_their_statements(payments: Payments) -> None:
    before = statements()
    answers = await asyncio.gather(*(payments.charge(new_id()) for _ in range(30)))
    assert {answer.status for answer in answers} == {"captured"}
    assert statements() - before <= 6
