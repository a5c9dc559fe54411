"""The oracle about recommendations: what is learned from is what the order events say, and the model has learned it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from shop.operator.audit import broker
from shop.operator.audit.model import Audit, Finding

NOUN = "recommendation"
CONFIRMED, CANCELLED, DELETED = "order.confirmed.v1", "order.cancelled.v1", "user.deleted.v1"
LEARNED_WITHIN_S = 60.0
NEVER = datetime.max.replace(tzinfo=UTC)

PURCHASES = """
SELECT order_id::text AS order_id, user_id::text AS user_id, array_agg(product_id::text) AS products
FROM orders JOIN purchases ON order_number = orders.number JOIN customers ON purchases.customer = customers.number
    JOIN products ON product = products.number
WHERE order_id::text = ANY ($1) OR ordered_at >= $2 GROUP BY order_id, user_id"""
DELETED_USERS = """
SELECT users.id AS id FROM unnest($1::text[]) AS users (id)
WHERE EXISTS (SELECT FROM deleted_customers WHERE digest = sha256(uuid_send(users.id::uuid)))"""
CUSTOMERS = "SELECT user_id::text AS id FROM customers WHERE user_id::text = ANY ($1)"
MODEL = """
SELECT 'model' AS id, changed_at, value <> coalesce(revision, 0) AS behind, coalesce(orders, 0) AS orders,
    (SELECT count(DISTINCT order_number) FROM purchases) AS purchased
FROM revision LEFT JOIN (SELECT revision, orders FROM models ORDER BY version DESC LIMIT 1) AS newest ON true"""


@dataclass
class Facts:
    """What the events in the streams say. `since`: the first confirmation that is still there."""

    bought: dict[str, tuple[str, frozenset[str]]] = field(default_factory=dict)
    """By order: the customer and the products."""
    too_recent: set[str] = field(default_factory=set)
    """Orders with an event that may not have been consumed yet."""
    cancelled: set[str] = field(default_factory=set)
    deleted: set[str] = field(default_factory=set)
    since: datetime = NEVER


async def purchases_follow_events(audit: Audit) -> Finding:
    """Purchases are those of confirmed orders, without cancelled ones and deleted customers; the model counts them.
    Food is not recommended.

    Nothing is checked in a shop without recommendations.
    """
    finding = Finding()
    if NOUN not in audit.connections:
        return finding
    try:
        facts = await _facts(audit)
    except broker.BrokerError as error:
        return Finding(1, {"stream order": str(error)})
    await _compare(audit, facts, finding)
    await _check_model(audit, finding)
    return finding


async def _facts(audit: Audit) -> Facts:
    orders = await broker.events(audit.nats_url, "order", (CONFIRMED, CANCELLED))
    users = await broker.events(audit.nats_url, "user", (DELETED,))
    facts = Facts()
    for event in orders:
        order = str(event.data["order_id"])
        if event.data.get("kind") == "food":
            continue
        if event.time >= audit.cutoff:
            facts.too_recent.add(order)
        elif event.type == CANCELLED:
            facts.cancelled.add(order)
        else:
            products = frozenset(str(line["product_id"]) for line in event.data["lines"])
            facts.bought[order] = (str(event.data["user_id"]), products)
            facts.since = min(facts.since, datetime.fromisoformat(event.data["occurred_at"]))
    facts.deleted = {str(event.data["user_id"]) for event in users if event.time < audit.cutoff}
    return facts


async def _compare(audit: Audit, facts: Facts, finding: Finding) -> None:
    rows = await audit.fetch(NOUN, PURCHASES, list(facts.bought), facts.since)
    stored = {row["order_id"]: (row["user_id"], frozenset(row["products"])) for row in rows}
    users = list({user for user, _ in facts.bought.values()})
    gone = facts.deleted | {row["id"] for row in await audit.fetch(NOUN, DELETED_USERS, users)}
    expected = _counted(facts, gone)
    orders = {*stored, *expected} - facts.too_recent
    finding.checked += len(orders)
    for order in orders:
        if stored.get(order) != expected.get(order):
            finding.violations[order] = _difference(order, stored, expected, facts)
    kept = await audit.fetch(NOUN, CUSTOMERS, list(facts.deleted))
    finding.add(kept, "is a deleted customer whom recommendation still stores")


def _counted(facts: Facts, gone: Iterable[str]) -> dict[str, tuple[str, frozenset[str]]]:
    """The orders that count and have products."""
    without = set(gone)
    return {
        order: (user, products)
        for order, (user, products) in facts.bought.items()
        if order not in facts.cancelled and user not in without and products
    }


def _difference(order: str, stored: Mapping[str, Any], expected: Mapping[str, Any], facts: Facts) -> str:
    if order not in stored:
        return "is confirmed, and recommendation has not learned from it"
    if order in facts.cancelled:
        return "is cancelled, and recommendation still learns from it"
    if order not in facts.bought:
        return "counts in recommendation, and no event says that it was confirmed"
    if order not in expected:
        return "is of a deleted customer, and recommendation still learns from it"
    return "counts in recommendation with another customer or other products than in its event"


async def _check_model(audit: Audit, finding: Finding) -> None:
    finding.checked += 1
    learned_before = audit.now - timedelta(seconds=LEARNED_WITHIN_S)
    for row in await audit.fetch(NOUN, MODEL):
        if row["behind"] and row["changed_at"] < learned_before:
            finding.violations["model"] = f"does not know what changed more than {LEARNED_WITHIN_S:g} s ago"
        elif not row["behind"] and row["orders"] != row["purchased"]:
            finding.violations["model"] = f"counts {row['orders']} orders, and there are {row['purchased']}"
