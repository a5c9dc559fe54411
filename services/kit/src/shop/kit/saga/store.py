"""Sagas in PostgreSQL: leases, fences against workers that lost theirs, and one statement per save.

``due_at`` and ``lease_owner`` form one lease: while a worker holds a saga ``due_at`` is the end of its lease, otherwise
the time of the next attempt. So one index answers the one question, which sagas are due. A claim raises ``fence``;
every later statement names it, so a worker whose lease passed to another one stores nothing. A saga whose lease ended
without being released is marked ``outcome_uncertain`` when it is claimed: how far its last worker came is unknown.
"""
# ruff: noqa: S608 - the statements are put together from a table's description, which is part of the code

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from typing import Any, NamedTuple
from uuid import UUID

from shop.kit.batch import Batcher, one_by_one_on_error
from shop.kit.db import Database, Record
from shop.kit.events import OutboxRow
from shop.kit.outbox import Outbox
from shop.kit.saga.engine import Status
from shop.kit.statements import expected_few

MAX_BATCH_UPDATES = 128

UPDATE_COLUMNS = """
saga_id uuid, fence integer, status_before text, status text, delay_s float8, release boolean, history jsonb,
refusal jsonb, event_id uuid, event_type text, event_subject text, event_payload text"""


class SagaLease[S](NamedTuple):
    """A saga that this worker may drive until its lease ends. ``subject`` is what the saga is about.

    ``attempt`` counts from 1. ``requested_at`` is when the operation was requested.
    """

    saga_id: UUID
    subject: S
    kind: str
    operation: str
    status: str
    attempt: int
    fence: int
    outcome_uncertain: bool
    expired: bool
    refusal: Mapping[str, Any] | None
    history: Sequence[Mapping[str, Any]]
    traceparent: str
    requested_at: datetime


@dataclass(frozen=True, slots=True)
class SagaUpdate:
    """A change of one saga, valid while its fence is ``fence`` and its status ``status_before``.

    ``delay_s`` seconds from now a worker may claim it again, None leaves that time as it is; ``release`` ends the
    lease. ``changes`` are the service's own columns, see `SagaTable`; ``event`` is published.
    """

    saga_id: UUID
    fence: int
    status_before: Status
    status: Status
    history: Sequence[Mapping[str, Any]]
    release: bool
    delay_s: float | None = None
    refusal: Mapping[str, Any] | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    event: OutboxRow | None = None

    def row(self) -> dict[str, Any]:
        """The update as a row of UPDATE_COLUMNS and the service's own columns."""
        row: dict[str, Any] = {
            "saga_id": self.saga_id,
            "fence": self.fence,
            "status_before": self.status_before,
            "status": self.status,
            "history": self.history,
            "release": self.release,
            "delay_s": self.delay_s,
            "refusal": self.refusal,
            **self.changes,
        }
        if self.event is not None:
            event_id, kind, subject_id, payload = self.event
            row |= {"event_id": event_id, "event_type": kind, "event_subject": subject_id, "event_payload": payload}
        return row


