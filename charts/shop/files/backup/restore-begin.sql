-- Begins the transaction of a restore; refuses a database that is not empty.
BEGIN;
SET LOCAL lock_timeout = '120s';
-- The lock of migrations.
SELECT pg_advisory_xact_lock(x'53484F50'::bigint) \g /dev/null
DO $$
DECLARE
    found text;
BEGIN
    SELECT string_agg(oid::regclass::text, ', ') INTO found FROM (
        SELECT oid FROM pg_class
        WHERE relkind IN ('r', 'p', 'm', 'v', 'S') AND relpersistence <> 't'
            AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
            AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_class.oid AND deptype = 'e')
        ORDER BY oid LIMIT 3) AS names;
    IF found IS NOT NULL THEN
        RAISE EXCEPTION 'database % is not empty (it holds %): a backup only fills the databases of a new shop',
            current_database(), found;
    END IF;
END $$;
