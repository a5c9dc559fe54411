"""The only SQL of the order service.

Placing an order costs two statements, each shared by all orders that are being placed at the same time: ``INSERT``
(order and saga) and the save of `SAGAS` (the end of the saga, the order's new state, its transition and its event).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from uuid import UUID

from shop.kit.batch import Batcher, one_by_one_on_error
from shop.kit.db import Connection, Database, Record
from shop.kit.events import OutboxRow
from shop.kit.outbox import Outbox, insert
from shop.kit.saga.engine import Rejected
from shop.kit.saga.store import SagaLease, SagaStore, SagaTable
from shop.order.domain import CANCEL, PLACE, Kind, Order, State, Subject
from shop.order.rows import NewOrder, OrderFilter, Stored, insert_row, load_order, load_subject

MAX_BATCH_ORDERS = 128

ORDER = """
o.id, o.user_id, o.email, o.customer_name, o.kind, o.state, o.version, o.reason, o.lines, o.currency, o.subtotal,
o.discount, o.tax, o.shipping, o.total, o.address, o.coupon, o.expected_total, o.payment_token, o.cancel_requested_at,
o.created_at, o.updated_at,
(SELECT coalesce(sum(r.amount), 0)::bigint FROM refunds r WHERE r.order_id = o.id) AS refunded,
CASE WHEN o.kind = 'food' THEN (SELECT to_jsonb(f) FROM food_orders f WHERE f.order_id = o.id) END AS food"""

# The end of a saga changes its order in the same statement. The columns `kind` and `doubtful` are older than the kit.
SAGAS: SagaTable[Subject] = SagaTable(
    load=load_subject,
    name="sagas",
    id_column="order_id",
    operation_column="kind",
    uncertain_column="doubtful",
    kind="o.kind",
    requested_at=f"CASE s.kind WHEN '{CANCEL}' THEN o.cancel_requested_at ELSE o.created_at END",
    subject_columns=ORDER,
    subject_join="JOIN orders o ON o.id = s.order_id",
    change_columns="""
