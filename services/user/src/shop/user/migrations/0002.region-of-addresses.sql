-- The state, province or the like, where a country's addresses have one. The version before leaves it empty.
ALTER TABLE addresses ADD COLUMN region text NOT NULL DEFAULT '';
