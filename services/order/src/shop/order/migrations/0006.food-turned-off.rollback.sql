ALTER TABLE food_orders DROP COLUMN release_due;
