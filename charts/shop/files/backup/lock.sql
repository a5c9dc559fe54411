-- Locks every table against writes: waits for open transactions that have written; new writes wait.
-- A writer that holds one table and waits for another that is locked here already would be a deadlock. The next try locks
-- the table that such a writer holds first, as the writer does; so an order that suits the writers is found soon, and is
-- kept in shop.tables for the next time.
DO $$
DECLARE
    known text[] := nullif(current_setting('shop.tables', true), '')::text[];
    tables text[] := ARRAY(
        SELECT found.name FROM (
            SELECT oid, oid::regclass::text AS name FROM pg_class
            WHERE relkind IN ('r', 'p') AND relpersistence <> 't'
                AND relnamespace::regnamespace::text NOT IN ('pg_catalog', 'information_schema')) AS found
        ORDER BY array_position(known, found.name), found.oid);
    wait_ms integer := current_setting('shop.first_wait_ms')::integer;
    wanted text;
BEGIN
    FOR try IN 1..current_setting('shop.tries')::integer LOOP
        PERFORM set_config('lock_timeout', wait_ms || 'ms', true);
        BEGIN
            FOREACH wanted IN ARRAY tables LOOP
                EXECUTE 'LOCK TABLE ONLY ' || wanted || ' IN SHARE MODE';
            END LOOP;
            PERFORM set_config('shop.tables', tables::text, false);
            RETURN;
        EXCEPTION WHEN lock_not_available OR deadlock_detected THEN
            tables := wanted || array_remove(tables, wanted);
            wait_ms := wait_ms * 2;
        END;
    END LOOP;
    RAISE EXCEPTION 'cannot lock %: it is written to all the time', wanted;
END $$;
