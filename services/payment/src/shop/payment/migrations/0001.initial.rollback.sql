DROP SCHEMA simulator CASCADE;
DROP TABLE entries;
DROP TABLE refunds;
DROP TABLE payments;
DROP FUNCTION require_zero_sum();
DROP FUNCTION refuse_change();
