-- Locks writes out of one database while the snapshots of all databases are taken.
SET application_name = 'shop backup gate';
SET statement_timeout = '10s';
-- The server releases the locks if this session stalls.
SET idle_in_transaction_session_timeout = '3s';
-- First without the other databases and with more tries: this finds the order of the locks and cancels an autovacuum.
SELECT set_config('shop.tries', '8', false), set_config('shop.first_wait_ms', '20', false) \g /dev/null
BEGIN;
\ir lock.sql
COMMIT;
SELECT set_config('shop.tries', '4', false), set_config('shop.first_wait_ms', '50', false) \g /dev/null
\set go `sh "$HERE/await.sh" ready lock`
\if :go
    BEGIN;
    \ir lock.sql
    \set go `sh "$HERE/await.sh" locked free`
    SELECT 'writers waited up to ' || round(extract(epoch FROM clock_timestamp() - now()) * 1000) || ' ms';
    COMMIT;
    -- Not reached if the server ended this session in between.
    \! : >"$ROUND/freed.$NOUN"
\endif
