"""The API gateway: routing, access tokens, rate limits, breakers, streaming."""
