-- Locks the tables of shop.tables against writers: whoever has written has committed, whoever wants to write waits.
-- A writer that holds one table and waits for another that was locked before it would never end. What such a writer holds
-- is locked first at the next try, as it came first for the writer; so the order that fits the writers is found soon.
DO $$
DECLARE
    tables text[] := current_setting('shop.tables')::text[];
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
