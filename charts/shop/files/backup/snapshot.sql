-- Takes the snapshot of one database while all databases are locked, and keeps it until the dumps are done.
SET application_name = 'shop backup';
SET idle_in_transaction_session_timeout = 0;
BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY;
\set locked `sh "$HERE/await.sh" locked 30`
\if :locked
    \o :snapshot_file
    SELECT pg_export_snapshot();
    \o
    \! mv "$ROUND/taking.$NOUN" "$ROUND/snapshot.$NOUN"
    \! while [ -d "$ROUND" ] && [ ! -e "$ROUND/done" ] && kill -0 "$BACKUP_PID" 2>/dev/null; do sleep 0.5; done
\endif
COMMIT;
