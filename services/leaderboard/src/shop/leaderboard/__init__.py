"""Leaderboard: ranks by season, with exact ties, from a cache that is written anew while it serves."""
