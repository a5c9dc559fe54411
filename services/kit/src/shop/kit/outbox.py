"""The transactional outbox and its relay: an event is published if, and only if, its change was committed.

PostgreSQL is the only durable copy. Rows are kept far longer than the broker's sync interval, so events that a broker
lost in a power failure are found missing on the next connection and sent again; consumers deduplicate by event id in
their inbox.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from dataclasses import dataclass

from nats.js.api import PubAck
from prometheus_client import Counter, Gauge

from shop.kit import event_spans
from shop.kit.bus import MAX_AGE_S, Bus
from shop.kit.db import Connection, Database, Record
from shop.kit.errors import Unavailable
from shop.kit.events import EventData, OutboxRow, row
from shop.kit.spans import Span

__all__ = ["Outbox", "OutboxRow", "publish", "row"]

log = logging.getLogger(__name__)

PUBLISHED = Counter("shop_outbox_published_total", "Events acknowledged by the broker")
RESENT = Counter("shop_outbox_lost_total", "Events that the broker lost and that were sent again")
LAG = Gauge("shop_outbox_unpublished", "Events that wait in the outbox, counted up to a limit")
AGE = Gauge(
    "shop_outbox_oldest_event_age_seconds", "Age of the oldest event that is not published; 0 when there is none"
)
STREAM_BYTES = Gauge(
    "shop_broker_stream_bytes", "Size of the stream of the service's events, as of the last look", ["stream"]
)
STREAM_LIMIT_BYTES = Gauge(
    "shop_broker_stream_limit_bytes", "Size at which the broker deletes the stream's oldest events", ["stream"]
)

BATCH_ROWS = 512
GATHER_S = 0.01
REST_S = 0.25
"""Between two looks for new events, so that what comes meanwhile is one batch: for the relay, the broker and consumers.
The first event after a pause does not wait."""
MARK_WITHIN_S = 0.25
"""How long it may wait to be recorded that events were published, so that the next ones' statement does it."""
LOOK_EVERY_S = 30.0
"""Pause of a relay that nothing wakes."""
ACK_TIMEOUT_S = 5.0
LEADER_RETRY_S = 1.0
PRUNE_EVERY_S = 60.0
WATCH_EVERY_S = 5.0
STREAM_EVERY_S = 15.0
"""How often the size of the stream is measured, which grows for days until it is full."""
LATE_AFTER_S = 60.0
"""Unpublished events older than this are reported by readiness, and by an alert on the metric."""
PRUNE_ROWS = 5_000
"""Of each table in one statement, which is repeated after PRUNE_AGAIN_S while there are as many."""
PRUNE_AGAIN_S = 1.0
INBOX_MARGIN_S = 24 * 3600.0
"""Inbox rows are kept this much longer than an event can still be delivered: it may be sent again until its outbox row
is removed, and the stream then has it for MAX_AGE_S."""
LOCK_KEY = 0x4F555442

INSERT = """
INSERT INTO outbox (event_id, type, subject_id, payload)
SELECT * FROM unnest($1::uuid[], $2::text[], $3::text[], $4::text[])"""
# What was published since the last time is recorded in the statement that looks for more. The subqueries hide from the
# planner how many rows that were, as in `inbox.CLAIMED`.
MARK_AND_LOOK = """
WITH marked AS (
    UPDATE outbox SET published_at = now(), stream_sequence = sent.sequence
    FROM unnest((SELECT $1::bigint[]), (SELECT $2::bigint[])) AS sent (id, sequence) WHERE outbox.id = sent.id
)
SELECT id, event_id, type, subject_id, payload FROM outbox
WHERE published_at IS NULL AND id <> ALL ((SELECT $1::bigint[])::bigint[]) ORDER BY id LIMIT $3"""
OLDEST = """
SELECT extract(epoch FROM now() - created_at)::float8 FROM outbox WHERE published_at IS NULL ORDER BY id LIMIT 1"""
WAITING = """
SELECT count(*) FROM (SELECT FROM outbox WHERE published_at IS NULL LIMIT $1) AS waiting"""
LOST = """
UPDATE outbox SET published_at = NULL, stream_sequence = NULL
WHERE published_at IS NOT NULL AND stream_sequence > $1"""
PRUNE = """
WITH events AS (
    DELETE FROM outbox WHERE id IN (
        SELECT id FROM outbox WHERE published_at < now() - make_interval(secs => $1) LIMIT $3)
    RETURNING 1
), taken AS (
    DELETE FROM inbox WHERE ctid IN (
        SELECT ctid FROM inbox WHERE received_at < now() - make_interval(secs => $2) LIMIT $3)
    RETURNING 1
)
SELECT greatest((SELECT count(*) FROM events), (SELECT count(*) FROM taken))"""
WAKE_SUBJECT = "live.outbox"
"""Replicas tell by it, with their noun, that they have stored events."""


async def publish(connection: Connection, *events: EventData) -> None:
    """Add ``events`` to the outbox in the caller's transaction."""
    await insert(connection, [row(event) for event in events])


