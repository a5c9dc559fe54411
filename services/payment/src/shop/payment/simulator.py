"""A payment provider for shops without real money: it decides by the test token and records what it did.

Its ledger is in tables of its own, written by statements that are transactions of their own: like a real provider it
takes no part in the payment service's transactions, so that an audit can compare the two.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Literal, NamedTuple
from uuid import UUID

import asyncpg

from shop.kit.db import Database, Record
from shop.kit.errors import Unavailable
from shop.kit.ids import new_id
from shop.payment.provider import Charge, ChargeOutcome, Repayment, RepaymentOutcome

log = logging.getLogger(__name__)

PARALLEL_BATCHES = 2


class TestToken(NamedTuple):
    """The outcome of a charge with the token; with ``loses_answer`` the first request is executed but times out."""

    outcome: Literal["captured", "declined"]
    code: str | None = None
    loses_answer: bool = False


TOKENS: Mapping[str, TestToken] = {
    "tok_visa": TestToken("captured"),
    "tok_declined": TestToken("declined", "payment_declined"),
    "tok_insufficient": TestToken("declined", "insufficient_funds"),
    "tok_timeout": TestToken("captured", loses_answer=True),
    "tok_timeout_declined": TestToken("declined", "payment_declined", loses_answer=True),
}
UNKNOWN_TOKEN = TestToken("declined", "invalid_token")

# A key that is known keeps its first outcome, whatever comes with it now. Sorted, so that batches cannot deadlock.
CHARGE = """
INSERT INTO simulator.charges AS known (key, reference, order_id, amount, currency, token, outcome, code)
SELECT * FROM unnest($1::text[], $2::uuid[], $3::uuid[], $4::bigint[], $5::text[], $6::text[], $7::text[], $8::text[])
    AS input (key, reference, order_id, amount, currency, token, outcome, code)
ORDER BY key
ON CONFLICT (key) DO UPDATE SET requests = known.requests + 1
RETURNING key, reference::text, token, outcome, code, requests"""

# A known key answers as before. A refund beyond the charge violates a constraint, which undoes the statement.
REFUND = """
WITH refund AS (
    INSERT INTO simulator.refunds AS known (key, reference, charge_reference, amount)
    VALUES ($1, $2, $3, $4)
    ON CONFLICT (key) DO UPDATE SET requests = known.requests + 1
    RETURNING reference, charge_reference, amount, requests
), refunded AS (
    UPDATE simulator.charges SET refunded = charges.refunded + refund.amount
    FROM refund WHERE charges.reference = refund.charge_reference AND refund.requests = 1
)
SELECT reference::text FROM refund"""


class Simulator:
    """The provider of the test tokens in ``TOKENS``; every other token is declined as ``invalid_token``.

    ``answer_delay_s`` is the time after which a lost answer is reported.
    """

    name = "simulator"
    parallel_batches = PARALLEL_BATCHES

    def __init__(self, database: Database, *, answer_delay_s: float = 0.0) -> None:
        self._database = database
        self._answer_delay_s = answer_delay_s

    def minimum(self, currency: str) -> int:
        return 0

    async def charge_many(self, charges: Sequence[Charge]) -> AsyncIterator[Sequence[ChargeOutcome]]:
        try:
            rows = await self._database.fetch(CHARGE, *_columns(charges))
        except Unavailable as error:
            log.warning("the simulator's database is unavailable: %s", error, extra={"event": "simulator_unavailable"})
            yield [_unknown(charge.key, "provider_unavailable") for charge in charges]
            return
        lost = [row["key"] for row in rows if _answer_is_lost(row)]
        yield [_outcome(row) for row in rows if not _answer_is_lost(row)]
        if lost:
            await asyncio.sleep(self._answer_delay_s)
            yield [_unknown(key, "timeout") for key in lost]

    async def refund(self, repayment: Repayment) -> RepaymentOutcome:
        try:
            reference = await self._database.fetchval(
                REFUND, repayment.key, new_id(), UUID(repayment.reference), repayment.amount
            )
        except Unavailable as error:
            log.warning("the simulator's database is unavailable: %s", error, extra={"event": "simulator_unavailable"})
            return RepaymentOutcome("unknown", code="provider_unavailable")
        except (asyncpg.CheckViolationError, asyncpg.ForeignKeyViolationError):
            return RepaymentOutcome("failed", code="refund_refused")
        return RepaymentOutcome("succeeded", reference)

    async def close(self) -> None:
        """Nothing to close: the database belongs to the application."""


def _columns(charges: Sequence[Charge]) -> list[list[object]]:
    tokens = [TOKENS.get(charge.token, UNKNOWN_TOKEN) for charge in charges]
    return [
        [charge.key for charge in charges],
        [new_id() for _ in charges],
        [charge.order_id for charge in charges],
        [charge.amount for charge in charges],
        [charge.currency for charge in charges],
        [charge.token for charge in charges],
        [token.outcome for token in tokens],
        [token.code for token in tokens],
    ]


def _answer_is_lost(row: Record) -> bool:
    return bool(row["requests"] == 1 and TOKENS.get(row["token"], UNKNOWN_TOKEN).loses_answer)


def _outcome(row: Record) -> ChargeOutcome:
    return ChargeOutcome(row["key"], row["outcome"], row["reference"], row["code"])


def _unknown(key: str, code: str) -> ChargeOutcome:
    return ChargeOutcome(key, "unknown", code=code)
