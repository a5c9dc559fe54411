-- transactional: false
-- depends: 0008.removed-history

-- The orders that ended longest ago. Concurrently: orders are placed while a large table gets its index. An attempt that
-- failed leaves an invalid index.
DROP INDEX CONCURRENTLY IF EXISTS order_transitions_ended;
CREATE INDEX CONCURRENTLY order_transitions_ended ON order_transitions (at)
    WHERE to_state IN ('rejected', 'cancelled', 'delivered');
