-- Ends the one transaction of a restore, after what pg_restore wrote.
RESET search_path;
SELECT to_regclass('public.outbox') IS NOT NULL AS events \gset
\if :events
    -- The new shop's broker is empty: every event that is kept goes out again. Those that had their effect are in the
    -- inbox, whose rows must not be taken for old ones and deleted before their events have come by.
    UPDATE public.outbox SET published_at = NULL, stream_sequence = NULL WHERE published_at IS NOT NULL;
    UPDATE public.inbox SET received_at = now();
\endif
SELECT format('COMMENT ON DATABASE %I IS %L', current_database(), 'restored from ' || :'backup' || ' at ' || now()) \gexec
COMMIT;
ANALYZE;
