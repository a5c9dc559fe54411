"""Consumers whose events take effect once: the inbox row and the effect are one transaction, or one statement.

The broker delivers at least once, in any order after a failure, and again after a loss. A handler sees each event id
once, and must work with any order of two events.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from uuid import UUID

import orjson
from nats.aio.msg import Msg
from prometheus_client import Counter, Gauge, Histogram

from shop.kit import event_spans, telemetry
from shop.kit.backoff import backoff_s
from shop.kit.bus import BROKER_ERRORS, Bus
from shop.kit.clock import Clock
from shop.kit.db import Connection, Database
from shop.kit.deleted_users import ERASED, DeletedUsers, uuids_in
from shop.kit.errors import Unavailable
from shop.kit.events import EventData, Received, open_envelope
from shop.kit.exposition import start_at_zero
from shop.kit.ids import new_id
from shop.kit.pull import MAX_EVENTS, Pull
from shop.kit.tasks import Tasks

log = logging.getLogger(__name__)

CONSUMED = Counter("shop_inbox_events_total", "Events by what became of them", ["consumer", "result"])
PENDING = Gauge(
    "shop_inbox_pending_events",
    "Events of the stream that the consumer has not finished, as of its last look",
    ["consumer", "publisher"],
)
DELAY = Histogram(
    "shop_inbox_delay_seconds",
    "Time from an event to its effect",
    ["consumer"],
    buckets=(0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 15.0, 60.0, 300.0, 3600.0),
)
DEAD_LETTERS = Gauge(
    "shop_inbox_dead_letters", "Events that were given up and wait for a person, as of the last count", ["consumer"]
)
RESULTS = ("taken", "duplicate", "failed", "dead")
COUNT_EVERY_S = 15.0

LOOK_EVERY_S = 15.0
LOOK_BEHIND_EVERY_S = 2.0
"""While events wait: that they have been processed is measured soon."""
BUSY_EVENTS = MAX_EVENTS // 2
"""A batch of as many is followed by the next at once. Few are full, since a request brings the rest of its number."""
UNAVAILABLE_PAUSE_S = 1.0
MAX_FAILURES = 5
RETRY_FIRST_S = 0.5
RETRY_MAX_S = 30.0
MAX_ERROR_CHARACTERS = 2_000

CLAIM = """
INSERT INTO inbox (consumer, event_id) SELECT $1, unnest($2::uuid[]) ON CONFLICT DO NOTHING RETURNING event_id"""
# The subquery hides the number of ids from the planner. A plan for just these ids would always seem cheaper than one
# for any, so that the statement is planned each time, which takes as long as executing it.
CLAIMED = """
claimed AS (
    INSERT INTO inbox (consumer, event_id) SELECT $1, unnest((SELECT $2::uuid[]))
    ON CONFLICT DO NOTHING RETURNING event_id
)"""
"""For a statement that begins with it and has the whole effect of events: $1 is the consumer's name, $2 are their ids.
`claimed` has those that are new."""
COUNT_FAILURE = """
INSERT INTO dead_letter (consumer, event_id, type, payload, error, failures)
SELECT $1, $2, $3, CASE WHEN erased THEN '' ELSE $4 END, CASE WHEN erased THEN $7 ELSE $5 END, 1
FROM (SELECT EXISTS (SELECT FROM unnest($6::uuid[]) AS mentioned (id) WHERE {deleted}) AS erased) AS event
ON CONFLICT (consumer, event_id) DO UPDATE SET failures = dead_letter.failures + 1, payload = excluded.payload,
    error = excluded.error
