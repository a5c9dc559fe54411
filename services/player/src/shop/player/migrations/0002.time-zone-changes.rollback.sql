ALTER TABLE players DROP COLUMN zone_before, DROP COLUMN zone_since;
