ALTER TABLE addresses DROP COLUMN region;
