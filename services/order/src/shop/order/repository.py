"""The only SQL of the order service.

Placing an order costs two statements, each shared by all orders that are being placed at the same time: ``insert``
(order and saga) and ``save`` (the end of the saga, the order's new state, its transition and its event). ``save``
also stores every other decision about a saga, so that concurrent sagas share it whatever they are at.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from typing import Any
from uuid import UUID

from shop.kit.batch import Batcher
from shop.kit.db import Connection, Database, Record
from shop.kit.errors import Unavailable
from shop.kit.events import OutboxRow
from shop.kit.outbox import Outbox, insert
from shop.order.domain import Order, State
from shop.order.rows import Claimed, NewOrder, Save, Stored, Wanted, insert_row, load_claimed, load_order, save_row

log = logging.getLogger(__name__)

MAX_BATCH = 128

ORDER = """
o.id, o.user_id, o.email, o.customer_name, o.kind, o.state, o.version, o.reason, o.lines, o.currency, o.subtotal,
o.discount, o.tax, o.shipping, o.total, o.address, o.coupon, o.expected_total, o.payment_token, o.cancel_requested_at,
o.created_at, o.updated_at,
(SELECT coalesce(sum(r.amount), 0)::bigint FROM refunds r WHERE r.order_id = o.id) AS refunded"""

SAGA = """
s.order_id, s.kind AS saga_kind, s.status, s.attempts, s.fence, s.doubtful, s.refusal, s.history, s.traceparent,
coalesce(s.deadline_at <= now(), false) AS expired"""

# Sorted, so that two batches with the same keys wait for each other instead of for ever.
INSERT = """
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i(
        id uuid, user_id uuid, email text, customer_name text, kind text, lines jsonb, currency text, address jsonb,
        country text, coupon text, expected_total bigint, payment_token text, idempotency_key text, body_hash text,
        created_at timestamptz, traceparent text)
), taken AS (
    INSERT INTO orders (id, user_id, email, customer_name, kind, lines, currency, address, country, coupon,
                        expected_total, payment_token, idempotency_key, body_hash, created_at, updated_at)
    SELECT id, user_id, email, customer_name, kind, lines, currency, address, country, coupon,
           expected_total, payment_token, idempotency_key, decode(body_hash, 'hex'), created_at, created_at
    FROM input ORDER BY user_id, idempotency_key
    ON CONFLICT ON CONSTRAINT one_order_per_key DO NOTHING
    RETURNING id
), begun AS (
    INSERT INTO sagas (order_id, kind, status, lease_owner, due_at, deadline_at, traceparent)
    SELECT id, 'place', 'running', $2, now() + make_interval(secs => $3), now() + make_interval(secs => $4), traceparent
    FROM input JOIN taken USING (id)
)
SELECT id FROM taken"""

# The saga's row decides who wins: a worker whose lease went to another has an old fence and changes nothing.
SAVE = """
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i(
        order_id uuid, fence integer, was text, status text, delay_s float8, release boolean, history jsonb,
        refusal jsonb, state_was text, state text, version integer, reason text, lines jsonb, subtotal bigint,
        discount bigint, tax bigint, shipping bigint, total bigint, at timestamptz, trace_id text,
        event_id uuid, event_type text, event_payload text)
), won AS (
    UPDATE sagas s SET
        status = i.status, history = i.history, refusal = coalesce(i.refusal, s.refusal),
        due_at = CASE WHEN i.delay_s IS NULL THEN s.due_at ELSE now() + make_interval(secs => i.delay_s) END,
        lease_owner = CASE WHEN i.release THEN NULL ELSE s.lease_owner END
    FROM input i WHERE s.order_id = i.order_id AND s.fence = i.fence AND s.status = i.was
    RETURNING i.*
), moved AS (
    UPDATE orders o SET
        state = w.state, version = w.version, reason = coalesce(w.reason, o.reason), lines = coalesce(w.lines, o.lines),
        subtotal = coalesce(w.subtotal, o.subtotal), discount = coalesce(w.discount, o.discount),
        tax = coalesce(w.tax, o.tax), shipping = coalesce(w.shipping, o.shipping), total = coalesce(w.total, o.total),
        payment_token = NULL, updated_at = w.at
    FROM won w WHERE o.id = w.order_id AND w.state IS NOT NULL
), noted AS (
    INSERT INTO order_transitions (order_id, version, from_state, to_state, at, trace_id)
    SELECT order_id, version, state_was, state, at, trace_id FROM won WHERE state IS NOT NULL
), told AS (
    INSERT INTO outbox (event_id, type, subject_id, payload)
    SELECT event_id, event_type, order_id::text, event_payload FROM won WHERE event_id IS NOT NULL
)
SELECT order_id FROM won"""

CLAIM = f"""
WITH due AS (
    SELECT order_id FROM sagas WHERE status <> 'done' AND due_at <= now()
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), s AS (
    UPDATE sagas SET
        attempts = attempts + 1, fence = fence + 1, lease_owner = $1, due_at = now() + make_interval(secs => $2),
        doubtful = doubtful OR lease_owner IS NOT NULL
    FROM due WHERE sagas.order_id = due.order_id
    RETURNING sagas.*
)
SELECT {ORDER}, {SAGA} FROM s JOIN orders o ON o.id = s.order_id"""  # noqa: S608 - constants

CANCEL = f"""
WITH o AS (
    UPDATE orders SET cancel_requested_at = $3, updated_at = $3
    WHERE id = $1 AND ($2::uuid IS NULL OR user_id = $2) AND state = 'confirmed' AND cancel_requested_at IS NULL
    RETURNING *
), s AS (
    UPDATE sagas SET
        kind = 'cancel', status = 'compensating', attempts = 1, fence = fence + 1, doubtful = true, lease_owner = $4,
        due_at = now() + make_interval(secs => $5), deadline_at = NULL, traceparent = $6
    FROM o WHERE order_id = o.id
    RETURNING sagas.*
)
SELECT {ORDER}, {SAGA} FROM s JOIN o ON o.id = s.order_id"""  # noqa: S608 - constants

# The saga's row first, as in SAVE: whichever comes second finds the other's decision and changes nothing.
CANCEL_PENDING = f"""
WITH s AS (
    UPDATE sagas SET
        status = 'compensating', attempts = attempts + 1, fence = fence + 1, doubtful = true, refusal = $7,
        lease_owner = $4, due_at = now() + make_interval(secs => $5), traceparent = $6
    WHERE order_id = $1 AND kind = 'place' AND status = 'running'
        AND EXISTS (SELECT FROM orders p WHERE p.id = $1 AND ($2::uuid IS NULL OR p.user_id = $2))
    RETURNING sagas.*
), o AS (
    UPDATE orders SET cancel_requested_at = $3, updated_at = $3 FROM s WHERE id = s.order_id RETURNING orders.*
)
SELECT {ORDER}, {SAGA} FROM s JOIN o ON o.id = s.order_id"""  # noqa: S608 - constants

MOVE = f"""
WITH o AS (
    UPDATE orders SET state = $3, version = version + 1, updated_at = $4
    WHERE id = $1 AND state = $2 AND cancel_requested_at IS NULL
    RETURNING *
), noted AS (
    INSERT INTO order_transitions (order_id, version, from_state, to_state, at, trace_id)
    SELECT id, version, $2, $3, $4, $5 FROM o
)
SELECT {ORDER} FROM o"""  # noqa: S608 - constants

GET = f"SELECT {ORDER} FROM orders o WHERE o.id = $1 AND ($2::uuid IS NULL OR o.user_id = $2)"  # noqa: S608

BY_KEY = f"""
SELECT {ORDER}, o.body_hash, s.refusal, t.at AS ended_at,
       s.attempts = 1 AND s.lease_owner IS NOT NULL AND s.due_at > now() AS in_flight
