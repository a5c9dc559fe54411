-- Exports the snapshot of one database while all databases are locked, and keeps it until the dumps are done.
SET application_name = 'shop backup';
SET idle_in_transaction_session_timeout = 0;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
\set go `sh "$HERE/await.sh" waiting look`
\if :go
    SELECT pg_export_snapshot() \g :snapshot_file
    \set go `sh "$HERE/await.sh" seen end`
\endif
COMMIT;
