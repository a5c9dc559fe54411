DELETE FROM promotions p
WHERE only_for IS NOT NULL AND NOT EXISTS (SELECT FROM redemptions r WHERE r.code = p.code);
UPDATE promotions SET active = false WHERE only_for IS NOT NULL;
ALTER TABLE promotions DROP COLUMN only_for;
