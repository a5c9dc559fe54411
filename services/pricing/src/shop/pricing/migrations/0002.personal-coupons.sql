-- depends: 0001.initial

-- The user who alone can use a promotion; null for everybody's.
ALTER TABLE promotions ADD COLUMN only_for uuid;
CREATE INDEX promotions_only_for ON promotions (only_for) WHERE only_for IS NOT NULL;
