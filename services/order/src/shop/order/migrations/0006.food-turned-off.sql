-- depends: 0005.food

-- An order of food that was undone while the shop had no food: its ticket and its courier are still to be released, once
-- restaurant and delivery are there again.
ALTER TABLE food_orders ADD COLUMN release_due boolean NOT NULL DEFAULT false;

CREATE INDEX food_orders_release_due ON food_orders (order_id) WHERE release_due;
