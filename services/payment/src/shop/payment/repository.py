"""The SQL of payments, refunds and the ledger. What belongs together is one statement or one transaction."""
# ruff: noqa: S608 - what is put into the statements are the column lists and constants above them

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from shop.contracts.payment import PaymentState
from shop.kit import outbox
from shop.kit.db import Connection, Database, Record
from shop.kit.ids import new_id
from shop.kit.outbox import OutboxRow
from shop.kit.statements import expected_few
from shop.payment import domain
from shop.payment.domain import ChargeRequest, Entry, Payment, Refund, RefundRequest
from shop.payment.provider import RepaymentOutcome

NO_CURRENCY = "XXX"
"""ISO 4217's code for no currency: the tombstone of an order that was never charged."""

PAYMENT = ", ".join(field.name for field in fields(Payment))
REFUND = ", ".join(field.name for field in fields(Refund))

# An existing row is returned as it is; a repeated request only renews the lease. Sorted, so that batches that
# share orders cannot deadlock.
OPEN = f"""
INSERT INTO payments AS known (id, order_id, user_id, state, amount, currency, token, traceparent, provider,
                               next_attempt_at, created_at, updated_at)
SELECT id, order_id, user_id, 'pending', amount, currency, token, traceparent, $8, $9, $10, $10
FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[])
    AS input (id, order_id, user_id, amount, currency, token, traceparent)
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET next_attempt_at = EXCLUDED.next_attempt_at
RETURNING {PAYMENT}"""

# State and ledger together. A payment whose outcome was recorded meanwhile is left alone, and so are its entries: they
# join `recorded`. The subquery hides the state from the planner: the index of pending payments has all that were
# pending since the last vacuum, so it is slower than the primary key.
RECORD_OUTCOMES = f"""
WITH locked AS MATERIALIZED (
    SELECT id AS locked_id, new_state, new_reference, new_code
    FROM payments JOIN unnest($1::uuid[], $2::text[], $3::text[], $4::text[])
        AS outcome (given_id, new_state, new_reference, new_code) ON id = given_id
    WHERE {expected_few("given_id")} AND state = (SELECT 'pending') ORDER BY order_id FOR UPDATE OF payments
), recorded AS (
    UPDATE payments SET state = new_state, provider_reference = new_reference, decline_code = new_code,
                        token = NULL, updated_at = $5
    FROM locked WHERE id = locked_id
    RETURNING {PAYMENT}
), booked AS (
    INSERT INTO entries (transaction_id, account, amount, currency, payment_id, at)
    SELECT entry.transaction_id, entry.account, entry.amount, currency, id, $5
    FROM unnest($6::uuid[], $7::text[], $8::bigint[]) AS entry (transaction_id, account, amount)
    JOIN recorded ON id = entry.transaction_id
)
SELECT * FROM recorded"""

STATES = "SELECT order_id, state FROM payments WHERE order_id = ANY ($1::uuid[])"

MARK_VOID = f"""
INSERT INTO payments AS known (id, order_id, state, amount, currency, provider, voided_at, void_reason,
                               next_attempt_at, created_at, updated_at)
SELECT id, order_id, 'voided', 0, '{NO_CURRENCY}', $4, $6, reason, $5, $6, $6
FROM unnest($1::uuid[], $2::uuid[], $3::text[]) AS input (id, order_id, reason)
ORDER BY order_id
ON CONFLICT (order_id) DO UPDATE SET voided_at = coalesce(known.voided_at, EXCLUDED.voided_at),
    void_reason = coalesce(known.void_reason, EXCLUDED.void_reason), next_attempt_at = EXCLUDED.next_attempt_at
RETURNING {PAYMENT}"""

BY_IDS = f"SELECT {PAYMENT} FROM payments WHERE id = ANY ($1::uuid[])"
BY_ID = f"SELECT {PAYMENT} FROM payments WHERE id = $1"
BY_ORDERS = f"SELECT {PAYMENT} FROM payments WHERE order_id = ANY ($1::uuid[]) ORDER BY order_id"
LOCK = BY_ID + " FOR UPDATE"

