-- Ends the transaction of a restore, after the output of pg_restore.
RESET search_path;
SELECT to_regclass('public.outbox') IS NOT NULL AS events \gset
\if :events
    -- The new shop's broker is empty: every event that is kept is published again. Processed ones are in the inbox, whose
    -- rows must not expire before their events have been delivered again.
    UPDATE public.outbox SET published_at = NULL, stream_sequence = NULL WHERE published_at IS NOT NULL;
    UPDATE public.inbox SET received_at = now();
\endif
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'restored from ' || :'backup' || ' at ' || now()) \gexec
COMMIT;
ANALYZE;