@dataclass(frozen=True, kw_only=True)
class SagaTable[S]:
    """Where a service keeps its sagas, and what it reads and stores together with them in one statement.

    ``id_column``, ``operation_column`` and ``uncertain_column`` are for a table that is older than the kit's own.
    A lease's subject is made by ``load`` of ``subject_columns``, which may come from tables that ``subject_join`` adds;
    ``s`` is the saga's row. ``change_columns`` ("name type, ...") are the service's own members of an update, and
    ``change_statements`` (", name AS (...)") store them from ``saved``, the updates that were accepted.
    """

    load: Callable[[Record], S]
    name: str = "saga"
    id_column: str = "id"
    operation_column: str = "operation"
    uncertain_column: str = "outcome_uncertain"
    kind: str = "s.kind"
    requested_at: str = "s.created_at"
    subject_columns: str = "s.subject"
    subject_join: str = ""
    change_columns: str = ""
    change_statements: str = ""

    @cached_property
    def lease_columns(self) -> str:
        """What a lease is made of, for statements that lease the saga ``s``."""
        return f"""
{self.subject_columns}, s.{self.id_column} AS saga_id, {self.kind} AS saga_kind, s.{self.operation_column} AS operation,
s.status, s.attempts, s.fence, s.{self.uncertain_column} AS outcome_uncertain, s.refusal, s.history, s.traceparent,
coalesce(s.deadline_at <= now(), false) AS expired, {self.requested_at} AS requested_at"""

    def insert_columns(self) -> str:
        """The columns of a new saga that `insert_values` fills."""
        return f"{self.id_column}, {self.operation_column}, status, lease_owner, due_at, deadline_at, traceparent"

    def insert_values(
        self, saga_id: str, operation: str, *, owner: str, lease_s: str, deadline_s: str, traceparent: str
    ) -> str:
        """Values of a new saga whose first attempt its creator makes; parameters are SQL expressions."""
        due_at, deadline_at = _seconds_from_now(lease_s), _seconds_from_now(deadline_s)
        return f"{saga_id}, {operation}, 'running', {owner}, {due_at}, {deadline_at}, {traceparent}"

    def lease_to_compensate(self, *, owner: str, lease_s: str, traceparent: str) -> str:
        """What an UPDATE sets to lease a saga and have it compensated; parameters are SQL expressions."""
        return f"""
status = 'compensating', fence = fence + 1, {self.uncertain_column} = true, lease_owner = {owner},
due_at = {_seconds_from_now(lease_s)}, traceparent = {traceparent}"""

    @cached_property
    def save(self) -> str:
        """$1: rows of updates. The saga's row decides who wins: an update with an old fence changes nothing."""
        columns = UPDATE_COLUMNS + (f", {self.change_columns}" if self.change_columns else "")
        return f"""
WITH input AS (
    SELECT * FROM jsonb_to_recordset($1) AS i({columns}) WHERE {expected_few("saga_id")}
), saved AS (
    UPDATE {self.name} s SET
        status = i.status, history = i.history, refusal = coalesce(i.refusal, s.refusal),
        due_at = CASE WHEN i.delay_s IS NULL THEN s.due_at ELSE {_seconds_from_now("i.delay_s")} END,
        lease_owner = CASE WHEN i.release THEN NULL ELSE s.lease_owner END
    FROM input i WHERE s.{self.id_column} = i.saga_id AND s.fence = i.fence AND s.status = i.status_before
    RETURNING i.*
), published AS (
    INSERT INTO outbox (event_id, type, subject_id, payload)
    SELECT event_id, event_type, event_subject, event_payload FROM saved WHERE event_id IS NOT NULL
){self.change_statements}
SELECT saga_id FROM saved"""

    @cached_property
    def claim(self) -> str:
        """$1: owner, $2: seconds of the lease, $3: how many."""
        return f"""
WITH due AS (
    SELECT {self.id_column} AS id FROM {self.name} WHERE status <> 'done' AND due_at <= now()
    ORDER BY due_at LIMIT $3 FOR UPDATE SKIP LOCKED
), s AS (
    UPDATE {self.name} claimed SET
        attempts = attempts + 1, fence = fence + 1, lease_owner = $1, due_at = {_seconds_from_now("$2")},
        {self.uncertain_column} = {self.uncertain_column} OR lease_owner IS NOT NULL
    FROM due WHERE claimed.{self.id_column} = due.id
    RETURNING claimed.*
)
SELECT {self.lease_columns} FROM s {self.subject_join}"""

    @cached_property
    def make_due(self) -> str:
        """$1: id of a saga, whose next attempt is at once if no worker has it."""
        return f"""
UPDATE {self.name} SET due_at = now() WHERE {self.id_column} = $1 AND status <> 'done' AND lease_owner IS NULL
RETURNING true"""

    @cached_property
    def waiting(self) -> str:
        return f"""
SELECT {self.operation_column} AS operation, count(*) AS sagas,
       coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8 AS oldest_s,
       extract(epoch FROM min(due_at) - now())::float8 AS due_in_s
FROM {self.name} WHERE status <> 'done' GROUP BY 1"""

    def lease(self, row: Record) -> SagaLease[S]:
        """The lease of a row of ``lease_columns``."""
        names = (
            "saga_kind", "operation", "status", "attempts", "fence", "outcome_uncertain", "expired", "refusal",
            "history", "traceparent", "requested_at",
        )  # fmt: skip
        return SagaLease(row["saga_id"], self.load(row), *(row[name] for name in names))