async def insert(connection: Connection, rows: Sequence[OutboxRow]) -> None:
    """Add prepared rows in the caller's transaction: one statement, however many they are."""
    if rows:
        await connection.execute(INSERT, *(list(column) for column in zip(*rows, strict=True)))
        connection.events_added()


@dataclass(frozen=True, slots=True)
class _Sent:
    """An event on its way to the broker."""

    row_id: int
    ack: asyncio.Future[PubAck]
    span: Span | None

    def is_acknowledged(self) -> bool:
        return self.ack.done() and not self.ack.cancelled() and self.ack.exception() is None

    def end_span(self) -> None:
        if self.span is not None:
            if not self.is_acknowledged():
                self.span.fail("not_acknowledged")
            self.span.end()


class Outbox:
    """The relay of one service's outbox. Of several replicas one relays, so that events keep their order.

    It looks for events when it is woken: by transactions of ``database`` that add some (`insert`), by `wake`, by the
    other replicas, and by its own look at their age every WATCH_EVERY_S seconds, whatever else was missed.
    """

    def __init__(self, database: Database, bus: Bus, noun: str, retention_s: float) -> None:
        self._database = database
        self._bus = bus
        self._noun = noun
        self._retention_s = retention_s
        self._wake = asyncio.Event()
        self._relays = False
        self._more = False
        """Whether the last look found more than it could publish."""
        self._acknowledged: list[tuple[int, int]] = []
        """Rows that the broker has, with their sequence numbers, which is not recorded yet."""
        self._oldest_s = 0.0
        self._prune_at = 0.0
        self._rests_until = 0.0
        database.events_committed = self.wake
        bus.on_change(self.wake)

    def wake(self) -> None:
        """Signal that rows were committed: they are relayed now instead of at the next poll."""
        self._wake.set()

    def state(self) -> str:
        """ "ok", or for how long an event has waited when that is more than LATE_AFTER_S seconds."""
        if self._oldest_s <= LATE_AFTER_S:
            return "ok"
        return f"an event has waited {self._oldest_s:.0f} s to be published"

    async def watch(self) -> None:
        """Measure how long events wait and how full their stream is; in every replica, because the relaying
        one may be the one that fails."""
        loop = asyncio.get_running_loop()
        stream_at = loop.time()
        while True:
            with contextlib.suppress(Unavailable):
                await self._measure_age()
            if loop.time() >= stream_at:
                with contextlib.suppress(Unavailable):
                    await self._measure_stream()
                    stream_at = loop.time() + STREAM_EVERY_S
            await asyncio.sleep(WATCH_EVERY_S)

    async def _measure_age(self) -> None:
        age_s = await self._database.quick.fetchval(OLDEST)
        self._oldest_s = float(age_s or 0.0)
        AGE.set(self._oldest_s)
        if age_s is not None:
            self.wake()
        if not self._bus.connected:
            # Nobody else counts them: the relay pauses without a connection.
            LAG.set(int(await self._database.quick.fetchval(WAITING, BATCH_ROWS)))

    async def _measure_stream(self) -> None:
        size, limit = await self._bus.stream_bytes(self._noun)
        STREAM_BYTES.labels(self._noun).set(size)
        STREAM_LIMIT_BYTES.labels(self._noun).set(limit)

    async def receive_wake_ups(self) -> None:
        """Be woken by the other replicas, until cancelled."""
        async for _ in self._bus.listen(f"{WAKE_SUBJECT}.{self._noun}"):
            if self._relays:
                self.wake()

    async def run(self) -> None:
        """Relay until cancelled; errors end the loop, which the supervisor restarts with backoff."""
        if self._database.pooler == "transaction":
            self._bus.reconnected.set()
            self._relays = True
            while True:
                if not await self._relay_in_transaction():
                    await self._woken(LOOK_EVERY_S)
        else:
            await self._relay_as_leader()

    async def _woken(self, within_s: float) -> bool:
        """Wait to be woken, and for the end of the rest; whether it was woken in time."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._wake.wait()
            await asyncio.sleep(max(GATHER_S, self._rests_until - asyncio.get_running_loop().time()))
        woken = self._wake.is_set()
        self._wake.clear()
        return woken

    async def _relay_as_leader(self) -> None:
        """Relay as soon as no other replica does; the advisory lock belongs to the session."""
        async with self._database.session() as raw:
            guard, lender = Connection(raw), self._database.lender(raw)
            while not await guard.fetchval("SELECT pg_try_advisory_lock($1)", LOCK_KEY):
                async with lender.pausing():
                    await self._stand_by()
            try:
                self._relays = True
                self._bus.reconnected.set()
                while True:
                    await self._relay_once(guard)
                    if not self._more:
                        async with lender.pausing():
                            await self._woken(MARK_WITHIN_S if self._acknowledged else LOOK_EVERY_S)
            finally:
                self._relays = False
                if self._acknowledged:
                    with contextlib.suppress(Exception):
                        await self._mark_and_look(guard)
                # The connection goes back to the pool as it is: with the lock, nobody could relay any more.
                with contextlib.suppress(Exception):
                    await guard.execute("SELECT pg_advisory_unlock($1)", LOCK_KEY)

    async def _stand_by(self) -> None:
        """For LEADER_RETRY_S seconds, tell the replica that relays when this one has stored events."""
        loop = asyncio.get_running_loop()
        until = loop.time() + LEADER_RETRY_S
        while (left_s := until - loop.time()) > 0:
            if await self._woken(left_s):
                await self._bus.broadcast(f"{WAKE_SUBJECT}.{self._noun}", b"")

    async def _relay_in_transaction(self) -> int:
        """Relay once, in a transaction that holds the lock; 0 while another replica holds it.

        Behind a pooler in transaction mode no session can hold the lock between two transactions.
        """
        if not self._bus.connected:
            return 0
        async with self._database.transaction() as connection:
            if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", LOCK_KEY):
                # The replica that holds it may have looked before the events were stored that woke this one.
                asyncio.get_running_loop().call_later(LEADER_RETRY_S, self.wake)
                return 0
            relayed = await self._relay_once(connection)
            if self._acknowledged:
                await self._mark_and_look(connection)
            return relayed

    async def _relay_once(self, connection: Connection) -> int:
        """Prune and resend lost events if due, then relay one batch; returns the number of its events.

        0 while there is no connection to the broker.
        """
        self._more = False
        if not self._bus.connected:
            if self._acknowledged:
                await self._mark_and_look(connection)
            return 0
        loop = asyncio.get_running_loop()
        if loop.time() >= self._prune_at:
            full = await self._prune(connection) >= PRUNE_ROWS
            self._prune_at = loop.time() + (PRUNE_AGAIN_S if full else PRUNE_EVERY_S)
        if self._bus.reconnected.is_set():
            # Cleared first: it is set again if the connection is lost meanwhile.
            self._bus.reconnected.clear()
            await self._resend_lost(connection)
        return await self.relay_batch(connection)

    async def _resend_lost(self, connection: Connection) -> None:
        # What a broker that has restarted acknowledged before is published again if it is not recorded yet.
        self._acknowledged.clear()
        await self._bus.ensure_stream(self._noun)
        status = await connection.execute(LOST, await self._bus.last_sequence(self._noun))
        if status != "UPDATE 0":
            RESENT.inc(int(status.split()[-1]))
            log.warning(
                "the broker lost events, sending them again",
                extra={"event": "events_lost_by_broker", "events": int(status.split()[-1])},
            )

    async def relay_batch(self, connection: Connection) -> int:
        """Publish the oldest rows and return how many the broker acknowledged; the next call records that.

        A batch has at most one event per subject: if the first fails, the second must wait for it.
        """
        rows = await self._mark_and_look(connection)
        LAG.set(len(rows))
        if self._bus.reconnected.is_set():
            # New events would take the sequence numbers of those that the broker may have lost.
            self._more = True
            return 0
        if not rows:
            return 0
        sent = await self._send(_first_of_each_subject(rows))
        if not sent:
            raise Unavailable("broker", "the broker acknowledged none of a batch of events")
        self._acknowledged = sent
        self._rests_until = asyncio.get_running_loop().time() + REST_S
        self._more = len(rows) == BATCH_ROWS or len(sent) < len(rows)
        PUBLISHED.inc(len(sent))
        return len(sent)

    async def _mark_and_look(self, connection: Connection) -> list[Record]:
        """Record what was acknowledged; the oldest rows that are not published."""
        acknowledged, self._acknowledged = self._acknowledged, []
        ids, sequences = [row_id for row_id, _ in acknowledged], [sequence for _, sequence in acknowledged]
        return await connection.fetch(MARK_AND_LOOK, ids, sequences, BATCH_ROWS)

    async def _send(self, rows: Sequence[Record]) -> list[tuple[int, int]]:
        sent = [await self._publish(row) for row in rows]
        await asyncio.wait([one.ack for one in sent], timeout=ACK_TIMEOUT_S)
        for one in sent:
            one.end_span()
        return [(one.row_id, one.ack.result().seq) for one in sent if one.is_acknowledged()]

    async def _publish(self, row: Record) -> _Sent:
        message_id = str(row["event_id"])
        span = event_spans.sending(row["type"], row["payload"], message_id)
        headers = {} if span is None else {event_spans.TRACEPARENT: span.trace.traceparent()}
        ack = await self._bus.publish(row["type"], row["payload"].encode(), message_id, headers)
        return _Sent(row["id"], ack, span)

    async def _prune(self, connection: Connection) -> int:
        """Delete old rows; how many there were of the table that had more."""
        inbox_s = self._retention_s + MAX_AGE_S + INBOX_MARGIN_S
        return int(await connection.fetchval(PRUNE, self._retention_s, inbox_s, PRUNE_ROWS))


def _first_of_each_subject(rows: Sequence[Record]) -> list[Record]:
    first: dict[str, Record] = {}
    for candidate in rows:
        first.setdefault(candidate["subject_id"], candidate)
    return list(first.values())
