"""The application: ``python -m shop.kit.serve achievement``."""

from __future__ import annotations

from shop.achievement import api, consumers
from shop.achievement.service import AchievementService
from shop.achievement.settings import Settings
from shop.kit.app import create_app

app = create_app(
    Settings(),
    title="Achievements",
    routers=[api.router, api.internal],
    build=AchievementService.build,
    consumers=consumers.consumers,
)
