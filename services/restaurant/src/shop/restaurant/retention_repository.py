"""What is removed of tickets that ended long ago: how they went. The tickets themselves are kept."""

from __future__ import annotations

from datetime import timedelta

from shop.kit.retention import MAX_REMOVED, Rule, first_id

# The ids of orders are ordered by time: the primary key has the oldest first.
REMOVE_TRANSITIONS = f"""
WITH ended AS MATERIALIZED (
    SELECT DISTINCT h.order_id FROM ticket_transitions h JOIN tickets t USING (order_id)
    WHERE h.order_id < {first_id("$1")} AND t.updated_at < $1 AND t.state IN ('rejected', 'picked_up', 'cancelled')
    ORDER BY h.order_id LIMIT {MAX_REMOVED}
), transitions AS (
    DELETE FROM ticket_transitions h USING ended e WHERE h.order_id = e.order_id
)
SELECT count(*) FROM ended"""  # noqa: S608 - constants


def rule(keep: timedelta) -> Rule:
    return Rule("ticket-history", keep, REMOVE_TRANSITIONS)
