"""Refunds against a real database: never more than was captured, and each key once."""

from __future__ import annotations

import asyncio

import pytest

from services.payment.tests.conftest import Payments
from shop.devkit.testing import Logged
from shop.kit.errors import Problem
from shop.kit.ids import new_id
from shop.payment.domain import Payment, RefundRequest


async def accepted(payments: Payments, payment: Payment, key: str, amount: int | None) -> bool:
    try:
        await payments.refund(payment, key, amount)
    except Problem as problem:
        if problem.code != "refund_exceeds_payment":
            raise
        return False
    return True


async def test_refunds_in_parts_up_to_the_whole(payments: Payments, logged: Logged) -> None:
    payment = await payments.captured(1000)
    refund, after = await payments.refund(payment, "a", 300)
    assert (refund.state, after.state, after.refunded) == ("succeeded", "partially_refunded", 300)
    refund, after = await payments.refund(payment, "b")
    assert (refund.amount, after.state, after.refunded) == (700, "refunded", 1000)
    assert await payments.amount_at_provider(payment.order_id) == 0
    assert [line["amount"] for line in logged(event="payment_refunded", order_id=str(payment.order_id))] == [300, 700]
    assert await payments.ledger_transactions(payment.order_id) == ["capture", "refund", "refund"]
    assert await payments.events(payment.order_id) == ["payment.refunded.v1"] * 2
    assert sorted(await payments.service.balances()) == [("provider", "EUR", 0), ("refunds", "EUR", 1000),
                                                         ("sales", "EUR", -1000)]  # fmt: skip


async def test_racing_refunds_never_exceed_the_capture(payments: Payments) -> None:
    payment = await payments.captured(1000)
    replicas = [payments, payments.restarted()]
    jobs = [accepted(replicas[n % 2], payment, f"key-{n}", 100) for n in range(25)]
    assert sum(await asyncio.gather(*jobs)) == 10
    assert (await payments.payment(payment.order_id)).refunded == 1000


async def test_concurrent_full_refunds_and_a_void_refund_once(payments: Payments) -> None:
    payment = await payments.captured(1000)
    refunds = [accepted(payments, payment, f"key-{n}", None) for n in range(5)]
    made, status = await asyncio.gather(asyncio.gather(*refunds), payments.void(payment.order_id))
    assert sum(made) <= 1
    assert status in {"refunded", "pending"}
    assert await payments.void(payment.order_id) == "refunded"
    assert await payments.database.fetchval("SELECT count(*) FROM simulator.refunds") == 1


async def test_twenty_requests_with_one_key_are_one_refund(payments: Payments) -> None:
    payment = await payments.captured(1000)
    results = await asyncio.gather(*(payments.refund(payment, "one", 100) for _ in range(20)))
    assert len({refund.id for refund, _ in results}) == 1
    assert (await payments.payment(payment.order_id)).refunded == 100
    assert await payments.ledger_transactions(payment.order_id) == ["capture", "refund"]
    assert await payments.events(payment.order_id) == ["payment.refunded.v1"]


async def test_a_pending_refund_counts_before_it_is_answered(payments: Payments) -> None:
    payment = await payments.captured(1000)
    payments.provider.down = True
    refund, _ = await payments.refund(payment, "a", 600)
    assert refund.state == "pending"
    assert not await accepted(payments, payment, "b", 500)
    assert (await payments.payment(payment.order_id)).refundable == 400
    payments.provider.down = False
    refund, after = await payments.refund(payment, "a", 600)
    assert (refund.state, after.refunded, after.refunding) == ("succeeded", 600, 0)


async def test_a_refused_refund_leaves_its_amount_to_be_refunded(payments: Payments, logged: Logged) -> None:
    payment = await payments.captured(1000)
    payments.provider.refuses_refunds = True
    with pytest.raises(Problem, match="refund_refused"):
        await payments.refund(payment, "a", 1000)
    assert len(logged(event="refund_refused", level="error", order_id=str(payment.order_id))) == 1
    payments.provider.refuses_refunds = False
    assert await accepted(payments, payment, "b", 1000)


async def test_the_key_of_one_amount_is_refused_for_another(payments: Payments) -> None:
    payment = await payments.captured(1000)
    await payments.refund(payment, "a", 100)
    with pytest.raises(Problem, match="idempotency_key_reused"):
        await payments.refund(payment, "a", 200)


@pytest.mark.parametrize("token", ["tok_declined", "tok_timeout"])
async def test_what_was_not_captured_is_not_refunded(payments: Payments, token: str) -> None:
    order_id = new_id()
    await payments.charge(order_id, token)
    with pytest.raises(Problem, match="payment_not_refundable"):
        await payments.refund(await payments.payment(order_id), "a")


async def test_an_unknown_payment_is_not_found(payments: Payments) -> None:
    with pytest.raises(Problem, match="payment_not_found"):
        await payments.service.refund(RefundRequest(new_id(), "a", None, ""))


async def test_the_simulator_refuses_what_it_never_captured(payments: Payments) -> None:
    payment = await payments.captured(1000)
    await payments.database.execute("UPDATE payments SET provider_reference = $1", str(new_id()))
    with pytest.raises(Problem, match="refund_refused"):
        await payments.refund(payment, "a")
