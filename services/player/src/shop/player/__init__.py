"""Player: profiles, experience points and levels, game sessions whose scores the server computes itself."""
