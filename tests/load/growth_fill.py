"""Years of orders, and catalogues of any size, written into the databases of a running shop as copies of real rows.

A few orders are placed first; every table that has a row of them gets copies with new ids, customers and times. So the
rows are as the services write them, whatever columns a later version adds, and the audit stays clean. Left out are the
texts of messages, and what has been removed by the rules of docs/retention.md: events and inbox rows, and of all orders
but the newest million their histories and messages.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import asyncpg

from tests.load.local_shop import LocalShop

CHUNK_ROWS = 100_000
CUSTOMERS = 100_000
MAX_ORDERS, WITH_HISTORY = 10_000_000, 1_000_000
"""Copies beyond the first million are older than any history or message is kept."""
FIRST_DAY, LAST_DAY = timedelta(days=80), timedelta(days=10)
"""How long ago the oldest and the newest copy with a history were placed."""
WITHOUT_HISTORY = timedelta(days=181)
"""How long ago the newest copy without a history was placed; the others one after the other before it."""
STATEMENT_TIMEOUT_S = 600.0
NOW = datetime.now(UTC)
STEP = f"interval '{(FIRST_DAY - LAST_DAY) // timedelta(microseconds=1) // WITH_HISTORY} microseconds'"
AT = f"""(CASE WHEN n <= {WITH_HISTORY}
THEN '{NOW - FIRST_DAY:%Y-%m-%d %H:%M:%S}+00'::timestamptz + n * {STEP}
ELSE '{NOW - WITHOUT_HISTORY:%Y-%m-%d %H:%M:%S}+00'::timestamptz - (n - {WITH_HISTORY}) * {STEP} END)"""
TRACE = "md5('trace' || n)"
STATE = "CASE n % 10 WHEN 0 THEN 'confirmed' ELSE 'delivered' END"
"""Every tenth order was never shipped, so it can be cancelled and its history is kept."""
HISTORY_KEPT, MESSAGES_KEPT = f"n <= {WITH_HISTORY} OR n % 10 = 0", f"n <= {WITH_HISTORY}"


def _id(variant: str) -> str:
    """SQL: an id of version 7 of the time AT; the same n and variant give the same one."""
    time = f"lpad(to_hex(floor(extract(epoch FROM {AT}) * 1000)::bigint), 12, '0')"
    return f"({time} || '7' || lpad(to_hex(n % 4096), 3, '0') || '{variant}' || lpad(to_hex(n), 15, '0'))::uuid"


ORDER_ID, PAYMENT_ID, MESSAGE_ID, REFERENCE = (_id(variant) for variant in "89ab")
CUSTOMER = f"md5('customer' || n % {CUSTOMERS})::uuid"
TRACEPARENT = f"'00-' || {TRACE} || '-' || left({TRACE}, 16) || '-00'"
LATER = f"{AT} + interval '1 second'"


class Copies(NamedTuple):
    """How rows of a table are copied: ``of`` is the column, or a lookup, that has the id of the template's order.

    ``kept``: for which copies the rules have left the row.
    """

    noun: str
    table: str
    of: str
    changed: Mapping[str, str]
    kept: str = "true"


TABLES = (
    Copies("order", "orders", "t.id", {
        "id": ORDER_ID, "user_id": CUSTOMER, "idempotency_key": "'copy-' || n", "state": STATE,
        "version": "CASE n % 10 WHEN 0 THEN 2 ELSE 4 END", "created_at": AT, "updated_at": LATER}),
    Copies("order", "sagas", "t.order_id", {
        "order_id": ORDER_ID, "traceparent": TRACEPARENT, "created_at": AT}, HISTORY_KEPT),
    Copies("product", "reservations", "t.order_id", {"order_id": ORDER_ID, "created_at": AT, "updated_at": LATER}),
    Copies("product", "reservation_lines", "t.order_id", {"order_id": ORDER_ID}),
    Copies("payment", "payments", "t.order_id", {
        "id": PAYMENT_ID, "order_id": ORDER_ID, "user_id": CUSTOMER, "provider_reference": f"({REFERENCE})::text",
        "traceparent": TRACEPARENT, "created_at": AT, "updated_at": LATER}),
    Copies("payment", "entries", "(SELECT order_id FROM payments p WHERE p.id = t.payment_id)", {
        "transaction_id": PAYMENT_ID, "payment_id": PAYMENT_ID, "at": LATER}),
    Copies("payment", "simulator.charges", "t.order_id", {
        "key": "'copy-' || n", "reference": REFERENCE, "order_id": ORDER_ID, "created_at": AT}),
    Copies("notification", "notifications", "t.order_id", {
        "id": MESSAGE_ID, "event_id": "md5('event' || n)::uuid", "user_id": CUSTOMER, "order_id": ORDER_ID,
        "trace_id": TRACE, "body_text": "NULL", "body_html": "NULL", "created_at": AT, "sent_at": LATER},
        MESSAGES_KEPT),
)  # fmt: skip
TRANSITIONS = f"""
INSERT INTO order_transitions (order_id, version, from_state, to_state, at, trace_id)
SELECT {ORDER_ID}, version, from_state, to_state, {LATER}, {TRACE} FROM generate_series($1::bigint, $2::bigint) AS n
JOIN (VALUES (2, 'pending', 'confirmed'), (3, 'confirmed', 'fulfilled'), (4, 'fulfilled', 'delivered'))
    AS changes (version, from_state, to_state) ON version = 2 OR n % 10 <> 0