state_before text, state text, version integer, reason text, lines jsonb, subtotal bigint, discount bigint, tax bigint,
shipping bigint, total bigint, at timestamptz, trace_id text, restaurant_name text, promised_at timestamptz,
release_due boolean""",
    change_statements=""", moved AS (
    UPDATE orders o SET
        state = s.state, version = s.version, reason = coalesce(s.reason, o.reason), lines = coalesce(s.lines, o.lines),
        subtotal = coalesce(s.subtotal, o.subtotal), discount = coalesce(s.discount, o.discount),
        tax = coalesce(s.tax, o.tax), shipping = coalesce(s.shipping, o.shipping), total = coalesce(s.total, o.total),
        payment_token = NULL, updated_at = s.at
    FROM saved s WHERE o.id = s.saga_id AND s.state IS NOT NULL
), transitions AS (
    INSERT INTO order_transitions (order_id, version, from_state, to_state, at, trace_id)
    SELECT saga_id, version, state_before, state, at, trace_id FROM saved WHERE state IS NOT NULL
), food AS (
    UPDATE food_orders f SET restaurant_name = coalesce(s.restaurant_name, f.restaurant_name),
        promised_at = coalesce(s.promised_at, f.promised_at), release_due = coalesce(s.release_due, f.release_due)
    FROM saved s WHERE f.order_id = s.saga_id AND (s.restaurant_name IS NOT NULL OR s.release_due)
)""",
)
NEW_SAGA = SAGAS.insert_values(
    "id", f"'{PLACE}'", owner="$2", lease_s="$3", deadline_s="input.deadline_s", traceparent="input.traceparent"
)
COMPENSATE = SAGAS.lease_to_compensate(owner="$4", lease_s="$5", traceparent="$6")

# Sorted, so that two batches with the same keys wait for each other and do not deadlock.
INSERT = f"""
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i(
        id uuid, user_id uuid, email text, customer_name text, kind text, lines jsonb, currency text, address jsonb,
        country text, coupon text, expected_total bigint, payment_token text, idempotency_key text, body_hash text,
        created_at timestamptz, traceparent text, deadline_s float8, restaurant_id uuid, tip bigint, phone text,
        note text)
), inserted AS (
    INSERT INTO orders (id, user_id, email, customer_name, kind, lines, currency, address, country, coupon,
                        expected_total, payment_token, idempotency_key, body_hash, created_at, updated_at)
    SELECT id, user_id, email, customer_name, kind, lines, currency, address, country, coupon,
           expected_total, payment_token, idempotency_key, decode(body_hash, 'hex'), created_at, created_at
    FROM input ORDER BY user_id, idempotency_key
    ON CONFLICT ON CONSTRAINT one_order_per_key DO NOTHING
    RETURNING id
), new_sagas AS (
    INSERT INTO sagas ({SAGAS.insert_columns()}) SELECT {NEW_SAGA} FROM input JOIN inserted USING (id)
), new_food AS (
    INSERT INTO food_orders (order_id, restaurant_id, tip, phone, note)
    SELECT id, restaurant_id, tip, phone, note FROM input JOIN inserted USING (id) WHERE restaurant_id IS NOT NULL
)
SELECT id FROM inserted"""  # noqa: S608 - constants

# The saga's row first, as in a save and in `food_repository.LOCK`: two statements never wait for each other.
CANCEL_CONFIRMED = f"""
WITH saga AS MATERIALIZED (
    SELECT order_id FROM sagas WHERE order_id = $1 FOR UPDATE
), o AS (
    UPDATE orders SET cancel_requested_at = $3, updated_at = $3 FROM saga
    WHERE id = saga.order_id AND ($2::uuid IS NULL OR user_id = $2) AND state = 'confirmed'
        AND cancel_requested_at IS NULL AND (kind <> 'food' OR $7)
    RETURNING orders.*
), s AS (
    UPDATE sagas SET kind = '{CANCEL}', attempts = 1, deadline_at = NULL, {COMPENSATE}
    FROM o WHERE order_id = o.id
    RETURNING sagas.*
)
SELECT {SAGAS.lease_columns} FROM s JOIN o ON o.id = s.order_id"""  # noqa: S608 - constants

# The saga's row first, as in a save: whichever of the two comes second changes nothing.
CANCEL_PENDING = f"""
WITH s AS (
    UPDATE sagas SET attempts = attempts + 1, refusal = $7, {COMPENSATE}
    WHERE order_id = $1 AND kind = '{PLACE}' AND status = 'running'
        AND EXISTS (SELECT FROM orders p WHERE p.id = $1 AND ($2::uuid IS NULL OR p.user_id = $2))
    RETURNING sagas.*
), o AS (
    UPDATE orders SET cancel_requested_at = $3, updated_at = $3 FROM s WHERE id = s.order_id RETURNING orders.*
)
SELECT {SAGAS.lease_columns} FROM s JOIN o ON o.id = s.order_id"""  # noqa: S608 - constants

MOVE = f"""
WITH moving AS (
    SELECT * FROM unnest($1::uuid[], $5::text[]) AS m (id, trace_id)
), o AS (
    UPDATE orders SET state = $3, version = version + 1, updated_at = $4 FROM moving m
    WHERE orders.id = m.id AND state = $2 AND cancel_requested_at IS NULL AND kind = ANY ($6)
    RETURNING orders.*
), transitions AS (
    INSERT INTO order_transitions (order_id, version, from_state, to_state, at, trace_id)
    SELECT id, o.version, $2, $3, $4, m.trace_id FROM o JOIN moving m USING (id)
)
SELECT {ORDER} FROM o"""  # noqa: S608 - constants

GET = f"SELECT {ORDER} FROM orders o WHERE o.id = $1 AND ($2::uuid IS NULL OR o.user_id = $2)"  # noqa: S608

BY_KEY = f"""
SELECT {ORDER}, o.body_hash, s.refusal, t.at AS ended_at,
       coalesce(s.attempts = 1 AND s.lease_owner IS NOT NULL AND s.due_at > now(), false) AS in_flight
