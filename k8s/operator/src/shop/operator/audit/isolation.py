"""The oracle about access rights."""

from shop.operator.audit.model import Audit, Finding

# A service's role that may connect to a foreign database, or that has administrative rights.
FOREIGN_RIGHTS = """
SELECT r.rolname || ' -> ' || d.datname AS id, d.datname AS database FROM pg_roles r CROSS JOIN pg_database d
WHERE r.rolname LIKE 'shop\\_%' AND r.rolname <> d.datname AND d.datname NOT LIKE 'template0'
  AND d.datdba <> r.oid AND has_database_privilege(r.oid, d.oid, 'CONNECT')"""
TOO_POWERFUL = """
SELECT rolname AS id FROM pg_roles
WHERE rolname LIKE 'shop\\_%' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolreplication OR rolbypassrls)"""


async def rows_stay_with_their_user(audit: Audit) -> Finding:
    """No service can connect to another's database, and an order's rows belong to the customer who placed it."""
    finding = Finding(await audit.count("order", "pg_database"))
    finding.add(await audit.fetch("order", FOREIGN_RIGHTS), "may connect to a database that is not its own")
    finding.add(await audit.fetch("order", TOO_POWERFUL), "is a service's role with administrative rights")
    for noun, sql in OWNED.items():
        await _same_user(audit, noun, sql, finding)
    return finding


OWNED = {
    "payment": "SELECT order_id::text AS order_id, user_id FROM payments WHERE user_id IS NOT NULL",
    "notification": "SELECT order_id::text AS order_id, user_id FROM notifications"
    " WHERE order_id IS NOT NULL AND user_id IS NOT NULL",
    "pricing": "SELECT order_id::text AS order_id, user_id FROM redemptions WHERE user_id IS NOT NULL",
}


async def _same_user(audit: Audit, noun: str, sql: str, finding: Finding) -> None:
    orders = await audit.orders()
    for row in await audit.fetch(noun, sql):
        finding.checked += 1
        order = orders.get(row["order_id"])
        if order is not None and order["user_id"] != row["user_id"]:
            finding.violations[row["order_id"]] = f"{noun} shows it to another user than the one who placed it"