def _seconds_from_now(seconds: str) -> str:
    return f"now() + make_interval(secs => {seconds})"


class SagaStore[S]:
    """The sagas of one service. ``owner`` names this process in leases. ``due`` is set when one may be due.

    Methods may raise Unavailable("database").
    """

    def __init__(self, database: Database, outbox: Outbox, table: SagaTable[S], owner: str) -> None:
        self._database = database
        self._outbox = outbox
        self._table = table
        self._owner = owner
        self.due = asyncio.Event()
        self._saving = Batcher(one_by_one_on_error(self._save), max_items=MAX_BATCH_UPDATES)

    @property
    def id_name(self) -> str:
        """What a saga's id is called in log lines."""
        return "saga_id" if self._table.id_column == "id" else self._table.id_column

    async def save(self, update: SagaUpdate) -> bool:
        """Store an update, all of it or nothing; False if another worker has taken the saga over.

        Concurrent updates share one statement.
        """
        return await self._saving.submit(update)

    async def _save(self, batch: Sequence[SagaUpdate]) -> list[bool]:
        rows = await self._database.fetch(self._table.save, [update.row() for update in batch])
        if any(update.event for update in batch):
            self._outbox.wake()
        for update in batch:
            if update.release and update.delay_s is not None:
                self._due_in(update.delay_s)
        saved = {row["saga_id"] for row in rows}
        return [update.saga_id in saved for update in batch]

    async def claim(self, limit: int, lease_s: float) -> list[SagaLease[S]]:
        """Up to ``limit`` sagas that are due and that no one else is claiming, each leased for ``lease_s`` seconds."""
        rows = await self._database.quick.fetch(self._table.claim, self._owner, lease_s, limit)
        return [self._table.lease(row) for row in rows]

    async def make_due(self, saga_id: UUID) -> bool:
        """Let the next attempt begin at once; False when the saga has ended, or a worker has it."""
        is_due = bool(await self._database.fetchval(self._table.make_due, saga_id))
        if is_due:
            self.due.set()
        return is_due

    def _due_in(self, delay_s: float) -> None:
        asyncio.get_running_loop().call_later(max(0.0, delay_s), self.due.set)

    async def waiting(self) -> dict[str, tuple[int, float]]:
        """Sagas that have not ended, by operation: how many, and the age of the oldest in seconds.

        Of those that other processes left, ``due`` learns here.
        """
        rows = await self._database.quick.fetch(self._table.waiting)
        for row in rows:
            self._due_in(row["due_in_s"])
        return {row["operation"]: (row["sagas"], row["oldest_s"]) for row in rows}

    async def close(self) -> None:
        await self._saving.close()


OWN_TABLE: SagaTable[dict[str, Any]] = SagaTable(load=lambda row: dict(row["subject"]))
START = f"""
INSERT INTO saga ({OWN_TABLE.insert_columns()}, kind, subject)
VALUES ({OWN_TABLE.insert_values("$1", "$3", owner="$5", lease_s="$6", deadline_s="$7", traceparent="$8")}, $2, $4)
ON CONFLICT DO NOTHING RETURNING id"""


class SagaRepository(SagaStore[dict[str, Any]]):
    """Sagas in the kit's own table, with a subject of JSON values: for a service that only has steps to add."""

    def __init__(self, database: Database, outbox: Outbox, owner: str) -> None:
        super().__init__(database, outbox, OWN_TABLE, owner)

    async def start(
        self,
        saga_id: UUID,
        kind: str,
        subject: Mapping[str, Any],
        *,
        operation: str,
        lease_s: float,
        deadline_s: float,
        traceparent: str,
    ) -> bool:
        """Store a saga, leased by this process for its first attempt; False if there is one of this id."""
        started = await self._database.fetchval(
            START, saga_id, kind, operation, dict(subject), self._owner, lease_s, deadline_s, traceparent
        )
        return started is not None