FROM orders o LEFT JOIN sagas s ON s.order_id = o.id
LEFT JOIN order_transitions t ON t.order_id = o.id AND t.version = 2
WHERE o.user_id = $1 AND o.idempotency_key = $2"""  # noqa: S608 - constants

REFUSAL = """
SELECT o.reason, s.refusal FROM orders o LEFT JOIN sagas s ON s.order_id = o.id WHERE o.id = $1"""

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

# Few of all orders are pending, and no index has the state: it would make the end of an order dearer. Each has a saga
# that is not done, which the index sagas_due has.
LIST_PENDING = f"""
WITH unfinished AS MATERIALIZED (SELECT order_id FROM sagas WHERE status <> 'done')
SELECT {ORDER} FROM unfinished u JOIN orders o ON o.id = u.order_id
WHERE o.state = 'pending' AND ($1::uuid IS NULL OR o.id < $1) ORDER BY o.id DESC LIMIT $2"""  # noqa: S608 - constants

ADD_REFUNDS = """
INSERT INTO refunds (event_id, order_id, amount, at)
SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::bigint[], $4::timestamptz[]) ON CONFLICT DO NOTHING"""

# A pending order's note is still to reach the kitchen; then the trigger contacts_erased does the same.
LOCK_CONTACTS = """
SELECT FROM food_orders f JOIN orders o ON o.id = f.order_id
WHERE o.user_id = ANY ($1::uuid[]) AND o.kind = 'food' AND o.state <> 'pending' ORDER BY f.order_id FOR UPDATE OF f"""
ERASE_CONTACTS = """
UPDATE food_orders f SET phone = NULL, note = '' FROM orders o
WHERE o.id = f.order_id AND o.user_id = ANY ($1::uuid[]) AND o.kind = 'food' AND o.state <> 'pending'"""

HISTORY = f"""
SELECT o.id AS order_id, coalesce(s.kind, '{PLACE}') AS kind, coalesce(s.status, 'done') AS status,
       coalesce(s.attempts, 0) AS attempts, coalesce(s.history, '[]') AS history,
       coalesce(s.traceparent, '') AS traceparent, s.deadline_at,
       CASE WHEN s.status <> 'done' THEN s.due_at END AS next_attempt_at
