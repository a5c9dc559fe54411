"""The application: ``python -m shop.kit.serve player``."""

from __future__ import annotations

from shop.kit.app import create_app
from shop.player import api, consumers, games_api
from shop.player.service import PlayerService
from shop.player.settings import Settings

app = create_app(
    Settings(),
    title="Player",
    routers=[api.router, games_api.router],
    build=PlayerService.build,
    consumers=consumers.consumers,
)