RETURNING failures"""
MARK_DEAD = "UPDATE dead_letter SET dead_at = now() WHERE consumer = $1 AND event_id = $2"
COUNT_DEAD = "SELECT consumer, count(*) AS events FROM dead_letter WHERE dead_at IS NOT NULL GROUP BY consumer"
FORGET_FAILURES = "DELETE FROM dead_letter WHERE consumer = $1 AND event_id = ANY($2::uuid[]) AND dead_at IS NULL"


SOON_S = 0.25
"""The `Consumer.rest_s` of effects that people see later, but that no request waits for."""
LATER_S = 1.0
"""Likewise where nobody looks for the effect, such as the points of an order."""

Handle = Callable[[Connection, Sequence[Received]], Awaitable[None]]
AfterCommit = Callable[[Sequence[Received]], Awaitable[None]]
AtOnce = Callable[[Database, Sequence[Received]], Awaitable[Collection[UUID] | None]]


async def _nothing(_: Connection, __: Sequence[Received]) -> None:
    """What a consumer does besides its ``at_once``."""


@dataclass(frozen=True)
class Consumer:
    """``handle`` is called with batches of events of ``types``, inside the transaction that marks them as processed."""

    name: str
    types: Sequence[type[EventData]]
    handle: Handle = _nothing
    deleted_users: DeletedUsers | None = None
    """Set by `of_deletions`."""
    after_commit: AfterCommit | None = None
    """Called between the commit and the acknowledgement with every event of the batch, those that took effect before
    included: what it does outside of the database, such as writing to a cache, is repaired by a redelivery when the
    process ends in between. It must do the same when it is called again."""
    at_once: AtOnce | None = None
    """Processes events by one statement (`CLAIMED`) instead of `handle`, in a transaction of its own, and returns the
    ids of those that were new; None when it has done nothing because these events need `handle`."""
    rest_s: float = 0.0
    """Between two batches, where nobody waits for the effect. What has come meanwhile is one batch, so that each event
    costs less the more there are. The first one after a pause does not wait, nor is there a rest after BUSY_EVENTS."""

    @classmethod
    def of_deletions(
        cls,
        event: type[EventData],
        deleted_users: DeletedUsers,
        delete: Handle | None = None,
        *,
        lock: Handle | None = None,
        clock: Clock | None = None,
        name: str = "deleted-users",
        after_commit: AfterCommit | None = None,
    ) -> Consumer:
        """The consumer of the ``event`` that a user (its ``user_id``) was deleted.

        ``delete`` removes what the service stores of them, knowing that no transaction stores more. ``lock`` is called
        first, for what such transactions lock before they look for deleted users. Events about the users that could
        not be consumed lose their contents, whichever comes first.
        """
        now = (clock or Clock()).now

        async def handle(connection: Connection, received: Sequence[Received]) -> None:
            user_ids = sorted({one.event.user_id for one in received})
            if lock is not None:
                await lock(connection, received)
            await deleted_users.add(connection, user_ids, now())
            if delete is not None:
                await delete(connection, received)
            await deleted_users.erase_dead_letters(connection, user_ids)

        return cls(name, [event], handle, deleted_users, after_commit)


class Inbox:
    """Runs the consumers of one service."""

    def __init__(self, service: str, database: Database, bus: Bus) -> None:
        self._service = service
        self._database = database
        self._bus = bus
        self._failures_seen: set[str] = set()
        self._count_failure = COUNT_FAILURE.format(deleted="false")

    def start(self, consumers: Sequence[Consumer], tasks: Tasks) -> None:
        """One supervised loop per consumer and publishing noun, one that forgets deleted users, and one that counts
        dead letters."""
        tasks.start("dead-letters", partial(self._count_dead, [consumer.name for consumer in consumers]))
        for consumer in consumers:
            _expect(consumer.name)
            if (deleted_users := consumer.deleted_users) is not None:
                self._count_failure = COUNT_FAILURE.format(deleted=deleted_users.holds("mentioned.id"))
                tasks.start("deleted-users", partial(deleted_users.run, self._database, Clock()))
            by_noun = itertools.groupby(sorted(consumer.types, key=_noun), key=_noun)
            for noun, types in by_noun:
                known = {kind.TYPE: kind for kind in types}
                loop = _Loop(self, self._bus, consumer, noun, f"{self._service}-{consumer.name}", known)
                tasks.start(f"consumer:{consumer.name}:{noun}", loop.run)

    async def process(self, consumer: Consumer, events: Sequence[Received]) -> int:
        """Process those of ``events`` that are new, in one transaction; return their number.

        A call that brings an event before the broker does is processed here too, under the same consumer and event id:
        whichever comes second changes nothing.
        """
        distinct = list({event.event_id: event for event in events}.values())
        new_ids = None if consumer.at_once is None else await consumer.at_once(self._database, distinct)
        if new_ids is None:
            new_ids = await self._handle(consumer, events)
        elif consumer.name in self._failures_seen:
            await self._database.execute(FORGET_FAILURES, consumer.name, [event.event_id for event in events])
        new_events = _new(events, new_ids)
        _measure_delays(consumer.name, new_events)
        CONSUMED.labels(consumer.name, "taken").inc(len(new_events))
        CONSUMED.labels(consumer.name, "duplicate").inc(len(events) - len(new_events))
        if consumer.after_commit is not None:
            await consumer.after_commit(events)
        return len(new_events)

    async def _handle(self, consumer: Consumer, events: Sequence[Received]) -> Collection[UUID]:
        """Have the consumer handle the new ones of ``events`` in a transaction; the ids of these."""
        async with self._database.transaction() as connection:
            new_ids = await mark_processed(connection, consumer.name, events)
            if new_ids:
                await consumer.handle(connection, _new(events, new_ids))
            if consumer.name in self._failures_seen:
                await connection.execute(FORGET_FAILURES, consumer.name, [event.event_id for event in events])
        return new_ids

    async def _count_dead(self, consumers: Sequence[str]) -> None:
        while True:
            with contextlib.suppress(Unavailable):
                found = {row["consumer"]: row["events"] for row in await self._database.quick.fetch(COUNT_DEAD)}
                for consumer in consumers:
                    DEAD_LETTERS.labels(consumer).set(found.get(consumer, 0))
            await asyncio.sleep(COUNT_EVERY_S)

    async def count_failure(self, consumer: Consumer, event: Received, payload: bytes, error: Exception) -> int:
        """Record a failed attempt and return the number of attempts; the last one marks the event as dead.

        Of an event about a deleted user nothing is kept but its type and id.
        """
        self._failures_seen.add(consumer.name)
        text = payload.decode(errors="replace").replace("\x00", "")
        reason = f"{type(error).__name__}: {error}".replace("\x00", "")[:MAX_ERROR_CHARACTERS]
        async with self._database.transaction() as connection:
            failures: int = await connection.fetchval(
                self._count_failure,
                consumer.name,
                event.event_id,
                event.type,
                text,
                reason,
                uuids_in(text),
                f"{type(error).__name__}: {ERASED}",
            )
            if failures >= MAX_FAILURES:
                await connection.execute(MARK_DEAD, consumer.name, event.event_id)
        CONSUMED.labels(consumer.name, "dead" if failures >= MAX_FAILURES else "failed").inc()
        return failures


async def mark_processed(connection: Connection, consumer: str, events: Sequence[Received]) -> set[UUID]:
    """Those that were not marked before; for a `Consumer.at_once` this is all that events take which change nothing."""
    rows = await connection.fetch(CLAIM, consumer, [event.event_id for event in events])
    return {row["event_id"] for row in rows}


class _Loop:
    """Takes the events of one publishing ``noun``; ``durable`` is the name of the broker's consumer."""

    def __init__(
        self,
        inbox: Inbox,
        bus: Bus,
        consumer: Consumer,
        noun: str,
        durable: str,
        types: dict[str, type[EventData]],
    ) -> None:
        self._inbox = inbox
        self._bus = bus
        self._consumer = consumer
        self._noun = noun
        self._durable = durable
        self._types = types
        self._is_behind = False

    async def run(self) -> None:
        while True:
            try:
                await self._consume()
            except Unavailable:
                await self._pause()
            except BROKER_ERRORS as error:
                log.warning(
                    "consumer %s waits for the broker: %r",
                    self._consumer.name,
                    error,
                    extra={"event": "consumer_waits"},
                )
                await asyncio.sleep(UNAVAILABLE_PAUSE_S)

    async def _pause(self) -> None:
        """Until the broker is back, or for UNAVAILABLE_PAUSE_S if it is not what is missing."""
        if self._bus.connected:
            await asyncio.sleep(UNAVAILABLE_PAUSE_S)
        else:
            await self._bus.wait_connected(UNAVAILABLE_PAUSE_S)

    async def _consume(self) -> None:
        await self._bus.ensure_consumer(self._noun, self._durable, sorted(self._types))
        loop = asyncio.get_running_loop()
        async with Pull(self._bus, self._noun, self._durable) as pull:
            while await self._look():
                look_at = loop.time() + (LOOK_BEHIND_EVERY_S if self._is_behind else LOOK_EVERY_S)
                while (left_s := look_at - loop.time()) > 0:
                    if messages := await pull.take(left_s):
                        await self._take(messages)
                        if len(messages) < BUSY_EVENTS and not pull.used_up:
                            await asyncio.sleep(self._consumer.rest_s)

    async def _look(self) -> bool:
        """Measure how far behind the consumer is; false when the broker does not know it any more."""
        unfinished = await self._bus.unfinished(self._noun, self._durable)
        self._is_behind = bool(unfinished)
        if unfinished is not None:
            PENDING.labels(self._consumer.name, self._noun).set(unfinished)
        return unfinished is not None

    async def _take(self, messages: Sequence[Msg]) -> None:
        opened = [(message, event) for message in messages if (event := await self._open(message)) is not None]
        if not opened:
            return
        events = [event for _, event in opened]
        try:
            with event_spans.processing(self._durable, events):
                await self._inbox.process(self._consumer, events)
        except (Unavailable, asyncio.CancelledError) as error:
            # What was interrupted may go to another replica now instead of after the broker's time for it.
            delay_s = None if isinstance(error, asyncio.CancelledError) else UNAVAILABLE_PAUSE_S
            naks = (message.nak(delay=delay_s) for message, _ in opened)
            await asyncio.gather(*naks, return_exceptions=True)
            raise
        except Exception:
            log.exception(
                "a batch of events failed, trying them one by one",
                extra={"event": "event_batch_failed", "consumer": self._consumer.name},
            )
            for message, event in opened:
                await self._process_alone(message, event)
            return
        for message, _ in opened:
            await message.ack()

    async def _process_alone(self, message: Msg, event: Received) -> None:
        try:
            with event_spans.processing(self._durable, [event]):
                await self._inbox.process(self._consumer, [event])
        except Unavailable:
            await message.nak(delay=UNAVAILABLE_PAUSE_S)
            raise
        except Exception as error:
            failures = await self._inbox.count_failure(self._consumer, event, message.data, error)
            if failures >= MAX_FAILURES:
                log.exception("event is dead", extra={"event": "event_dead", "event_id": str(event.event_id)})
                await message.term()
            else:
                await message.nak(delay=backoff_s(failures - 1, RETRY_FIRST_S, RETRY_MAX_S))
        else:
            await message.ack()

    async def _open(self, message: Msg) -> Received | None:
        """The event of ``message``; one that cannot be read is dead at once: trying again would not help."""
        try:
            return _sent_in_trace(message, open_envelope(message.data, self._types))
        except ValueError as error:
            log.warning("unreadable event: %s", error, extra={"event": "event_unreadable", "subject": message.subject})
            kept = Received(_id_of(message), message.subject, message.metadata.timestamp, "", "", None)
            for _ in range(MAX_FAILURES):
                if await self._inbox.count_failure(self._consumer, kept, message.data, error) >= MAX_FAILURES:
                    break
            await message.term()
            return None


