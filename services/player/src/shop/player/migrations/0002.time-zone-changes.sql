-- depends: 0001.initial

-- A new time zone holds from `zone_since` on, the end of the local day on which it was chosen; until then
-- `zone_before` holds. Both are null for a player who has not changed it since the first day of play.
ALTER TABLE players ADD COLUMN zone_before text, ADD COLUMN zone_since timestamptz;