FROM orders o JOIN sagas s ON s.order_id = o.id
LEFT JOIN order_transitions t ON t.order_id = o.id AND t.version = 2
WHERE o.user_id = $1 AND o.idempotency_key = $2"""  # noqa: S608 - constants

REFUSAL = "SELECT refusal FROM sagas WHERE order_id = $1"

LIST_OWN = f"""
SELECT {ORDER} FROM orders o
WHERE o.user_id = $1 AND ($2::text IS NULL OR o.state = $2) AND ($3::uuid IS NULL OR o.id < $3)
    AND ($5::boolean IS NULL OR (o.state = 'rejected') = $5)
ORDER BY o.id DESC LIMIT $4"""  # noqa: S608 - constants

LIST_ALL = f"""
SELECT {ORDER} FROM orders o
WHERE ($1::text IS NULL OR o.state = $1) AND ($2::uuid IS NULL OR o.id < $2)
    AND ($4::boolean IS NULL OR (o.state = 'rejected') = $4)
ORDER BY o.id DESC LIMIT $3"""  # noqa: S608 - constants

ADD_REFUNDS = """
INSERT INTO refunds (event_id, order_id, amount, at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[]) ON CONFLICT DO NOTHING"""

HISTORY = """
SELECT order_id, kind, status, attempts, history, traceparent, deadline_at,
       CASE WHEN status <> 'done' THEN due_at END AS next_attempt_at
