"""What is removed of messages and of food orders because of its age."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from shop.kit.retention import MAX_REMOVED, Rule, first_id

FOOD_ORDERS_KEPT = timedelta(days=30)
"""After their last event; the broker keeps events for 7 days."""

# A message is the second guard against sending one twice, and an event is not delivered for as long as 10 days, the
# least that the setting allows.
REMOVE_MESSAGES = f"""
WITH removed AS (
    DELETE FROM notifications WHERE id IN (
        SELECT id FROM notifications WHERE id < {first_id("$1")} AND state <> 'queued' ORDER BY id LIMIT {MAX_REMOVED})
    RETURNING 1
)
SELECT count(*) FROM removed"""  # noqa: S608 - constants

REMOVE_FOOD_ORDERS = f"""
WITH removed AS (
    DELETE FROM food_orders WHERE order_id IN (
        SELECT order_id FROM food_orders WHERE order_id < {first_id("$1")} AND used_at < $1
        ORDER BY order_id LIMIT {MAX_REMOVED})
    RETURNING 1
)
SELECT count(*) FROM removed"""  # noqa: S608 - constants


def rules(keep_messages: timedelta) -> Sequence[Rule]:
    return (
        Rule("messages", keep_messages, REMOVE_MESSAGES),
        Rule("food-orders", FOOD_ORDERS_KEPT, REMOVE_FOOD_ORDERS),
    )
