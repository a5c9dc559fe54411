"""Work that a shop has not finished yet. An audit that finds some is too early; that is no violation."""

import asyncio
from collections.abc import Mapping, Sequence

import asyncpg

from shop.operator.audit.cached_boards import not_cached
from shop.operator.services import AUDITED_EVENTS

WAIT_POLL_S = 0.25
MAX_NAMED = 5
SAGAS = "SELECT order_id::text AS id FROM sagas WHERE status <> 'done'"
RESERVATIONS = "SELECT DISTINCT order_id::text AS id FROM reservations WHERE state = 'reserved'"
UNPUBLISHED = "SELECT event_id::text AS id FROM outbox WHERE published_at IS NULL"
PUBLISHED = "SELECT event_id FROM outbox WHERE type = $1 AND published_at < now()"
NOT_CONSUMED = """
SELECT event.id::text AS id FROM unnest($1::uuid[]) AS event (id)
WHERE NOT EXISTS (SELECT FROM inbox WHERE inbox.event_id = event.id)
  AND NOT EXISTS (SELECT FROM dead_letter d WHERE d.event_id = event.id AND d.dead_at IS NOT NULL)"""


async def wait_until_ended(
    connections: Mapping[str, asyncpg.Connection], timeout_s: float, cache_url: str
) -> list[str]:
    """Wait until nothing is under way; what still is after `timeout_s`, one sentence for each kind."""
    deadline = asyncio.get_running_loop().time() + timeout_s
    while found := await pending_work(connections, cache_url):
        if asyncio.get_running_loop().time() > deadline:
            return found
        await asyncio.sleep(WAIT_POLL_S)
    return []


async def pending_work(connections: Mapping[str, asyncpg.Connection], cache_url: str) -> list[str]:
    """Unfinished sagas, reserved stock, unpublished events, events that a required consumer has not consumed, boards
    that are not in the cache."""
    order, product = connections["order"], connections["product"]
    found = [
        _sentence("sagas that are not done", await order.fetch(SAGAS)),
        _sentence("orders whose stock is reserved and not yet sold or released", await product.fetch(RESERVATIONS)),
    ]
    for noun, connection in connections.items():
        found.append(_sentence(f"events of {noun} that are not published", await connection.fetch(UNPUBLISHED)))
    for kind, consumers in AUDITED_EVENTS.items():
        if (publisher := kind.partition(".")[0]) not in connections:
            continue
        events = [row["event_id"] for row in await connections[publisher].fetch(PUBLISHED, kind)]
        for noun in filter(connections.__contains__, consumers):
            missing = await connections[noun].fetch(NOT_CONSUMED, events)
            found.append(_sentence(f"events {kind} that {noun} has not consumed", missing))
    found.append(_sentence("boards that are not cached", await not_cached(cache_url, connections)))
    return [sentence for sentence in found if sentence]


def _sentence(what: str, rows: Sequence[asyncpg.Record | str]) -> str:
    if not rows:
        return ""
    named = ", ".join(row if isinstance(row, str) else row["id"] for row in rows[:MAX_NAMED])
    return f"{len(rows)} {what} ({named}{', ...' if len(rows) > MAX_NAMED else ''})"
