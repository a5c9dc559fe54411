from __future__ import annotations

from shop.gateway import api
from shop.gateway.gateway import Door, Gateway
from shop.gateway.settings import Settings
from shop.kit.app import create_app

app = create_app(
    Settings(),
    title="Gateway",
    routers=[api.router],
    build=Gateway.build,
    middleware=[(Door, {})],
    uses_bus=False,
    documented=False,
)
