"""What is removed of deliveries that ended long ago: how they went. The deliveries themselves are kept."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from shop.kit.retention import MAX_REMOVED, Rule, first_id, of_ended

REMOVE_TRANSITIONS = of_ended(
    "deliveries", ("delivered", "failed", "cancelled"), "delivery_transitions", "delivery_refusals"
)

# A kitchen may have had an order that never became a delivery.
REMOVE_KITCHEN_STATES = f"""
WITH ended AS MATERIALIZED (
    SELECT DISTINCT k.order_id FROM kitchen_states k WHERE k.order_id < {first_id("$1")} AND NOT EXISTS (
        SELECT FROM deliveries d WHERE d.order_id = k.order_id
            AND (d.updated_at >= $1 OR d.state NOT IN ('released', 'delivered', 'failed', 'cancelled')))
    ORDER BY k.order_id LIMIT {MAX_REMOVED}
), states AS (
    DELETE FROM kitchen_states k USING ended e WHERE k.order_id = e.order_id
)
SELECT count(*) FROM ended"""  # noqa: S608 - constants


def rules(keep: timedelta) -> Sequence[Rule]:
    return (
        Rule("delivery-history", keep, REMOVE_TRANSITIONS),
        Rule("kitchen-states", keep, REMOVE_KITCHEN_STATES),
    )
