"""The application: ``python -m shop.kit.serve leaderboard``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.leaderboard import api, consumers, internal
from shop.leaderboard.service import LeaderboardService
from shop.leaderboard.settings import Settings

app = create_app(
    Settings(),
    title="Leaderboard",
    routers=[api.router, internal.router],
    build=LeaderboardService.build,
    consumers=consumers.consumers,
)
