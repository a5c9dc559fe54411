-- depends: 0004.of-order

-- Each row is updated when its message is sent. Dead entries of the index notifications_due must not grow with the table.
ALTER TABLE notifications SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
