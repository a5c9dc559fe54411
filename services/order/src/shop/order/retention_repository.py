"""What is removed of orders that ended long ago: their sagas and changes of state. The orders themselves are kept."""

from __future__ import annotations

from datetime import timedelta

from shop.kit.retention import MAX_REMOVED, Rule

# A saga that is not done, and food whose ticket or courier is still to be released, need their rows whatever their age.
# The condition on to_state is that of the index order_transitions_ended. Rows are locked in the order of a saga's save.
REMOVE_HISTORY = f"""
WITH ended AS MATERIALIZED (
    SELECT t.order_id, t.at FROM order_transitions t
    WHERE t.to_state IN ('rejected', 'cancelled', 'delivered') AND t.at < $1
        AND NOT EXISTS (SELECT FROM sagas s WHERE s.order_id = t.order_id AND s.status <> 'done')
        AND NOT EXISTS (
            SELECT FROM food_orders f WHERE f.order_id = t.order_id AND (f.unsettled OR f.release_due))
    ORDER BY t.at LIMIT {MAX_REMOVED}
), removed_sagas AS (
    DELETE FROM sagas s USING ended e WHERE s.order_id = e.order_id AND s.status = 'done'
), removed_transitions AS (
    DELETE FROM order_transitions t USING ended e WHERE t.order_id = e.order_id
), noted AS (
    INSERT INTO removed_history AS r (ended_until) SELECT max(at) FROM ended HAVING count(*) > 0
    ON CONFLICT (one) DO UPDATE SET ended_until = greatest(r.ended_until, excluded.ended_until)
)
SELECT count(*) FROM ended"""  # noqa: S608 - constants


def rule(keep: timedelta) -> Rule:
    return Rule("order-history", keep, REMOVE_HISTORY)
