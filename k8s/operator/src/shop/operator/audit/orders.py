"""Oracles about orders: they exist, they end, one per key, legal transitions."""

from datetime import timedelta

from shop.operator.audit.model import Audit, Finding

ENDED = ("rejected", "cancelled", "delivered")
LEGAL = {
    ("pending", "confirmed"),
    ("pending", "rejected"),
    ("confirmed", "fulfilled"),
    ("confirmed", "cancelled"),
    ("fulfilled", "delivered"),
}


async def acknowledged_orders_exist(audit: Audit) -> Finding:
    """Every order that a customer, a notification or a coupon refers to exists."""
    orders = await audit.orders()
    known = dict.fromkeys(audit.options.acknowledged, "was acknowledged to a customer and does not exist")
    notified = "SELECT DISTINCT order_id::text AS id FROM notifications WHERE order_id IS NOT NULL AND created_at < $1"
    for row in await audit.fetch("notification", notified, audit.cutoff):
        known[row["id"]] = "a customer was notified of it and it does not exist"
    redeemed = "SELECT order_id::text AS id FROM redemptions WHERE released_at IS NULL AND redeemed_at < $1"
    for row in await audit.fetch("pricing", redeemed, audit.cutoff):
        known[row["id"]] = "redeemed a coupon and does not exist"
    return Finding(len(known), {key: what for key, what in known.items() if key not in orders})


async def orders_end(audit: Audit) -> Finding:
    """No order is pending and no cancellation runs beyond the deadline; every pending order has a running saga."""
    finding = Finding(len(await audit.orders()))
    limit = audit.options.order_deadline_s
    begun_before = audit.now - timedelta(seconds=limit)
    finding.add(
        await audit.fetch(
            "order",
            "SELECT id FROM orders WHERE state = 'pending' AND created_at < $1",
            begun_before,
        ),
        f"is still pending after {limit:g} s",
    )
    finding.add(
        await audit.fetch(
            "order",
            "SELECT id FROM orders WHERE state = 'confirmed' AND cancel_requested_at < $1",
            begun_before,
        ),
        f"is not cancelled {limit:g} s after the request to cancel it",
    )
    finding.add(
        await audit.fetch(
            "order",
            "SELECT o.id FROM orders o LEFT JOIN sagas s ON s.order_id = o.id"
            " WHERE o.state = 'pending' AND o.updated_at < $1 AND (s.order_id IS NULL OR s.status = 'done')",
            audit.cutoff,
        ),
        "is pending without a running saga",
    )
    return finding


async def one_order_per_key(audit: Audit) -> Finding:
    """A customer's idempotency key belongs to one order."""
    finding = Finding(len(await audit.orders()))
    finding.add(
        await audit.fetch(
            "order",
            "SELECT (array_agg(id ORDER BY id))[2] AS id, idempotency_key AS key, count(*) AS times FROM orders"
            " GROUP BY user_id, idempotency_key HAVING count(*) > 1",
        ),
        "is one of {times} orders with the key {key}",
    )
    return finding


async def legal_transitions(audit: Audit) -> Finding:
    """Every change of state is one of the allowed ones, they follow each other, and end in the order's state.

    The changes of an order that ended long ago may have been removed, all of them together.
    """
    # A release that was not upgraded yet removes nothing.
    removes = (await audit.fetch("order", "SELECT to_regclass('removed_history') IS NOT NULL AS yes"))[0]["yes"]
    until = "(SELECT ended_until FROM removed_history)" if removes else "NULL"
    rows = await audit.fetch(
        "order",
        "SELECT o.id::text AS id, o.state, o.version,"  # noqa: S608 - constants
        f" o.state = ANY ($2) AND o.updated_at <= {until} AS may_be_removed,"
        " coalesce(array_agg(t.version ORDER BY t.version) FILTER (WHERE t.version IS NOT NULL), '{}') AS versions,"
        " coalesce(array_agg(t.from_state ORDER BY t.version) FILTER (WHERE t.version IS NOT NULL), '{}') AS befores,"
        " coalesce(array_agg(t.to_state ORDER BY t.version) FILTER (WHERE t.version IS NOT NULL), '{}') AS afters"
        " FROM orders o LEFT JOIN order_transitions t ON t.order_id = o.id WHERE o.updated_at < $1 GROUP BY o.id",
        audit.cutoff,
        ENDED,
    )
    finding = Finding(len(rows))
    for row in rows:
        if row["may_be_removed"] and not row["versions"]:
            continue
        befores, afters = list(row["befores"]), list(row["afters"])
        if problem := _problem(row["state"], row["version"], list(row["versions"]), befores, afters):
            finding.violations[row["id"]] = problem
    return finding


def _problem(state: str, version: int, versions: list[int], befores: list[str], afters: list[str]) -> str | None:
    for before, after in zip(befores, afters, strict=True):
        if (before, after) not in LEGAL:
            return f"went from {before} to {after}"
    if befores != ["pending", *afters][: len(befores)]:
        return "has states that do not follow each other"
    if (["pending", *afters])[-1] != state:
        return f"is {state}, and its record ends with {(['pending', *afters])[-1]}"
    if versions != list(range(2, version + 1)):
        return f"is in version {version}, and its record has {versions}"
    return None
