-- Locks every table against writes: open transactions that have written are waited for, new writes wait.
-- A writer that holds one table and waits for another that was locked before it would never end. What such a writer holds
-- is locked first at the next try, as it came first for the writer; so the order that fits the writers is found soon, and
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
    RAISE EXCEPTION 'somebody writes to % all the time', wanted;
END $$;