FROM sagas WHERE order_id = $1"""

TRANSITIONS = """
SELECT version, from_state, to_state, at, trace_id FROM order_transitions WHERE order_id = $1 ORDER BY version"""

CHANGES = """
SELECT t.order_id, t.version, t.to_state AS state, o.reason, t.at
FROM unnest($1::uuid[], $2::integer[]) AS seen(order_id, version)
JOIN order_transitions t ON t.order_id = seen.order_id AND t.version > seen.version
JOIN orders o ON o.id = t.order_id
ORDER BY t.order_id, t.version"""

WAITING = """
SELECT kind, count(*) AS waiting, coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s
FROM sagas WHERE status <> 'done' GROUP BY kind"""


class OrderRepository:
    """``owner`` names this process in leases. Every method may raise Unavailable("database")."""

    def __init__(self, database: Database, outbox: Outbox, owner: str, lease_s: float, deadline_s: float) -> None:
        self._database = database
        self._outbox = outbox
        self._owner = owner
        self._lease_s = lease_s
        self._deadline_s = deadline_s
        self._inserting = Batcher(one_by_one_on_error(self._insert), max_items=MAX_BATCH)
        self._saving = Batcher(one_by_one_on_error(self._save), max_items=MAX_BATCH)

    async def insert(self, new: NewOrder) -> bool:
        """Store a pending order and its leased saga; False if its user has used the idempotency key before."""
        return await self._inserting.submit(new)

    async def save(self, decision: Save) -> bool:
        """Store a decision, all of it or nothing; False if another worker has taken the saga over."""
        return await self._saving.submit(decision)

    async def _insert(self, batch: Sequence[NewOrder]) -> list[bool]:
        rows = await self._database.fetch(
            INSERT, [insert_row(new) for new in batch], self._owner, self._lease_s, self._deadline_s
        )
        taken = {row["id"] for row in rows}
        return [new.order.id in taken for new in batch]

    async def _save(self, batch: Sequence[Save]) -> list[bool]:
        rows = await self._database.fetch(SAVE, [save_row(decision) for decision in batch])
        if any(decision.event for decision in batch):
            self._outbox.wake()
        won = {row["order_id"] for row in rows}
        return [decision.order_id in won for decision in batch]

    async def claim(self, limit: int, lease_s: float) -> list[Claimed]:
        """Up to ``limit`` sagas that are due and that nobody else is claiming, each leased for ``lease_s``."""
        return [load_claimed(row) for row in await self._database.fetch(CLAIM, self._owner, lease_s, limit)]

    async def begin_cancel(
        self, order_id: UUID, user_id: UUID | None, at: datetime, lease_s: float, traceparent: str
    ) -> Claimed | None:
        """Turn a confirmed order's saga into its cancellation; None unless it is confirmed and not being cancelled."""
        row = await self._database.fetchrow(CANCEL, order_id, user_id, at, self._owner, lease_s, traceparent)
        return None if row is None else load_claimed(row)

    async def cancel_pending(
        self,
        order_id: UUID,
        user_id: UUID | None,
        at: datetime,
        lease_s: float,
        traceparent: str,
        refusal: Mapping[str, Any],
    ) -> Claimed | None:
        """Undo the saga of a pending order, with ``refusal`` as the reason; None unless it is still being placed."""
        row = await self._database.fetchrow(
            CANCEL_PENDING, order_id, user_id, at, self._owner, lease_s, traceparent, dict(refusal)
        )
        return None if row is None else load_claimed(row)

    async def move(
        self,
        order_id: UUID,
        before: State,
        after: State,
        at: datetime,
        trace_id: str,
        event: Callable[[Order], OutboxRow],
    ) -> Order | None:
        """Move an order by hand; None unless it is in ``before`` and not being cancelled."""
        async with self._database.transaction() as connection:
            row = await connection.fetchrow(MOVE, order_id, before, after, at, trace_id)
            if row is None:
                return None
            order = load_order(row)
            await insert(connection, [event(order)])
        self._outbox.wake()
        return order

    async def get(self, order_id: UUID, user_id: UUID | None) -> Order | None:
        """The order, if it is the user's; ``user_id`` None may see every order."""
        row = await self._database.fetchrow(GET, order_id, user_id)
        return None if row is None else load_order(row)

    async def by_key(self, user_id: UUID, idempotency_key: str) -> Stored | None:
        row = await self._database.fetchrow(BY_KEY, user_id, idempotency_key)
        if row is None:
            return None
        return Stored(load_order(row), row["body_hash"], row["in_flight"], row["ended_at"], row["refusal"])

    async def refusal(self, order_id: UUID) -> Mapping[str, Any]:
        refusal: Mapping[str, Any] = await self._database.fetchval(REFUSAL, order_id)
        return refusal

    async def page(self, user_id: UUID | None, wanted: Wanted, before: UUID | None, limit: int) -> list[Order]:
        """Orders by falling id, which is by falling age; of one user or of all."""
        if user_id is None:
            rows = await self._database.fetch(LIST_ALL, wanted.state, before, limit, wanted.rejected)
        else:
            rows = await self._database.fetch(LIST_OWN, user_id, wanted.state, before, limit, wanted.rejected)
        return [load_order(row) for row in rows]

    async def history(self, order_id: UUID) -> tuple[Record, list[Record]] | None:
        """The saga's row and the order's transitions."""
        saga = await self._database.fetchrow(HISTORY, order_id)
        return None if saga is None else (saga, await self._database.fetch(TRANSITIONS, order_id))

    async def changes(self, seen: Mapping[UUID, int]) -> list[Record]:
        """Transitions after the version that each order was last seen in."""
        return await self._database.fetch(CHANGES, list(seen), list(seen.values()))

    async def waiting(self) -> dict[str, tuple[int, float]]:
        """Sagas that have not ended, by kind: how many, and the age of the oldest in seconds."""
        return {row["kind"]: (row["waiting"], row["oldest_s"]) for row in await self._database.fetch(WAITING)}

    async def close(self) -> None:
        await self._inserting.close()
        await self._saving.close()


async def add_refunds(connection: Connection, refunds: Sequence[tuple[UUID, UUID, int, datetime]]) -> None:
    """Each with the id of its event, its order, its amount in minor units, and when it was made."""
    await connection.execute(ADD_REFUNDS, *map(list, zip(*refunds, strict=True)))


def one_by_one_on_error[T](
    handle: Callable[[Sequence[T]], Awaitable[list[bool]]],
) -> Callable[[list[T]], Awaitable[Sequence[bool | BaseException]]]:
    """So that one row which the database refuses does not fail the orders that share its statement."""

    async def careful(batch: list[T]) -> Sequence[bool | BaseException]:
        try:
            return await handle(batch)
        except Unavailable:
            raise
        except Exception:
            if len(batch) == 1:
                raise
            log.exception("a batch of %d rows failed, trying them one by one", len(batch))
            return [await _alone(item) for item in batch]

    async def _alone(item: T) -> bool | BaseException:
        try:
            return (await handle([item]))[0]
        except Exception as error:  # noqa: BLE001 - it goes to whoever waits for this row
            return error

    return careful
