-- transactional: false

DROP INDEX CONCURRENTLY IF EXISTS order_transitions_ended;
