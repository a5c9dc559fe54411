"""What development, tests and a shop on one machine need; no image contains it."""