FROM orders o LEFT JOIN sagas s ON s.order_id = o.id WHERE o.id = $1"""  # noqa: S608 - constants

TRANSITIONS = """
SELECT version, from_state, to_state, at, trace_id FROM order_transitions WHERE order_id = $1 ORDER BY version"""

CHANGES = """
SELECT t.order_id, t.version, t.to_state AS state, o.reason, t.at
FROM unnest($1::uuid[], $2::integer[]) AS seen(order_id, version)
JOIN order_transitions t ON t.order_id = seen.order_id AND t.version > seen.version
JOIN orders o ON o.id = t.order_id
ORDER BY t.order_id, t.version"""


class OrderRepository:
    """``owner`` names this process in leases; a lease that a request takes lasts ``lease_s``.

    Every method may raise Unavailable("database").
    """

    def __init__(self, database: Database, outbox: Outbox, owner: str, lease_s: float) -> None:
        self._database = database
        self._outbox = outbox
        self._owner = owner
        self._lease_s = lease_s
        self._inserting = Batcher(one_by_one_on_error(self._insert), max_items=MAX_BATCH_ORDERS)
        self.sagas = SagaStore(database, outbox, SAGAS, owner)

    async def insert(self, new: NewOrder) -> bool:
        """Store a pending order and its leased saga; False if its user has used the idempotency key before."""
        return await self._inserting.submit(new)

    async def _insert(self, batch: Sequence[NewOrder]) -> list[bool]:
        rows = await self._database.fetch(INSERT, [insert_row(new) for new in batch], self._owner, self._lease_s)
        inserted = {row["id"] for row in rows}
        return [new.order.id in inserted for new in batch]

    async def cancel_confirmed(
        self, order_id: UUID, user_id: UUID | None, at: datetime, traceparent: str, *, withdrawn: bool = False
    ) -> SagaLease[Subject] | None:
        """Lease a confirmed order's saga to cancel it; None unless it is confirmed and not being cancelled.

        An order of food has to be ``withdrawn`` from its kitchen first.
        """
        arguments = (order_id, user_id, at, self._owner, self._lease_s, traceparent, withdrawn)
        row = await self._database.fetchrow(CANCEL_CONFIRMED, *arguments)
        return None if row is None else SAGAS.lease(row)

    async def cancel_pending(
        self, order_id: UUID, user_id: UUID | None, at: datetime, traceparent: str, refusal: Rejected
    ) -> SagaLease[Subject] | None:
        """Lease a pending order's saga to undo it because of ``refusal``; None unless it is still being placed."""
        arguments = (order_id, user_id, at, self._owner, self._lease_s, traceparent, refusal.dump())
        row = await self._database.fetchrow(CANCEL_PENDING, *arguments)
        return None if row is None else SAGAS.lease(row)

    async def move(
        self,
        order_id: UUID,
        before: State,
        after: State,
        at: datetime,
        trace_id: str,
        event: Callable[[Order], OutboxRow],
        kinds: Sequence[Kind],
    ) -> Order | None:
        """Move an order of one of ``kinds`` to ``after``; None unless it is in ``before`` and not being cancelled."""
        async with self._database.transaction() as connection:
            rows = await connection.fetch(MOVE, [order_id], before, after, at, [trace_id], kinds)
            if not rows:
                return None
            order = load_order(rows[0])
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
        refusal = Rejected.load(row["refusal"])
        return Stored(load_order(row), row["body_hash"], row["in_flight"], row["ended_at"], refusal)

    async def refusal(self, order_id: UUID) -> Rejected:
        """Why a rejected order was rejected; without details once its history was removed."""
        row = await self._database.fetchrow(REFUSAL, order_id)
        if row is None:
            raise LookupError(f"there is no order {order_id}")
        return Rejected.load(row["refusal"]) or Rejected(row["reason"], "The order was rejected some time ago.")

    async def page(self, user_id: UUID | None, only: OrderFilter, before: UUID | None, limit: int) -> list[Order]:
        """Orders by descending id, which is newest first; of one user or of all."""
        if user_id is None and only == OrderFilter(State.PENDING):
            rows = await self._database.fetch(LIST_PENDING, before, limit)
        elif user_id is None:
            rows = await self._database.fetch(LIST_ALL, only.state, before, limit, only.rejected)
        else:
            rows = await self._database.fetch(LIST_OWN, user_id, only.state, before, limit, only.rejected)
        return [load_order(row) for row in rows]

    async def history(self, order_id: UUID) -> tuple[Record, list[Record]] | None:
        """The saga's row and the order's transitions; both are empty of an order whose history was removed."""
        saga = await self._database.fetchrow(HISTORY, order_id)
        return None if saga is None else (saga, await self._database.fetch(TRANSITIONS, order_id))

    async def changes(self, seen: Mapping[UUID, int]) -> list[Record]:
        """Transitions after the version that each order was last seen in."""
        return await self._database.fetch(CHANGES, list(seen), list(seen.values()))

    async def close(self) -> None:
        await self._inserting.close()
        await self.sagas.close()


async def add_refunds(connection: Connection, refunds: Sequence[tuple[UUID, UUID, int, datetime]]) -> None:
    """Each with the id of its event, its order, its amount in minor units, and when it was made."""
    await connection.execute(ADD_REFUNDS, *map(list, zip(*refunds, strict=True)))


async def lock_contacts(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Wait for other changes of the orders that `erase_contacts` changes."""
    await connection.execute(LOCK_CONTACTS, list(user_ids))


async def erase_contacts(connection: Connection, user_ids: Sequence[UUID]) -> None:
    """Remove phone numbers and notes from the orders of deleted users; restaurant and notification have their own."""
    await connection.execute(ERASE_CONTACTS, list(user_ids))
