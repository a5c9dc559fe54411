"""Recommendation: products for customers, from what they and others bought."""
