"""Voids against a real database: whatever was captured for a voided order is refunded in full."""

from __future__ import annotations

import asyncio

import pytest

from services.payment.tests.conftest import Payments
from shop.kit.ids import new_id
from shop.payment.refunds import VoidRequest


async def refunds_at_provider(payments: Payments) -> int:
    return int(await payments.database.fetchval("SELECT count(*) FROM simulator.refunds"))


async def test_a_charge_after_its_void_is_declined(payments: Payments) -> None:
    order_id = new_id()
    assert await payments.void(order_id) == "voided"
    answer = await payments.charge(order_id)
    assert (answer.status, answer.code) == ("declined", "voided")
    assert await payments.database.fetchval("SELECT count(*) FROM simulator.charges") == 0
    assert await payments.events(order_id) == []
    assert await payments.void(order_id) == "voided"


async def test_a_void_after_the_capture_refunds_it_once(payments: Payments) -> None:
    order_id = (await payments.captured()).order_id
    assert [await payments.void(order_id) for _ in range(3)] == ["refunded"] * 3
    payment = await payments.payment(order_id)
    assert (payment.state, payment.refunded, payment.refunding) == ("refunded", 1299, 0)
    assert await payments.amount_at_provider(order_id) == 0
    assert await refunds_at_provider(payments) == 1
    assert await payments.ledger_transactions(order_id) == ["capture", "refund"]
    assert await payments.events(order_id) == ["payment.refunded.v1"]
    assert (await payments.charge(order_id)).code == "voided"


async def test_a_void_of_a_declined_charge_needs_no_refund(payments: Payments) -> None:
    order_id = new_id()
    await payments.charge(order_id, "tok_declined")
    assert await payments.void(order_id) == "voided"
    assert (await payments.charge(order_id)).code == "voided"
    assert (await payments.payment(order_id)).state == "declined"


@pytest.mark.parametrize(
    ("token", "status", "refunds"), [("tok_timeout", "refunded", 1), ("tok_timeout_declined", "voided", 0)]
)
async def test_a_void_first_gets_an_unknown_outcome(payments: Payments, token: str, status: str, refunds: int) -> None:
    order_id = new_id()
    assert (await payments.charge(order_id, token)).status == "pending"
    assert await payments.void(order_id) == status
    assert await refunds_at_provider(payments) == refunds
    assert await payments.amount_at_provider(order_id) == 0


async def test_a_void_during_an_outage_is_pending_and_done_afterwards(payments: Payments) -> None:
    captured, unknown = (await payments.captured()).order_id, new_id()
    await payments.charge(unknown, "tok_timeout")
    payments.provider.down = True
    assert await payments.void(captured) == "pending"
    assert await payments.void(unknown) == "pending"
    assert (await payments.charge(unknown)).code == "voided"
    payments.provider.down = False
    assert await payments.void(captured) == "refunded"
    assert await payments.void(unknown) == "refunded"
    assert await refunds_at_provider(payments) == 2


async def test_a_refund_whose_answer_is_lost_is_not_made_twice(payments: Payments) -> None:
    order_id = (await payments.captured()).order_id
    payments.provider.loses_refund_answers = 2
    assert [await payments.void(order_id) for _ in range(3)] == ["pending", "pending", "refunded"]
    assert await refunds_at_provider(payments) == 1


async def test_a_refused_refund_is_recorded_and_made_later(payments: Payments) -> None:
    order_id = (await payments.captured()).order_id
    payments.provider.refuses_refunds = True
    assert await payments.void(order_id) == "pending"
    assert (await payments.payment(order_id)).state == "captured"
    payments.provider.refuses_refunds = False
    assert await payments.void(order_id) == "refunded"
    states = await payments.database.fetch("SELECT state, failure_code FROM refunds ORDER BY id")
    assert [tuple(row) for row in states] == [("failed", "refund_refused"), ("succeeded", None)]


