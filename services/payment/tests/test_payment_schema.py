"""The guards in the database. Each is tried with and without: what it refuses goes through once it is removed."""

from __future__ import annotations

from typing import NamedTuple

import asyncpg
import pytest

from services.payment.tests.conftest import Payments
from shop.contracts.payment import PaymentState
from shop.kit.db import Database
from shop.kit.ids import new_id
from shop.payment.domain import TRANSITIONS

STATES = tuple(PaymentState)


class Guard(NamedTuple):
    name: str
    removal: str
    wrong: str


COPY_PAYMENT = """
INSERT INTO payments (id, order_id, user_id, state, amount, currency, provider, next_attempt_at, created_at, updated_at)
SELECT gen_random_uuid(), order_id, user_id, state, amount, currency, provider, now(), now(), now() FROM payments"""
ENTRY = """
INSERT INTO entries (transaction_id, account, amount, currency, payment_id, at)
SELECT {id}, '{account}', {amount}, '{currency}', id, now() FROM payments"""
ONE_SIDED = ENTRY.format(id="gen_random_uuid()", account="provider", amount=1, currency="EUR")
TWO_CURRENCIES = """
INSERT INTO entries (transaction_id, account, amount, currency, payment_id, at)
SELECT order_id, side.account, side.amount, side.currency, id, now() FROM payments,
(VALUES ('provider', 5, 'EUR'), ('sales', -5, 'USD')) AS side (account, amount, currency)"""
BOOKED_AGAIN = """
INSERT INTO entries SELECT * FROM entries"""
REFUND_TWICE = """
INSERT INTO refunds (id, payment_id, amount, idempotency_key, state, reason, for_void,
                     next_attempt_at, created_at, updated_at)
SELECT gen_random_uuid(), id, 1, 'same', 'failed', '', false, now(), now(), now()
FROM payments, generate_series(1, 2)"""
CHARGED_TWICE = """
INSERT INTO simulator.charges (key, reference, order_id, amount, currency, token, outcome)
SELECT key, gen_random_uuid(), order_id, amount, currency, token, outcome FROM simulator.charges"""


def constraint(table: str, name: str, wrong: str) -> Guard:
    return Guard(name, f"ALTER TABLE {table} DROP CONSTRAINT {name} CASCADE", wrong)


def trigger(table: str, name: str, wrong: str, of: str = "") -> Guard:
    return Guard(f"{name}{of}", f"DROP TRIGGER {name} ON {table}", wrong)


GUARDS = [
    constraint("payments", "one_payment_per_order", COPY_PAYMENT),
    constraint("payments", "refunds_within_capture", "UPDATE payments SET refunding = amount + 1"),
    constraint("payments", "refunds_match_state", "UPDATE payments SET refunded = 1"),
    constraint("payments", "token_only_while_pending", "UPDATE payments SET token = 'tok_visa'"),
    constraint("payments", "owner_unless_never_charged", "UPDATE payments SET user_id = NULL"),
    trigger("payments", "payments_states", "UPDATE payments SET state = 'pending'"),
    trigger("payments", "payments_kept", "DELETE FROM payments"),
    trigger("payments", "payments_kept", "TRUNCATE payments CASCADE", " (truncate)"),
    constraint("refunds", "one_refund_per_key", REFUND_TWICE),
    trigger("entries", "entries_zero_sum", ONE_SIDED, " (one side)"),
    trigger("entries", "entries_zero_sum", TWO_CURRENCIES, " (two currencies)"),
    trigger("entries", "entries_kept", "UPDATE entries SET amount = amount * 2", " (update)"),
    trigger("entries", "entries_kept", "DELETE FROM entries", " (delete)"),
    trigger("entries", "entries_kept", "TRUNCATE entries", " (truncate)"),
    constraint("entries", "entries_pkey", BOOKED_AGAIN),
    constraint("simulator.charges", "charges_pkey", CHARGED_TWICE),
    constraint("simulator.charges", "refunds_within_charge", "UPDATE simulator.charges SET refunded = amount + 1"),
]


@pytest.fixture
async def one_capture(payment_database: Database, payments: Payments) -> Database:
    await payments.captured()
    return payment_database


class Undo(Exception):
    pass


async def do_it_unguarded(database: Database, guard: Guard) -> None:
    async with database.transaction() as connection:
        await connection.execute(guard.removal)
        assert (await connection.execute(guard.wrong)).split()[-1] != "0"
        raise Undo


@pytest.mark.parametrize("guard", GUARDS, ids=lambda guard: guard.name)
async def test_each_constraint_refuses_by_itself(one_capture: Database, guard: Guard) -> None:
    with pytest.raises((asyncpg.IntegrityConstraintViolationError, asyncpg.RestrictViolationError)):
        await one_capture.execute(guard.wrong)
    with pytest.raises(Undo):
        await do_it_unguarded(one_capture, guard)


async def test_the_database_allows_the_transitions_of_the_domain(payment_database: Database) -> None:
    allowed = {
        (before, after) for before in STATES for after in STATES if await allows(payment_database, before, after)
    }
    assert allowed == {(before, after) for before in STATES for after in {before, *TRANSITIONS[before]}}


async def allows(database: Database, before: PaymentState, after: PaymentState) -> bool:
    """Whether a payment that is ``before`` may be made ``after``, with the money that belongs to each state."""
    refunded, payment_id = {"partially_refunded": 1, "refunded": 2}, new_id()
    await database.execute(
        """INSERT INTO payments (id, order_id, user_id, state, amount, refunded, currency, provider,
                                 next_attempt_at, created_at, updated_at)
        VALUES ($1, $1, $1, $2, 2, $3, 'EUR', 'simulator', now(), now(), now())""",
        payment_id, before, refunded.get(before, 0),
    )  # fmt: skip
    change = "UPDATE payments SET state = $1, refunded = $2 WHERE id = $3"
    try:
        return await database.execute(change, after, refunded.get(after, 0), payment_id) == "UPDATE 1"
    except asyncpg.RestrictViolationError:
        return False


async def test_the_audit_notices_a_second_capture_at_the_provider(payments: Payments) -> None:
    payment = await payments.captured()
    await payments.database.execute(
        """INSERT INTO simulator.charges (key, reference, order_id, amount, currency, token, outcome)
        SELECT 'another', gen_random_uuid(), order_id, amount, currency, token, outcome FROM simulator.charges"""
    )
    assert (await payments.violations())["at most one capture per order at the provider"] == [(payment.order_id, 2)]
    await payments.database.execute("DELETE FROM simulator.charges WHERE key = 'another'")


async def test_the_audit_notices_a_capture_that_nobody_recorded(payments: Payments) -> None:
    await payments.database.execute(
        """INSERT INTO simulator.charges (key, reference, order_id, amount, currency, token, outcome)
        VALUES ('stray', $1, $1, 5, 'EUR', 'tok_visa', 'captured')""",
        new_id(),
    )
    assert list(await payments.violations()) == ["the provider's captures are ours"]
    await payments.database.execute("DELETE FROM simulator.charges")
