"""Oracles about events: each reaches the stream, takes effect once, in order, under one trace id."""

from shop.operator.audit import broker
from shop.operator.audit.model import Audit, Finding, Row
from shop.operator.audit.stock import sold_orders_hold_stock
from shop.operator.services import AUDITED_EVENTS

OUTBOX = (
    "SELECT event_id::text AS id, type, published_at, stream_sequence FROM outbox WHERE created_at < $1 ORDER BY id"
)


async def outbox_reaches_stream(audit: Audit) -> Finding:
    """Every row of every outbox is in its stream, as long as the stream keeps messages."""
    finding = Finding()
    for noun in audit.connections:
        rows = await audit.fetch(noun, OUTBOX, audit.cutoff)
        finding.checked += len(rows)
        finding.add([row for row in rows if row["published_at"] is None], f"{noun}: {{type}} was never published")
        published = [row for row in rows if row["published_at"] is not None]
        if published:
            await _in_stream(audit, noun, published, finding)
    return finding


async def _in_stream(audit: Audit, noun: str, rows: list[Row], finding: Finding) -> None:
    try:
        stream = await broker.message_ids(audit.nats_url, noun)
    except broker.BrokerError as error:
        finding.violations[f"stream {noun}"] = str(error)
        return
    for row in rows:
        sequence = row["stream_sequence"]
        if sequence >= stream.first and stream.by_sequence.get(sequence) != row["id"] and row["id"] not in stream.ids:
            finding.violations[row["id"]] = f"{noun}: {row['type']} is marked as published and not in the stream"


async def events_take_effect_once(audit: Audit) -> Finding:
    """No event is dead, none notified a customer twice, and every required consumer has consumed each confirmation."""
    finding = Finding()
    for noun in audit.connections:
        finding.checked += await audit.count(noun, "inbox")
        dead = "SELECT event_id AS id, consumer, type FROM dead_letter WHERE dead_at IS NOT NULL"
        finding.add(await audit.fetch(noun, dead), f"{noun}: {{type}} never took effect in {{consumer}}")
    twice = "SELECT event_id AS id, count(*) AS times FROM notifications GROUP BY event_id, channel HAVING count(*) > 1"
    finding.add(await audit.fetch("notification", twice), "notified {times} times on one channel")
    for kind, readers in AUDITED_EVENTS.items():
        if (publisher := kind.partition(".")[0]) not in audit.connections:
            continue
        published = "SELECT event_id FROM outbox WHERE type = $1 AND published_at < $2"
        events = [row["event_id"] for row in await audit.fetch(publisher, published, kind, audit.cutoff)]
        for noun in filter(audit.connections.__contains__, readers):
            missing = (
                "SELECT asked.id FROM unnest($1::uuid[]) AS asked (id)"
                " WHERE NOT EXISTS (SELECT FROM inbox WHERE inbox.event_id = asked.id)"
            )
            finding.add(await audit.fetch(noun, missing, events), f"{kind} was not consumed by {noun}")
    sold = await sold_orders_hold_stock(audit)
    return Finding(finding.checked + sold.checked, {**finding.violations, **sold.violations})


async def event_order_kept(audit: Audit) -> Finding:
    """The events of one subject stand in the stream in the order in which they happened."""
    finding = Finding()
    for noun in audit.connections:
        finding.checked += await audit.count(noun, "outbox")
        finding.add(await audit.fetch(noun, OVERTAKEN), f"{noun}: {{type}} overtook the event before it")
    return finding


OVERTAKEN = """
SELECT DISTINCT ON (subject_id) subject_id AS id, type FROM (
    SELECT subject_id, type, stream_sequence, lag(stream_sequence) OVER (PARTITION BY subject_id ORDER BY id) AS before
    FROM outbox WHERE stream_sequence IS NOT NULL
) AS events
WHERE stream_sequence < before"""


async def one_trace_per_order(audit: Audit) -> Finding:
    """The trace id of the request that placed an order is on its change of state, event, payment and mail."""
    sampled = await audit.fetch("order", SAMPLED, audit.cutoff, audit.options.sample)
    orders = [row["id"] for row in sampled]
    found: dict[str, dict[str, set[str]]] = {str(row["id"]): {"order": {row["trace"]}} for row in sampled}
    _collect(found, "event", await audit.fetch("order", EVENT_TRACES, [str(order) for order in orders]))
    _collect(found, "payment", await audit.fetch("payment", PAYMENT_TRACES, orders))
    _collect(found, "mail", await audit.fetch("notification", MAIL_TRACES, orders))
    finding = Finding(len(found))
    for order, traces in found.items():
        everything = set().union(*traces.values())
        if len(everything) > 1 or "" in everything:
            shown = ", ".join(f"{where}: {'/'.join(sorted(ids)) or 'none'}" for where, ids in traces.items())
            finding.violations[order] = f"has several trace ids ({shown})"
    return finding


def _collect(found: dict[str, dict[str, set[str]]], where: str, rows: list[Row]) -> None:
    for row in rows:
        found[str(row["id"])].setdefault(where, set()).add(row["trace"])


SAMPLED = """
SELECT o.id, t.trace_id AS trace FROM orders o JOIN order_transitions t ON t.order_id = o.id AND t.version = 2
WHERE o.updated_at < $1 ORDER BY o.id DESC LIMIT $2"""
EVENT_TRACES = """
SELECT subject_id AS id, split_part(payload::jsonb ->> 'traceparent', '-', 2) AS trace FROM outbox
WHERE subject_id = ANY ($1) AND type IN ('order.confirmed.v1', 'order.rejected.v1')"""
PAYMENT_TRACES = """
SELECT order_id AS id, split_part(traceparent, '-', 2) AS trace FROM payments
WHERE order_id = ANY ($1) AND state IN ('captured', 'declined')"""
MAIL_TRACES = """
SELECT order_id AS id, trace_id AS trace FROM notifications
WHERE order_id = ANY ($1) AND template = 'order-confirmed'"""
