"""Oracles about money: charged once, charged what is owed, for an order that exists, in books that balance."""

from shop.operator.audit.model import SOLD, UNDONE, Audit, Finding, Row

CAPTURED = ("captured", "partially_refunded", "refunded")


async def one_capture_per_order(audit: Audit) -> Finding:
    """The provider took money for an order at most once, whatever our own books say."""
    finding = Finding(await audit.count("payment", "simulator.charges"))
    finding.add(
        await audit.fetch(
            "payment",
            "SELECT order_id AS id, count(*) AS times FROM simulator.charges WHERE outcome = 'captured'"
            " GROUP BY order_id HAVING count(*) > 1",
        ),
        "was captured {times} times at the provider",
    )
    return finding


async def captured_is_owed(audit: Audit) -> Finding:
    """Captured minus refunded is the order's total if it was sold (less manual refunds), otherwise 0."""
    payments = {row["order_id"]: row for row in await audit.fetch("payment", PAYMENTS)}
    finding = Finding()
    for key, order in (await audit.unchanged_orders(*SOLD, *UNDONE)).items():
        finding.checked += 1
        if problem := _unowed(order, payments.get(key)):
            finding.violations[key] = problem
    orders = await audit.orders()
    differing = await audit.fetch("payment", PROVIDER_DIFFERS, audit.cutoff)
    finding.add([row for row in differing if row["id"] in orders], "{what}")
    return finding


PAYMENTS = """
SELECT p.order_id::text AS order_id, p.state, p.amount, p.refunded, p.currency, p.updated_at,
       coalesce(sum(r.amount) FILTER (WHERE NOT r.for_void AND r.state = 'succeeded'), 0)::bigint AS given_back
FROM payments p LEFT JOIN refunds r ON r.payment_id = p.id
GROUP BY p.id"""

# Both ways round: what the provider took and we do not know of, and what we believe it took and it did not. A payment
# still pending is one whose answer was lost: the payment service asks again. Two captures are oracle 6's business.
PROVIDER_DIFFERS = """
SELECT order_id::text AS id, 'the provider took ' || coalesce(c.taken, 0) || ' and gave back '
       || coalesce(c.given_back, 0) || ', our books say ' || coalesce(p.taken, 0) || ' and '
       || coalesce(p.refunded, 0) AS what
FROM (
    SELECT order_id, sum(amount) AS taken, sum(refunded) AS given_back, count(*) AS captures
    FROM simulator.charges WHERE outcome = 'captured' AND created_at < $1 GROUP BY order_id
) c FULL JOIN (
    SELECT order_id, state, refunded, updated_at,
           CASE WHEN state IN ('captured', 'partially_refunded', 'refunded') THEN amount ELSE 0 END AS taken
    FROM payments WHERE provider = 'simulator'
) p USING (order_id)
WHERE coalesce(p.state, '') <> 'pending' AND coalesce(p.updated_at < $1, true) AND coalesce(c.captures, 1) = 1
  AND (coalesce(c.taken, 0), coalesce(c.given_back, 0)) <> (coalesce(p.taken, 0), coalesce(p.refunded, 0))"""


def _unowed(order: Row, payment: Row | None) -> str | None:
    taken = payment["amount"] - payment["refunded"] if payment and payment["state"] in CAPTURED else 0
    if order["state"] in UNDONE:
        pending = payment is not None and payment["state"] == "pending"
        if taken or pending:
            return f"is {order['state']}, and {'its charge is pending' if pending else f'{taken} are kept'}"
        return None
    owed = order["total"] - (payment["given_back"] if payment else 0)
    if taken != owed:
        return f"owes {owed}, and {taken} are taken"
    if payment and taken and payment["currency"] != order["currency"]:
        return f"is in {order['currency']}, and was charged in {payment['currency']}"
    return None


async def no_capture_without_order(audit: Audit) -> Finding:
    """Nobody was charged for an order that does not exist, neither in our books nor at the provider."""
    charged = await audit.fetch("payment", CHARGED, audit.cutoff)
    orders = await audit.orders()
    finding = Finding(len(charged))
    finding.add([row for row in charged if row["id"] not in orders], "was charged and does not exist")
    return finding


CHARGED = """
SELECT order_id::text AS id FROM payments
WHERE state IN ('captured', 'partially_refunded', 'refunded') AND created_at < $1
UNION
SELECT order_id::text FROM simulator.charges WHERE outcome = 'captured' AND created_at < $1"""


async def ledger_balances(audit: Audit) -> Finding:
    """Every transaction of the double-entry ledger sums to 0, and the accounts together do."""
    finding = Finding(await audit.count("payment", "entries"))
    finding.add(
        await audit.fetch(
            "payment",
            "SELECT transaction_id AS id, currency, sum(amount) AS amount FROM entries"
            " GROUP BY transaction_id, currency HAVING sum(amount) <> 0",
        ),
        "is a ledger transaction that is off by {amount} {currency}",
    )
    return finding