WHERE {HISTORY_KEPT}"""
REMOVED = f"""
INSERT INTO removed_history (ended_until)
SELECT {LATER} FROM (VALUES ({WITH_HISTORY + 1})) AS newest (n) ON CONFLICT DO NOTHING"""
"""As the rule notes what it removed: the audit expects no history of orders that ended before."""
# What the copies sold was received before.
RECEIVE = """
INSERT INTO stock_movements (product_id, delta, reason, at)
SELECT p.id, p.stock + coalesce(taken, 0) - coalesce(received, 0), 'copies', now() FROM products p
LEFT JOIN (SELECT product_id, sum(delta) AS received FROM stock_movements GROUP BY 1) r ON r.product_id = p.id
LEFT JOIN (SELECT product_id, sum(quantity) AS taken FROM reservation_lines JOIN reservations USING (order_id)
    WHERE state <> 'released' GROUP BY 1) t ON t.product_id = p.id
WHERE p.stock + coalesce(taken, 0) <> coalesce(received, 0)"""
COLUMNS = """
SELECT attname FROM pg_attribute
WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = '' AND attidentity = ''
ORDER BY attnum"""
BYTES_PER_ORDER, BYTES_WITHOUT_HISTORY = 8_000, 4_000
"""Rows, indexes and log of a copy, more than measured."""
WORDS = 5_000
NAME = " || ' ' || ".join(
    f"substr(md5('word' || (n * {prime}::bigint) % {WORDS}), 1, 7)" for prime in (7919, 104729, 3)
)
"""Three words of WORDS, so that a word is in three of 5,000 titles."""


def bytes_of_orders(count: int) -> int:
    """Free space that ``count`` copies need at most."""
    older = max(0, count - WITH_HISTORY)
    return (count - older) * BYTES_PER_ORDER + older * BYTES_WITHOUT_HISTORY


async def add_orders(shop: LocalShop, templates: Sequence[str], first: int, last: int) -> None:
    """Copies ``first`` to ``last`` of the orders ``templates``, which are confirmed; two databases at a time."""
    nouns = sorted({copies.noun for copies in TABLES})
    gate = asyncio.Semaphore(2)

    async def fill(noun: str) -> None:
        async with gate:
            await _fill(shop.database_url(noun), noun, templates, first, last)

    await asyncio.gather(*(fill(noun) for noun in nouns))


async def _fill(url: str, noun: str, templates: Sequence[str], first: int, last: int) -> None:
    connection = await _connect(url)
    try:
        statements = [await _copy(connection, copies, templates) for copies in TABLES if copies.noun == noun]
        for begin in range(first, last + 1, CHUNK_ROWS):
            end = min(last, begin + CHUNK_ROWS - 1)
            for statement in statements:
                await connection.execute(statement, begin, end)
            if noun == "order":
                await connection.execute(TRANSITIONS, begin, end)
        if noun == "product":
            await connection.execute(RECEIVE)
        if noun == "order" and last > WITH_HISTORY:
            await connection.execute(REMOVED)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _copy(connection: asyncpg.Connection, copies: Copies, templates: Sequence[str]) -> str:
    """$1, $2: numbers of the first and the last copy. The rows to copy are read once: the table has no index for it."""
    rows = f"template_of_{copies.table.replace('.', '_')}"
    await connection.execute(
        f"""
CREATE TEMP TABLE {rows} AS SELECT t.*, place - 1 AS place FROM {copies.table} t
JOIN unnest($1::text[]::uuid[]) WITH ORDINALITY AS wanted (order_id, place) ON wanted.order_id = {copies.of}""",
        templates,
    )
    columns = [row["attname"] for row in await connection.fetch(COLUMNS, copies.table)]
    values = [copies.changed.get(column, f"t.{column}") for column in columns]
    return f"""
INSERT INTO {copies.table} ({", ".join(columns)})
SELECT {", ".join(values)} FROM {rows} AS t
JOIN generate_series($1::bigint, $2::bigint) AS n ON n % {len(templates)} = t.place WHERE {copies.kept}"""


async def add_products(shop: LocalShop, first: int, last: int) -> None:
    """Products ``first`` to ``last``: copies of any one, with titles of their own and a thousand pieces each."""
    connection = await _connect(shop.database_url("product"))
    try:
        columns = [row["attname"] for row in await connection.fetch(COLUMNS, "products")]
        title = f"initcap({NAME}) || ' ' || n"
        changed = {
            "id": _id("c"), "sku": "'copy-' || n", "name": title, "sort_name": f"lower({title})", "stock": "1000",
            "search": f"to_tsvector('simple', {title})", "price": "500 + n % 5000", "created_at": AT, "updated_at": AT,
        }  # fmt: skip
        values = ", ".join(changed.get(column, f"t.{column}") for column in columns)
        insert = f"""
INSERT INTO products ({", ".join(columns)}) SELECT {values}
FROM (SELECT * FROM products ORDER BY id LIMIT 1) AS t, generate_series($1::bigint, $2::bigint) AS n"""
        for begin in range(first, last + 1, CHUNK_ROWS):
            await connection.execute(insert, begin, min(last, begin + CHUNK_ROWS - 1))
        await connection.execute(RECEIVE)
        await connection.execute("VACUUM (ANALYZE)")
    finally:
        await connection.close()


async def _connect(url: str) -> asyncpg.Connection:
    """As superuser, past triggers and foreign keys, and without waiting for the disk."""
    given = {"session_replication_role": "replica", "synchronous_commit": "off"}
    return await asyncpg.connect(url, command_timeout=STATEMENT_TIMEOUT_S, server_settings=given)
