"""Delivery: couriers, which of them takes an order, and where the food is."""
