"""Quotes: discounts, taxes and shipping, computed on the server."""