def _expect(consumer: str) -> None:
    start_at_zero(CONSUMED, [consumer], RESULTS)
    DELAY.labels(consumer)


def _new(events: Sequence[Received], new_ids: Collection[UUID]) -> list[Received]:
    """Those of ``events`` with one of the ids, each once."""
    return list({event.event_id: event for event in events if event.event_id in new_ids}.values())


def _measure_delays(consumer: str, events: Sequence[Received]) -> None:
    now, delay = datetime.now(UTC), DELAY.labels(consumer)
    for event in events:
        trace = telemetry.parse(event.traceparent)
        exemplar = {"trace_id": event.trace_id} if trace and trace.sampled else None
        delay.observe(max(0.0, (now - event.time).total_seconds()), exemplar)


def _sent_in_trace(message: Msg, event: Received) -> Received:
    """With the relay's span, if it recorded one, as the parent of what consumers record."""
    sent = (message.headers or {}).get(event_spans.TRACEPARENT)
    return replace(event, traceparent=sent) if sent and telemetry.trace_id_of(sent) == event.trace_id else event


def _noun(kind: type[EventData]) -> str:
    return kind.TYPE.split(".", 1)[0]


def _id_of(message: Msg) -> UUID:
    try:
        return UUID(orjson.loads(message.data)["id"])
    except (ValueError, KeyError, TypeError):
        return new_id()
