"""Catalogue and stock: what is sold, at which price, and how many are left."""