async def test_a_charge_in_flight_during_a_void_ends_refunded(payments: Payments) -> None:
    order_id = new_id()
    payments.provider.hold("tok_visa")
    charging = asyncio.create_task(payments.charge(order_id))
    await payments.provider.wait_until_held()
    assert await payments.void(order_id) == "refunded"
    payments.provider.gate.set()
    answer = await charging
    assert (answer.status, answer.code) == ("declined", "voided")
    assert await payments.provider_captures(order_id) == 1
    assert await payments.amount_at_provider(order_id) == 0
    assert await payments.ledger_transactions(order_id) == ["capture", "refund"]
    assert await payments.events(order_id) == ["payment.refunded.v1"]


async def test_a_charge_that_ends_while_the_void_waits_for_the_provider_is_refunded(payments: Payments) -> None:
    order_id = new_id()
    await payments.charge(order_id, "tok_timeout")
    payments.provider.hold("tok_timeout")
    voiding = asyncio.create_task(payments.void(order_id))
    await payments.provider.wait_until_held()
    assert (await payments.charge(order_id, "tok_timeout")).code == "voided"
    payments.provider.gate.set()
    assert await voiding == "refunded"
    assert await refunds_at_provider(payments) == 1


async def test_charges_and_voids_that_race_agree(payments: Payments) -> None:
    order_ids = [new_id() for _ in range(60)]
    other = payments.restarted()
    charges = [payments.charge(order_id) for order_id in order_ids]
    voids = [other.void(order_id) for order_id in reversed(order_ids)]
    await asyncio.gather(*charges, *voids)
    again = await payments.service.refunds.void([VoidRequest(order_id, "") for order_id in order_ids])
    assert set(again) <= {"voided", "refunded"}
    assert [await payments.amount_at_provider(order_id) for order_id in order_ids] == [0] * 60
    answers = await payments.service.charges.charge([payments.request(order_id) for order_id in order_ids])
    assert {answer.code for answer in answers} == {"voided"}


async def test_twenty_voids_at_two_replicas_are_one_refund(payments: Payments) -> None:
    order_id = (await payments.captured()).order_id
    replicas = [payments, payments.restarted()]
    statuses = await asyncio.gather(*(replicas[n % 2].void(order_id) for n in range(20)))
    assert set(statuses) <= {"refunded", "pending"}
    assert await payments.void(order_id) == "refunded"
    assert await refunds_at_provider(payments) == 1
    assert await payments.ledger_transactions(order_id) == ["capture", "refund"]
    assert await payments.events(order_id) == ["payment.refunded.v1"]


async def test_a_void_after_a_partial_refund_refunds_the_rest(payments: Payments) -> None:
    payment = await payments.captured(1000)
    await payments.refund(payment, "some", 400)
    assert await payments.void(payment.order_id) == "refunded"
    amounts = await payments.database.fetch("SELECT amount, for_void FROM refunds ORDER BY id")
    assert [tuple(row) for row in amounts] == [(400, False), (600, True)]


async def test_a_void_completes_pending_refunds(payments: Payments) -> None:
    payment = await payments.captured(1000)
    payments.provider.loses_refund_answers = 1
    made, _ = await payments.refund(payment, "some", 400)
    assert made.state == "pending"
    assert await payments.void(payment.order_id) == "refunded"
    assert await refunds_at_provider(payments) == 2
    assert await payments.amount_at_provider(payment.order_id) == 0


async def test_a_void_after_a_full_refund_finds_nothing_left(payments: Payments) -> None:
    payment = await payments.captured()
    await payments.refund(payment, "all")
    assert await payments.void(payment.order_id) == "refunded"
    assert await refunds_at_provider(payments) == 1


async def test_a_batch_of_voids_answers_in_order(payments: Payments) -> None:
    captured, never = (await payments.captured()).order_id, new_id()
    requests = [VoidRequest(order_id, "") for order_id in (captured, never, captured)]
    assert await payments.service.refunds.void(requests) == ["refunded", "voided", "refunded"]
    assert await refunds_at_provider(payments) == 1