REFUND_BY_KEY = f"SELECT {REFUND} FROM refunds WHERE payment_id = $1 AND idempotency_key = $2"
REFUND_BY_ID = f"SELECT {REFUND} FROM refunds WHERE id = $1"
PENDING_REFUNDS = f"SELECT {REFUND} FROM refunds WHERE payment_id = $1 AND state = 'pending' ORDER BY id"
OPEN_REFUND = f"""
WITH aside AS (UPDATE payments SET refunding = $9, updated_at = $8 WHERE id = $2)
INSERT INTO refunds (id, payment_id, amount, idempotency_key, state, reason, for_void, traceparent,
                     next_attempt_at, created_at, updated_at)
VALUES ($1, $2, $3, $4, 'pending', $5, $10, $6, $7, $8, $8)
RETURNING {REFUND}"""
CLOSE_REFUND = f"""
WITH payment AS (
    UPDATE payments SET state = $6, refunded = $7, refunding = $8, updated_at = $5
    WHERE id = (SELECT payment_id FROM refunds WHERE id = $1)
)
UPDATE refunds SET state = $2, provider_reference = $3, failure_code = $4, updated_at = $5 WHERE id = $1
RETURNING {REFUND}"""
BOOK = """
INSERT INTO entries (transaction_id, account, amount, currency, payment_id, at)
SELECT transaction_id, account, amount, $4, $5, $6
FROM unnest($1::uuid[], $2::text[], $3::bigint[]) AS entry (transaction_id, account, amount)"""

# A claim lasts until next_attempt_at; replicas claim different rows.
UNSETTLED_PAYMENT = """
(state = 'pending' OR (voided_at IS NOT NULL AND amount > 0 AND state IN ('captured', 'partially_refunded')))
AND next_attempt_at <= $1"""
UNSETTLED_REFUND = "state = 'pending' AND next_attempt_at <= $1"
UNSETTLED = f"""
SELECT EXISTS (SELECT FROM payments WHERE {UNSETTLED_PAYMENT} AND provider = $2)
    OR EXISTS (SELECT FROM refunds WHERE {UNSETTLED_REFUND})"""
BACKOFF = "$1 + least($3, $2 * 2 ^ least(attempts, 20)) * interval '1 second'"
CLAIM_PAYMENTS = f"""
UPDATE payments SET attempts = attempts + 1, next_attempt_at = {BACKOFF}
WHERE id IN (
    SELECT id FROM payments WHERE {UNSETTLED_PAYMENT} AND provider = $5
    ORDER BY next_attempt_at LIMIT $4 FOR UPDATE SKIP LOCKED
)
RETURNING {PAYMENT}"""
CLAIM_REFUNDS = f"""
UPDATE refunds SET attempts = attempts + 1, next_attempt_at = {BACKOFF}
WHERE id IN (
    SELECT id FROM refunds WHERE {UNSETTLED_REFUND}
    ORDER BY next_attempt_at LIMIT $4 FOR UPDATE SKIP LOCKED
)
RETURNING {REFUND}"""
BALANCES = "SELECT account, currency, sum(amount)::bigint AS balance FROM entries GROUP BY 1, 2 ORDER BY 1, 2"


class PaymentOutcome(NamedTuple):
    """What the provider answered about a payment, and the ledger's entries if it was not recorded before."""

    payment: Payment
    state: PaymentState
    reference: str | None
    code: str | None
    entries: Sequence[Entry]


class Claim(NamedTuple):
    """The first parameters of both claims, in their order. Times in seconds."""

    now: datetime
    first_backoff_s: float
    max_backoff_s: float
    limit: int


