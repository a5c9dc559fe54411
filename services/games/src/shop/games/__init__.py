"""The rules of the shop's games: what the server replays to compute a score."""
