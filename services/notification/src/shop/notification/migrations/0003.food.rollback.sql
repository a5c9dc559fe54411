DROP TABLE food_orders;