class PaymentRepository:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def open(
        self, requests: Sequence[ChargeRequest], provider: str, lease_until: datetime, now: datetime
    ) -> dict[UUID, Payment]:
        """Record the intent to charge (orders distinct) and return the payment of each order, old ones as they are."""
        columns = zip(
            *((new_id(), r.order_id, r.user_id, r.amount, r.currency, r.token, r.traceparent) for r in requests),
            strict=True,
        )
        rows = await self._database.fetch(OPEN, *map(list, columns), provider, lease_until, now)
        return _by_order(rows)

    async def record_outcomes(self, outcomes: Sequence[PaymentOutcome], now: datetime) -> dict[UUID, Payment]:
        """Record outcomes, each with its ledger entries, and return the payments as they are now."""
        ids = [one.payment.id for one in outcomes]
        entries = [entry for one in outcomes for entry in one.entries]
        rows = await self._database.fetch(
            RECORD_OUTCOMES,
            ids,
            [one.state for one in outcomes],
            [one.reference for one in outcomes],
            [one.code for one in outcomes],
            now,
            *_columns(entries, 3),
        )
        if len(rows) < len(ids):
            rows = await self._database.fetch(BY_IDS, ids)
        return _by_order(rows)

    async def mark_void(
        self, reasons: Mapping[UUID, str], provider: str, lease_until: datetime, now: datetime
    ) -> dict[UUID, Payment]:
        """Decline charges of these orders from now on, and return their payments."""
        ids = [new_id() for _ in reasons]
        arguments = (ids, list(reasons), list(reasons.values()), provider, lease_until, now)
        return _by_order(await self._database.fetch(MARK_VOID, *arguments))

    async def find(self, payment_id: UUID) -> Payment | None:
        row = await self._database.fetchrow(BY_ID, payment_id)
        return _payment(row) if row else None

    async def find_by_orders(self, order_ids: Sequence[UUID]) -> list[Payment]:
        return [_payment(row) for row in await self._database.fetch(BY_ORDERS, list(order_ids))]

    async def states(self, order_ids: Sequence[UUID]) -> dict[UUID, PaymentState]:
        """The state of the payment of each of these orders that has one."""
        rows = await self._database.fetch(STATES, list(order_ids))
        return {row["order_id"]: PaymentState(row["state"]) for row in rows}

    async def open_refund(self, request: RefundRequest, lease_until: datetime, now: datetime) -> Refund:
        """Record the intent to refund, or return the one of this key. The payment must exist.

        Raises domain.NotRefundable and domain.RefundExceedsPayment.
        """
        async with self._database.transaction() as connection:
            payment = await _lock(connection, request.payment_id)
            known = await connection.fetchrow(REFUND_BY_KEY, payment.id, request.key)
            if known is not None:
                return _refund(known)
            payment, amount = domain.begin_refund(payment, request.amount)
            row = await connection.fetchrow(
                OPEN_REFUND, new_id(), payment.id, amount, request.key, request.reason, payment.traceparent,
                lease_until, now, payment.refunding, request.for_void,
            )  # fmt: skip
        return _refund(_present(row))

    async def pending_refunds(self, payment_id: UUID) -> list[Refund]:
        return [_refund(row) for row in await self._database.fetch(PENDING_REFUNDS, payment_id)]

    async def close_refund(
        self, refund: Refund, outcome: RepaymentOutcome, event: OutboxRow, now: datetime
    ) -> tuple[Refund, Payment]:
        """Record the outcome of a refund, once, with its ledger entries and event if it succeeded."""
        succeeded = outcome.status == "succeeded"
        async with self._database.transaction() as connection:
            payment = await _lock(connection, refund.payment_id)
            current = _refund(_present(await connection.fetchrow(REFUND_BY_ID, refund.id)))
            if current.state != "pending":
                return current, payment
            change = domain.finish_refund if succeeded else domain.fail_refund
            payment = change(payment, current.amount)
            row = await connection.fetchrow(
                CLOSE_REFUND, refund.id, outcome.status, outcome.reference, outcome.code, now,
                payment.state, payment.refunded, payment.refunding,
            )  # fmt: skip
            if succeeded:
                entries = _columns(domain.refund_entries(current), 3)
                await connection.execute(BOOK, *entries, payment.currency, payment.id, now)
                await outbox.insert(connection, [event])
        return _refund(_present(row)), payment

    async def is_unsettled(self, provider: str, now: datetime) -> bool:
        """Whether there is a payment or a refund to claim."""
        return bool(await self._database.quick.fetchval(UNSETTLED, now, provider))

    async def claim_payments(self, claim: Claim, provider: str) -> list[Payment]:
        """Payments whose lease has ended: without an outcome, or voided and not refunded yet."""
        return [_payment(row) for row in await self._database.fetch(CLAIM_PAYMENTS, *claim, provider)]

    async def claim_refunds(self, claim: Claim) -> list[Refund]:
        return [_refund(row) for row in await self._database.fetch(CLAIM_REFUNDS, *claim)]

    async def balances(self) -> list[tuple[str, str, int]]:
        """(account, currency, balance) of the ledger; per currency the balances sum to zero."""
        rows = await self._database.fetch(BALANCES)
        return [(row["account"], row["currency"], row["balance"]) for row in rows]


def _columns(rows: Iterable[Sequence[object]], width: int) -> list[list[object]]:
    """Rows turned into ``width`` columns, empty ones if there are no rows."""
    return [list(column) for column in zip(*rows, strict=True)] or [[] for _ in range(width)]


def _by_order(rows: Iterable[Record]) -> dict[UUID, Payment]:
    payments = (_payment(row) for row in rows)
    return {payment.order_id: payment for payment in payments}


def _payment(row: Record) -> Payment:
    return Payment(**{**row, "state": PaymentState(row["state"])})


def _refund(row: Record) -> Refund:
    return Refund(*row.values())


def _present(row: Record | None) -> Record:
    if row is None:
        raise LookupError("the row that this transaction holds is gone")
    return row


async def _lock(connection: Connection, payment_id: UUID) -> Payment:
    return _payment(_present(await connection.fetchrow(LOCK, payment_id)))
