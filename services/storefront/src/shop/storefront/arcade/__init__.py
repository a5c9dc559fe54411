"""The arcade: the game with its boards, players' profiles and settings, leaderboards, and what an order brought."""
