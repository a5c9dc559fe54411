"""Simulated couriers, customers and kitchens, which use a running food shop through its gateway alone."""
