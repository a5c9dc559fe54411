"""Run the oracles against a shop's databases."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import asyncpg

from shop.operator.audit import pending_work
from shop.operator.audit.cached_boards import boards_in_cache_are_right
from shop.operator.audit.events import (
    event_order_kept,
    events_take_effect_once,
    one_trace_per_order,
    outbox_reaches_stream,
)
from shop.operator.audit.food import (
    changes_are_legal_and_published_once,
    couriers_within_capacity,
    food_totals_add_up,
    kitchen_load_is_orders_in_work,
    orders_have_one_delivery,
)
from shop.operator.audit.isolation import rows_stay_with_their_user
from shop.operator.audit.leaderboards import entries_follow_scores
from shop.operator.audit.model import Audit, Finding, Options, Oracle, Result
from shop.operator.audit.money import (
    captured_is_owed,
    ledger_balances,
    no_capture_without_order,
    one_capture_per_order,
)
from shop.operator.audit.orders import acknowledged_orders_exist, legal_transitions, one_order_per_key, orders_end
from shop.operator.audit.players import experience_follows_ledger
from shop.operator.audit.recommendations import purchases_follow_events
from shop.operator.audit.stock import stock_is_conserved, stock_never_negative, undone_orders_give_back
from shop.operator.audit.unlocks import achievements_are_earned_once
from shop.operator.errors import ShopctlError, reason_of

CONNECT_TIMEOUT_S = 15.0
"""Through a port-forward of a busy cluster a connection takes seconds."""
STATEMENT_TIMEOUT_S = 120.0
# A violation is checked again: an order that changes between reading two databases is none.
CHECKS = 3
CHECK_PAUSE_S = 1.0

ORACLES: Sequence[Oracle] = (
    Oracle(1, "every acknowledged order exists", acknowledged_orders_exist),
    Oracle(2, "every order ends in time", orders_end),
    Oracle(3, "one order per idempotency key", one_order_per_key),
    Oracle(4, "reserved and sold stock was received", stock_is_conserved),
    Oracle(5, "stock is never negative", stock_never_negative),
    Oracle(6, "at most one capture per order at the provider", one_capture_per_order),
    Oracle(7, "captured minus refunded is owed", captured_is_owed),
    Oracle(8, "no capture without an order", no_capture_without_order),
    Oracle(9, "a cancelled order gives back exactly once", undone_orders_give_back),
    Oracle(10, "every outbox row reaches the stream", outbox_reaches_stream),
    Oracle(11, "each event takes effect once", events_take_effect_once),
    Oracle(12, "events of an order keep their order", event_order_kept),
    Oracle(13, "legal transitions only", legal_transitions),
    Oracle(14, "the ledger sums to 0", ledger_balances),
    Oracle(15, "no row of another user readable", rows_stay_with_their_user),
    Oracle(16, "one trace id reaches every effect of an order", one_trace_per_order),
    Oracle(17, "recommendations learn from each order once", purchases_follow_events),
    Oracle(18, "a food order has one ticket and one delivery", orders_have_one_delivery),
    Oracle(19, "no courier is above capacity", couriers_within_capacity),
    Oracle(20, "kitchen load is the orders in work", kitchen_load_is_orders_in_work),
    Oracle(21, "food totals and tips add up", food_totals_add_up),
    Oracle(22, "tickets and deliveries change legally, published once", changes_are_legal_and_published_once),
    Oracle(23, "experience is the sum of its ledger", experience_follows_ledger),
    Oracle(24, "achievements are earned and unlocked once", achievements_are_earned_once),
    Oracle(25, "boards are what the scores give", entries_follow_scores),
    Oracle(26, "boards in the cache are those in the database", boards_in_cache_are_right),
)


@dataclass(frozen=True)
class Target:
    """Where a shop's data is: URLs by noun, of a role that may read everything."""

    databases: Mapping[str, str]
    nats_url: str
    may_be_missing: Collection[str] = ()
    """Nouns whose databases need not exist."""
    cache_url: str = ""
    """Empty where the leaderboards in the cache are not audited."""


async def audit(
    target: Target, options: Options, *, oracles: Sequence[Oracle] = ORACLES, pause_s: float = CHECK_PAUSE_S
) -> list[Result]:
    """What each oracle found; raises `ShopctlError` when a database cannot be read."""
    async with _connections(target) as connections:
        return await audit_over(connections, target, options, oracles=oracles, pause_s=pause_s)


async def audit_over(
    connections: Mapping[str, asyncpg.Connection],
    target: Target,
    options: Options,
    *,
    oracles: Sequence[Oracle] = ORACLES,
    pause_s: float = CHECK_PAUSE_S,
) -> list[Result]:
    """The same over connections that are open, by noun."""
    return [await _confirmed_result(oracle, connections, target, options, pause_s) for oracle in oracles]


async def _confirmed_result(
    oracle: Oracle,
    connections: Mapping[str, asyncpg.Connection],
    target: Target,
    options: Options,
    pause_s: float,
) -> Result:
    """Only what every one of several checks finds is a violation."""
    finding = await _check(oracle, connections, target, options)
    for _ in range(CHECKS - 1):
        if not finding.violations:
            break
        await asyncio.sleep(pause_s)
        again = await _check(oracle, connections, target, options)
        kept = {key: what for key, what in again.violations.items() if key in finding.violations}
        finding = Finding(again.checked, kept)
    return Result(oracle.number, oracle.name, finding.checked, finding.violations)


async def _check(
    oracle: Oracle, connections: Mapping[str, asyncpg.Connection], target: Target, options: Options
) -> Finding:
    now = datetime.now(UTC)
    cutoff = now - timedelta(seconds=options.settle_s)
    current = Audit(connections, target.nats_url, cutoff, now, options, target.cache_url)
    try:
        return await oracle.check(current)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        what = f"{type(error).__name__}: {error}"
        raise ShopctlError(f"oracle {oracle.number} ({oracle.name}) could not be checked: {what}") from error


@contextlib.asynccontextmanager
async def _connections(target: Target) -> AsyncIterator[dict[str, asyncpg.Connection]]:
    opened: dict[str, asyncpg.Connection] = {}
    try:
        for noun, url in target.databases.items():
            try:
                opened[noun] = await _connect(noun, url)
            except ShopctlError as error:
                missing = isinstance(error.__cause__, asyncpg.InvalidCatalogNameError)
                if not (missing and noun in target.may_be_missing):
                    raise
        yield opened
    finally:
        for connection in opened.values():
            with contextlib.suppress(OSError, asyncpg.PostgresError, TimeoutError):
                await connection.close(timeout=CONNECT_TIMEOUT_S)


async def _connect(noun: str, url: str) -> asyncpg.Connection:
    try:
        return await asyncpg.connect(
            url,
            timeout=CONNECT_TIMEOUT_S,
            command_timeout=STATEMENT_TIMEOUT_S,
            server_settings={"default_transaction_read_only": "on", "application_name": "shopctl audit"},
        )
    except (OSError, TimeoutError, asyncpg.PostgresError) as error:
        raise ShopctlError(f"the database of {noun} cannot be read: {reason_of(error)}") from error


async def wait_until_ended(target: Target, timeout_s: float) -> list[str]:
    """Wait until no order and no event is under way; what still is after `timeout_s`, [] when nothing."""
    async with _connections(target) as connections:
        return await pending_work.wait_until_ended(connections, timeout_s, target.cache_url)
