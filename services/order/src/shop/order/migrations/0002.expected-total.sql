-- depends: 0001.initial

-- What the customer was shown before ordering; null: whatever it costs. Nothing is charged at another total.
ALTER TABLE orders ADD COLUMN expected_total bigint CHECK (expected_total >= 0);
