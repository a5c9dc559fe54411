-- depends: 0007.deleted-users

-- Sagas and changes of state of orders that ended (rejected, cancelled, delivered) until then may have been removed; see
-- retention_repository.py. The audit tells by it what was removed from what is missing.
CREATE TABLE removed_history (
    one boolean PRIMARY KEY DEFAULT true CHECK (one),
    ended_until timestamptz NOT NULL
);

-- Each row of these two is updated at least once. Dead entries of the index sagas_due must not grow with the table.
ALTER TABLE orders SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE sagas SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
