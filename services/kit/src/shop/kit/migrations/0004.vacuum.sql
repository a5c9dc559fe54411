-- depends: 0003.deleted-user-digest

-- Rows of these tables live for days, and most are updated or deleted by the thousand. By default a table is vacuumed when
-- a fifth of it is dead: the larger it is, the more dead entries the partial indexes have that find what is to be done.
ALTER TABLE outbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
ALTER TABLE inbox SET (autovacuum_vacuum_scale_factor = 0.02, autovacuum_analyze_scale_factor = 0.02);
