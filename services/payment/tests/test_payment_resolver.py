"""The resolver: it gets the outcomes of what is pending when no caller repeats its request."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from services.payment.tests.conftest import Crash, Payments
from shop.devkit.testing import INTERNAL_TOKEN, DatabaseFor, Running, Tokens, wait_until
from shop.kit.ids import new_id
from shop.payment import resolver
from shop.payment.charges import LEASE
from shop.payment.main import application
from shop.payment.service import PaymentService
from shop.payment.settings import Settings

LEASE_S = LEASE.total_seconds()


async def crashed_charge(payments: Payments, moment: str) -> Payments:
    payments.provider.crash = moment
    with contextlib.suppress(Crash, ConnectionAbortedError):
        await payments.charge(new_id())
    return payments.restarted()


@pytest.mark.parametrize("moment", ["before the provider", "after the provider"])
async def test_a_charge_left_by_a_crash_is_resolved_after_its_lease_and_kept(payments: Payments, moment: str) -> None:
    again = await crashed_charge(payments, moment)
    assert await again.service.resolver.resolve() == 0
    again.clock.advance(LEASE_S)
    assert await again.service.resolver.resolve() == 1
    row = await again.database.fetchrow("SELECT order_id, state, refunded, refunding FROM payments")
    assert row is not None
    assert tuple(row)[1:] == ("captured", 0, 0)
    assert await again.provider_captures(row["order_id"]) == 1
    assert await again.ledger_transactions(row["order_id"]) == ["capture"]
    assert await again.service.resolver.resolve() == 0


async def test_an_outage_is_waited_out_with_growing_pauses(payments: Payments) -> None:
    payments.provider.down = True
    order_id = new_id()
    await payments.charge(order_id)
    pauses_s = []
    payments.clock.advance(LEASE_S)
    for _ in range(3):
        asked_at = payments.clock.now()
        assert await payments.service.resolver.resolve() == 1
        assert await payments.service.resolver.resolve() == 0
        due = await payments.database.fetchval("SELECT next_attempt_at FROM payments")
        pauses_s.append((due - asked_at).total_seconds())
        payments.clock.at = due
    assert pauses_s == [10, 20, 40]
    payments.provider.down = False
    assert await payments.service.resolver.resolve() == 1
    assert (await payments.payment(order_id)).state == "captured"


async def test_the_pause_is_limited(payments: Payments) -> None:
    payments.provider.down = True
    await payments.charge(new_id())
    await payments.database.execute("UPDATE payments SET attempts = 1000")
    payments.clock.advance(LEASE_S)
    assert await payments.service.resolver.resolve() == 1
    due = await payments.database.fetchval("SELECT next_attempt_at FROM payments")
    assert (due - payments.clock.now()).total_seconds() == resolver.MAX_BACKOFF_S


async def test_work_is_taken_in_bounded_batches(payments: Payments, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolver, "BATCH_ITEMS", 3)
    await payments.service.charges.charge([payments.request(new_id(), "tok_timeout") for _ in range(7)])
    payments.clock.advance(LEASE_S)
    assert [await payments.service.resolver.resolve() for _ in range(4)] == [3, 3, 1, 0]
    assert await payments.database.fetchval("SELECT count(*) FROM payments WHERE state = 'captured'") == 7


async def test_two_replicas_share_the_work(payments: Payments) -> None:
    await payments.service.charges.charge([payments.request(new_id(), "tok_timeout") for _ in range(20)])
    payments.clock.advance(LEASE_S)
    replicas = [payments.restarted() for _ in range(4)]
    assert sum(await asyncio.gather(*(replica.service.resolver.resolve() for replica in replicas))) == 20
    assert await payments.database.fetchval("SELECT count(*) FROM payments WHERE state = 'captured'") == 20


async def test_a_refund_is_made_even_if_the_void_is_not_repeated(payments: Payments) -> None:
    order_id = (await payments.captured()).order_id
    payments.provider.down = True
    assert await payments.void(order_id) == "pending"
    payments.provider.down = False
    payments.clock.advance(LEASE_S)
    await payments.service.resolver.resolve()
    assert (await payments.payment(order_id)).state == "refunded"
    assert await payments.database.fetchval("SELECT count(*) FROM simulator.refunds") == 1


async def test_a_void_of_a_charge_of_unknown_outcome_is_completed(payments: Payments) -> None:
    order_id = new_id()
    await payments.charge(order_id, "tok_timeout")
    payments.provider.down = True
    assert await payments.void(order_id) == "pending"
    payments.provider.down = False
    payments.clock.advance(LEASE_S)
    await payments.service.resolver.resolve()
    assert (await payments.payment(order_id)).state == "refunded"
    assert await payments.amount_at_provider(order_id) == 0


async def test_a_refund_left_pending_is_finished(payments: Payments) -> None:
    payment = await payments.captured(1000)
    payments.provider.loses_refund_answers = 1
    await payments.refund(payment, "a", 250)
    payments.clock.advance(LEASE_S)
    assert await payments.service.resolver.resolve() == 1
    assert (await payments.payment(payment.order_id)).refunded == 250
    assert await payments.service.resolver.resolve() == 0


async def test_payments_of_another_provider_are_left_alone(payments: Payments) -> None:
    order_id = new_id()
    await payments.charge(order_id, "tok_timeout")
    await payments.database.execute("UPDATE payments SET provider = 'stripe'")
    payments.clock.advance(LEASE_S)
    assert await payments.service.resolver.resolve() == 0
    assert await payments.void(order_id) == "pending"
    await payments.database.execute("UPDATE payments SET provider = 'simulator'")


async def test_the_running_application_resolves_by_itself(
    database_for: DatabaseFor, running: Running, tokens: Tokens, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(resolver, "POLL_S", 0.01)
    url = await database_for("payment")
    settings = Settings(
        database_url=url, internal_token=INTERNAL_TOKEN, jwks_url=tokens.jwks_url, nats_url="nats://127.0.0.1:1"
    )
    app = application(settings)
    async with running(app):
        service: PaymentService = app.state.service
        database = app.state.context.database
        item = Payments(database, None, None, service).request(new_id(), "tok_timeout")  # type: ignore[arg-type]
        assert [answer.status for answer in await service.charges.charge([item])] == ["pending"]
        await database.execute("UPDATE payments SET next_attempt_at = now() - interval '1 second'")

        async def captured() -> bool:
            return bool(await database.fetchval("SELECT state = 'captured' FROM payments"))

        await wait_until(captured, what="the charge being resolved")
