"""Oracles about stock: nothing is sold that was not received; released stock comes back once."""

from shop.operator.audit.model import SOLD, UNDONE, Audit, Finding

# Read as one statement, so that the three sums are of one moment. Negative stock is the next oracle's.
BALANCE = """
SELECT p.id, p.stock, coalesce(r.received, 0)::bigint AS received, coalesce(t.taken, 0)::bigint AS taken
FROM products p
LEFT JOIN (SELECT product_id, sum(delta) AS received FROM stock_movements GROUP BY 1) r ON r.product_id = p.id
LEFT JOIN (
    SELECT product_id, sum(quantity) AS taken FROM reservation_lines JOIN reservations USING (order_id)
    WHERE state IN ('reserved', 'sold') GROUP BY 1
) t ON t.product_id = p.id
WHERE p.stock >= 0
  AND (coalesce(t.taken, 0) > coalesce(r.received, 0) OR p.stock + coalesce(t.taken, 0) <> coalesce(r.received, 0))"""


async def stock_is_conserved(audit: Audit) -> Finding:
    """Stock plus reserved plus sold equals received."""
    finding = Finding(await audit.count("product", "products"))
    finding.add(
        await audit.fetch("product", BALANCE), "has {stock} left and {taken} reserved or sold, of {received} received"
    )
    return finding


async def stock_never_negative(audit: Audit) -> Finding:
    """No product has a negative stock."""
    finding = Finding(await audit.count("product", "products"))
    finding.add(
        await audit.fetch("product", "SELECT id, stock FROM products WHERE stock < 0"), "has a stock of {stock}"
    )
    return finding


async def sold_orders_hold_stock(audit: Audit) -> Finding:
    """The stock of a sold order is sold: its confirmation took effect and was not undone."""
    states = await _reservations(audit)
    finding = Finding()
    for key, order in (await audit.unchanged_orders(*SOLD)).items():
        if order["kind"] != "retail":
            continue
        finding.checked += 1
        if (state := states.get(key)) != "sold":
            finding.violations[key] = f"is sold, and its stock is {state or 'not even reserved'}"
    return finding


async def undone_orders_give_back(audit: Audit) -> Finding:
    """A cancelled or rejected order holds no stock and no coupon, and its money went back once."""
    states = await _reservations(audit)
    coupons = {row["id"] for row in await audit.fetch("pricing", HELD_COUPONS)}
    finding = Finding()
    for key, order in (await audit.unchanged_orders(*UNDONE)).items():
        finding.checked += 1
        if states.get(key, "released") != "released":
            finding.violations[key] = f"is {order['state']}, and its stock is still {states[key]}"
        elif key in coupons:
            finding.violations[key] = f"is {order['state']}, and its coupon is still used up"
    finding.add(await audit.fetch("payment", REFUNDED_TWICE, audit.cutoff), "{what}")
    return finding


async def _reservations(audit: Audit) -> dict[str, str]:
    rows = await audit.fetch("product", "SELECT order_id::text AS id, state FROM reservations")
    return {row["id"]: row["state"] for row in rows}


HELD_COUPONS = "SELECT order_id::text AS id FROM redemptions WHERE released_at IS NULL"

# Each refund is one row here, one at the provider, and one part of the payment's sum.
REFUNDED_TWICE = """
SELECT p.order_id AS id, 'was given back ' || coalesce(ours.amount, 0) || ' by our refunds, ' || p.refunded
       || ' by our payment, ' || coalesce(theirs.amount, 0) || ' by the provider' AS what
FROM payments p
LEFT JOIN (
    SELECT payment_id, sum(amount) AS amount FROM refunds WHERE state = 'succeeded' GROUP BY 1
) ours ON ours.payment_id = p.id
LEFT JOIN (
    SELECT c.order_id, sum(r.amount) AS amount
    FROM simulator.refunds r JOIN simulator.charges c ON c.reference = r.charge_reference GROUP BY 1
) theirs ON theirs.order_id = p.order_id
WHERE p.updated_at < $1 AND p.refunding = 0 AND (
    coalesce(ours.amount, 0) <> p.refunded OR p.provider = 'simulator' AND coalesce(theirs.amount, 0) <> p.refunded
)"""
