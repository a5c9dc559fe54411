"""The one door: routing, JWT, limits, breakers, streaming."""
